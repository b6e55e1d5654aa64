//! The fold: what a group of snapshots and events changes in the rows and rollups of a store. No I/O.
//!
//! ```text
//! rows before + records ─▶ rows to write + changes of the rollups + what each sender has spent
//! ```
//!
//! A store reads the rows before by their keys, and writes what the fold returns in the same transaction. Rows that a
//! store deletes are taken out of the rollups by the same changes, subtracted.

mod distinct;
mod ledger;
mod rollups;
mod size;
mod weight;

use std::borrow::Cow;
use std::collections::BTreeMap;

use uuid::Uuid;

use super::hour::{Day, Hour};
use super::rows::{EventRow, GaugeSnapshot, Report, Source};

pub use distinct::{DistinctValues, Pool};
pub use ledger::Ledger;
pub use rollups::{
    ActiveSums, ConditionKey, DayKey, DayPart, DaySums, DimensionKey, DimensionPart, DimensionSums, ESTABLISHED_DAYS,
    EventAspect, EventChange, EventDayKey, EventHourKey, EventWeekKey, PairKey, RollupChanges, RowDays, SeenKey, Sign,
    StateSums,
};
pub use size::SizeClass;
pub use weight::{MAX_WEIGHT, MAX_YOUNG_CONTROL_PLANES, YOUNG_DAYS};

/// The hours between the first receipt and one that confirms an installation. With a receipt on another UTC day as well,
/// a cluster that CI makes before midnight and deletes after it is not confirmed.
const CONFIRMATION_HOURS: i32 = 20;

/// The most control planes of an installation that counts: as many as an agent's journal holds. An agent of more says so,
/// and sends its gauges only. It is no flag, since a row has to leave the rollups as it came in.
pub const MAX_CONTROL_PLANES: u64 = 25_000;

/// The bytes of a file that the first report of an installation's day takes at most without its points: 70 in `latest`, 30
/// in its index, and 65 in `days`, which are 240 in pages that are two thirds full, and up to 6 rows of rollups of 40 to 45:
/// four of its day, one of its pair of versions, and one of its condition.
const REPORT_BYTES: u32 = 512;

/// The bytes that any further report of the day counts as: it overwrites its rows, and moves to other rows of the rollups.
const OVERWRITTEN_BYTES: u32 = 128;

/// The bytes of a point of an extended gauge: 8 in each of two rows, and a row of a rollup.
const POINT_BYTES: u32 = 64;

/// The bytes of an event: a row of 75 in pages that are two thirds full, and a row of a rollup.
const EVENT_BYTES: u32 = 192;

/// The standing of an installation: whether it is in the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Received on one UTC day, or within 20 hours.
    NotConfirmed,
    /// Confirmed, and in the figures.
    Confirmed,
    /// Beyond its sender's share of new installations, or too large. It is in no figure.
    Bulk,
}

/// The latest state of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRow {
    /// The hour of its first receipt.
    pub first_seen: Hour,
    /// The hour of the receipt that confirmed it: the first on another UTC day, and at least 20 hours after the first.
    pub confirmed: Option<Hour>,
    /// The hour of its last receipt.
    pub last_seen: Hour,
    /// True if it is beyond its sender's share, or too large.
    pub bulk: bool,
    /// The day of the last receipt before the day of `last_seen`; `None` if there is none.
    pub previous: Option<PreviousDay>,
    /// The last report.
    pub report: Report,
}

/// The state of an installation at the end of a day, as far as the next day asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousDay {
    /// The day.
    pub day: Day,
    /// True if a control plane was not ready.
    pub not_ready: bool,
    /// True if a control plane was upgrading.
    pub upgrading: bool,
}

/// Trouble that lasts: in the last reports of two days running. A single report holds control planes that are being made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Trouble {
    /// True if a control plane was not ready on both days.
    pub stuck: bool,
    /// True if a control plane was upgrading on both days.
    pub upgrading_long: bool,
}

/// The last report of an installation on a UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    /// The standing by then. Later days don't change it.
    pub standing: Standing,
    /// True if the first receipt was less than 28 days before: its weight in totals is bounded.
    pub young: bool,
    /// The trouble that lasts since the day before.
    pub trouble: Trouble,
    /// The report.
    pub report: Report,
}

/// The changes of a group of snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotChanges {
    /// The rows to write, by installation.
    pub latest: Vec<(Uuid, LatestRow)>,
    /// The rows to write, by day and installation.
    pub days: BTreeMap<(Day, Uuid), DayRow>,
    /// The changes of the rollups.
    pub rollups: RollupChanges,
}

impl PreviousDay {
    /// Returns the state at the end of the day of a report.
    pub fn of(day: Day, report: &Report) -> Self {
        Self { day, not_ready: report.counts.not_ready > 0, upgrading: report.counts.upgrading > 0 }
    }
}

impl LatestRow {
    fn new(received: Hour, report: Report, bulk: bool) -> Self {
        Self { first_seen: received, confirmed: None, last_seen: received, bulk, previous: None, report }
    }

    /// Returns the standing.
    pub fn standing(&self) -> Standing {
        match self.confirmed {
            _ if self.bulk => Standing::Bulk,
            Some(_) => Standing::Confirmed,
            None => Standing::NotConfirmed,
        }
    }

    /// Returns whether the first receipt was less than 28 days before the last one.
    pub const fn is_young(&self) -> bool {
        self.last_seen.since(self.first_seen) < weight::YOUNG_HOURS
    }

    /// Returns the row of the day on which the installation was last seen.
    pub fn day_row(&self) -> (Day, DayRow) {
        let (standing, young, trouble) = (self.standing(), self.is_young(), self.trouble());
        (self.last_seen.day(), DayRow { standing, young, trouble, report: self.report.clone() })
    }

    fn trouble(&self) -> Trouble {
        let day = self.last_seen.day();
        let Some(before) = self.previous.filter(|previous| previous.day.plus(1) == day) else {
            return Trouble::default();
        };
        let today = PreviousDay::of(day, &self.report);
        Trouble { stuck: before.not_ready && today.not_ready, upgrading_long: before.upgrading && today.upgrading }
    }

    /// Returns whether a report changes the row.
    ///
    /// A report that is received in the hour of the last one and says the same changes nothing.
    fn is_changed_by(&self, received: Hour, report: &Report, has_room: bool) -> bool {
        let counts_now = self.bulk && has_room && !is_too_large(report);
        counts_now || received > self.last_seen || *report != self.report
    }

    /// Returns the row after a report. A clock that was set back moves no report into the past.
    fn after(&self, received: Hour, report: Report, bulk: bool) -> Self {
        let last_seen = received.max(self.last_seen);
        let confirmed = self.confirmed.or_else(|| self.is_confirmed_at(last_seen).then_some(last_seen));
        let day = self.last_seen.day();
        let previous = if last_seen.day() > day { Some(PreviousDay::of(day, &self.report)) } else { self.previous };
        Self { first_seen: self.first_seen, confirmed, last_seen, bulk, previous, report }
    }

    /// Returns the row of an installation of Kamaji's built-in telemetry whose first receipt was earlier, by another server. Its
    /// last receipt may confirm it then. Returns `None` if that is not earlier.
    pub fn first_seen_at(&self, first_seen: Hour) -> Option<Self> {
        if first_seen >= self.first_seen || self.report.source != Source::Kamaji {
            return None;
        }
        let row = Self { first_seen, ..self.clone() };
        let confirmed = row.confirmed.or_else(|| row.is_confirmed_at(row.last_seen).then_some(row.last_seen));
        Some(Self { confirmed, ..row })
    }

    fn is_confirmed_at(&self, received: Hour) -> bool {
        received.day() != self.first_seen.day() && received.since(self.first_seen) >= CONFIRMATION_HOURS
    }
}

fn is_too_large(report: &Report) -> bool {
    report.counts.total() > MAX_CONTROL_PLANES
}

/// Folds `snapshots`, each with the position of its sender in `ledger`, in the order of their arrival. `before` has the rows
/// of all their installations that a store holds.
///
/// A report of another kind of sender is ignored: an agent could send the pseudonym of a cluster.
pub fn fold_snapshots<'a>(
    before: &BTreeMap<Uuid, LatestRow>,
    snapshots: impl IntoIterator<Item = (usize, &'a GaugeSnapshot)>,
    ledger: &mut Ledger,
    values: &mut DistinctValues,
) -> SnapshotChanges {
    let mut after: BTreeMap<Uuid, LatestRow> = BTreeMap::new();
    let mut days = BTreeMap::new();
    for (sender, GaugeSnapshot { installation, received, report }) in snapshots {
        let known = after.get(installation).or_else(|| before.get(installation));
        if known.is_some_and(|known| known.report.source.kind() != report.source.kind()) {
            continue;
        }
        let is_history = ledger.is_history(sender);
        if is_history && known.is_some_and(|known| *received <= known.last_seen) {
            continue;
        }
        let (report, words) = values.bound_report(Pool::of(known), ledger.value_bound(sender), *received, report);
        // Most say nothing new, and are compared without a copy.
        if known.is_some_and(|known| !known.is_changed_by(*received, &report, ledger.has_room(sender))) {
            continue;
        }
        if known.is_none_or(|known| *received > known.last_seen) {
            values.count_report(Pool::of(known), *received, &report);
        }
        let is_new_day = known.is_none_or(|known| received.day() > known.last_seen.day());
        ledger.write(sender, report_bytes(&report, is_new_day), words);
        let bulk = is_in_bulk(known, &report, ledger, sender);
        let row = match known {
            None => LatestRow::new(*received, report.into_owned(), bulk),
            Some(known) => {
                let row = known.after(*received, report.into_owned(), bulk);
                if is_history { LatestRow { confirmed: known.confirmed, ..row } } else { row }
            }
        };
        let (day, day_row) = row.day_row();
        days.insert((day, *installation), day_row);
        after.insert(*installation, row);
    }
    let rollups = snapshot_rollups(before, &after, &days);
    SnapshotChanges { latest: after.into_iter().collect(), days, rollups }
}

/// Folds events that are not stored yet, each with the position of its sender in `ledger`. Returns the rows to write.
pub fn fold_events<'a>(
    events: impl IntoIterator<Item = (usize, &'a EventRow)>,
    received: Hour,
    ledger: &mut Ledger,
    values: &mut DistinctValues,
) -> Vec<EventRow> {
    let fold = |(sender, event): (usize, &'a EventRow)| {
        let bulk = !ledger.take_event(sender);
        let pool = if bulk { Pool::Uncounted } else { Pool::Events };
        let (event, words) = values.bound_event(pool, ledger.value_bound(sender), received, event);
        ledger.write(sender, EVENT_BYTES, words);
        EventRow { bulk, ..Cow::into_owned(event) }
    };
    events.into_iter().map(fold).collect()
}

/// Returns whether an installation is in bulk after a report, and takes what it needs of its sender's room.
fn is_in_bulk(known: Option<&LatestRow>, report: &Report, ledger: &mut Ledger, sender: usize) -> bool {
    let Some(known) = known else {
        ledger.add_installation(sender);
        return is_too_large(report) || !ledger.take_installation(sender);
    };
    if is_too_large(report) || !known.bulk {
        return is_too_large(report);
    }
    let counts = ledger.has_room(sender);
    if counts {
        ledger.add_installation(sender);
        ledger.take_installation(sender);
    }
    !counts
}

fn report_bytes(report: &Report, is_new_day: bool) -> u32 {
    let bytes = if is_new_day { REPORT_BYTES } else { OVERWRITTEN_BYTES };
    bytes.saturating_add(POINT_BYTES.saturating_mul(u32::try_from(report.dimensions.len()).unwrap_or(u32::MAX)))
}

fn snapshot_rollups(
    before: &BTreeMap<Uuid, LatestRow>,
    after: &BTreeMap<Uuid, LatestRow>,
    days: &BTreeMap<(Day, Uuid), DayRow>,
) -> RollupChanges {
    let mut rollups = RollupChanges::default();
    let mut chains: BTreeMap<Uuid, BTreeMap<Day, Cow<'_, DayRow>>> = BTreeMap::new();
    for (installation, row) in before.iter().filter(|(installation, _)| after.contains_key(installation)) {
        let (day, day_row) = row.day_row();
        rollups.latest(row, Sign::Minus);
        rollups.day(row.first_seen, day, &day_row, None, Sign::Minus);
        // The last day is the only one that a receipt can change: it is overwritten, or followed by another one.
        chains.entry(*installation).or_default().insert(day, Cow::Owned(day_row));
    }
    for ((day, installation), row) in days {
        chains.entry(*installation).or_default().insert(*day, Cow::Borrowed(row));
    }
    for (installation, row) in after {
        rollups.latest(row, Sign::Plus);
        let chain = chains.remove(installation).unwrap_or_default();
        rollups.chain(row.first_seen, chain.iter().map(|(day, row)| (*day, row.as_ref())), Sign::Plus);
    }
    rollups.without_zeros()
}

#[cfg(test)]
mod tests;
