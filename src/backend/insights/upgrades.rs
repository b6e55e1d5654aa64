//! The question of how control planes are upgraded.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{Versioned, Window, newest_first};
use super::health::Direction;
use super::masking::masked;
use super::statistics::quantile_of_counts;
use super::weeks::{self, Weeks};
use super::wording::{MIN_FOR_PERCENT, counted, fraction, percent, share_with_base};
use crate::backend::store::fold::{EventAspect, EventChange};
use crate::backend::store::{Day, EventDayFact, Facts, FactsQuery, SourceKind};
use crate::catalog::KubernetesMinor;

/// The events with which a minor version is sighted: one may be a test of somebody who builds it.
const MIN_SIGHTINGS: u64 = 3;

/// The weeks at the beginning of the data in which a minor version that is seen may be older than the data.
const UNSURE_WEEKS: i32 = 4;

/// The fewest updates that have quartiles.
const MIN_FOR_QUARTILES: u64 = 4;

/// The upgrades of tenant control planes, from events of the complete weeks of the window.
///
/// Paths: updates from one minor version to another, each with its share of all minor updates. One that skips a minor
/// is `coalesced`: Kamaji refuses to skip, so that the sender saw two updates as one. It also refuses to go back to an
/// older minor, so that a `downgrade` went past it. Patches: updates within a minor, up and down.
///
/// Minors: for each minor version, the days from its first sighting to the updates that reached it within the 365 days
/// up to the last complete day, as quartiles. The first sighting is the first day by which three events made a control
/// plane of that minor, or updated one to it from another minor. An update before that day has 0 days. Quartiles are
/// interpolated between the days of the updates, each counted as often as there are updates; of fewer than 4 updates
/// there are none. A minor of which an event is of the first 28 days of the data may be older than the data: it has no
/// first sighting, and no quartiles.
///
/// Events, not installations: there is no interval, and no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrades {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The window, of which the complete weeks count.
    pub window: Window,
}

/// The tables of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpgradesTable {
    /// Updates from one minor version to another.
    Path,
    /// Updates within a minor version.
    Patch,
    /// Minor versions, and the days until control planes reached them.
    Minor,
}

/// The kind of an update from one minor version to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// To the next minor, or the next major version.
    Step,
    /// Past a minor: several updates that were seen as one.
    Coalesced,
    /// To an older minor.
    Downgrade,
    /// From or to a version that is not known.
    Unknown,
}

/// A row of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct UpgradesRow {
    /// The table.
    pub table: UpgradesTable,
    /// The minor version before.
    pub from: Option<String>,
    /// The minor version after, or the one that was reached. Newest first.
    pub to: Option<String>,
    /// The kind of the update.
    pub kind: Option<PathKind>,
    /// The direction of an update within a minor.
    pub direction: Option<Direction>,
    /// The number of events; of a minor version, that of the updates that reached it in 365 days.
    pub count: u64,
    /// The number of all updates in the table, where it is counted.
    pub base: Option<u64>,
    /// `count` of `base`, from 0 to 1.
    pub share: Option<f64>,
    /// The day of the first sighting.
    pub first_sighting: Option<Date>,
    /// True if the minor version may have been in use before the data begins.
    pub before_data: Option<bool>,
    /// The first quartile of the days from the first sighting to the updates.
    pub days_lower_quartile: Option<f64>,
    /// The median of these days.
    pub days_median: Option<f64>,
    /// The third quartile of these days.
    pub days_upper_quartile: Option<f64>,
}

/// The numbers of minor updates by their ends.
type Paths = BTreeMap<(KubernetesMinor, KubernetesMinor), u64>;

impl Question for Upgrades {
    type Row = UpgradesRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let event_days = Window::Days365.first_day(through);
        let event_weeks = Weeks::of(self.window, through).first;
        let query = FactsQuery::new(self.source, through);
        vec![FactsQuery { event_days: Some(event_days), event_weeks: Some(event_weeks), ..query }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<UpgradesRow> {
        let none = Facts::default();
        let facts = masked(facts.first().unwrap_or(&none), asked.min_installations);
        let weeks = Weeks::of(self.window, asked.through());
        let paths = paths(&facts, weeks);
        let mut rows = path_rows(&paths);
        rows.extend(patch_rows(&facts, weeks));
        rows.extend(minor_rows(&facts.event_days, asked.through()));
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: Some(self.window),
            answer: sentence(&paths, weeks),
            notes: notes(weeks),
            rows,
        }
    }
}

impl PathKind {
    /// Returns the kind of an update between two different minors.
    pub fn of(from: KubernetesMinor, to: KubernetesMinor) -> Self {
        match (from, to) {
            (
                KubernetesMinor::Minor { major, minor },
                KubernetesMinor::Minor { major: new_major, minor: new_minor },
            ) => match (new_major, new_minor) {
                new if new < (major, minor) => Self::Downgrade,
                // The last minor of a major version is not known.
                _ if new_major > major || new_minor <= minor.saturating_add(1) => Self::Step,
                _ => Self::Coalesced,
            },
            _ => Self::Unknown,
        }
    }
}

impl UpgradesRow {
    fn new(table: UpgradesTable, count: u64) -> Self {
        Self {
            table,
            from: None,
            to: None,
            kind: None,
            direction: None,
            count,
            base: None,
            share: None,
            first_sighting: None,
            before_data: None,
            days_lower_quartile: None,
            days_median: None,
            days_upper_quartile: None,
        }
    }

    fn of_base(table: UpgradesTable, count: u64, base: u64) -> Self {
        Self { base: Some(base), share: fraction(count, base), ..Self::new(table, count) }
    }
}

fn paths(facts: &Facts, weeks: Weeks) -> Paths {
    let mut paths = Paths::new();
    for fact in facts.event_weeks.iter().filter(|fact| weeks.contains(fact.week)) {
        if let EventAspect::MinorUpdate { from, to } = fact.aspect {
            *paths.entry((from, to)).or_default() += fact.events;
        }
    }
    paths
}

fn path_rows(paths: &Paths) -> Vec<UpgradesRow> {
    let all = paths.values().sum();
    let mut paths: Vec<_> = paths.iter().collect();
    paths.sort_by(|((left_from, left_to), _), ((right_from, right_to), _)| {
        newest_first(left_to.place(), right_to.place()).then(newest_first(left_from.place(), right_from.place()))
    });
    let row = |(&(from, to), &count): (&(KubernetesMinor, KubernetesMinor), &u64)| UpgradesRow {
        from: Some(from.to_string()),
        to: Some(to.to_string()),
        kind: Some(PathKind::of(from, to)),
        ..UpgradesRow::of_base(UpgradesTable::Path, count, all)
    };
    paths.into_iter().map(row).collect()
}

fn patch_rows(facts: &Facts, weeks: Weeks) -> Vec<UpgradesRow> {
    let (mut up, mut down) = (0, 0);
    for fact in facts.event_weeks.iter().filter(|fact| weeks.contains(fact.week)) {
        match fact.aspect {
            EventAspect::PatchUpdate { is_downgrade: true, .. } => down += fact.events,
            EventAspect::PatchUpdate { is_downgrade: false, .. } => up += fact.events,
            _ => {}
        }
    }
    if up + down == 0 {
        return Vec::new();
    }
    let row = |(direction, count)| UpgradesRow {
        direction: Some(direction),
        ..UpgradesRow::of_base(UpgradesTable::Patch, count, up + down)
    };
    [(Direction::Up, up), (Direction::Down, down)].map(row).to_vec()
}

/// Returns a row for each known minor that is sighted, or may be older than the data.
fn minor_rows(facts: &[EventDayFact], through: Day) -> Vec<UpgradesRow> {
    let first_day = Window::Days365.first_day(through);
    let facts: Vec<_> = facts.iter().filter(|fact| fact.day >= first_day && fact.day <= through).collect();
    let Some(begin) = facts.iter().map(|fact| fact.day).min() else { return Vec::new() };
    // Days with the events that made or reached the minor, and those of them that are updates.
    let mut minors = BTreeMap::<KubernetesMinor, BTreeMap<Day, (u64, u64)>>::new();
    for fact in facts.into_iter().filter(|fact| fact.minor.place().is_some()) {
        let updates = match fact.change {
            EventChange::Created => 0,
            EventChange::MinorUpdated => fact.events,
            EventChange::PatchUpdated | EventChange::Deleted => continue,
        };
        let (events, all_updates) = minors.entry(fact.minor).or_default().entry(fact.day).or_default();
        *events += fact.events;
        *all_updates += updates;
    }
    let sure = begin.plus(UNSURE_WEEKS * weeks::DAYS);
    // The keys are ordered by their numbers.
    minors.into_iter().rev().filter_map(|(minor, days)| minor_row(minor, &days, sure)).collect()
}

fn minor_row(minor: KubernetesMinor, days: &BTreeMap<Day, (u64, u64)>, sure: Day) -> Option<UpgradesRow> {
    let is_before_data = days.keys().next().is_some_and(|first| *first < sure);
    let sighting = first_sighting(days)?;
    let of_day = |(day, (_, updates)): (&Day, &(u64, u64))| (f64::from(day.since(sighting).max(0)), *updates);
    let updates: Vec<_> = days.iter().map(of_day).collect();
    let count = updates.iter().map(|(_, updates)| updates).sum();
    let quartile = |p| if is_before_data { None } else { quartile(&updates, count, p) };
    Some(UpgradesRow {
        to: Some(minor.to_string()),
        first_sighting: (!is_before_data).then(|| sighting.date()),
        before_data: Some(is_before_data),
        days_lower_quartile: quartile(0.25),
        days_median: quartile(0.5),
        days_upper_quartile: quartile(0.75),
        ..UpgradesRow::new(UpgradesTable::Minor, count)
    })
}

/// Returns the first day by which there are enough events.
fn first_sighting(days: &BTreeMap<Day, (u64, u64)>) -> Option<Day> {
    let sums = days.iter().scan(0, |sum, (day, (events, _))| {
        *sum += events;
        Some((*day, *sum))
    });
    sums.into_iter().find(|(_, sum)| *sum >= MIN_SIGHTINGS).map(|(day, _)| day)
}

/// Returns a quantile of the days of the updates; `None` if these are too few.
fn quartile(updates: &[(f64, u64)], count: u64, p: f64) -> Option<f64> {
    if count < MIN_FOR_QUARTILES { None } else { quantile_of_counts(updates, p) }
}

fn notes(weeks: Weeks) -> Vec<String> {
    vec![
        format!("Events, not installations, of {}: one busy CI can be most of them.", weeks.text()),
        "Events come up to 30 days late, and are final after that.".to_owned(),
        "Kamaji refuses to skip a minor version, so that a jump is several updates that were seen as one (coalesced)."
            .to_owned(),
        "The quartiles of a minor version grow as long as control planes reach it.".to_owned(),
    ]
}

/// Answers in one sentence.
fn sentence(paths: &Paths, weeks: Weeks) -> String {
    let all: u64 = paths.values().sum();
    let sum =
        |kind| paths.iter().filter(|((from, to), _)| PathKind::of(*from, *to) == kind).map(|(_, events)| events).sum();
    let (steps, coalesced, down): (u64, u64, u64) =
        (sum(PathKind::Step), sum(PathKind::Coalesced), sum(PathKind::Downgrade));
    let weeks = weeks.text();
    if all == 0 {
        return format!("No control plane was updated to another minor version in {weeks}, as far as events tell.");
    }
    let most = paths.iter().max_by_key(|(_, events)| **events);
    let most =
        most.map(|((from, to), events)| format!(", most often from {from} to {to} ({})", counted(*events, "event")));
    let part = |events: u64| match events {
        0 => "none".to_owned(),
        _ if all < MIN_FOR_PERCENT => events.to_string(),
        _ => percent(events, all),
    };
    format!(
        "{} minor updates went one minor up, {} skipped one (coalesced) and {} went down in {weeks}{}; these are \
         events, not \
         installations.",
        share_with_base(steps, all),
        part(coalesced),
        part(down),
        most.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
