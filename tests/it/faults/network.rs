//! Faults between the agent and the backend: all is observed and kept until it is stored, so nothing is coalesced.

use super::inject::{LATE, backend_goes, relay_fails, relay_goes};
use super::proxies::Mode;
use super::short::{scene, under_a_stream};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn without_a_fault_every_change_is_stored() {
    let mut scene = scene().await;
    let outcome = under_a_stream(&mut scene, ("none", "none"), async |scene, _| {
        scene.stores_more_than(200).await;
    })
    .await;
    assert_eq!(outcome.report.coalesced, 0);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_network_that_fails_loses_nothing() {
    let mut scene = scene().await;
    for (file, title, mode) in [
        ("relay-refuses", "relay: connections refused", Mode::Refuse),
        ("relay-resets", "relay: connections reset", Mode::Reset),
        ("relay-swallows", "relay: accepts and never answers", Mode::Swallow),
        ("relay-slow", "relay: everything 150 ms late each way", Mode::Slow(LATE)),
    ] {
        let fault = async |scene: &mut _, agent: &mut _| relay_fails(scene, agent, mode).await;
        let outcome = under_a_stream(&mut scene, (file, title), fault).await;
        assert_eq!(outcome.report.coalesced, 0, "{title}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_relay_or_backend_that_is_down_loses_nothing() {
    let mut scene = scene().await;
    let relay = async |scene: &mut _, _: &mut _| relay_goes(scene).await;
    let outcome = under_a_stream(&mut scene, ("relay-down", "relay killed"), relay).await;
    assert_eq!(outcome.report.coalesced, 0);
    let backend = async |scene: &mut _, _: &mut _| backend_goes(scene).await;
    let outcome = under_a_stream(&mut scene, ("backend-down", "backend killed behind the relay"), backend).await;
    assert_eq!(outcome.report.coalesced, 0);
}
