use proptest::prelude::*;

use super::*;
use crate::backend::store::{Dimension, Source, StateCounts};
use crate::catalog::BY_VERSION;

/// A Monday at noon.
const NOON: Hour = Hour::from_number(20_780 * 24 + 12);

fn report(running: u32) -> Report {
    Report {
        counts: StateCounts { running, ..StateCounts::default() },
        source: Source::Agent("2.0.0".parse().unwrap()),
        kamaji_version: "v1.0.0".parse().unwrap(),
        kubernetes_version: "v1.35.1".parse().unwrap(),
        dimensions: vec![(Dimension::new(&BY_VERSION, "v1.35").unwrap(), running)],
    }
}

fn snapshot(installation: u128, received: Hour, report: Report) -> GaugeSnapshot {
    GaugeSnapshot { installation: Uuid::from_u128(installation), received, report }
}

fn receive(hours: &[i32]) -> LatestRow {
    let snapshots: Vec<_> = hours.iter().map(|hours| snapshot(1, NOON.minus(-hours), report(1))).collect();
    fold_snapshots(&BTreeMap::new(), &snapshots).latest.remove(0).1
}

#[test]
fn an_installation_is_confirmed_on_another_day_and_twenty_hours_later() {
    for (hours, confirmed) in [
        (vec![0], None),
        (vec![0, 1, 11], None),
        // Another day, but 12 and 19 hours later: a CI run over midnight.
        (vec![0, 12, 19], None),
        (vec![0, 20], Some(20)),
        (vec![0, 19, 21, 40], Some(21)),
        // From 00:00 to 23:00 of one day.
        (vec![-12, 11], None),
        (vec![-12, 11, 12], Some(12)),
    ] {
        let row = receive(&hours);
        assert_eq!(row.confirmed, confirmed.map(|hours: i32| NOON.minus(-hours)), "{hours:?}");
        assert_eq!(row.first_seen, NOON.minus(-hours[0]));
    }
}

#[test]
fn a_report_that_says_nothing_new_within_its_hour_changes_nothing() {
    let before = BTreeMap::from([(Uuid::from_u128(1), receive(&[0]))]);
    let fold = |hours: i32, running| fold_snapshots(&before, &[snapshot(1, NOON.minus(-hours), report(running))]);
    assert_eq!(fold(0, 1), SnapshotChanges::default());
    assert_eq!(fold(0, 2).latest.len(), 1);
    assert_eq!(fold(1, 1).latest.len(), 1);
    assert_eq!(fold(-1, 1), SnapshotChanges::default(), "a clock that was set back moves nothing into the past");
    assert_eq!(fold(-30, 2).latest[0].1.last_seen, NOON);
}

#[test]
fn a_report_of_another_kind_of_sender_is_ignored() {
    let before = BTreeMap::from([(Uuid::from_u128(1), receive(&[0]))]);
    let kamaji = Report { source: Source::Kamaji, ..report(9) };
    assert_eq!(fold_snapshots(&before, &[snapshot(1, NOON.minus(-1), kamaji)]), SnapshotChanges::default());
    let newer = Report { source: Source::Agent("2.1.0".parse().unwrap()), ..report(1) };
    assert_eq!(fold_snapshots(&before, &[snapshot(1, NOON, newer.clone())]).latest[0].1.report, newer);
}

/// Rows, and the sums that the changes add up to.
#[derive(Default)]
struct Rows {
    latest: BTreeMap<Uuid, LatestRow>,
    days: BTreeMap<(Day, Uuid), DayRow>,
    sums: RollupChanges,
}

impl Rows {
    fn fold(&mut self, group: &[GaugeSnapshot]) {
        let SnapshotChanges { latest, days, rollups } = fold_snapshots(&self.latest, group);
        self.latest.extend(latest);
        self.days.extend(days);
        self.sums = std::mem::take(&mut self.sums).plus(rollups);
    }

    fn remove(&mut self, installation: Uuid) {
        let mut changes = RollupChanges::default();
        if let Some(row) = self.latest.remove(&installation) {
            changes.latest(&row, Sign::Minus);
        }
        let of_installation = |(_, of): &(Day, Uuid)| *of == installation;
        for ((day, _), row) in self.days.iter().filter(|(key, _)| of_installation(key)) {
            changes.day(*day, row, Sign::Minus);
        }
        self.days.retain(|key, _| !of_installation(key));
        self.sums = std::mem::take(&mut self.sums).plus(changes);
    }

    /// Returns the sums over all rows, counted one by one.
    fn recount(&self) -> RollupChanges {
        let mut sums = RollupChanges::default();
        self.latest.values().for_each(|row| sums.latest(row, Sign::Plus));
        self.days.iter().for_each(|((day, _), row)| sums.day(*day, row, Sign::Plus));
        sums.without_zeros()
    }
}

impl RollupChanges {
    fn plus(mut self, other: Self) -> Self {
        let add = |sums: &mut StateSums, other: StateSums| {
            sums.installations += other.installations;
            sums.running += other.running;
            sums.sleeping += other.sleeping;
            sums.not_ready += other.not_ready;
            sums.upgrading += other.upgrading;
        };
        other.latest.into_iter().for_each(|(key, sums)| add(self.latest.entry(key).or_default(), sums));
        other.days.into_iter().for_each(|(key, sums)| add(self.days.entry(key).or_default(), sums));
        for (key, sums) in other.dimensions {
            let all = self.dimensions.entry(key).or_default();
            all.points += sums.points;
            all.count += sums.count;
        }
        self.without_zeros()
    }
}

fn snapshots() -> impl Strategy<Value = Vec<GaugeSnapshot>> {
    let snapshot =
        (0..4_u128, 0..80_i32, 0..3_u32, any::<bool>()).prop_map(|(installation, hours, running, kamaji)| {
            let report = report(running);
            let source = if kamaji && installation == 0 { Source::Kamaji } else { report.source.clone() };
            snapshot(installation, NOON.minus(-hours), Report { source, ..report })
        });
    prop::collection::vec(snapshot, 0..8)
}

proptest! {
    #[test]
    fn after_any_groups_and_erasures_the_sums_are_those_of_a_recount(
        steps in prop::collection::vec((snapshots(), prop::option::weighted(0.2, 0..4_u128)), 1..12)
    ) {
        let mut rows = Rows::default();
        for (group, erased) in steps {
            rows.fold(&group);
            if let Some(installation) = erased {
                rows.remove(Uuid::from_u128(installation));
            }
            prop_assert_eq!(&rows.sums, &rows.recount());
        }
    }

    #[test]
    fn a_group_is_the_same_as_its_snapshots_one_by_one(group in snapshots()) {
        let (mut together, mut one_by_one) = (Rows::default(), Rows::default());
        together.fold(&group);
        for snapshot in &group {
            one_by_one.fold(std::slice::from_ref(snapshot));
        }
        prop_assert_eq!(together.latest, one_by_one.latest);
        prop_assert_eq!(together.days, one_by_one.days);
        prop_assert_eq!(together.sums, one_by_one.sums);
    }
}
