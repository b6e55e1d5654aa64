//! The memory of the relay with the settings of the chart: figures for docs/performance.md, and a check of the limit.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kamaji_telemetry::catalog;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use tonic::Status;

use super::messages::{Sender, event, gauge};
use super::{configuration, read};
use crate::servers::{CapturingBackend, Collector, documents};

/// The number of events in a full request: some 850 kB of the 1 MiB that the relay accepts.
const FULL: usize = 3_500;

/// The duration of the load: some hundred full requests, after which the memory does not grow further.
const LOAD: Duration = Duration::from_secs(10);

/// The settings of the relay's container in the chart.
struct Settings {
    environment: [(&'static str, String); 2],
    /// The memory limit, in bytes.
    limit: u64,
}

impl Settings {
    fn of_the_chart() -> Self {
        let rendered = documents(&read("tests/it/snapshots/default.yaml"));
        let deployment = rendered.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let relay = &deployment["spec"]["template"]["spec"]["initContainers"][0];
        let limit = relay["resources"]["limits"]["memory"].as_str().and_then(|limit| limit.strip_suffix("Mi")).unwrap();
        let value = |name: &str| {
            let variable = relay["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name).unwrap();
            variable["value"].as_str().unwrap().to_owned()
        };
        let environment = ["GOMEMLIMIT", "RELAY_MEMORY_LIMIT_MIB"].map(|name| (name, value(name)));
        Self { environment, limit: limit.parse::<u64>().unwrap() << 20 }
    }
}

/// A relay in front of a backend that responds at once.
struct Measured {
    backend: CapturingBackend,
    collector: Collector,
}

impl Measured {
    async fn start(name: &str, settings: &Settings) -> Self {
        let backend = CapturingBackend::start().await;
        let url = backend.url();
        let mut environment = vec![("RELAY_ENDPOINT", &*url)];
        environment.extend(settings.environment.iter().map(|(name, value)| (*name, &**value)));
        let collector = Collector::start(&configuration(name), &environment, &[]).await;
        Self { backend, collector }
    }

    /// Prints the figures, and checks them against the container's limit.
    fn row(&self, name: &str, what: &str, load: &Load, settings: &Settings) {
        let peak = self.collector.memory("VmHWM");
        let anonymous = load.anonymous.max(self.collector.memory("RssAnon"));
        let Load { accepted, rejected, anonymous: _ } = load;
        let [peak_mb, anonymous] = [peak, anonymous].map(|bytes| bytes / 1_000_000);
        println!("memory: | {name} | {what} | {peak_mb} MB | {anonymous} MB | {accepted} | {rejected} |");
        assert!(peak < settings.limit, "{name}, {what}: {peak} bytes are above the container's {}", settings.limit);
    }

    /// Sends as an agent does: one request at a time, with a gauge or an event.
    async fn one_agent(&self) -> Load {
        let sender = Sender::connect(&self.collector.endpoint()).await;
        let mut load = Load::default();
        for _ in 0..1_000 {
            load.count(&sender.metrics(gauge(catalog::METRICS[0])).await, self);
            load.count(&sender.logs(event(catalog::EVENT_KINDS[0])).await, self);
        }
        assert_eq!(load.rejected, 0);
        load
    }

    /// Sends full requests from several senders, each after the response to the last.
    async fn full(&self, senders: usize) -> Load {
        let (full, until) = (full_request(), Instant::now() + LOAD);
        let one = async || {
            let sender = Sender::connect(&self.collector.endpoint()).await;
            let mut load = Load::default();
            while Instant::now() < until {
                load.count(&sender.logs(full.clone()).await, self);
            }
            load
        };
        let loads = join_all((0..senders).map(|_| one())).await;
        let load = loads.into_iter().reduce(Load::and).unwrap();
        assert!(load.accepted > 0, "all {} are rejected", load.rejected);
        load
    }
}

/// The counts of a load, and the memory that it took.
#[derive(Clone, Copy, Default)]
struct Load {
    accepted: usize,
    rejected: usize,
    /// The largest anonymous memory, in bytes, which is not backed by files.
    anonymous: u64,
}

impl Load {
    fn count(&mut self, result: &Result<(), Status>, relay: &Measured) {
        match result {
            Ok(()) => self.accepted += 1,
            Err(_) => self.rejected += 1,
        }
        self.anonymous = self.anonymous.max(relay.collector.memory("RssAnon"));
        // What the backend keeps is this process's memory.
        drop(relay.backend.take());
    }

    fn and(self, other: Self) -> Self {
        let Self { accepted, rejected, anonymous } = other;
        Self {
            accepted: self.accepted + accepted,
            rejected: self.rejected + rejected,
            anonymous: self.anonymous.max(anonymous),
        }
    }
}

fn full_request() -> ExportLogsServiceRequest {
    let mut request = event(catalog::EVENT_KINDS[0]);
    let records = &mut request.resource_logs[0].scope_logs[0].log_records;
    *records = vec![records[0].clone(); FULL];
    let size = request.encoded_len();
    assert!((800_000..1 << 20).contains(&size), "{size} bytes");
    request
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: see docs/performance.md"]
async fn the_relay_fits_into_its_container_whoever_sends() {
    let settings = Settings::of_the_chart();
    println!("memory: | configuration | sent | peak | not a file's | accepted | rejected |");
    for name in ["relay.yaml", "debug.yaml"] {
        let relay = Measured::start(name, &settings).await;
        relay.row(name, "nothing", &Load::default(), &settings);
        let load = relay.one_agent().await;
        relay.row(name, "one gauge or one event at a time", &load, &settings);
        for senders in [1, 8, 32] {
            let relay = Measured::start(name, &settings).await;
            let load = relay.full(senders).await;
            relay.row(name, &format!("full requests, senders: {senders}"), &load, &settings);
        }
    }
}
