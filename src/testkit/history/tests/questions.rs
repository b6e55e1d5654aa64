//! Tests that the questions find each element of the history.

use tokio::sync::OnceCell;

use super::*;
use crate::backend::insights::answer::{Answer, Asked, Question};
use crate::backend::insights::coverage::{Coverage, CoverageRow, CoverageTable};
use crate::backend::insights::definitions::{By, Component, Window};
use crate::backend::insights::deprecation::{Deprecation, DeprecationRow, DeprecationTable, DeprecationVerdict};
use crate::backend::insights::features::{Feature, Features, FeaturesRow, FeaturesTable};
use crate::backend::insights::health::{Direction, Health, HealthRow, HealthTable, Verdict};
use crate::backend::insights::overview::{Decision, FleetOverview, OverviewRow, OverviewTable};
use crate::backend::insights::test_matrix::{Cover, MatrixWindow, TestMatrix, TestMatrixRow};
use crate::backend::insights::upgrades::{PathKind, Upgrades, UpgradesRow, UpgradesTable};
use crate::backend::insights::version_days::LineName;
use crate::backend::insights::versions::{Versions, VersionsRow, VersionsTable};

/// The fewest installations of a version that is shown by its name: the default of the backend.
const MIN_INSTALLATIONS: u64 = 3;

/// The answers of the questions to the demo's history.
struct Answers {
    overview: Answer<OverviewRow>,
    built_in: Answer<OverviewRow>,
    versions: Answer<VersionsRow>,
    kubernetes: Answer<VersionsRow>,
    test_matrix: Answer<TestMatrixRow>,
    health: Answer<HealthRow>,
    upgrades: Answer<UpgradesRow>,
    deprecation: Answer<DeprecationRow>,
    features: Answer<FeaturesRow>,
    coverage: Answer<CoverageRow>,
}

impl Answers {
    /// Returns the answers, for which the history is written once.
    async fn get() -> &'static Self {
        static ANSWERS: OnceCell<Answers> = OnceCell::const_new();
        ANSWERS.get_or_init(Self::read).await
    }

    async fn read() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        write(&store, 1, now()).await.unwrap();
        let (source, window, by) = (SourceKind::Agent, Window::Days90, By::Installations);
        let overview = FleetOverview { source, window: Window::Days30, by };
        let matrix = TestMatrix { source, window: MatrixWindow::Days30, by, cover: Cover::Percent90 };
        Self {
            overview: ask(&store, overview).await,
            built_in: ask(&store, FleetOverview { source: SourceKind::Kamaji, ..overview }).await,
            versions: ask(&store, Versions { source, window, by, component: Component::Kamaji }).await,
            kubernetes: ask(&store, Versions { source, window, by, component: Component::Kubernetes }).await,
            test_matrix: ask(&store, matrix).await,
            health: ask(&store, Health { window }).await,
            upgrades: ask(&store, Upgrades { source, window }).await,
            deprecation: ask(&store, Deprecation { source, by, component: Component::Kubernetes }).await,
            features: ask(&store, Features { source, window: MatrixWindow::Days30 }).await,
            coverage: ask(&store, Coverage { window }).await,
        }
    }
}

async fn ask<Q: Question>(store: &SqliteStore, question: Q) -> Answer<Q::Row> {
    let asked = Asked { at: now(), min_installations: MIN_INSTALLATIONS };
    let facts = store.facts(question.queries(asked.through())).await.unwrap();
    question.answer(&facts, asked)
}

impl Answer<HealthRow> {
    /// Returns the row of a version.
    fn version(&self, version: &str) -> &HealthRow {
        let is_meant =
            |row: &&HealthRow| row.table == HealthTable::Version && row.kamaji_version.as_deref() == Some(version);
        self.rows.iter().find(is_meant).unwrap()
    }

    /// Returns the events in a table of a version, in percent of all of its events there.
    fn percent(&self, version: &str, is_meant: impl Fn(&HealthRow) -> bool) -> u64 {
        let of_version = self.rows.iter().filter(|row| row.kamaji_version.as_deref() == Some(version));
        let rows: Vec<_> = of_version.filter(|row| is_meant(row)).collect();
        let base = rows.first().unwrap().base;
        assert!(base >= 20, "{version}: {rows:?}");
        100 * rows.iter().map(|row| row.count).sum::<u64>() / base
    }
}

#[tokio::test]
async fn the_bad_release_is_worse_and_its_patch_is_better() {
    let health = &Answers::get().await.health;
    let (bad, patch) = (health.version("v1.2.0"), health.version("v1.2.1"));
    assert_eq!((bad.verdict, bad.compared_with.as_deref()), (Some(Verdict::Worse), Some("v1.1.1")));
    assert_eq!((patch.verdict, patch.compared_with.as_deref()), (Some(Verdict::Better), Some("v1.2.0")));
    let worse = health.rows.iter().filter(|row| row.table == HealthTable::Version);
    assert_eq!(worse.filter(|row| row.verdict == Some(Verdict::Worse)).count(), 1, "{:?}", health.rows);
    assert!(health.answer.starts_with("v1.2.0: ") && health.answer.contains("v1.2.1 is better"), "{}", health.answer);
    let sizes: Vec<_> = health.rows.iter().filter(|row| row.table == HealthTable::Size).collect();
    assert!(sizes.last().unwrap().share > sizes.first().unwrap().share, "larger ones have trouble sooner");
    let long = health.rows.iter().filter(|row| row.table == HealthTable::Upgrading).map(|row| row.count);
    assert!(long.sum::<u64>() > 0);
}

#[tokio::test]
async fn tenants_under_the_bad_release_go_back_and_are_deleted_more_often_than_under_others() {
    let health = &Answers::get().await.health;
    let is_down = |row: &HealthRow| row.direction == Some(Direction::Down);
    let is_broken = |row: &HealthRow| matches!(row.status, Some("NotReady" | "Provisioning"));
    for other in ["v1.1.1", "v1.2.1"] {
        assert!(health.percent("v1.2.0", is_down) > 2 * health.percent(other, is_down), "{other}");
        assert!(health.percent("v1.2.0", is_broken) > health.percent(other, is_broken), "{other}");
    }
}

#[tokio::test]
async fn most_run_edge_and_its_newest_minor_is_not_yet_adopted() {
    let Answers { versions, kubernetes, .. } = Answers::get().await;
    let last = versions.data_through;
    let shares = versions.rows.iter().filter(|row| row.table == VersionsTable::Share && row.date == Some(last));
    let edge = shares.filter(|row| row.line == Some(LineName::Edge)).filter_map(|row| row.share).sum::<f64>();
    assert!(edge > 0.5, "{edge}");
    let adoption = |answer: &'static Answer<VersionsRow>, version: &str| {
        let mut rows = answer.rows.iter().filter(|row| row.table == VersionsTable::Adoption);
        rows.find(|row| row.version == version).unwrap().adoption.clone().unwrap()
    };
    assert!(adoption(versions, "26.11").contains("nine in ten not yet: "));
    assert!(adoption(kubernetes, "v1.37").starts_with("not yet: "));
    assert!(adoption(versions, "26.9").contains("nine in ten after "));
    assert_eq!(adoption(kubernetes, "v1.33"), "before the data");
    assert!(versions.answer.contains("26.11 or newer"), "{}", versions.answer);
}

#[tokio::test]
async fn a_screen_of_pairs_covers_nine_in_ten() {
    let matrix = &Answers::get().await.test_matrix;
    let chosen = matrix.rows.iter().filter(|row| row.chosen == Some(true)).count();
    assert!((5..=60).contains(&chosen), "{chosen}: {}", matrix.answer);
    assert!(matrix.rows.iter().any(|row| row.chosen == Some(false)));
}

#[tokio::test]
async fn old_kubernetes_has_a_date_and_what_is_older_is_little_used_already() {
    let deprecation = &Answers::get().await.deprecation;
    let rows: Vec<_> = deprecation.rows.iter().filter(|row| row.table == DeprecationTable::AtOrBelow).collect();
    let of = |version: &str| rows.iter().find(|row| row.version == version).unwrap();
    let old = of("v1.31");
    assert_eq!(old.verdict, Some(DeprecationVerdict::Dated), "{old:?}");
    assert!(old.earliest < old.under_5_percent_on && old.latest > old.under_5_percent_on, "{old:?}");
    assert!(old.change < Some(0.0));
    assert_eq!(of("v1.30").verdict, Some(DeprecationVerdict::Already), "{rows:?}");
    let below = deprecation.rows.iter().find(|row| row.table == DeprecationTable::BelowNewestThree).unwrap();
    assert_eq!((below.version.as_str(), below.count > 20), ("v1.35", true), "{below:?}");
    for part in ["v1.30 and older", "v1.31 and older", "under 5 % about"] {
        assert!(deprecation.answer.contains(part), "{}", deprecation.answer);
    }
}

#[tokio::test]
async fn tenants_are_upgraded_by_each_kind_of_step() {
    let upgrades = &Answers::get().await.upgrades;
    let sum = |is_meant: &dyn Fn(&UpgradesRow) -> bool| {
        upgrades.rows.iter().filter(|row| is_meant(row)).map(|row| row.count).sum::<u64>()
    };
    let (steps, coalesced) =
        (sum(&|row| row.kind == Some(PathKind::Step)), sum(&|row| row.kind == Some(PathKind::Coalesced)));
    assert!(steps > coalesced && coalesced > 0, "{}", upgrades.answer);
    assert_eq!(sum(&|row| row.kind == Some(PathKind::Downgrade)), 0);
    let patches = [Direction::Up, Direction::Down].map(|direction| sum(&|row| row.direction == Some(direction)));
    assert!(patches[0] > patches[1] && patches[1] > 0, "{patches:?}");
    let newest = upgrades.rows.iter().find(|row| row.table == UpgradesTable::Minor).unwrap();
    assert_eq!((newest.to.as_deref(), newest.before_data), (Some("v1.37"), Some(false)));
    assert!(newest.days_lower_quartile < newest.days_median && newest.days_median < newest.days_upper_quartile);
}

#[tokio::test]
async fn one_in_five_tells_its_features() {
    let features = &Answers::get().await.features;
    let telling = |row: &&FeaturesRow| row.table == FeaturesTable::Telling;
    let datastores = features.rows.iter().filter(telling).find(|row| row.feature == Feature::Datastores).unwrap();
    let percent = 100 * datastores.count / datastores.base;
    assert!((15..=25).contains(&percent), "{datastores:?}");
    for row in features.rows.iter().filter(telling) {
        assert!(row.count > 20 && row.count < row.base, "{row:?}");
        let values = features.rows.iter().filter(|value| value.feature == row.feature && value.value.is_some());
        assert!(values.count() >= 2, "{row:?}");
    }
}

#[tokio::test]
async fn the_burst_is_the_one_unusual_day_and_the_outage_the_one_absence() {
    let coverage = &Answers::get().await.coverage;
    let of = |table| coverage.rows.iter().filter(|row| row.table == table).collect::<Vec<_>>();
    let unusual = of(CoverageTable::UnusualDay);
    assert_eq!(unusual.len(), 1, "{unusual:?}");
    let today = Hour::of(now()).day();
    let burst = today.minus(i32::try_from(forgery::BURST_AGE).unwrap()).date();
    assert_eq!((unusual[0].day, unusual[0].count >= Some(forgery::FORGED as u64)), (Some(burst), true));
    let bulk = of(CoverageTable::Window).into_iter().find(|row| row.window == Some(Window::Days90)).unwrap().bulk;
    assert_eq!(bulk, Some((forgery::FORGED - forgery::COUNTED as usize) as u64));
    let [away] = of(CoverageTable::Away)[..] else { panic!("one absence: {:?}", of(CoverageTable::Away)) };
    let day = today.minus(AWAY_AGE).first_hour();
    assert_eq!((away.count, away.from), (Some(24), Some(day.start())));
    let reasons: BTreeSet<_> = of(CoverageTable::Refused).iter().map(|row| row.reason.clone()).collect();
    assert!(reasons.len() >= 4, "{reasons:?}");
    assert!(of(CoverageTable::AgentVersion).len() >= 2);
}

#[tokio::test]
async fn ci_is_apart_and_the_sources_are_apart() {
    let Answers { overview, built_in, coverage, .. } = Answers::get().await;
    let active = |answer: &Answer<OverviewRow>| {
        let row = answer.rows.iter().find(|row| row.table == OverviewTable::Active && row.period == Some("30d"));
        row.map(|row| (row.installations.unwrap(), row.not_confirmed.unwrap())).unwrap()
    };
    let ((agents, apart), (clusters, _)) = (active(overview), active(built_in));
    assert!((330..420).contains(&agents) && apart > 50, "{agents} {apart}");
    assert!((80..120).contains(&clusters), "{clusters}");
    let sources = coverage.rows.iter().filter(|row| row.table == CoverageTable::LastSeen);
    let confirmed = |source| {
        let of_source = sources.clone().filter(|row| row.source == Some(source));
        of_source.filter_map(|row| row.confirmed).sum::<u64>()
    };
    assert!(confirmed("agent") > agents && confirmed("kamaji") >= clusters);
}

#[tokio::test]
async fn sizes_have_a_long_tail_and_all_four_decisions_have_an_answer() {
    let Answers { overview, test_matrix, health, deprecation, .. } = Answers::get().await;
    let sizes: Vec<_> = overview.rows.iter().filter(|row| row.table == OverviewTable::Size).collect();
    assert!(sizes.iter().all(|row| row.count > Some(0)), "{sizes:?}");
    let sentence = |decision| {
        let row = overview.rows.iter().find(|row| row.question == Some(decision));
        row.and_then(|row| row.sentence.clone()).unwrap()
    };
    assert_eq!(sentence(Decision::Build), overview.answer);
    assert_eq!(sentence(Decision::Test), test_matrix.answer);
    assert_eq!(sentence(Decision::Fix), health.answer);
    assert_eq!(sentence(Decision::Deprecate), deprecation.answer);
}

/// A sentence with a part that is nothing in percent, a doubled space or a count of one thing in the plural reads badly.
#[tokio::test]
async fn every_sentence_is_one_clean_sentence() {
    let Answers { overview, built_in, versions, kubernetes, test_matrix, .. } = Answers::get().await;
    let Answers { health, upgrades, deprecation, features, coverage, .. } = Answers::get().await;
    let answers = [
        &overview.answer,
        &built_in.answer,
        &versions.answer,
        &kubernetes.answer,
        &test_matrix.answer,
        &health.answer,
        &upgrades.answer,
        &deprecation.answer,
        &features.answer,
        &coverage.answer,
    ];
    for answer in answers {
        assert!(answer.ends_with('.') && !answer.contains("  ") && !answer.contains(" 0 %"), "{answer}");
        assert!(!answer.contains(" 1 days") && !answer.contains(" 1 installations"), "{answer}");
        println!("{answer}");
    }
}
