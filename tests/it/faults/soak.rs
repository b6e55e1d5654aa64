//! Half an hour of random faults under a stream of changes. `make soak` runs it. Its last line of output is the
//! oracle's report.

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

/// The time between two changes. One in ten of them uses up one of 9,999 numbers, so that half an hour uses half.
const PACE: Duration = Duration::from_millis(40);

/// The least number of kills.
const KILLS: usize = 200;

/// The number of faults between two comparisons: few, so that a finding is close to its cause.
const FAULTS: usize = 10;

/// The variable with another duration, in minutes.
const MINUTES: &str = "KAMAJI_TELEMETRY_SOAK_MINUTES";

#[tokio::test]
#[ignore = "takes half an hour: run `make soak`"]
async fn half_an_hour_of_random_faults_loses_and_repeats_nothing() {
    let minutes = std::env::var(MINUTES).map_or(30, |minutes| minutes.parse().unwrap());
    // The number of kills is proportional to the duration.
    let (length, kills) = (Duration::from_mins(minutes), KILLS * usize::try_from(minutes).unwrap() / 30);
    let mut scene = Scene::start().await;
    let mut agent = scene.start_agent().await;
    let mut random = scene.random();
    let mut faults = BTreeMap::<String, usize>::new();
    let started = Instant::now();
    while started.elapsed() < length || killed(&faults) < kills {
        let stream = Stream::start(&scene, PACE);
        for _ in 0..FAULTS {
            let fault = one(&mut scene, &mut agent, &mut random).await;
            *faults.entry(fault).or_default() += 1;
        }
        stream.stop().await;
        let outcome = scene.wait_until_complete().await;
        println!("faults: after {} s: {}", started.elapsed().as_secs(), outcome.report);
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
