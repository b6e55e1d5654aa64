//! The question of which features are used.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{Versioned, newest_first};
use super::masking::masked;
use super::test_matrix::MatrixWindow;
use super::weeks::Weeks;
use super::wording::{MIN_FOR_PERCENT, count, fraction, list, percent};
use crate::backend::store::fold::{DimensionPart, EventAspect};
use crate::backend::store::{Day, DimensionFact, Facts, FactsQuery, SourceKind};
use crate::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, KubernetesMinor, Metric};

/// The features in use: the datastores' drivers, the tenants' minor versions, Cluster API, and network profiles.
///
/// Drivers and tenant minors are gauges. They are counted over the installations that are active in the window up to
/// the last complete day, by their last report in it: how many tell the gauge, how many of these have a value, and the
/// sum of the value over them (datastores or control planes; those of an installation younger than 28 days are 50 at
/// most). An installation may have several values. Cluster API and network profiles are attributes of the events of
/// control planes that were made in the complete weeks of the window: events, not installations.
///
/// These signals are extended, which is off by default: those that tell are not a sample of all. Kamaji's built-in
/// telemetry tells the drivers only, and no driver of an installation without a datastore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The window.
    pub window: MatrixWindow,
}

/// A feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// The drivers of datastores. `sum` is of datastores.
    Datastores,
    /// The drivers of the datastores that control planes use. `sum` is of control planes.
    DatastoreUsers,
    /// The minor versions of control planes. `sum` is of control planes.
    TenantMinors,
    /// Events: new control planes that Cluster API manages, or not.
    ClusterApi,
    /// Events: new control planes by the exposure of their API server.
    NetworkProfile,
}

/// The tables of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeaturesTable {
    /// For each feature, how many tell it of how many.
    Telling,
    /// The values of each feature.
    Value,
}

/// A row of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct FeaturesRow {
    /// The table.
    pub table: FeaturesTable,
    /// The feature.
    pub feature: Feature,
    /// The value: a driver, a minor version, `true` or `false`, or a network profile.
    pub value: Option<String>,
    /// The number of installations, or of events, that tell the feature, or have the value.
    pub count: u64,
    /// The number of all active installations, or of all events of new control planes; of a value, those that tell.
    pub base: u64,
    /// `count` of `base`, from 0 to 1.
    pub share: Option<f64>,
    /// The number of datastores or control planes with the value, over the installations that tell.
    pub sum: Option<u64>,
    /// The number of all of them.
    pub sum_base: Option<u64>,
    /// `sum` of `sum_base`, from 0 to 1.
    pub sum_share: Option<f64>,
}

/// The numbers of one feature.
#[derive(Debug, Default)]
struct Told {
    /// Those that tell.
    telling: u64,
    /// All.
    all: u64,
    /// The sum over those that tell.
    sum: Option<u64>,
    /// The values, with the number of those that have it, and the sum.
    values: Vec<(String, u64, Option<u64>)>,
}

impl Question for Features {
    type Row = FeaturesRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let first = Some(self.window.window().first_day(through));
        let event_weeks = self.has_events().then(|| Weeks::of(self.window.window(), through).first);
        let query = FactsQuery::new(self.source, through);
        vec![FactsQuery { conditions: first, dimensions: first, event_weeks, ..query }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<FeaturesRow> {
        let none = Facts::default();
        let facts = masked(facts.first().unwrap_or(&none), asked.min_installations);
        let weeks = Weeks::of(self.window.window(), asked.through());
        let told = self.told(&facts, weeks);
        let mut rows: Vec<_> = told.iter().map(|(feature, told)| told.row(*feature)).collect();
        rows.extend(told.iter().flat_map(|(feature, told)| told.value_rows(*feature)));
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: Some(self.window.window()),
            answer: self.sentence(&told, asked.through()),
            notes: self.notes(weeks),
            rows,
        }
    }
}

impl Features {
    /// Kamaji's built-in telemetry tells nothing but drivers beyond what all tell.
    const fn has_events(self) -> bool {
        matches!(self.source, SourceKind::Agent)
    }

    fn told(self, facts: &Facts, weeks: Weeks) -> Vec<(Feature, Told)> {
        let mut told = vec![
            (Feature::Datastores, told_by_gauge(facts, &DATASTORE_COUNT)),
            (Feature::DatastoreUsers, told_by_gauge(facts, &DATASTORE_USED_BY)),
        ];
        if self.has_events() {
            told.push((Feature::TenantMinors, tenant_minors(facts)));
            told.extend(told_by_events(facts, weeks));
        }
        told
    }

    fn notes(self, weeks: Weeks) -> Vec<String> {
        let off = "Extended signals are off by default: shares are of those that tell, who are not a sample of all."
            .to_owned();
        let several = "An installation may have several values, so that shares add up to more than 1.".to_owned();
        match self.source {
            SourceKind::Agent => vec![
                off,
                several,
                format!(
                    "Cluster API and network profiles: events, not installations, of {}; final after 30 days.",
                    weeks.text()
                ),
            ],
            SourceKind::Kamaji => {
                let only = "Kamaji's built-in telemetry tells the drivers only; an installation without a datastore \
                            tells none.";
                vec![only.to_owned(), several]
            }
        }
    }

    /// Answers in one sentence.
    fn sentence(self, told: &[(Feature, Told)], through: Day) -> String {
        let of = |feature| told.iter().find(|(other, _)| *other == feature).map(|(_, told)| told);
        let drivers = of(Feature::Datastores).filter(|told| told.all > 0);
        let events = of(Feature::ClusterApi).filter(|told| told.all > 0);
        if drivers.is_none() && events.is_none() {
            return format!(
                "No installation was active in the {} days up to {}.",
                self.window.window().days(),
                through.date()
            );
        }
        let drivers = drivers.map(|told| {
            let values = told.most_used();
            let (telling, all) = (count(told.telling), count(told.all));
            format!("{telling} of {all} active installations report their datastores{values}")
        });
        let events = events.map(|told| {
            let (telling, all) = (count(told.telling), count(told.all));
            format!("{telling} of {all} new control planes tell whether Cluster API manages them{}", told.managed())
        });
        let parts: Vec<_> = drivers.into_iter().chain(events).collect();
        let doubt = if self.has_events() { "; extended signals are off by default" } else { "" };
        format!("{}{doubt}.", parts.join("; "))
    }
}

impl Told {
    fn row(&self, feature: Feature) -> FeaturesRow {
        FeaturesRow {
            table: FeaturesTable::Telling,
            feature,
            value: None,
            count: self.telling,
            base: self.all,
            share: fraction(self.telling, self.all),
            sum: self.sum,
            sum_base: None,
            sum_share: None,
        }
    }

    fn value_rows(&self, feature: Feature) -> impl Iterator<Item = FeaturesRow> {
        self.values.iter().map(move |(value, count, sum)| FeaturesRow {
            table: FeaturesTable::Value,
            feature,
            value: Some(value.clone()),
            count: *count,
            base: self.telling,
            share: fraction(*count, self.telling),
            sum: *sum,
            sum_base: self.sum,
            sum_share: (*sum).zip(self.sum).and_then(|(sum, all)| fraction(sum, all)),
        })
    }

    /// Formats a number of those that tell; of fewer than 20 without a percentage.
    fn part(&self, number: u64) -> String {
        if self.telling < MIN_FOR_PERCENT { count(number) } else { percent(number, self.telling) }
    }

    fn most_used(&self) -> String {
        let values: Vec<_> =
            self.values.iter().map(|(value, number, _)| format!("{value} {}", self.part(*number))).collect();
        if values.is_empty() { String::new() } else { format!(" ({})", list(&values)) }
    }

    fn managed(&self) -> String {
        let managed = self.values.iter().find(|(value, ..)| value == "true").map_or(0, |(_, managed, _)| *managed);
        if self.telling == 0 { String::new() } else { format!(" ({} are managed)", self.part(managed)) }
    }
}

/// Sums up one gauge. The most frequent value is first.
fn told_by_gauge(facts: &Facts, metric: &Metric) -> Told {
    let mut told = Told { all: facts.conditions.iter().map(|fact| fact.installations).sum(), ..Told::default() };
    let mut sum = 0;
    for DimensionFact { part, installations, count } in &facts.dimensions {
        match part {
            DimensionPart::Metric(of) if of.name == metric.name => {
                told.telling += installations;
                sum += count;
            }
            DimensionPart::Value(of) if of.metric().name == metric.name => {
                told.values.push((of.value().to_owned(), *installations, Some(*count)));
            }
            _ => {}
        }
    }
    told.sum = Some(sum);
    told.values
        .sort_by(|(left_value, left, _), (right_value, right, _)| right.cmp(left).then(left_value.cmp(right_value)));
    told
}

/// Sums up the gauge of tenant minors. The newest minor is first.
fn tenant_minors(facts: &Facts) -> Told {
    let mut told = told_by_gauge(facts, &BY_VERSION);
    let place = |text: &str| text.parse::<KubernetesMinor>().ok().and_then(Versioned::place);
    told.values.sort_by(|(left, ..), (right, ..)| newest_first(place(left), place(right)));
    told
}

/// Sums up the attributes of new control planes.
fn told_by_events(facts: &Facts, weeks: Weeks) -> [(Feature, Told); 2] {
    let (mut all, mut cluster_api, mut profiles) = (0, BTreeMap::<bool, u64>::new(), BTreeMap::new());
    for fact in facts.event_weeks.iter().filter(|fact| weeks.contains(fact.week)) {
        match fact.aspect {
            EventAspect::ClusterApi(managed) => {
                all += fact.events;
                if let Some(managed) = managed {
                    *cluster_api.entry(managed).or_default() += fact.events;
                }
            }
            EventAspect::NetworkProfile(profile) => *profiles.entry(profile.as_str()).or_default() += fact.events,
            _ => {}
        }
    }
    let cluster_api = cluster_api.iter().map(|(managed, events)| (managed.to_string(), *events)).collect();
    let profiles = profiles.iter().map(|(profile, events)| ((*profile).to_owned(), *events)).collect();
    [(Feature::ClusterApi, told_of(all, cluster_api)), (Feature::NetworkProfile, told_of(all, profiles))]
}

/// Sums up the values of events. The most frequent one is first.
fn told_of(all: u64, mut values: Vec<(String, u64)>) -> Told {
    values.sort_by(|(left_value, left), (right_value, right)| right.cmp(left).then(left_value.cmp(right_value)));
    let telling = values.iter().map(|(_, events)| events).sum();
    let values = values.into_iter().map(|(value, events)| (value, events, None)).collect();
    Told { telling, all, sum: None, values }
}

#[cfg(test)]
mod tests {
    use super::super::test_facts::{asked, condition, day, week};
    use super::*;
    use crate::backend::store::fold::SizeClass;
    use crate::backend::store::{Dimension, EventWeekFact};
    use crate::catalog::NetworkProfile;

    const THROUGH: &str = "2026-11-26";

    /// A value, its count and base, and its sum and the base of that.
    type ValueRow<'a> = (&'a str, u64, u64, Option<u64>, Option<u64>);

    fn telling(metric: &'static Metric, installations: u64, count: u64) -> DimensionFact {
        DimensionFact { part: DimensionPart::Metric(metric), installations, count }
    }

    fn value(metric: &'static Metric, value: &str, installations: u64, count: u64) -> DimensionFact {
        let part = DimensionPart::Value(Dimension::new(metric, value).unwrap());
        DimensionFact { part, installations, count }
    }

    fn ask(source: SourceKind, facts: Facts) -> Answer<FeaturesRow> {
        Features { source, window: MatrixWindow::Days30 }.answer(&[facts], asked(THROUGH))
    }

    fn facts(active: u64, dimensions: Vec<DimensionFact>, event_weeks: Vec<EventWeekFact>) -> Facts {
        let active = condition("v1.0.0", SizeClass::UpTo20, active);
        let conditions = if active.installations > 0 { vec![active] } else { Vec::new() };
        Facts { conditions, dimensions, event_weeks, ..Facts::default() }
    }

    fn values(answer: &Answer<FeaturesRow>, feature: Feature) -> Vec<ValueRow<'_>> {
        let rows = answer.rows.iter().filter(|row| row.feature == feature && row.table == FeaturesTable::Value);
        rows.map(|row| (row.value.as_deref().unwrap(), row.count, row.base, row.sum, row.sum_base)).collect()
    }

    fn told(answer: &Answer<FeaturesRow>) -> Vec<(Feature, u64, u64)> {
        let rows = answer.rows.iter().filter(|row| row.table == FeaturesTable::Telling);
        rows.map(|row| (row.feature, row.count, row.base)).collect()
    }

    #[test]
    fn each_feature_says_how_many_tell_it_of_how_many() {
        let dimensions = vec![
            telling(&DATASTORE_COUNT, 8, 12),
            value(&DATASTORE_COUNT, "MySQL", 2, 2),
            value(&DATASTORE_COUNT, "etcd", 7, 10),
            telling(&DATASTORE_USED_BY, 6, 90),
            value(&DATASTORE_USED_BY, "etcd", 6, 90),
            telling(&BY_VERSION, 3, 40),
            value(&BY_VERSION, "v1.9", 3, 10),
            value(&BY_VERSION, "v1.10", 3, 20),
            value(&BY_VERSION, "unknown", 1, 10),
        ];
        let of_week = |aspect, events| week("2026-11-16", aspect, events);
        let event_weeks = vec![
            of_week(EventAspect::ClusterApi(None), 70),
            of_week(EventAspect::ClusterApi(Some(true)), 20),
            of_week(EventAspect::ClusterApi(Some(false)), 10),
            of_week(EventAspect::NetworkProfile(NetworkProfile::LoadBalancer), 25),
            week("2026-11-23", EventAspect::ClusterApi(Some(true)), 1_000),
            week("2026-10-19", EventAspect::NetworkProfile(NetworkProfile::Ingress), 1_000),
        ];
        let answer = ask(SourceKind::Agent, facts(176, dimensions, event_weeks));
        assert_eq!(
            told(&answer),
            [
                (Feature::Datastores, 8, 176),
                (Feature::DatastoreUsers, 6, 176),
                (Feature::TenantMinors, 3, 176),
                (Feature::ClusterApi, 30, 100),
                (Feature::NetworkProfile, 25, 100)
            ]
        );
        let datastores = [("etcd", 7, 8, Some(10), Some(12)), ("MySQL", 2, 8, Some(2), Some(12))];
        assert_eq!(values(&answer, Feature::Datastores), datastores, "the most frequent first");
        let minors: Vec<_> = values(&answer, Feature::TenantMinors).iter().map(|row| row.0).collect();
        assert_eq!(minors, ["v1.10", "v1.9", "unknown"], "the newest first");
        let managed = [("true", 20, 30, None, None), ("false", 10, 30, None, None)];
        assert_eq!(values(&answer, Feature::ClusterApi), managed);
        assert_eq!(
            answer.answer,
            "8 of 176 active installations report their datastores (etcd 7 and MySQL 2); 30 of 100 new control planes \
             tell \
             whether Cluster API manages them (67 % are managed); extended signals are off by default."
        );
    }

    #[test]
    fn kamajis_own_counting_tells_the_drivers_only() {
        let question = Features { source: SourceKind::Kamaji, window: MatrixWindow::Days7 };
        let [query] = question.queries(day(THROUGH))[..] else { panic!("one query") };
        assert_eq!((query.source, query.event_weeks), (SourceKind::Kamaji, None));
        assert_eq!((query.dimensions, query.conditions), (Some(day("2026-11-20")), Some(day("2026-11-20"))));
        let dimensions = vec![telling(&DATASTORE_COUNT, 40, 50), value(&DATASTORE_COUNT, "etcd", 30, 35)];
        let answer = ask(SourceKind::Kamaji, facts(50, dimensions, Vec::new()));
        assert_eq!(told(&answer), [(Feature::Datastores, 40, 50), (Feature::DatastoreUsers, 0, 50)]);
        assert_eq!(answer.answer, "40 of 50 active installations report their datastores (etcd 75 %).");
    }

    #[test]
    fn nothing_told_has_no_share_and_an_empty_store_has_a_sentence() {
        let answer = ask(SourceKind::Agent, facts(1, Vec::new(), Vec::new()));
        assert_eq!(
            answer.answer,
            "0 of 1 active installations report their datastores; extended signals are off by default."
        );
        assert!(answer.rows.iter().all(|row| row.table == FeaturesTable::Telling));
        let shares: Vec<_> = answer.rows.iter().map(|row| row.share).collect();
        assert_eq!(shares, [Some(0.0), Some(0.0), Some(0.0), None, None]);
        let empty = ask(SourceKind::Agent, facts(0, Vec::new(), Vec::new()));
        assert_eq!(empty.answer, "No installation was active in the 30 days up to 2026-11-26.");
    }
}
