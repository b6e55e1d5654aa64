//! The faults. Each is injected under a stream of changes, waits until it affects the agent, is repaired, and is
//! recorded as an outage if the agent may have missed a state.

use std::time::Duration;

use http::StatusCode;

use super::proxies::{Hold, Mode, Point, Target};
use super::scene::Scene;
use crate::program::Agent;
use crate::servers::eventually;

/// The number of times that the agent runs into a fault before it is repaired: once can be chance, and each further
/// time waits longer.
const REPEATS: usize = 3;

/// The number of events stored between two faults: enough to know that everything works.
const EVENTS_BETWEEN_FAULTS: usize = 10;

/// The delay of a slow network in each direction: longer than to the other side of the world, but shorter than what the
/// agent takes for a dead connection. With the tests' timeout of 2 s for a request, that is 400 ms for both directions.
pub(super) const NETWORK_DELAY: Duration = Duration::from_millis(150);

/// The point in the delivery of an event at which the agent is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KillPoint {
    /// The event is observed, but not written to the journal.
    BeforeWrite,
    /// The event is written, but not sent.
    BetweenWriteAndSend,
    /// The event is sent and stored, but the agent has no acknowledgement.
    BetweenSendAndAcknowledgement,
}

impl KillPoint {
    /// All points.
    pub(super) const ALL: [Self; 3] =
        [Self::BeforeWrite, Self::BetweenWriteAndSend, Self::BetweenSendAndAcknowledgement];

    /// Returns the point of a kill at this moment.
    fn now(scene: &Scene) -> Self {
        if scene.relay_connections.traffic().in_flight > 0 {
            Self::BetweenSendAndAcknowledgement
        } else {
            // The agent has no response to a write in flight. Without one, the next change is about to be written.
            Self::BeforeWrite
        }
    }
}

/// Kills the agent at this point, or at any if there is none, and starts it again. Returns the point of the kill.
pub(super) async fn kill(scene: &mut Scene, agent: &mut Agent, at: Option<KillPoint>) -> KillPoint {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let point = at.unwrap_or_else(|| KillPoint::now(scene));
    let hold = if at.is_some() { wait_for_point(scene, agent, point).await } else { None };
    agent.kill();
    drop(hold);
    let outage = scene.begin_outage();
    scene.repair_network();
    agent.restart().await;
    scene.end_outage(outage).await;
    point
}

/// Kills the agent, and again after the first write of its new term, before the response arrives.
pub(super) async fn kill_twice(scene: &mut Scene, agent: &mut Agent) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    agent.kill();
    let outage = scene.begin_outage();
    restart_and_kill(scene, agent, Point::BeforeResponse).await;
    agent.restart().await;
    scene.end_outage(outage).await;
}

/// Starts the agent and kills it at this point of its first write of the journal.
pub(super) async fn restart_and_kill(scene: &Scene, agent: &mut Agent, point: Point) {
    let mut hold = scene.api.hold(Target::JournalWrite, point);
    agent.restart().await;
    hold.reached().await;
    agent.kill();
}

/// Waits until an event is at this point, and holds it there.
async fn wait_for_point(scene: &Scene, agent: &Agent, at: KillPoint) -> Option<Hold> {
    let point = match at {
        KillPoint::BeforeWrite => Point::BeforeRequest,
        KillPoint::BetweenWriteAndSend => Point::BeforeResponse,
        KillPoint::BetweenSendAndAcknowledgement => {
            // Otherwise the withheld response could be one to gauges.
            agent.wait_for_gauges().await;
            scene.relay_connections.set_mode(Mode::HoldResponses);
            scene.relay_connections.wait_for_withheld_response().await;
            return None;
        }
    };
    let mut hold = scene.api.hold(Target::JournalWrite, point);
    hold.reached().await;
    Some(hold)
}

/// Freezes the agent during many changes.
pub(super) async fn freeze_agent(scene: &mut Scene, agent: &Agent) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let outage = scene.begin_outage();
    agent.signal("STOP");
    scene.wait_for_commits(50).await;
    agent.signal("CONT");
    scene.end_outage(outage).await;
}

/// Breaks the connection to the relay in this mode.
pub(super) async fn break_relay_connection(scene: &mut Scene, agent: &Agent, mode: Mode) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    scene.relay_connections.set_mode(mode);
    match mode {
        Mode::Refuse | Mode::Reset => scene.relay_connections.wait_for_connections(REPEATS).await,
        Mode::Blackhole => agent.wait_until_export_fails().await,
        Mode::Pass | Mode::Slow(_) | Mode::HoldResponses => {
            scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
        }
    }
    scene.repair_network();
    scene.wait_until_delivered().await;
}

/// Kills the relay and starts it again.
pub(super) async fn restart_relay(scene: &mut Scene) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    scene.relay.stop();
    scene.relay_connections.wait_for_connections(REPEATS).await;
    scene.relay.resume().await;
    scene.wait_until_delivered().await;
}

/// Kills the backend, so that the relay responds that it is unavailable, and starts it again.
pub(super) async fn restart_backend(scene: &mut Scene) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    scene.backend.kill();
    scene.relay_connections.wait_for_responses(REPEATS).await;
    scene.backend.restart().await;
    scene.wait_until_delivered().await;
}

/// Kills the API server and starts it again.
pub(super) async fn restart_api_server(scene: &mut Scene) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let outage = scene.begin_outage();
    scene.cluster.stop();
    scene.cluster.resume().await;
    scene.end_outage(outage).await;
}

/// Breaks the watch. The agent resumes it at the same version, so that this is no outage.
pub(super) async fn break_watch(scene: &mut Scene) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let before = scene.api.requests(Target::Watch);
    scene.api.cut_watches();
    eventually("another watch", async || (scene.api.requests(Target::Watch) > before).then_some(())).await;
    scene.wait_until_delivered().await;
}

/// Disconnects the agent until the version of its watch is compacted, so that it must list again.
pub(super) async fn expire_watch(scene: &mut Scene) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let lists = scene.lists();
    let outage = scene.begin_outage();
    scene.api_connections.set_mode(Mode::Refuse);
    scene.api_connections.wait_for_connections(REPEATS).await;
    scene.cluster.compact().await;
    // The version does not expire in the watch cache, so the API server is restarted with an empty one.
    scene.cluster.stop();
    scene.cluster.resume().await;
    scene.repair_network();
    scene.end_outage(outage).await;
    assert!(scene.lists() > lists, "the watch was resumed");
}

/// Rejects every write of the journal with `status`.
pub(super) async fn reject_journal_writes(scene: &mut Scene, status: StatusCode) {
    scene.wait_for_more_events_than(scene.event_count() + EVENTS_BETWEEN_FAULTS).await;
    let outage = scene.begin_outage();
    let before = scene.api.requests(Target::JournalWrite);
    scene.api.respond_with(Target::JournalWrite, status);
    eventually("rejected writes", async || {
        (scene.api.requests(Target::JournalWrite) >= before + REPEATS).then_some(())
    })
    .await;
    scene.api.pass(Target::JournalWrite);
    scene.end_outage(outage).await;
}
