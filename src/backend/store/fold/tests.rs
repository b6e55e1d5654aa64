use std::collections::HashMap;
use std::hash::Hash;

use proptest::prelude::*;

use super::*;
use crate::backend::store::{Allowance, Dimension, Room, Source, Spent, StateCounts, Unlimited};
use crate::catalog::{BY_VERSION, Event, EventRecord, KamajiVersion, KubernetesVersion};

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

/// Folds snapshots of one sender, which has this room, and returns what it has spent as well.
fn fold_within(
    before: &BTreeMap<Uuid, LatestRow>,
    group: &[GaugeSnapshot],
    room: Room,
    values: &mut DistinctValues,
) -> (SnapshotChanges, Spent) {
    let mut ledger = Ledger::new([(1, room)]);
    let changes = fold_snapshots(before, group.iter().map(|snapshot| (0, snapshot)), &mut ledger, values);
    (changes, ledger.spent().next().unwrap())
}

/// Folds snapshots of a sender without limits.
fn fold(before: &BTreeMap<Uuid, LatestRow>, group: &[GaugeSnapshot]) -> SnapshotChanges {
    fold_within(before, group, Unlimited.room(), &mut DistinctValues::default()).0
}

/// Returns the room for so many installations.
fn room(installations: u32) -> Room {
    Room { installations, ..Unlimited.room() }
}

fn receive(hours: &[i32]) -> LatestRow {
    let snapshots: Vec<_> = hours.iter().map(|hours| snapshot(1, NOON.minus(-hours), report(1))).collect();
    fold(&BTreeMap::new(), &snapshots).latest.remove(0).1
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
    let fold = |hours: i32, running| fold(&before, &[snapshot(1, NOON.minus(-hours), report(running))]);
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
    assert_eq!(fold(&before, &[snapshot(1, NOON.minus(-1), kamaji)]), SnapshotChanges::default());
    let newer = Report { source: Source::Agent("2.1.0".parse().unwrap()), ..report(1) };
    assert_eq!(fold(&before, &[snapshot(1, NOON, newer.clone())]).latest[0].1.report, newer);
}

#[test]
fn what_exceeds_the_room_is_in_bulk_until_there_is_room() {
    let mut rows = Rows::default();
    let all = |hours: i32| [1, 2, 3].map(|installation| snapshot(installation, NOON.minus(-hours), report(1)));
    let bulk = |rows: &Rows| rows.latest.values().filter(|row| row.bulk).count();
    let spent = rows.fold(&all(0), room(1));
    assert_eq!((spent.installations, spent.new_installations, bulk(&rows)), (1, 3, 2));
    let spent = rows.fold(&all(0), room(0));
    assert_eq!((spent, bulk(&rows)), (Spent::default(), 2), "nothing new, and no room");
    let spent = rows.fold(&all(0), room(1));
    assert_eq!((spent.installations, spent.new_installations, bulk(&rows)), (1, 1, 1), "room is enough of a reason");
    assert!(rows.fold(&all(24), room(0)).bytes > 0);
    let standings: Vec<_> = rows.latest.values().map(LatestRow::standing).collect();
    assert_eq!(standings, [Standing::Confirmed, Standing::Confirmed, Standing::Bulk]);
    assert_eq!(rows.fold(&all(25), room(9)).installations, 1, "those that count take no room");
    assert_eq!(bulk(&rows), 0);
}

#[test]
fn an_installation_that_is_too_large_is_in_bulk_and_needs_room_to_come_back() {
    let mut rows = Rows::default();
    let mut fold = |hours: i32, running, installations| {
        rows.fold(&[snapshot(1, NOON.minus(-hours), report(running))], room(installations));
        rows.latest[&Uuid::from_u128(1)].standing()
    };
    assert_eq!(fold(0, 25_000, 1), Standing::NotConfirmed);
    assert_eq!(fold(24, 25_001, 1), Standing::Bulk);
    assert_eq!(fold(25, 25_001, 1), Standing::Bulk);
    assert_eq!(fold(26, 25_000, 0), Standing::Bulk);
    assert_eq!(fold(26, 25_000, 1), Standing::Confirmed);
}

#[test]
fn a_young_installation_weighs_fifty_and_the_rest_is_left_out() {
    let weight = |hours: i32| {
        let mut rows = Rows::default();
        rows.fold(&[snapshot(1, NOON, report(200)), snapshot(1, NOON.minus(-hours), report(200))], room(1));
        let all = rows.sums.days.iter().filter(|(key, _)| key.part == DayPart::All);
        let sums: Vec<_> = all.map(|(_, sums)| (sums.states.running, sums.states.left_out)).collect();
        let is_value = |key: &DimensionKey| matches!(key.part, DimensionPart::Value(_));
        let values = rows.sums.dimensions.iter().filter(|(key, _)| is_value(key));
        (sums, values.map(|(_, sums)| sums.count).collect::<Vec<_>>())
    };
    assert_eq!(weight(28 * 24 - 1), (vec![(50, 150)], vec![50]));
    assert_eq!(weight(28 * 24), (vec![(200, 0)], vec![200]));
}

#[test]
fn events_beyond_the_room_are_in_bulk_and_in_no_sum_but_one() {
    let event = |uid| EventRow {
        record: EventRecord {
            uid: Uuid::from_u128(uid),
            time: NOON.start(),
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
            event: Event::Created { tcp_version: KubernetesVersion::Unknown, extended: None },
        },
        source: Source::Kamaji,
        bulk: false,
    };
    let events = [1, 2, 3].map(event);
    let mut ledger = Ledger::new([(1, Room { events: 2, ..Unlimited.room() })]);
    let new = events.iter().map(|event| (0, event));
    let rows = fold_events(new, NOON, &mut ledger, &mut DistinctValues::default());
    assert_eq!(rows.iter().map(|row| row.bulk).collect::<Vec<_>>(), [false, false, true]);
    let spent = ledger.spent().next().unwrap();
    assert_eq!((spent.events, spent.bytes >= 3 * EVENT_BYTES), (2, true));
    let mut changes = RollupChanges::default();
    for row in &rows {
        changes.events(row, 1);
    }
    assert_eq!((changes.event_hours.values().sum::<i64>(), changes.event_days.values().sum::<i64>()), (3, 2));
}

#[test]
fn an_installation_is_stuck_after_two_days_running_with_trouble_at_their_ends() {
    let on_days = |days: &[(i32, u32)]| {
        let report = |not_ready| {
            let counts = StateCounts { running: 1, not_ready, ..StateCounts::default() };
            Report { counts, ..report(1) }
        };
        let snapshots: Vec<_> =
            days.iter().map(|(hours, not_ready)| snapshot(1, NOON.minus(-hours), report(*not_ready))).collect();
        fold(&BTreeMap::new(), &snapshots).days.into_values().map(|row| row.trouble.stuck).collect::<Vec<_>>()
    };
    assert_eq!(on_days(&[(0, 1), (24, 1), (48, 0), (72, 1)]), [false, true, false, false]);
    assert_eq!(on_days(&[(0, 1), (48, 1)]), [false, false], "a day lies between");
    assert_eq!(on_days(&[(0, 1), (1, 0), (24, 1)]), [false, false], "mended by the end of the first day");
    assert_eq!(on_days(&[(0, 0), (1, 1), (24, 0), (25, 1)]), [false, true], "at the ends of both");
}

#[test]
fn as_of_a_day_an_installation_is_counted_by_its_last_row_until_then() {
    let monday = NOON.day();
    let report = |running| Report { dimensions: vec![], ..report(running) };
    let received = [(0, 1), (24, 2), (72, 3)].map(|(hours, running)| snapshot(1, NOON.minus(-hours), report(running)));
    let changes = fold(&BTreeMap::new(), &received).rollups;
    let as_of = |day: i32| {
        let day = monday.plus(day);
        let is_last = |key: &&PairKey| key.days.day <= day && key.days.next.is_none_or(|next| next > day);
        let rows = changes.pairs.iter().filter(|(key, _)| is_last(key));
        rows.map(|(_, sums)| (sums.installations, sums.control_planes)).collect::<Vec<_>>()
    };
    // It is confirmed on the second day, and counts from then on.
    assert_eq!([0, 1, 2, 3, 9].map(as_of), [vec![], vec![(1, 2)], vec![(1, 2)], vec![(1, 3)], vec![(1, 3)]]);
}

#[test]
fn an_installation_is_established_28_days_before_the_monday_of_the_week() {
    let monday = NOON.day();
    for (first_seen, day, established) in [
        (monday.minus(28), monday, true),
        (monday.minus(27), monday, false),
        (monday.minus(28), monday.plus(6), true),
        (monday.minus(27), monday.plus(6), false),
        (monday.minus(27), monday.plus(7), true),
    ] {
        let row =
            DayRow { standing: Standing::Confirmed, young: false, trouble: Trouble::default(), report: report(1) };
        let mut changes = RollupChanges::default();
        changes.day(first_seen.first_hour(), day, &row, None, Sign::Plus);
        assert!(changes.pairs.keys().all(|key| key.established == established), "{first_seen:?} {day:?}");
        assert!(changes.conditions.keys().all(|key| key.established == established), "{first_seen:?} {day:?}");
    }
}

/// Rows, and the sums that the changes add up to.
#[derive(Default)]
struct Rows {
    latest: BTreeMap<Uuid, LatestRow>,
    days: BTreeMap<(Day, Uuid), DayRow>,
    sums: RollupChanges,
    values: DistinctValues,
}

impl Rows {
    /// Folds a group of a sender that has this room, and returns what it has spent.
    fn fold(&mut self, group: &[GaugeSnapshot], room: Room) -> Spent {
        let (SnapshotChanges { latest, days, rollups }, spent) =
            fold_within(&self.latest, group, room, &mut self.values);
        self.latest.extend(latest);
        self.days.extend(days);
        self.sums = std::mem::take(&mut self.sums).plus(rollups);
        spent
    }

    fn remove(&mut self, installation: Uuid) {
        let mut changes = RollupChanges::default();
        let latest = self.latest.remove(&installation);
        if let Some(row) = &latest {
            changes.latest(row, Sign::Minus);
        }
        if let Some(row) = &latest {
            self.add_days(&mut changes, installation, row, Sign::Minus);
        }
        self.days.retain(|(_, of), _| *of != installation);
        self.sums = std::mem::take(&mut self.sums).plus(changes);
    }

    /// Returns the sums over all rows, counted one by one.
    fn recount(&self) -> RollupChanges {
        let mut sums = RollupChanges::default();
        for (installation, row) in &self.latest {
            sums.latest(row, Sign::Plus);
            self.add_days(&mut sums, *installation, row, Sign::Plus);
        }
        sums.without_zeros()
    }

    fn add_days(&self, sums: &mut RollupChanges, installation: Uuid, latest: &LatestRow, sign: Sign) {
        let days = self.days.iter().filter(|((_, of), _)| *of == installation);
        sums.chain(latest.first_seen, days.map(|((day, _), row)| (*day, row)), sign);
    }
}

impl RollupChanges {
    fn plus(mut self, other: Self) -> Self {
        add_all(&mut self.days, other.days, |sums, other| {
            add_states(&mut sums.states, other.states);
            sums.weight += other.weight;
        });
        add_all(&mut self.pairs, other.pairs, add_active);
        add_all(&mut self.conditions, other.conditions, add_active);
        add_all(&mut self.dimensions, other.dimensions, add_points);
        add_all(&mut self.first_seen, other.first_seen, |sum, other| *sum += other);
        add_all(&mut self.last_seen, other.last_seen, |sum, other| *sum += other);
        self.without_zeros()
    }
}

fn add_all<K: Eq + Hash, V: Default>(all: &mut HashMap<K, V>, others: HashMap<K, V>, add: impl Fn(&mut V, V)) {
    for (key, other) in others {
        add(all.entry(key).or_default(), other);
    }
}

fn add_states(sums: &mut StateSums, other: StateSums) {
    sums.installations += other.installations;
    sums.running += other.running;
    sums.sleeping += other.sleeping;
    sums.not_ready += other.not_ready;
    sums.upgrading += other.upgrading;
    sums.left_out += other.left_out;
}

fn add_active(sums: &mut ActiveSums, other: ActiveSums) {
    sums.installations += other.installations;
    sums.control_planes += other.control_planes;
    sums.weight += other.weight;
}

fn add_points(sums: &mut DimensionSums, other: DimensionSums) {
    sums.points += other.points;
    sums.count += other.count;
}

/// Mostly within some days, and on both sides of the 28 days in which an installation is young.
fn hours() -> impl Strategy<Value = i32> {
    prop_oneof![4 => 0..80_i32, 1 => 660..690_i32]
}

/// Mostly small, and on both sides of the bounds.
fn running() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..3_u32, 1 => 49..52_u32, 1 => 24_999..25_002_u32]
}

fn snapshots() -> impl Strategy<Value = Vec<GaugeSnapshot>> {
    let states = (running(), 0..2_u32, 0..2_u32);
    let snapshot = (0..4_u128, hours(), states, any::<bool>()).prop_map(|(installation, hours, states, kamaji)| {
        let (running, not_ready, upgrading) = states;
        let report = report(running);
        let source = if kamaji && installation == 0 { Source::Kamaji } else { report.source.clone() };
        let counts = StateCounts { not_ready, upgrading, ..report.counts };
        snapshot(installation, NOON.minus(-hours), Report { counts, source, ..report })
    });
    prop::collection::vec(snapshot, 0..8)
}

proptest! {
    #[test]
    fn after_any_groups_and_erasures_the_sums_are_those_of_a_recount(
        steps in prop::collection::vec((snapshots(), 0..3_u32, prop::option::weighted(0.2, 0..4_u128)), 1..12)
    ) {
        let mut rows = Rows::default();
        for (group, installations, erased) in steps {
            let spent = rows.fold(&group, room(installations));
            prop_assert!(spent.installations <= installations, "{spent:?}");
            if let Some(installation) = erased {
                rows.remove(Uuid::from_u128(installation));
            }
            prop_assert_eq!(&rows.sums, &rows.recount());
        }
    }

    #[test]
    fn a_group_is_the_same_as_its_snapshots_one_by_one(group in snapshots(), installations in 0..4_u32) {
        let (mut together, mut one_by_one) = (Rows::default(), Rows::default());
        let spent = together.fold(&group, room(installations));
        let mut left = installations;
        for snapshot in &group {
            left -= one_by_one.fold(std::slice::from_ref(snapshot), room(left)).installations;
        }
        prop_assert_eq!(spent.installations, installations - left);
        prop_assert_eq!(together.latest, one_by_one.latest);
        prop_assert_eq!(together.days, one_by_one.days);
        prop_assert_eq!(together.sums, one_by_one.sums);
    }
}
