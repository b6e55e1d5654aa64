//! The fold: what a group of snapshots and events changes in the rows and rollups of a store. No I/O.
//!
//! ```text
//! rows before + records ─▶ rows to write + changes of the rollups
//! ```
//!
//! A store reads the rows before by their keys, and writes what the fold returns in the same transaction. Rows that a
//! store deletes are taken out of the rollups by the same changes, subtracted.

mod rollups;

use std::collections::BTreeMap;

use uuid::Uuid;

use super::hour::{Day, Hour};
use super::rows::{GaugeSnapshot, Report};

pub use rollups::{
    Component, DayKey, DimensionKey, DimensionSums, EventDayKey, EventHourKey, LatestKey, RollupChanges, Sign,
    StateSums, Version,
};

/// The hours between the first receipt and one that confirms an installation. With a receipt on another UTC day as well,
/// a cluster that CI makes before midnight and deletes after it is not confirmed.
const CONFIRMATION_HOURS: i32 = 20;

/// The latest state of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestRow {
    /// The hour of its first receipt.
    pub first_seen: Hour,
    /// The hour of the receipt that confirmed it: the first on another UTC day, and at least 20 hours after the first.
    pub confirmed: Option<Hour>,
    /// The hour of its last receipt.
    pub last_seen: Hour,
    /// The last report.
    pub report: Report,
}

/// The last report of an installation on a UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRow {
    /// True if the installation was confirmed by then. Later days don't change it.
    pub confirmed: bool,
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

impl LatestRow {
    fn new(received: Hour, report: Report) -> Self {
        Self { first_seen: received, confirmed: None, last_seen: received, report }
    }

    /// Returns the row of the day on which the installation was last seen.
    pub fn day_row(&self) -> (Day, DayRow) {
        (self.last_seen.day(), DayRow { confirmed: self.confirmed.is_some(), report: self.report.clone() })
    }

    /// Returns whether a report changes the row.
    ///
    /// A report that is received in the hour of the last one and says the same changes nothing. A report of another kind
    /// of sender is ignored: an agent could send the pseudonym of a cluster.
    fn is_changed_by(&self, received: Hour, report: &Report) -> bool {
        report.source.kind() == self.report.source.kind() && (received > self.last_seen || *report != self.report)
    }

    /// Returns the row after a report. A clock that was set back moves no report into the past.
    fn after(&self, received: Hour, report: Report) -> Self {
        let last_seen = received.max(self.last_seen);
        let confirmed = self.confirmed.or_else(|| self.is_confirmed_at(last_seen).then_some(last_seen));
        Self { first_seen: self.first_seen, confirmed, last_seen, report }
    }

    fn is_confirmed_at(&self, received: Hour) -> bool {
        received.day() != self.first_seen.day() && received.since(self.first_seen) >= CONFIRMATION_HOURS
    }
}

/// Folds `snapshots` in the order of their arrival. `before` has the rows of all their installations that a store holds.
pub fn fold_snapshots<'a>(
    before: &BTreeMap<Uuid, LatestRow>,
    snapshots: impl IntoIterator<Item = &'a GaugeSnapshot>,
) -> SnapshotChanges {
    let mut after: BTreeMap<Uuid, LatestRow> = BTreeMap::new();
    let mut days = BTreeMap::new();
    for GaugeSnapshot { installation, received, report } in snapshots {
        let row = match after.get(installation).or_else(|| before.get(installation)) {
            None => LatestRow::new(*received, report.clone()),
            // Most say nothing new, and are compared without a copy.
            Some(known) if !known.is_changed_by(*received, report) => continue,
            Some(known) => known.after(*received, report.clone()),
        };
        let (day, day_row) = row.day_row();
        days.insert((day, *installation), day_row);
        after.insert(*installation, row);
    }
    let rollups = snapshot_rollups(before, &after, &days);
    SnapshotChanges { latest: after.into_iter().collect(), days, rollups }
}

fn snapshot_rollups(
    before: &BTreeMap<Uuid, LatestRow>,
    after: &BTreeMap<Uuid, LatestRow>,
    days: &BTreeMap<(Day, Uuid), DayRow>,
) -> RollupChanges {
    let mut rollups = RollupChanges::default();
    for (installation, row) in after {
        rollups.latest(row, Sign::Plus);
        if let Some(before) = before.get(installation) {
            rollups.latest(before, Sign::Minus);
            // The last day is the only one that a receipt can change.
            let (day, day_row) = before.day_row();
            if days.contains_key(&(day, *installation)) {
                rollups.day(day, &day_row, Sign::Minus);
            }
        }
    }
    for ((day, _), row) in days {
        rollups.day(*day, row, Sign::Plus);
    }
    rollups.without_zeros()
}

#[cfg(test)]
mod tests;
