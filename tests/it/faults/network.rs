//! Faults between the agent and the backend. Every change is observed and kept until it is stored, so none is
//! coalesced.

use super::inject::{NETWORK_DELAY, break_relay_connection, restart_backend, restart_relay};
use super::proxies::Mode;
use super::short::{run_under_load, start_scene};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn without_a_fault_every_change_is_stored() {
    let mut scene = start_scene().await;
    let outcome = run_under_load(&mut scene, ("none", "none"), async |scene, _| {
        scene.wait_for_more_events_than(200).await;
    })
    .await;
    assert_eq!(outcome.report.coalesced, 0);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_network_that_fails_loses_nothing() {
    let mut scene = start_scene().await;
    for (file, title, mode) in [
        ("relay-refuses", "relay: connections refused", Mode::Refuse),
        ("relay-resets", "relay: connections reset", Mode::Reset),
        ("relay-swallows", "relay: accepts and never answers", Mode::Blackhole),
        ("relay-slow", "relay: everything 150 ms late each way", Mode::Slow(NETWORK_DELAY)),
    ] {
        let fault = async |scene: &mut _, agent: &mut _| break_relay_connection(scene, agent, mode).await;
        let outcome = run_under_load(&mut scene, (file, title), fault).await;
        assert_eq!(outcome.report.coalesced, 0, "{title}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_relay_or_backend_that_is_down_loses_nothing() {
    let mut scene = start_scene().await;
    let relay = async |scene: &mut _, _: &mut _| restart_relay(scene).await;
    let outcome = run_under_load(&mut scene, ("relay-down", "relay killed"), relay).await;
    assert_eq!(outcome.report.coalesced, 0);
    let backend = async |scene: &mut _, _: &mut _| restart_backend(scene).await;
    let outcome = run_under_load(&mut scene, ("backend-down", "backend killed behind the relay"), backend).await;
    assert_eq!(outcome.report.coalesced, 0);
}
