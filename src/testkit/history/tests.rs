//! Tests that each element of the history is in the rows of the demo's seed, and of others.

mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::outage::{AWAY_AGE, is_away};
use super::releases::{UpgradeStep, is_bad, step_between};
use super::*;
use crate::backend::store::fold::Standing;
use crate::backend::store::{Day, Facts, FactsQuery, SourceKind, SqliteStore, StateCounts};
use crate::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, KubernetesMinor, Status};

/// The seed of the demo, and others.
const SEEDS: [u64; 3] = [1, 2, 3];

/// The rows of [`SEEDS`], which many tests read.
static ROWS: [LazyLock<HistoryRows>; 3] = [
    LazyLock::new(|| HistoryRows::of(SEEDS[0], now())),
    LazyLock::new(|| HistoryRows::of(SEEDS[1], now())),
    LazyLock::new(|| HistoryRows::of(SEEDS[2], now())),
];

/// The rows of a history, by installation and day.
struct HistoryRows {
    today: Day,
    deliveries: Vec<SenderBatch>,
    days: BTreeMap<Uuid, BTreeMap<Day, Report>>,
}

fn rows_of(seed: u64) -> &'static HistoryRows {
    let position = SEEDS.iter().position(|known| *known == seed).unwrap();
    &ROWS[position]
}

fn now() -> Timestamp {
    "2026-11-27T09:30:00Z".parse().unwrap()
}

impl HistoryRows {
    fn of(seed: u64, now: Timestamp) -> Self {
        let deliveries: Vec<_> = deliveries(seed, now).collect();
        let mut days: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for snapshot in deliveries.iter().filter(|delivery| !delivery.is_forged).flat_map(|d| &d.batch.snapshots) {
            let rows = days.entry(snapshot.installation).or_default();
            rows.insert(snapshot.received.day(), snapshot.report.clone());
        }
        Self { today: Hour::of(now).day(), deliveries, days }
    }

    fn events(&self) -> impl Iterator<Item = &EventRow> {
        self.deliveries.iter().flat_map(|delivery| &delivery.batch.events)
    }

    /// Returns the last complete day's report of each installation of this kind that lives for more than two days.
    fn yesterday(&self, is_agent: bool) -> impl Iterator<Item = &Report> {
        let yesterday = self.today.minus(1);
        let lasting = self.days.values().filter(|days| days.len() > 2);
        let reports = lasting.filter_map(move |days| days.get(&yesterday));
        reports.filter(move |report| matches!(report.source, Source::Agent(_)) == is_agent)
    }

    /// Returns how many of the agents' installations that ran a version of Kamaji yesterday were stuck, and how many ran it.
    fn stuck(&self, version: &str) -> (u32, u32) {
        let version = KamajiVersion::normalize(version);
        let [yesterday, before] = [1, 2].map(|age| self.today.minus(age));
        let (mut stuck, mut all) = (0, 0);
        for days in self.days.values().filter(|days| days.len() > 2) {
            let Some(report) = days.get(&yesterday).filter(|report| report.kamaji_version == version) else { continue };
            if report.source == Source::Kamaji {
                continue;
            }
            let is_not_ready = |report: &Report| report.counts.not_ready > 0;
            all += 1;
            stuck += u32::from(is_not_ready(report) && days.get(&before).is_some_and(is_not_ready));
        }
        (stuck, all)
    }

    /// Returns the share of agents' installations at or below v1.31 at an age, in thousandths.
    fn old_kubernetes(&self, age: i32) -> u64 {
        let old = KubernetesMinor::Minor { major: 1, minor: 31 };
        let reports =
            self.days.values().filter(|days| days.len() > 2).filter_map(|days| days.get(&self.today.minus(age)));
        let reports: Vec<_> = reports.filter(|report| report.source != Source::Kamaji).collect();
        let is_old = |report: &&&Report| report.kubernetes_version.to_minor() <= old;
        1_000 * reports.iter().filter(is_old).count() as u64 / reports.len() as u64
    }
}

/// Returns the ends of the 95 % Wilson interval of a share.
fn wilson((count, base): (u32, u32)) -> (f64, f64) {
    const Z: f64 = 1.96;
    let (n, p) = (f64::from(base), f64::from(count) / f64::from(base));
    let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    (center - half, center + half)
}

/// Returns the lower end of Newcombe's interval of the difference of two shares.
fn newcombe(later: (u32, u32), earlier: (u32, u32)) -> f64 {
    let share = |(count, base): (u32, u32)| f64::from(count) / f64::from(base);
    let (low, high) = (wilson(later).0, wilson(earlier).1);
    share(later) - share(earlier) - ((share(later) - low).powi(2) + (high - share(earlier)).powi(2)).sqrt()
}

/// Checks the facts of the days, and of what was received last in 30 of them.
async fn check_days(store: &SqliteStore, today: Day) {
    let query = |source| FactsQuery {
        days: Some(today.minus(400)),
        last_seen: Some(today.minus(30)),
        ..FactsQuery::new(source, today.minus(1))
    };
    let [agents, kamaji] =
        store.facts([SourceKind::Agent, SourceKind::Kamaji].map(query).to_vec()).await.unwrap().try_into().unwrap();
    // All but the first, on which none is confirmed, and the one on which the backend was away.
    assert_eq!(agents.days.len(), 363);
    let yesterday = |facts: &Facts| *facts.days.iter().find(|fact| fact.day == today.minus(1)).unwrap();
    assert!((320..400).contains(&yesterday(&agents).installations), "{:?}", yesterday(&agents));
    assert!(yesterday(&kamaji).installations > 80, "{:?}", yesterday(&kamaji));
    let states = yesterday(&agents).control_planes;
    assert!(states.sleeping > 0 && states.not_ready > 0, "{states:?}");
    let not_confirmed = agents.last_seen.iter().filter(|fact| fact.standing == Standing::NotConfirmed);
    let not_confirmed: u64 = not_confirmed.map(|fact| fact.installations).sum();
    assert!(not_confirmed > 50, "{not_confirmed}");
}

#[tokio::test]
async fn a_store_takes_the_history_and_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    let now = Timestamp::now();
    let written = write(&store, 1, now).await.unwrap();
    assert!((1_700..2_500).contains(&written.installations), "{written:?}");
    assert!(written.snapshots > 90_000 && written.events > 30_000, "{written:?}");
    check_days(&store, Hour::of(now).day()).await;
    let burst = Hour::of(now).day().minus(i32::try_from(forgery::BURST_AGE).unwrap());
    let intake = store.intake(burst).await.unwrap();
    assert_eq!(intake.today.bulk, (forgery::FORGED - forgery::COUNTED as usize) as u64, "{intake:?}");
    assert!(intake.today.installations > 5 * intake.median().unwrap().installations, "{intake:?}");
    check_conditions(&store, now).await;
}

/// Checks that the store has counted as many stuck installations as the rows have.
async fn check_conditions(store: &SqliteStore, now: Timestamp) {
    let (rows, through) = (HistoryRows::of(1, now), Hour::of(now).day().minus(1));
    let query = FactsQuery { conditions: Some(through), ..FactsQuery::new(SourceKind::Agent, through) };
    let facts = store.facts(vec![query]).await.unwrap().remove(0);
    for version in ["v1.1.1", "v1.2.0", "v1.2.1"] {
        let (mut stuck, mut all) = (0, 0);
        for fact in facts.conditions.iter().filter(|fact| fact.kamaji.to_string() == version) {
            all += fact.installations;
            stuck += if fact.stuck { fact.installations } else { 0 };
        }
        assert_eq!(
            (stuck, all),
            {
                let (stuck, all) = rows.stuck(version);
                (stuck.into(), all.into())
            },
            "{version}"
        );
    }
}

#[test]
fn the_same_seed_results_in_the_same_history() {
    let history = |seed| deliveries(seed, now()).collect::<Vec<_>>();
    assert!(history(1) == history(1));
    assert!(history(1) != history(2));
}

#[test]
fn installations_grow_and_some_are_gone() {
    for seed in SEEDS {
        let rows = rows_of(seed);
        let agents = |age: i32| {
            let day = rows.today.minus(age);
            let of_day = rows.days.values().filter(|days| days.len() > 2).filter_map(|days| days.get(&day));
            of_day.filter(|report| report.source != Source::Kamaji).count()
        };
        assert!((140..=160).contains(&agents(364)) && (330..=370).contains(&agents(0)), "{seed}: {}", agents(0));
        let last_seen = rows.days.values().filter(|days| days.len() > 2).filter_map(|days| days.keys().next_back());
        let last_seen: Vec<_> = last_seen.map(|day| rows.today.number() - day.number()).collect();
        for ages in [0..=0, 1..=1, 2..=6, 7..=29, 30..=89, 90..=365] {
            assert!(last_seen.iter().any(|age| ages.contains(age)), "{seed}: {ages:?}");
        }
    }
}

#[test]
fn most_installations_are_on_edge_whose_form_changed() {
    for seed in SEEDS {
        let rows = rows_of(seed);
        let is_edge = |report: &&Report| matches!(report.kamaji_version, KamajiVersion::EdgeSuffix(..));
        let is_stable = |report: &&Report| matches!(report.kamaji_version, KamajiVersion::Release(_));
        let edge = rows.yesterday(true).filter(is_edge).count();
        let stable = rows.yesterday(true).filter(is_stable).count();
        let all = rows.yesterday(true).count();
        assert!(2 * edge > all && 3 * stable > all, "{seed}: {edge} and {stable} of {all}");
        let first = rows.today.minus(300);
        let old_form = rows.days.values().filter_map(|days| days.get(&first));
        assert!(old_form.filter(|row| matches!(row.kamaji_version, KamajiVersion::EdgePrefix(..))).count() > 20);
    }
}

#[test]
fn the_bad_release_is_worse_than_the_one_before_and_its_patch_mends_it() {
    for seed in SEEDS {
        let rows = rows_of(seed);
        let [before, bad, patch] = ["v1.1.1", "v1.2.0", "v1.2.1"].map(|version| rows.stuck(version));
        assert!(before.1 >= 20 && bad.1 >= 20 && patch.1 >= 20, "{seed}: {before:?} {bad:?} {patch:?}");
        assert!(newcombe(bad, before) > 0.0, "{seed}: {before:?} {bad:?}");
        assert!(newcombe(patch, before) < 0.0, "{seed}: {before:?} {patch:?}");
    }
}

/// The demo's seed shows the bad release, and no other.
#[test]
fn no_other_release_stands_out() {
    let rows = rows_of(1);
    for pair in ["26.8.3-edge", "26.9.1-edge", "26.10.2-edge", "26.11.3-edge"].windows(2) {
        let [before, later] = [rows.stuck(pair[0]), rows.stuck(pair[1])];
        let is_compared = before.1 >= 20 && later.1 >= 20;
        assert!(!is_compared || newcombe(later, before) < 0.0, "{pair:?}: {before:?} {later:?}");
    }
}

#[test]
fn tenants_go_back_and_are_given_up_under_the_bad_release() {
    let rows = rows_of(1);
    let share = |of_bad: bool, is_in: fn(&Event) -> Option<bool>| {
        let of_version = rows.events().filter(|row| is_bad(row.record.kamaji_version) == of_bad);
        let judged: Vec<_> = of_version.filter_map(|row| is_in(&row.record.event)).collect();
        assert!(judged.len() > 50, "{}", judged.len());
        100 * judged.iter().filter(|is| **is).count() / judged.len()
    };
    let is_downgrade = |event: &Event| match event {
        Event::Updated { old_tcp_version, new_tcp_version } => Some(new_tcp_version < old_tcp_version),
        _ => None,
    };
    let is_broken = |event: &Event| match event {
        Event::Deleted { status, .. } => Some(matches!(status, Status::NotReady | Status::Provisioning)),
        _ => None,
    };
    assert!(share(true, is_downgrade) > 4 * share(false, is_downgrade));
    assert!(share(true, is_broken) > 2 * share(false, is_broken));
}

#[test]
fn tenants_are_upgraded_by_every_step() {
    let rows = rows_of(1);
    let mut steps = BTreeMap::new();
    for row in rows.events() {
        let Event::Updated { old_tcp_version, new_tcp_version } = row.record.event else { continue };
        *steps.entry(format!("{:?}", step_between(old_tcp_version, new_tcp_version).unwrap())).or_insert(0) += 1;
    }
    for step in [UpgradeStep::PatchUp, UpgradeStep::PatchDown, UpgradeStep::Minor, UpgradeStep::CoalescedMinors] {
        assert!(steps.get(&format!("{step:?}")).is_some_and(|count| *count > 200), "{steps:?}");
    }
}

#[test]
fn sizes_have_a_long_tail() {
    for seed in SEEDS {
        let rows = rows_of(seed);
        let mut sizes: Vec<_> = rows.yesterday(true).map(|report| report.counts.total()).collect();
        sizes.sort_unstable();
        assert!((3..15).contains(&sizes[sizes.len() / 2]), "{}", sizes[sizes.len() / 2]);
        assert!((1_001..=2_000).contains(sizes.last().unwrap()), "{seed}: {:?}", sizes.last());
        for class in [0..=0, 1..=1, 2..=5, 6..=20, 21..=100, 101..=1_000] {
            assert!(sizes.iter().filter(|size| class.contains(*size)).count() > 5, "{seed}: {class:?}");
        }
    }
}

#[test]
fn the_counts_of_an_installation_add_up_to_its_size() {
    let mut random = Rng::with_seed(3);
    for installation in installation::fleet(&mut random, 200) {
        for age in (0..DAYS).filter(|age| installation.is_active(*age)) {
            let StateCounts { running, sleeping, not_ready, upgrading } = installation.counts(age);
            let all = running + sleeping + not_ready + upgrading;
            assert!(
                all <= 2_000 && installation.report(age).counts.total() == u64::from(all),
                "{installation:?} {age}"
            );
        }
    }
}

#[test]
fn a_slow_tail_on_old_kubernetes_declines_to_a_few_percent() {
    for seed in SEEDS {
        let rows = rows_of(seed);
        let shares = [364, 180, 84, 42, 1].map(|age| rows.old_kubernetes(age));
        assert!(shares.is_sorted_by(|earlier, later| earlier > later), "{seed}: {shares:?}");
        assert!((50..90).contains(&shares[4]) && shares[0] > 250, "{seed}: {shares:?}");
    }
}

#[test]
fn ci_clusters_are_there_on_each_day_and_are_never_confirmed() {
    let rows = rows_of(1);
    let mut receipts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for snapshot in rows.deliveries.iter().filter(|delivery| !delivery.is_forged).flat_map(|d| &d.batch.snapshots) {
        receipts.entry(snapshot.installation).or_default().insert(snapshot.received);
    }
    let span = |hours: &BTreeSet<Hour>| hours.last().unwrap().since(*hours.first().unwrap());
    let short: Vec<_> = receipts.values().filter(|hours| hours.len() <= 2 && span(hours) < 20).collect();
    let days: BTreeSet<_> = short.iter().map(|hours| hours.first().unwrap().day()).collect();
    assert!(days.len() > 360, "{}", days.len());
    let over_midnight = short.iter().filter(|hours| hours.first().unwrap().day() != hours.last().unwrap().day());
    assert!(over_midnight.count() > 30);
}

#[test]
fn built_in_telemetry_is_on_a_part_of_the_fleet_and_overlaps_with_agents() {
    let history = SimulatedYear::new(1, now());
    let beside = |built_in: &&BuiltIn| history.fleet.contains(&built_in.cluster);
    assert_eq!(history.built_in.iter().filter(beside).count(), LASTING / BUILT_IN_BESIDE);
    assert_eq!(history.built_in.len(), LASTING / BUILT_IN_BESIDE + BUILT_IN_ALONE);
    let rows = rows_of(1);
    assert!(rows.yesterday(false).count() > 80);
    let tells_drivers = |report: &Report| report.dimensions.iter().any(|(gauge, _)| *gauge.metric() == DATASTORE_COUNT);
    assert!(rows.yesterday(false).all(tells_drivers));
    assert!(rows.events().any(|row| row.source == Source::Kamaji));
}

#[test]
fn one_in_five_agents_sends_the_extended_signals_and_three_versions_of_agents_do() {
    let rows = rows_of(1);
    let extended: Vec<_> = rows.yesterday(true).filter(|report| !report.dimensions.is_empty()).collect();
    let all = rows.yesterday(true).count();
    assert!((15..25).contains(&(100 * extended.len() / all)), "{} of {all}", extended.len());
    for gauge in [&BY_VERSION, &DATASTORE_COUNT, &DATASTORE_USED_BY] {
        let has = |report: &&&Report| report.dimensions.iter().any(|(dimension, _)| dimension.metric() == gauge);
        assert!(extended.iter().filter(has).count() > 50, "{}", gauge.name);
    }
    let created = rows.events().filter_map(|row| match row.record.event {
        Event::Created { extended, .. } => Some(extended.is_some()),
        _ => None,
    });
    let (with, without): (Vec<_>, Vec<_>) = created.partition(|extended| *extended);
    assert!(with.len() > 500 && without.len() > with.len(), "{} {}", with.len(), without.len());
    let mut versions: Vec<_> = rows.yesterday(true).map(|report| format!("{:?}", report.source)).collect();
    versions.sort_unstable();
    versions.dedup();
    assert!((2..=3).contains(&versions.len()), "{versions:?}");
}

#[test]
fn the_forged_installations_come_in_one_burst() {
    let rows = rows_of(1);
    let forged: Vec<_> = rows.deliveries.iter().filter(|delivery| delivery.is_forged).collect();
    let sizes: Vec<_> = forged.iter().map(|delivery| delivery.batch.snapshots.len()).collect();
    assert!(sizes[0] == forgery::FORGED && sizes[0] > sizes[1] && sizes[1] > sizes[2] && sizes.len() == 3, "{sizes:?}");
    let day = |delivery: &SenderBatch| delivery.batch.snapshots[0].received.day();
    let days: Vec<_> = forged.iter().map(|delivery| rows.today.number() - day(delivery).number()).collect();
    assert_eq!(days, [60, 59, 58]);
}

#[test]
fn nothing_is_received_while_the_backend_is_away_and_agents_send_their_events_later() {
    let rows = rows_of(1);
    let mut days = BTreeSet::new();
    for delivery in &rows.deliveries {
        for snapshot in &delivery.batch.snapshots {
            assert!(!is_away(snapshot.received, rows.today), "{snapshot:?}");
            days.insert(snapshot.received.day());
        }
    }
    assert_eq!(days.len(), 364, "all other days have receipts");
    let served: Vec<_> = operations(now()).served.into_iter().map(|served| served.hour).collect();
    assert_eq!(served.len(), 363 * 24 + 10, "the day of the outage, and what is left of today");
    assert!(served.iter().all(|hour| !is_away(*hour, rows.today)));
    let away = rows.today.minus(AWAY_AGE);
    let late = rows.events().filter(|row| Hour::of(row.record.time).day() == away);
    assert!(late.count() > 20);
}
