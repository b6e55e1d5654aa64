//! The facts that the rows of a model come to, counted one by one.

use std::collections::{BTreeMap, BTreeSet};

use kamaji_telemetry::backend::store::fold::{DimensionPart, EventAspect, EventChange, SizeClass, Standing};
use kamaji_telemetry::backend::store::{
    AgentVersion, ConditionFact, Day, DayFact, DimensionFact, EventDayFact, EventWeekFact, Facts, FactsQuery, Hour,
    PairFact, Report, SeenFact, Source, SourceKind, Totals, VersionFact,
};
use kamaji_telemetry::catalog::{Event, KubernetesVersion};
use uuid::Uuid;

use super::noon;
use super::recomputation::{InstallationDay, Model, add, is_agents, weigh};

/// Queries for all facts of both sources: as of the day before, of the same day, and of days that are long over, with windows
/// of a week, a month and more.
pub(super) fn queries() -> Vec<FactsQuery> {
    let windows = [(1, 7), (1, 30), (0, 365), (7, 7), (30, 90)];
    let of = |source| windows.map(|(age, window)| query(source, age, window));
    [of(SourceKind::Agent), of(SourceKind::Kamaji)].concat()
}

/// Returns a query for all facts of a source as of a day of this age, of a window of so many days.
pub(super) fn query(source: SourceKind, age: i32, window: i32) -> FactsQuery {
    let today = Hour::of(noon()).day();
    let (through, since) = (today.minus(age), Some(today.minus(age + window - 1)));
    FactsQuery {
        days: since,
        kamaji_days: since,
        kubernetes_days: since,
        agent_days: since,
        pairs: since,
        conditions: since,
        dimensions: since,
        first_seen: since,
        last_seen: since,
        event_days: since,
        event_weeks: since,
        ..FactsQuery::new(source, through)
    }
}

/// Returns the facts with their lists in one order.
pub(super) fn sorted(facts: Facts) -> Facts {
    fn sort<T: std::fmt::Debug>(mut list: Vec<T>) -> Vec<T> {
        list.sort_by_cached_key(|fact| format!("{fact:?}"));
        list
    }
    Facts {
        first_day: facts.first_day,
        days: sort(facts.days),
        kamaji_days: sort(facts.kamaji_days),
        kubernetes_days: sort(facts.kubernetes_days),
        agent_days: sort(facts.agent_days),
        pairs: sort(facts.pairs),
        conditions: sort(facts.conditions),
        dimensions: sort(facts.dimensions),
        first_seen: sort(facts.first_seen),
        last_seen: sort(facts.last_seen),
        event_days: sort(facts.event_days),
        event_weeks: sort(facts.event_weeks),
        refusals: sort(facts.refusals),
        served_hours: sort(facts.served_hours),
    }
}

/// The control planes and the weight of some installations.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    installations: u64,
    control_planes: u64,
    weight: u64,
}

impl Sums {
    fn add(&mut self, row: &InstallationDay) {
        let total = row.report.counts.total();
        self.installations += 1;
        self.control_planes += if row.young { total.min(50) } else { total };
        self.weight += total.min(if row.young { 50 } else { 1_000 });
    }
}

fn group<'a, K: Ord>(
    rows: impl Iterator<Item = &'a InstallationDay>,
    key: impl Fn(&InstallationDay) -> Option<K>,
) -> BTreeMap<K, Sums> {
    let mut groups: BTreeMap<K, Sums> = BTreeMap::new();
    for row in rows {
        if let Some(key) = key(row) {
            groups.entry(key).or_default().add(row);
        }
    }
    groups
}

impl Model {
    /// Returns the facts of a query.
    pub(super) fn facts(&self, query: FactsQuery) -> Facts {
        let rows = RowsOfQuery { model: self, query };
        let of_source = |row: &InstallationDay| is_agents(&row.report.source) == rows.is_agents();
        let first_day = self.days.iter().find(|(_, row)| row.counts && of_source(row)).map(|((day, _), _)| *day);
        Facts {
            first_day,
            days: rows.days(),
            kamaji_days: rows.versions(|row| Some(row.report.kamaji_version)),
            kubernetes_days: rows.versions(|row| Some(row.report.kubernetes_version)),
            agent_days: rows.agent_days(),
            pairs: rows.pairs(),
            conditions: rows.conditions(),
            dimensions: rows.dimensions(),
            first_seen: rows.seen(|first, _| first),
            last_seen: rows.seen(|_, last| last),
            event_days: rows.event_days(),
            event_weeks: rows.event_weeks(),
            ..Facts::default()
        }
    }
}

/// The rows of a model that a query asks for. All of its facts begin with one day.
struct RowsOfQuery<'a> {
    model: &'a Model,
    query: FactsQuery,
}

impl<'a> RowsOfQuery<'a> {
    fn is_agents(&self) -> bool {
        self.query.source == SourceKind::Agent
    }

    fn since(&self) -> Day {
        self.query.days.unwrap()
    }

    /// Returns the rows that count of each day, and of the day after the last.
    fn of_days(&self) -> impl Iterator<Item = (Day, &'a InstallationDay)> {
        let (since, through, agents) = (self.since(), self.query.through, self.is_agents());
        let rows = self.model.days.iter().filter(move |((day, _), row)| {
            row.counts && is_agents(&row.report.source) == agents && *day >= since && *day <= through.plus(1)
        });
        rows.map(|((day, _), row)| (*day, row))
    }

    /// Returns the last row of each installation in the window, if it counts.
    fn active(&self) -> impl Iterator<Item = (Day, Uuid, &'a InstallationDay)> {
        let mut last = BTreeMap::new();
        for ((day, installation), row) in &self.model.days {
            if *day <= self.query.through {
                last.insert(*installation, (*day, row));
            }
        }
        let (since, agents) = (self.since(), self.is_agents());
        let rows = last
            .into_iter()
            .filter(move |(_, (day, row))| row.counts && is_agents(&row.report.source) == agents && *day >= since);
        rows.map(|(installation, (day, row))| (day, installation, row))
    }

    fn days(&self) -> Vec<DayFact> {
        let mut totals: BTreeMap<Day, (Sums, Totals)> = BTreeMap::new();
        for (day, row) in self.of_days() {
            let (sums, states) = totals.entry(day).or_default();
            sums.add(row);
            *states = add(*states, row.report.counts, row.young);
        }
        let fact = |(day, (Sums { installations, weight, .. }, control_planes))| DayFact {
            day,
            installations,
            control_planes,
            weight,
        };
        totals.into_iter().map(fact).collect()
    }

    fn versions<V: Copy + Ord>(&self, version: impl Fn(&InstallationDay) -> Option<V>) -> Vec<VersionFact<V>> {
        let mut facts = Vec::new();
        let days: BTreeSet<Day> = self.of_days().map(|(day, _)| day).collect();
        for day in days {
            let rows = || self.of_days().filter(|(of, _)| *of == day).map(|(_, row)| row);
            for (key, Sums { installations, weight, .. }) in group(rows(), &version) {
                let control_planes =
                    rows().filter(|row| version(row) == Some(key)).map(|row| row.report.counts.total()).sum();
                facts.push(VersionFact { day, version: key, installations, control_planes, weight });
            }
        }
        facts
    }

    fn agent_days(&self) -> Vec<VersionFact<AgentVersion>> {
        // The versions of agents have no order.
        let agents = ["0.1.0", "0.2.0"];
        let place = |row: &InstallationDay| match &row.report.source {
            Source::Agent(version) => agents.iter().position(|agent| *agent == version.to_string()),
            Source::Kamaji => None,
        };
        let fact = |VersionFact { day, version, installations, control_planes, weight }| VersionFact {
            day,
            version: AgentVersion::parse_stored(agents[version]).unwrap(),
            installations,
            control_planes,
            weight,
        };
        self.versions(place).into_iter().map(fact).collect()
    }

    fn pairs(&self) -> Vec<PairFact> {
        let rows = self.active().map(|(_, _, row)| row);
        let groups = group(rows, |row| Some((row.report.kamaji_version, row.report.kubernetes_version)));
        let fact = |((kamaji, kubernetes), Sums { installations, control_planes, weight })| PairFact {
            kamaji,
            kubernetes,
            installations,
            control_planes,
            weight,
        };
        groups.into_iter().map(fact).collect()
    }

    fn conditions(&self) -> Vec<ConditionFact> {
        let mut groups: BTreeMap<_, Sums> = BTreeMap::new();
        for (day, installation, row) in self.active() {
            let before = self.model.latest[&installation].at_the_end_of(day.minus(1));
            let lasts =
                |state: fn(&Report) -> u32| state(&row.report) > 0 && before.is_some_and(|before| state(before) > 0);
            let stuck = lasts(|report| report.counts.not_ready);
            let upgrading_long = lasts(|report| report.counts.upgrading);
            let size = SizeClass::of(row.report.counts.total());
            groups.entry((row.report.kamaji_version, size, stuck, upgrading_long)).or_default().add(row);
        }
        let fact = |((kamaji, size, stuck, upgrading_long), Sums { installations, weight, .. })| ConditionFact {
            kamaji,
            size,
            stuck,
            upgrading_long,
            installations,
            weight,
        };
        groups.into_iter().map(fact).collect()
    }

    fn dimensions(&self) -> Vec<DimensionFact> {
        let mut facts: Vec<DimensionFact> = Vec::new();
        let mut add = |part: DimensionPart, installations, count| match facts.iter_mut().find(|fact| fact.part == part)
        {
            Some(fact) => {
                fact.installations += installations;
                fact.count += count;
            }
            None => facts.push(DimensionFact { part, installations, count }),
        };
        for (_, _, row) in self.active() {
            let mut told = Vec::new();
            for (dimension, count) in &row.report.dimensions {
                let of_metric = |other: &&(_, u32)| {
                    let (other, _): &(kamaji_telemetry::backend::store::Dimension, u32) = other;
                    other.metric().name == dimension.metric().name
                };
                let all = row.report.dimensions.iter().filter(of_metric).map(|(_, count)| u64::from(*count)).sum();
                let count = weigh(*count, all, row.young);
                let is_first = !told.contains(&dimension.metric().name);
                told.push(dimension.metric().name);
                add(DimensionPart::Value(dimension.clone()), 1, count);
                add(DimensionPart::Metric(dimension.metric()), u64::from(is_first), count);
            }
        }
        facts
    }

    fn seen(&self, day: impl Fn(Hour, Hour) -> Hour) -> Vec<SeenFact> {
        let mut groups: BTreeMap<(Day, Standing), u64> = BTreeMap::new();
        for (_, row) in self.model.of_source(self.is_agents()) {
            let day = day(row.first_seen(), row.last_seen()).day();
            if day >= self.since() {
                *groups.entry((day, row.standing())).or_default() += 1;
            }
        }
        let fact = |((day, standing), installations)| SeenFact { day, standing, installations };
        groups.into_iter().map(fact).collect()
    }

    fn event_days(&self) -> Vec<EventDayFact> {
        let mut groups: BTreeMap<_, u64> = BTreeMap::new();
        for row in self.model.events(self.is_agents()) {
            let day = Hour::of(row.record.time).day();
            let (change, version) = match row.record.event {
                Event::Created { tcp_version, .. } => (EventChange::Created, tcp_version),
                Event::Deleted { tcp_version, .. } => (EventChange::Deleted, tcp_version),
                Event::Updated { old_tcp_version: old, new_tcp_version: new } if is_patch(old, new) => {
                    (EventChange::PatchUpdated, new)
                }
                Event::Updated { new_tcp_version: new, .. } => (EventChange::MinorUpdated, new),
            };
            if day >= self.since() {
                *groups.entry((day, change, version.to_minor())).or_default() += 1;
            }
        }
        let fact = |((day, change, minor), events)| EventDayFact { day, change, minor, events };
        groups.into_iter().map(fact).collect()
    }

    fn event_weeks(&self) -> Vec<EventWeekFact> {
        let mut groups: BTreeMap<(Day, EventAspect), u64> = BTreeMap::new();
        for row in self.model.events(self.is_agents()) {
            let week = Hour::of(row.record.time).day().monday();
            if week < self.since().monday() {
                continue;
            }
            let kamaji = row.record.kamaji_version;
            let mut add = |aspect| *groups.entry((week, aspect)).or_default() += 1;
            match row.record.event {
                Event::Created { tcp_version, extended } => {
                    add(EventAspect::Created { kamaji: kamaji.to_minor(), minor: tcp_version.to_minor() });
                    add(EventAspect::ClusterApi(extended.map(|extended| extended.cluster_api)));
                    let profile = extended.and_then(|extended| extended.network_profile);
                    if let Some(profile) = profile {
                        add(EventAspect::NetworkProfile(profile));
                    }
                }
                Event::Deleted { status, .. } => add(EventAspect::Deletion { kamaji, status }),
                Event::Updated { old_tcp_version: old, new_tcp_version: new } if is_patch(old, new) => {
                    add(EventAspect::PatchUpdate { kamaji, is_downgrade: old > new });
                }
                Event::Updated { old_tcp_version: old, new_tcp_version: new } => {
                    add(EventAspect::MinorUpdate { from: old.to_minor(), to: new.to_minor() });
                    add(EventAspect::Reached { kamaji: kamaji.to_minor(), minor: new.to_minor() });
                }
            }
        }
        let fact = |((week, aspect), events)| EventWeekFact { week, aspect, events };
        groups.into_iter().map(fact).collect()
    }
}

fn is_patch(old: KubernetesVersion, new: KubernetesVersion) -> bool {
    old != KubernetesVersion::Unknown && old.to_minor() == new.to_minor()
}
