//! The schedule of the fleet: which installation sends what, when, and where to. No I/O.
//!
//! Times are since the beginning of the run, by the fleet's own clock, which may be faster than the real one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::attempt::{Attempt, AttemptContent, AttemptOutcome, SendFailure};
use super::figures::LoadFigures;
use super::installation::FleetInstallation;
use super::outage::{Resumption, cycles_after, events_after};
use crate::agent::backoff::Backoff;
use crate::agent::export::events::{BACKOFF_MIN, EXPORT_BATCH_LIMIT, MAX_SERVER_DELAY};
use crate::agent::export::gauges::RETRY_MIN;
use crate::catalog::{Event, EventRecord, KubernetesVersion, Status};
use crate::testkit::random_uuid;

/// The interval of the gauges: the default of the agent's `--export-interval`.
pub(super) const INTERVAL: Duration = Duration::from_mins(5);

/// The longest wait between two attempts: the default of the agent's `--retry-max-interval`.
pub(super) const RETRY_MAX: Duration = Duration::from_mins(1);

/// One in this number of snapshots says something new. A backend stores those, and the first of each hour, which is one in
/// twelve of an agent that reports every five minutes.
const CYCLES_A_CHANGE: u32 = 12;

/// A day, in seconds.
const DAY: f64 = 86_400.0;

/// The settings of a schedule.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScheduleSettings {
    /// The number of installations.
    pub(super) installations: u32,
    /// The number of URLs, each of which gets its part.
    pub(super) urls: usize,
    /// The most attempts in flight to one URL.
    pub(super) places: usize,
    /// The time after which an agent gives up an attempt.
    pub(super) timeout: Duration,
    /// The outage that ends with the beginning of the run; zero if there was none.
    pub(super) outage: Duration,
    /// The events of one installation in a day.
    pub(super) events_per_day: f64,
}

/// The state of a fleet.
#[derive(Debug)]
pub(super) struct LoadSchedule {
    settings: ScheduleSettings,
    random: Rng,
    installations: Vec<InstallationState>,
    /// The installations with events that are not acknowledged.
    outboxes: HashMap<u32, LoadOutbox>,
    due: BinaryHeap<Reverse<DueAttempt>>,
    /// The time of the next event of the fleet; `None` if there are none.
    next_event: Option<Duration>,
    lanes: Vec<Lane>,
    /// The lane that has its turn.
    turn: usize,
    pub(super) figures: LoadFigures,
}

/// The state of an installation's gauges.
#[derive(Debug, Clone)]
struct InstallationState {
    next_cycle: Duration,
    /// Reset by a success only.
    backoff: Backoff,
    /// The URL of the next attempt.
    url: usize,
    /// The changes of its counts so far.
    changes: u32,
    delivery: SnapshotDelivery,
}

/// The delivery of an installation's snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SnapshotDelivery {
    /// The changes of the last acknowledged snapshot; `None` if there is none.
    pub(super) acknowledged: Option<u32>,
    /// True if an attempt ended without an answer: its snapshot may be stored later than one that was acknowledged.
    pub(super) is_uncertain: bool,
}

/// Events of an installation that are not acknowledged, of which one request at a time is sent.
#[derive(Debug)]
struct LoadOutbox {
    events: Vec<EventRecord>,
    backoff: Backoff,
    url: usize,
}

/// Attempts to one URL.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<DueAttempt>,
    in_flight: usize,
}

/// An attempt that is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DueAttempt {
    time: Duration,
    installation: u32,
    kind: DueKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DueKind {
    /// The first attempt of a cycle.
    Cycle,
    /// A further attempt of a cycle.
    SnapshotRetry,
    Events,
}

impl LoadSchedule {
    /// Creates the schedule of a fleet that was up for long, or is back from an outage.
    pub(super) fn new(settings: ScheduleSettings, random: Rng) -> Self {
        let lanes = (0..settings.urls).map(|_| Lane::default()).collect();
        let mut schedule = Self {
            settings,
            random,
            installations: Vec::with_capacity(settings.installations as usize),
            outboxes: HashMap::new(),
            due: BinaryHeap::with_capacity(settings.installations as usize),
            next_event: None,
            lanes,
            turn: 0,
            figures: LoadFigures::default(),
        };
        for number in 0..settings.installations {
            schedule.add(number);
        }
        schedule.add_events_of_outage();
        schedule.next_event = schedule.time_to_event();
        schedule
    }

    fn add(&mut self, number: u32) {
        let phase = FleetInstallation::new(number).first_cycle(INTERVAL);
        let Resumption { due, next_cycle, backoff } =
            cycles_after(self.settings.outage, phase, INTERVAL, (RETRY_MIN, RETRY_MAX));
        let kind = if backoff.is_some() { DueKind::SnapshotRetry } else { DueKind::Cycle };
        self.installations.push(InstallationState {
            next_cycle,
            backoff: backoff.unwrap_or_else(|| Backoff::new(RETRY_MIN, RETRY_MAX)),
            url: self.home(number),
            changes: 0,
            delivery: SnapshotDelivery::default(),
        });
        self.due.push(Reverse(DueAttempt { time: due, installation: number, kind }));
    }

    fn add_events_of_outage(&mut self) {
        let mut age = self.settings.outage;
        while let Some(earlier) = self.time_to_event().and_then(|time| age.checked_sub(time)) {
            age = earlier;
            let (time, backoff) = events_after(age, (BACKOFF_MIN, RETRY_MAX));
            self.add_event(age, time, backoff);
        }
    }

    /// Returns a random time to the next event of the fleet, whose events are independent of each other; `None` if there are
    /// none.
    fn time_to_event(&mut self) -> Option<Duration> {
        let a_second = f64::from(self.settings.installations) * self.settings.events_per_day / DAY;
        let seconds = -self.random.f64().max(f64::MIN_POSITIVE).ln() / a_second;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Returns a new event of the installation that happened so long ago.
    fn event(&mut self, installation: u32, age: Duration) -> EventRecord {
        let FleetInstallation { kamaji, kubernetes, .. } = FleetInstallation::new(installation);
        let [older, newer] = ["v1.35.4", "v1.36.1"].map(KubernetesVersion::normalize);
        let event = match self.random.u8(0..5) {
            0 | 1 => Event::Created { tcp_version: newer, extended: None },
            2 | 3 => Event::Updated { old_tcp_version: older, new_tcp_version: newer },
            _ => Event::Deleted { status: Status::Ready, tcp_version: older },
        };
        EventRecord {
            uid: random_uuid(&mut self.random),
            time: Timestamp::now() - age,
            kamaji_version: kamaji,
            kubernetes_version: kubernetes,
            event,
        }
    }

    /// Returns the URL to which the first attempt of each cycle goes.
    fn home(&self, installation: u32) -> usize {
        installation as usize % self.settings.urls
    }

    /// Returns the time at which the next attempt or event is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let attempt = self.due.peek().map(|Reverse(attempt)| attempt.time);
        [attempt, self.next_event].into_iter().flatten().min()
    }

    /// Moves what is due into the lanes of the URLs.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some(time) = self.next_event.filter(|time| *time <= now) {
            self.add_event(Duration::ZERO, time, Backoff::new(BACKOFF_MIN, RETRY_MAX));
            self.next_event = self.time_to_event().map(|wait| time + wait);
        }
        while let Some(Reverse(attempt)) = self.due.peek().copied().filter(|Reverse(attempt)| attempt.time <= now) {
            self.due.pop();
            self.figures.count_due(attempt.time);
            if attempt.kind == DueKind::Cycle {
                self.begin_cycle(attempt.installation, attempt.time);
            }
            let url = self.url(&attempt);
            self.lanes[url].waiting.push_back(attempt);
        }
    }

    /// Adds an event of a random installation that happened so long ago, which is sent at `time` unless others of the installation
    /// wait already.
    fn add_event(&mut self, age: Duration, time: Duration, backoff: Backoff) {
        let installation = self.random.u32(0..self.settings.installations);
        let event = self.event(installation, age);
        self.figures.events_made += 1;
        if let Some(outbox) = self.outboxes.get_mut(&installation) {
            outbox.events.push(event);
            return;
        }
        let url = self.home(installation);
        self.outboxes.insert(installation, LoadOutbox { events: vec![event], backoff, url });
        self.due.push(Reverse(DueAttempt { time, installation, kind: DueKind::Events }));
    }

    fn begin_cycle(&mut self, installation: u32, time: Duration) {
        let is_change = self.random.u32(0..CYCLES_A_CHANGE) == 0;
        let home = self.home(installation);
        let state = &mut self.installations[installation as usize];
        state.next_cycle = time + INTERVAL;
        state.url = home;
        state.changes += u32::from(is_change);
    }

    fn url(&self, attempt: &DueAttempt) -> usize {
        match attempt.kind {
            DueKind::Cycle | DueKind::SnapshotRetry => self.installations[attempt.installation as usize].url,
            DueKind::Events => self.outboxes.get(&attempt.installation).map_or(0, |outbox| outbox.url),
        }
    }

    /// Takes the next attempt for which its URL has a place. The URLs take turns.
    pub(super) fn take(&mut self, now: Duration) -> Option<Attempt> {
        for _ in 0..self.lanes.len() {
            let url = self.turn;
            self.turn = (self.turn + 1) % self.lanes.len();
            if let Some(attempt) = self.take_of(url, now) {
                return Some(attempt);
            }
        }
        None
    }

    fn take_of(&mut self, url: usize, now: Duration) -> Option<Attempt> {
        while self.lanes[url].in_flight < self.settings.places {
            let DueAttempt { time: due, installation, kind } = self.lanes[url].waiting.pop_front()?;
            let content = match kind {
                DueKind::Cycle | DueKind::SnapshotRetry => {
                    AttemptContent::Snapshot { changes: self.installations[installation as usize].changes }
                }
                DueKind::Events => {
                    let Some(outbox) = self.outboxes.get(&installation) else { continue };
                    AttemptContent::Events(outbox.events.iter().take(EXPORT_BATCH_LIMIT).copied().collect())
                }
            };
            let attempt = Attempt { installation, url, due, content };
            if now >= due + self.settings.timeout {
                self.fail(&attempt, SendFailure::TimedOutInQueue, None, now);
                continue;
            }
            self.lanes[url].in_flight += 1;
            self.figures.count_sent(&attempt.content);
            return Some(attempt);
        }
        None
    }

    /// Returns the number of attempts in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.in_flight).sum()
    }

    /// Forgets what is due and what waits for a place: nothing more is sent.
    pub(super) fn stop(&mut self) {
        self.due.clear();
        self.next_event = None;
        for lane in &mut self.lanes {
            lane.waiting.clear();
        }
    }

    /// Ends an attempt, and schedules what its agent does next.
    pub(super) fn finish(&mut self, attempt: &Attempt, outcome: AttemptOutcome, now: Duration) {
        self.lanes[attempt.url].in_flight -= 1;
        match outcome {
            AttemptOutcome::Acknowledged => self.acknowledge(attempt, now),
            AttemptOutcome::Failed(failure, delay) => self.fail(attempt, failure, delay, now),
        }
    }

    fn acknowledge(&mut self, attempt: &Attempt, now: Duration) {
        self.figures.count_acknowledged(&attempt.content, now.saturating_sub(attempt.due));
        let installation = attempt.installation;
        match &attempt.content {
            AttemptContent::Snapshot { changes } => {
                let state = &mut self.installations[installation as usize];
                state.backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
                state.delivery.acknowledged = Some(*changes);
                let time = state.next_cycle.max(now);
                self.due.push(Reverse(DueAttempt { time, installation, kind: DueKind::Cycle }));
            }
            AttemptContent::Events(events) => {
                let Some(outbox) = self.outboxes.get_mut(&installation) else { return };
                outbox.events.drain(..events.len());
                outbox.backoff = Backoff::new(BACKOFF_MIN, RETRY_MAX);
                if outbox.events.is_empty() {
                    self.outboxes.remove(&installation);
                } else {
                    self.due.push(Reverse(DueAttempt { time: now, installation, kind: DueKind::Events }));
                }
            }
        }
    }

    /// Schedules the next attempt, at another URL if there is one.
    fn fail(&mut self, attempt: &Attempt, failure: SendFailure, delay: Option<Duration>, now: Duration) {
        self.figures.count_failed(failure);
        let (installation, url) = (attempt.installation, (attempt.url + 1) % self.settings.urls);
        match &attempt.content {
            // The SDK hides a backend's delay from the agent.
            AttemptContent::Snapshot { .. } => {
                let state = &mut self.installations[installation as usize];
                state.url = url;
                state.delivery.is_uncertain |= failure.is_uncertain();
                let retry = now + state.backoff.wait();
                let (time, kind) = if retry < state.next_cycle {
                    (retry, DueKind::SnapshotRetry)
                } else {
                    (state.next_cycle.max(now), DueKind::Cycle)
                };
                self.due.push(Reverse(DueAttempt { time, installation, kind }));
            }
            AttemptContent::Events(_) => {
                let Some(outbox) = self.outboxes.get_mut(&installation) else { return };
                outbox.url = url;
                let backoff = if failure.is_transient() { outbox.backoff.wait() } else { outbox.backoff.max_wait() };
                let time = now + backoff.max(delay.unwrap_or_default().min(MAX_SERVER_DELAY));
                self.due.push(Reverse(DueAttempt { time, installation, kind: DueKind::Events }));
            }
        }
    }

    /// Returns the delivery of each installation's snapshots, by its number.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = SnapshotDelivery> {
        self.installations.iter().map(|state| state.delivery)
    }

    /// Returns the number of events that are not acknowledged.
    pub(super) fn waiting_events(&self) -> usize {
        self.outboxes.values().map(|outbox| outbox.events.len()).sum()
    }
}

#[cfg(test)]
mod tests;
