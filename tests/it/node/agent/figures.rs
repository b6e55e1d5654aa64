//! Memory and processor time of each container: the figures behind the requests and limits of both charts.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use super::crashes::Flood;
use crate::node::figures::write;
use crate::node::scene::{ALL_VALUES, Pod, Scene, Workload};

/// The number of control planes of a busy cluster.
const CONTROL_PLANES: u32 = 100;

/// The number of full requests that the relay gets, which are some hundred, so that its memory does not grow further.
const REQUESTS: usize = 500;

/// The load of a container that was only started.
const START: &str = "start";

/// The unit of processor times on Linux, the same on every architecture that these tests run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads a field of `/proc/PID/status`, in MB.
fn megabytes(process: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024.0 / 1e6
}

/// Returns the processor time of a process since its start, in seconds.
fn processor_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name, the second field, may contain anything but is in parentheses.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / TICKS_PER_SECOND
}

/// The part of its limit that a container may reach, so that a somewhat larger load does not kill it.
const MARGIN: f64 = 0.8;

/// Returns the memory of a container's `requests` or `limits`, in MB.
fn resource(pod: &Pod, container: &str, kind: &str) -> f64 {
    let mut all =
        ["containers", "initContainers"].into_iter().filter_map(|key| pod.0["spec"][key].as_array()).flatten();
    let container = all.find(|spec| spec["name"] == container).unwrap();
    let memory = container["resources"][kind]["memory"].as_str();
    let mebibytes = memory.and_then(|memory| memory.strip_suffix("Mi"));
    mebibytes.unwrap().parse::<f64>().unwrap() * 1024.0 * 1024.0 / 1e6
}

/// Returns a row of each container. It is measured from within: the page cache of a program is charged to whoever read it first.
async fn rows(scene: &Scene, after: &str) -> String {
    let mut rows = String::new();
    let containers = [(Workload::Agent, "agent"), (Workload::Agent, "relay"), (Workload::Backend, "backend")];
    for (workload, container) in containers {
        let pod = scene.pod(workload).await;
        assert_eq!(pod.restarts(container), 0, "{container}: {:#}", pod.container(container));
        let process = scene.processes(&pod.container_id(container))[0];
        let [peak, anonymous] = ["VmHWM", "RssAnon"].map(|field| megabytes(process, field));
        let [request, limit] = ["requests", "limits"].map(|kind| resource(&pod, container, kind));
        assert!(peak < MARGIN * limit, "{container}: {peak:.1} MB of the limit of {limit:.1} MB");
        // Pages of the program's file are shared, and can be read again.
        assert!(after != START || anonymous < request, "{container}: {anonymous:.1} MB, and requests {request:.1} MB");
        let time = processor_seconds(process);
        writeln!(rows, "| {container} | {after} | {peak:.1} MB | {anonymous:.1} MB | {time:.2} s |").unwrap();
    }
    rows
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn under_load_every_container_stays_within_its_limits_and_no_event_is_lost() {
    let scene = Scene::new().await;
    scene.install_backend(&json!({"extraArgs": ALL_VALUES})).await;
    scene.install_sender(&json!({})).await;
    scene.tenant(1, 1).await;
    scene.created([1]).await;
    let mut all = rows(&scene, START).await;
    let planes: Vec<_> = (2..=CONTROL_PLANES).map(|number| scene.tenant_object(number, number)).collect();
    scene.apply(&json!({"apiVersion": "v1", "kind": "List", "items": planes})).await;
    scene.created(1..=CONTROL_PLANES).await;
    all += &rows(&scene, &format!("{CONTROL_PLANES} control planes")).await;
    let flood = Flood::start(&scene.pod(Workload::Agent).await, &scene);
    let last = CONTROL_PLANES + 1;
    scene.tenant(last, last).await;
    scene.until("answers of the relay", async || (flood.answers() >= REQUESTS).then_some(())).await;
    scene.created(1..=last).await;
    flood.stop();
    all += &rows(&scene, "full requests of many senders").await;
    write("memory", &all);
}
