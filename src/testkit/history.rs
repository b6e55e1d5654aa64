//! A year of simulated history of many installations, written directly into the backend's store.
//!
//! Each question that a maintainer has finds something in it:
//!
//! | what | where |
//! |---|---|
//! | growth, installations that are gone, a long tail of sizes, a slow tail on old Kubernetes | `installation` |
//! | a stable and an edge line, a bad release and its patch | `releases`, `trouble`, `tenants` |
//! | extended signals on one in five | `datastores` |
//! | CI clusters on each day, some over midnight | `ci` |
//! | built-in telemetry, some beside an agent | `built_in` |
//! | a burst of forged installations | `forgery` |
//! | a day on which the backend was away | `outage` |
//! | senders that the backend refuses | `refusals` |

mod built_in;
mod calendar;
mod ci;
mod datastores;
mod deck;
mod forgery;
mod installation;
mod outage;
mod refusals;
mod releases;
mod size;
mod tenants;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashSet;
use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;
use uuid::Uuid;

use crate::backend::store::{
    Batch, EventRow, GaugeSnapshot, Hour, Operations, Report, ServedMinutes, Source, Store, WriteError,
};
use crate::catalog::{Event, EventRecord, KamajiVersion, KubernetesVersion, SERVICE_VERSION};
use crate::testkit::random_uuid;
use built_in::BuiltIn;
use calendar::Calendar;
use ci::CiCluster;
use forgery::ForgersShare;
use installation::Installation;

/// The days of history: each window of a question is full.
const DAYS: i64 = 365;

/// The number of installations with an agent that live for more than a day.
const LASTING: usize = 400;

/// The number of clusters with Kamaji's built-in telemetry and no agent.
const BUILT_IN_ALONE: usize = 60;

/// The number of installations with an agent of which one has Kamaji's built-in telemetry as well.
const BUILT_IN_BESIDE: usize = 10;

/// The rows from which on a batch is written: one commit takes about as many. A day has a thousand.
const BATCH_ROWS: usize = 4_000;

/// The name of the flush of the operation.
const FLUSH: Uuid = Uuid::from_u128(u128::from_be_bytes(*b"kamaji-telemetry"));

/// The amount of history that was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WrittenHistory {
    /// The number of installations.
    pub installations: usize,
    /// The number of snapshots, one per installation and day.
    pub snapshots: usize,
    /// The number of events.
    pub events: usize,
}

/// The rows of a day that one sender delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SenderBatch {
    batch: Batch,
    /// True if the sender made them up, whose share bounds what counts.
    is_forged: bool,
}

/// The history, of which the days are made one after the other.
struct SimulatedYear {
    random: Rng,
    calendar: Calendar,
    fleet: Vec<Installation>,
    built_in: Vec<BuiltIn>,
    ci: Vec<CiCluster>,
    forged: Vec<Uuid>,
    /// Events that agents keep until the backend is back.
    outbox: Vec<EventRow>,
}

/// Writes the history that ends at `now` into a store. The same seed results in the same history, and writing it twice
/// has no further effect.
pub async fn write(store: &dyn Store, seed: u64, now: Timestamp) -> Result<WrittenHistory, WriteError> {
    let (mut written, mut installations) = (WrittenHistory::default(), HashSet::new());
    let (mut pending, share) = (Batch::default(), Arc::new(ForgersShare::default()));
    for SenderBatch { batch, is_forged } in deliveries(seed, now) {
        installations.extend(batch.snapshots.iter().map(|snapshot| snapshot.installation));
        written.snapshots += batch.snapshots.len();
        written.events += batch.events.len();
        if is_forged {
            store.write(std::mem::take(&mut pending)).await?;
            store.write_within(batch, Arc::<ForgersShare>::clone(&share)).await?;
            continue;
        }
        pending.snapshots.extend(batch.snapshots);
        pending.events.extend(batch.events);
        if pending.len() >= BATCH_ROWS {
            store.write(std::mem::take(&mut pending)).await?;
        }
    }
    store.write(pending).await?;
    store.record_operations(operations(now)).await?;
    // So many events at once would be missing in the answers of the first minute.
    store.checkpoint().await?;
    Ok(WrittenHistory { installations: installations.len(), ..written })
}

/// Returns what the backend refused, and that it served in all hours up to that of `now`, except those of the outage.
fn operations(now: Timestamp) -> Operations {
    let calendar = Calendar::new(now);
    let hours = calendar.hour(DAYS - 1, 0).number()..=calendar.last_hour(0).number();
    let served = hours.map(Hour::from_number).filter(|hour| calendar.is_received(*hour));
    // The name is constant: a history that is written twice refuses nothing twice.
    Operations {
        flush: FLUSH,
        refusals: refusals::refusals(calendar),
        served: served.map(ServedMinutes::all_of).collect(),
    }
}

/// Returns the history as one batch a day and sender, oldest first.
fn deliveries(seed: u64, now: Timestamp) -> impl Iterator<Item = SenderBatch> {
    let mut history = SimulatedYear::new(seed, now);
    (0..DAYS).rev().flat_map(move |age| history.deliver(age))
}

/// Returns the source of an agent of the newest version.
fn newest_agent() -> Source {
    Source::Agent(SERVICE_VERSION.parse().expect("the catalog allows the agent's own version"))
}

impl SimulatedYear {
    fn new(seed: u64, now: Timestamp) -> Self {
        let (mut random, calendar) = (Rng::with_seed(seed), Calendar::new(now));
        let fleet = installation::fleet(&mut random, LASTING);
        let alone = installation::fleet(&mut random, BUILT_IN_ALONE);
        let clusters = fleet.iter().step_by(BUILT_IN_BESIDE).chain(&alone);
        let built_in = clusters.map(|cluster| BuiltIn::new(&mut random, cluster.clone())).collect();
        let ci = ci::clusters(&mut random, calendar);
        let forged = forgery::installations(&mut random);
        Self { random, calendar, fleet, built_in, ci, forged, outbox: Vec::new() }
    }

    /// Returns what is received on the day `age`.
    fn deliver(&mut self, age: i64) -> Vec<SenderBatch> {
        let batch = Batch { snapshots: self.snapshots(age), events: self.events(age) };
        let forged = forgery::batch(&mut self.random, &self.forged, self.calendar, age, &newest_agent());
        let forged = forged.map(|batch| SenderBatch { batch, is_forged: true });
        let deliveries = [Some(SenderBatch { batch, is_forged: false }), forged].into_iter().flatten();
        deliveries.filter(|delivery| !delivery.batch.is_empty()).collect()
    }

    /// Returns the snapshots that are received on the day `age`.
    fn snapshots(&self, age: i64) -> Vec<GaugeSnapshot> {
        let last = self.calendar.last_hour(age);
        let snapshot =
            |installation: Uuid, received: Hour, report: Report| GaugeSnapshot { installation, received, report };
        let agents = self.fleet.iter().filter(|installation| installation.is_active(age));
        let agents = agents.map(|installation| snapshot(installation.uuid, last, installation.report(age)));
        let built_in = self.built_in.iter().filter(|built_in| built_in.cluster.is_active(age));
        let built_in = built_in.map(|built_in| snapshot(built_in.pseudonym, last, built_in.report(age)));
        let (day, source) = (self.calendar.day(age), newest_agent());
        let ci = self.ci.iter().flat_map(|cluster| cluster.hours.map(|hour| (cluster, hour)));
        let ci = ci.filter(|(_, hour)| hour.day() == day);
        let ci = ci.map(|(cluster, hour)| snapshot(cluster.uuid, hour, cluster.report(&source)));
        let received = |snapshot: &GaugeSnapshot| self.calendar.is_received(snapshot.received);
        agents.chain(built_in).chain(ci).filter(received).collect()
    }

    /// Returns the events that are received on the day `age`.
    fn events(&mut self, age: i64) -> Vec<EventRow> {
        let Self { random, calendar, fleet, built_in, ci, outbox, .. } = self;
        let (mut events, is_away) = (std::mem::take(outbox), !calendar.is_received(calendar.last_hour(age)));
        for installation in fleet.iter().filter(|installation| installation.is_active(age)) {
            let (kamaji, kubernetes) = (installation.kamaji(age), installation.kubernetes(age));
            for event in installation.events(random, age) {
                let hour = calendar.random_hour(random, age);
                events.push(event_row(random, event, hour, kamaji, kubernetes, &installation.agent(age)));
            }
        }
        if is_away {
            *outbox = events;
            // Kamaji and CI keep no events.
            return Vec::new();
        }
        for BuiltIn { cluster, .. } in built_in.iter().filter(|built_in| built_in.cluster.is_active(age)) {
            for event in cluster.events(random, age) {
                let hour = calendar.random_hour(random, age);
                let (kamaji, kubernetes) = (cluster.kamaji(age), cluster.kubernetes(age));
                events.push(event_row(random, event, hour, kamaji, kubernetes, &Source::Kamaji));
            }
        }
        let (day, source) = (calendar.day(age), newest_agent());
        for cluster in ci.iter() {
            for (hour, event) in cluster.events().filter(|(hour, _)| hour.day() == day && calendar.is_received(*hour)) {
                events.push(event_row(random, event, hour, cluster.kamaji, cluster.kubernetes, &source));
            }
        }
        events
    }
}

fn event_row(
    random: &mut Rng,
    event: Event,
    hour: Hour,
    kamaji_version: KamajiVersion,
    kubernetes_version: KubernetesVersion,
    source: &Source,
) -> EventRow {
    let record =
        EventRecord { uid: random_uuid(random), time: hour.start(), kamaji_version, kubernetes_version, event };
    EventRow { record, source: source.clone(), bulk: false }
}
