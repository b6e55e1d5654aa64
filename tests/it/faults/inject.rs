//! The faults. Each begins under a stream of changes, waits until the agent has met it, mends what it broke, and takes
//! note of what the agent may not have seen.

use std::time::Duration;

use http::StatusCode;

use super::proxies::{Hold, Mode, Point, Target};
use super::scene::Scene;
use crate::program::Agent;
use crate::servers::eventually;

/// How often a fault is met before it is mended: once can be chance, and each further time waits longer.
const TIMES: usize = 3;

/// How many events are stored between two faults: enough to know that everything works.
const SOME: usize = 10;

/// How late a slow network is in each direction: worse than to the other side of the world, and less than the agent
/// takes for silence, which at the tests' deadline of 2 s for a request is 400 ms for both directions.
pub(super) const LATE: Duration = Duration::from_millis(150);

/// Where a kill falls on the way of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fell {
    /// It is observed, and not written to the journal.
    BeforeWrite,
    /// It is written, and not sent.
    BetweenWriteAndSend,
    /// It is sent and stored, and the agent does not know.
    BetweenSendAndAcknowledgement,
}

impl Fell {
    /// All of them.
    pub(super) const ALL: [Self; 3] =
        [Self::BeforeWrite, Self::BetweenWriteAndSend, Self::BetweenSendAndAcknowledgement];

    /// Where a kill falls that comes now.
    fn now(scene: &Scene) -> Self {
        if scene.way_to_relay.traffic().in_flight > 0 {
            Self::BetweenSendAndAcknowledgement
        } else {
            // A write under way is one that the agent does not know to be done; without any, the next change comes.
            Self::BeforeWrite
        }
    }
}

/// Kills the agent at this point, or whenever it is if there is none, and starts it again. Says where it fell.
pub(super) async fn kill(scene: &mut Scene, agent: &mut Agent, at: Option<Fell>) -> Fell {
    scene.stores_more_than(scene.stored() + SOME).await;
    let fell = at.unwrap_or_else(|| Fell::now(scene));
    let hold = if at.is_some() { comes_to(scene, agent, fell).await } else { None };
    agent.kill();
    drop(hold);
    let outage = scene.outage_begins();
    scene.mend();
    agent.restart().await;
    scene.outage_ends(outage).await;
    fell
}

/// Kills the agent, and again when it has begun a new term by a write, before it knows that.
pub(super) async fn kill_twice(scene: &mut Scene, agent: &mut Agent) {
    scene.stores_more_than(scene.stored() + SOME).await;
    agent.kill();
    let outage = scene.outage_begins();
    restart_into(scene, agent, Point::BeforeAnswer).await;
    agent.restart().await;
    scene.outage_ends(outage).await;
}

/// Starts the agent, and kills it at this point of its first write of the journal.
pub(super) async fn restart_into(scene: &Scene, agent: &mut Agent, point: Point) {
    let mut hold = scene.api.hold(Target::JournalWrite, point);
    agent.restart().await;
    hold.reached().await;
    agent.kill();
}

/// Waits until an event is at this point, and stays there.
async fn comes_to(scene: &Scene, agent: &Agent, fell: Fell) -> Option<Hold> {
    let point = match fell {
        Fell::BeforeWrite => Point::BeforeRequest,
        Fell::BetweenWriteAndSend => Point::BeforeAnswer,
        Fell::BetweenSendAndAcknowledgement => {
            // The answer that is withheld is to be one to events.
            agent.has_sent_gauges().await;
            scene.way_to_relay.set(Mode::HoldAnswers);
            scene.way_to_relay.withheld().await;
            return None;
        }
    };
    let mut hold = scene.api.hold(Target::JournalWrite, point);
    hold.reached().await;
    Some(hold)
}

/// The agent gets no processor time while much changes, and then wakes.
pub(super) async fn agent_sleeps(scene: &mut Scene, agent: &Agent) {
    scene.stores_more_than(scene.stored() + SOME).await;
    let outage = scene.outage_begins();
    agent.signal("STOP");
    scene.commits(50).await;
    agent.signal("CONT");
    scene.outage_ends(outage).await;
}

/// The way to the relay fails like this.
pub(super) async fn relay_fails(scene: &mut Scene, agent: &Agent, mode: Mode) {
    scene.stores_more_than(scene.stored() + SOME).await;
    scene.way_to_relay.set(mode);
    match mode {
        Mode::Refuse | Mode::Reset => scene.way_to_relay.tried(TIMES).await,
        Mode::Swallow => agent.gives_up().await,
        Mode::Pass | Mode::Slow(_) | Mode::HoldAnswers => scene.stores_more_than(scene.stored() + SOME).await,
    }
    scene.mend();
    scene.passes().await;
}

/// The relay is killed, and comes back.
pub(super) async fn relay_goes(scene: &mut Scene) {
    scene.stores_more_than(scene.stored() + SOME).await;
    scene.relay.stop();
    scene.way_to_relay.tried(TIMES).await;
    scene.relay.resume().await;
    scene.passes().await;
}

/// The backend is killed behind the relay, which answers that it is not there, and comes back.
pub(super) async fn backend_goes(scene: &mut Scene) {
    scene.stores_more_than(scene.stored() + SOME).await;
    scene.backend.kill();
    scene.way_to_relay.answered(TIMES).await;
    scene.backend.restart().await;
    scene.passes().await;
}

/// The API server is killed, and comes back.
pub(super) async fn api_server_goes(scene: &mut Scene) {
    scene.stores_more_than(scene.stored() + SOME).await;
    let outage = scene.outage_begins();
    scene.cluster.stop();
    scene.cluster.resume().await;
    scene.outage_ends(outage).await;
}

/// The watch breaks. It is resumed where it broke, so that this is no outage.
pub(super) async fn watch_breaks(scene: &mut Scene) {
    scene.stores_more_than(scene.stored() + SOME).await;
    let before = scene.api.requests(Target::Watch);
    scene.api.cut_watches();
    eventually("another watch", async || (scene.api.requests(Target::Watch) > before).then_some(())).await;
    scene.passes().await;
}

/// The agent is cut off until the place where its watch was is compacted away, so that it must list again.
pub(super) async fn watch_expires(scene: &mut Scene) {
    scene.stores_more_than(scene.stored() + SOME).await;
    let lists = scene.lists();
    let outage = scene.outage_begins();
    scene.way_to_api.set(Mode::Refuse);
    scene.way_to_api.tried(TIMES).await;
    scene.cluster.compact().await;
    // What its cache holds is not expired: a new one begins after the compaction.
    scene.cluster.stop();
    scene.cluster.resume().await;
    scene.mend();
    scene.outage_ends(outage).await;
    assert!(scene.lists() > lists, "the watch was resumed");
}

/// The API server answers `status` to every write of the journal.
pub(super) async fn journal_is_refused(scene: &mut Scene, status: StatusCode) {
    scene.stores_more_than(scene.stored() + SOME).await;
    let outage = scene.outage_begins();
    let before = scene.api.requests(Target::JournalWrite);
    scene.api.answer(Target::JournalWrite, status);
    eventually("refused writes", async || (scene.api.requests(Target::JournalWrite) >= before + TIMES).then_some(()))
        .await;
    scene.api.pass(Target::JournalWrite);
    scene.outage_ends(outage).await;
}
