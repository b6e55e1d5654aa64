//! Half an hour of random faults under a stream of changes. `make soak` runs it; its last line is the oracle's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::figures;
use super::inject::{
    KillPoint, NETWORK_DELAY, break_relay_connection, break_watch, expire_watch, freeze_agent, kill, kill_twice,
    reject_journal_writes, restart_api_server, restart_backend, restart_relay,
};
use super::proxies::Mode;
use super::scene::Scene;
use super::stream::Stream;
use crate::program::Agent;

/// Time between two changes. A number is used up by one in ten of them, and there are 9,999 numbers: half an hour of
/// these uses half.
const PACE: Duration = Duration::from_millis(40);

/// How many kills there are at the least.
const KILLS: usize = 200;

/// How many faults there are between two times that everything is judged, so that what goes wrong is found near to
/// what did it.
const FAULTS: usize = 10;

/// Where another length can be set, in minutes.
const MINUTES: &str = "KAMAJI_TELEMETRY_SOAK_MINUTES";

#[tokio::test]
#[ignore = "takes half an hour: run `make soak`"]
async fn half_an_hour_of_random_faults_loses_and_repeats_nothing() {
    let minutes = std::env::var(MINUTES).map_or(30, |minutes| minutes.parse().unwrap());
    // As many kills a minute, whatever the length.
    let (length, kills) = (Duration::from_mins(minutes), KILLS * usize::try_from(minutes).unwrap() / 30);
    let mut scene = Scene::start().await;
    let mut agent = scene.start_agent().await;
    let mut random = scene.random();
    let mut faults = BTreeMap::<String, usize>::new();
    let begun = Instant::now();
    while begun.elapsed() < length || killed(&faults) < kills {
        let stream = Stream::start(&scene, PACE);
        for _ in 0..FAULTS {
            let fault = one(&mut scene, &mut agent, &mut random).await;
            *faults.entry(fault).or_default() += 1;
        }
        stream.stop().await;
        let outcome = scene.wait_until_complete().await;
        println!("faults: after {} s: {}", begun.elapsed().as_secs(), outcome.report);
    }
    println!("faults: {faults:?}");
    let outcome = scene.total_outcome();
    figures::row("soak", &format!("{minutes} minutes of random faults, {} kills", killed(&faults)), &outcome);
    println!("soak: seed {}: {}", scene.seed(), outcome.report);
}

fn killed(faults: &BTreeMap<String, usize>) -> usize {
    faults.iter().filter(|(name, _)| name.starts_with("killed")).map(|(_, count)| count).sum()
}

/// One fault, and its name. Most are kills.
async fn one(scene: &mut Scene, agent: &mut Agent, random: &mut fastrand::Rng) -> String {
    let name = match random.u8(..22) {
        13 => {
            break_watch(scene).await;
            "watch cut"
        }
        14 => {
            expire_watch(scene).await;
            "watch expired"
        }
        15 => {
            restart_api_server(scene).await;
            "API server killed"
        }
        16 => {
            restart_backend(scene).await;
            "backend killed"
        }
        17 => {
            restart_relay(scene).await;
            "relay killed"
        }
        18 => {
            let modes = [Mode::Refuse, Mode::Reset, Mode::Blackhole, Mode::Slow(NETWORK_DELAY)];
            break_relay_connection(scene, agent, modes[random.usize(..modes.len())]).await;
            "network failed"
        }
        19 => {
            freeze_agent(scene, agent).await;
            "agent frozen"
        }
        20 => {
            kill_twice(scene, agent).await;
            "killed twice"
        }
        21 => {
            let statuses = [403, 409, 413, 500];
            let status = StatusCode::from_u16(statuses[random.usize(..statuses.len())]).expect("a status");
            reject_journal_writes(scene, status).await;
            "journal refused"
        }
        _ => {
            let fell = kill(scene, agent, KillPoint::ALL.get(random.usize(..4)).copied()).await;
            return format!("killed {fell:?}");
        }
    };
    name.to_owned()
}
