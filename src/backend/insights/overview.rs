//! The overview of all installations, with the four answers.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::coverage::ByStanding;
use super::definitions::{By, Component, Window};
use super::deprecation::Deprecation;
use super::health::Health;
use super::test_matrix::{Cover, MatrixWindow, TestMatrix};
use super::weeks::{self, Weeks};
use super::wording::{count, counted, fraction, is_or_are, share_text};
use crate::backend::store::fold::{EventAspect, SizeClass};
use crate::backend::store::{ConditionFact, Day, DayFact, Facts, FactsQuery, SourceKind, Totals};

/// The days after which an installation that was active is gone.
const GONE_DAYS: i32 = 30;

/// The number of active installations, their growth and their sizes, and the four answers of what to build, test, fix
/// and deprecate.
///
/// Active in 7 and in 30 days: up to the last complete day. Active today: confirmed and received on the day that is not
/// over. Beside them stand, by their standing at the moment of the reading, those not confirmed and those in bulk, by
/// the day of their last receipt; there a period includes the day that is not over. Growth: the confirmed ones received
/// on the last complete day against 7 and 30 days before it; a day on which none was received is not compared.
///
/// For each complete week of the window: the installations whose first receipt is in it, by their standing at the
/// moment of the reading, and those gone: confirmed, and last received 30 days before one of its days. Sizes: those
/// active in 30 days by their control planes. States: the control planes of those received on the last complete day.
/// Events by kind and complete week: events, not installations.
///
/// The answers are those of the questions `test-matrix`, `health` and `deprecation` (of Kubernetes), with their
/// defaults otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetOverview {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The window of days and weeks. Sizes are of 30 days, since sizes by day and next day are too many for longer ones.
    pub window: Window,
    /// The unit of the sizes.
    pub by: By,
}

/// The tables of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverviewTable {
    /// The four answers.
    Answer,
    /// Active installations today, in 7 and in 30 days.
    Active,
    /// The last complete day against 7 and 30 days before it.
    Growth,
    /// New and gone installations by complete week.
    Week,
    /// Installations active in 30 days, by size.
    Size,
    /// Control planes by state on the last complete day.
    State,
    /// Events by kind and complete week.
    Event,
    /// Confirmed installations received on each day of the window, and on the day that is not over.
    Day,
}

/// A decision of Kamaji's maintainers, which an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Features to build first.
    Build,
    /// Versions to test automatically.
    Test,
    /// Releases to fix.
    Fix,
    /// Versions to deprecate.
    Deprecate,
}

/// A row of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OverviewRow {
    /// The table.
    pub table: OverviewTable,
    /// The decision that an answer is for.
    pub question: Option<Decision>,
    /// The answer in one sentence.
    pub sentence: Option<String>,
    /// The path of the page with the reasons.
    pub link: Option<&'static str>,
    /// The period: `today`, `7d` or `30d`.
    pub period: Option<&'static str>,
    /// The day; of growth, the one that is compared with.
    pub day: Option<Date>,
    /// The Monday of the week.
    pub week: Option<Date>,
    /// True if the day is not over.
    pub partial: Option<bool>,
    /// The class of sizes, in control planes.
    pub size: Option<&'static str>,
    /// The state: `running`, `sleeping`, `not_ready`, `upgrading`, or `left_out` of those that young installations have
    /// beyond 50.
    pub state: Option<&'static str>,
    /// The kind of event: `created`, `minor_updated`, `patch_updated` or `deleted`.
    pub event: Option<&'static str>,
    /// The number of confirmed installations: active in the period, received on the day, or received first in the week.
    pub installations: Option<u64>,
    /// The number of installations that are not confirmed.
    pub not_confirmed: Option<u64>,
    /// The number of installations in bulk.
    pub bulk: Option<u64>,
    /// The number of confirmed installations that are gone in the week.
    pub gone: Option<u64>,
    /// The number of confirmed installations on the day that is compared with.
    pub before: Option<u64>,
    /// `installations` less `before`.
    pub difference: Option<i64>,
    /// The number of control planes of the installations received on the day.
    pub control_planes: Option<u64>,
    /// The number of installations (or their weight) of the size, of control planes in the state, or of events.
    pub count: Option<u64>,
    /// The number of all of them in the table; of events, of the week.
    pub base: Option<u64>,
    /// `count` of `base`, from 0 to 1.
    pub share: Option<f64>,
}

/// The facts of each part of the overview.
struct Parts<'a> {
    main: &'a Facts,
    week: &'a [Facts],
    test: &'a [Facts],
    deprecate: &'a [Facts],
}

impl Question for FleetOverview {
    type Row = OverviewRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let mut queries = vec![self.main_query(through)];
        queries.extend(self.week_queries(through));
        queries.extend(self.test_matrix().queries(through));
        queries.extend(self.deprecation().queries(through));
        queries
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<OverviewRow> {
        let none = Facts::default();
        let parts = self.parts(facts, &none, asked.through());
        let build = build(&parts, asked);
        let mut rows = self.answers(&build, &parts, asked);
        rows.extend(active_rows(&parts, asked));
        rows.extend(growth_rows(&parts.main.days, asked.through()));
        rows.extend(self.week_rows(parts.main, asked.through()));
        rows.extend(size_rows(&parts.main.conditions, self.by));
        rows.extend(state_rows(on_day(&parts.main.days, asked.through())));
        rows.extend(event_rows(parts.main, Weeks::of(self.window, asked.through())));
        rows.extend(self.day_rows(&parts.main.days, asked));
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: Some(self.window),
            answer: build,
            notes: self.notes(asked.through()),
            rows,
        }
    }
}

impl FleetOverview {
    fn test_matrix(self) -> TestMatrix {
        let (window, cover) = (MatrixWindow::default(), Cover::default());
        TestMatrix { source: self.source, window, by: By::default(), cover }
    }

    fn deprecation(self) -> Deprecation {
        Deprecation { source: self.source, by: By::default(), component: Component::Kubernetes }
    }

    /// Returns the question of health; `None` for a source that can't tell.
    fn health(self) -> Option<Health> {
        (self.source == SourceKind::Agent).then_some(Health { window: Window::Days30 })
    }

    fn main_query(self, through: Day) -> FactsQuery {
        let weeks = Weeks::of(self.window, through);
        let month = Window::Days30.first_day(through);
        let window = self.window.first_day(through);
        FactsQuery {
            // Growth looks back 30 days from the last day, which is one more than the window of 30 days has.
            days: Some(window.min(through.minus(GONE_DAYS))),
            conditions: Some(month),
            first_seen: Some(weeks.first),
            last_seen: Some(month.min(weeks.first.minus(GONE_DAYS))),
            event_weeks: Some(weeks.first),
            ..FactsQuery::new(self.source, through)
        }
    }

    /// Returns the queries of health, which reads those active in 7 days as well.
    fn week_queries(self, through: Day) -> Vec<FactsQuery> {
        let conditions = Some(Window::Days7.first_day(through));
        let active = || vec![FactsQuery { conditions, ..FactsQuery::new(self.source, through) }];
        self.health().map_or_else(active, |health| health.queries(through))
    }

    /// Divides the facts as [`FleetOverview::queries`] asks for them.
    fn parts<'a>(self, facts: &'a [Facts], none: &'a Facts, through: Day) -> Parts<'a> {
        let mut rest = facts;
        let mut next = |number: usize| {
            let (part, after) = rest.split_at_checked(number).unwrap_or((rest, &[]));
            rest = after;
            part
        };
        let main = next(1).first().unwrap_or(none);
        let week = next(self.week_queries(through).len());
        Parts {
            main,
            week,
            test: next(self.test_matrix().queries(through).len()),
            deprecate: next(self.deprecation().queries(through).len()),
        }
    }

    fn answers(self, build: &str, parts: &Parts<'_>, asked: Asked) -> Vec<OverviewRow> {
        let fix = self.health().map_or_else(
            || {
                "Kamaji's built-in telemetry can't tell which release to fix: it counts control planes that are being \
                 made or \
                 do not work as running."
                    .to_owned()
            },
            |health| health.answer(parts.week, asked).answer,
        );
        let test = self.test_matrix().answer(parts.test, asked).answer;
        let deprecate = self.deprecation().answer(parts.deprecate, asked).answer;
        [
            (Decision::Build, build.to_owned(), "/insights/features"),
            (Decision::Test, test, "/insights/test-matrix"),
            (Decision::Fix, fix, "/insights/health"),
            (Decision::Deprecate, deprecate, "/insights/deprecation?component=kubernetes"),
        ]
        .map(|(decision, sentence, link)| OverviewRow {
            question: Some(decision),
            sentence: Some(sentence),
            link: Some(link),
            ..OverviewRow::new(OverviewTable::Answer)
        })
        .to_vec()
    }

    fn week_rows(self, facts: &Facts, through: Day) -> impl Iterator<Item = OverviewRow> {
        let row = move |monday: Day| {
            let sunday = monday.plus(weeks::DAYS - 1);
            let week = monday..=sunday;
            let new = ByStanding::sum(&facts.first_seen, |day| week.contains(&day));
            let gone = ByStanding::sum(&facts.last_seen, |day| week.contains(&day.plus(GONE_DAYS)));
            OverviewRow {
                week: Some(monday.date()),
                installations: Some(new.confirmed),
                not_confirmed: Some(new.not_confirmed),
                bulk: Some(new.bulk),
                gone: Some(gone.confirmed),
                ..OverviewRow::new(OverviewTable::Week)
            }
        };
        Weeks::of(self.window, through).mondays().map(row)
    }

    /// Returns a row for each day since the first one with an installation, also where there is none.
    fn day_rows(self, days: &[DayFact], asked: Asked) -> Vec<OverviewRow> {
        let (today, first) = (asked.today(), self.window.first_day(asked.through()));
        let facts: BTreeMap<_, _> = days.iter().map(|fact| (fact.day, fact)).collect();
        let Some(begin) = facts.keys().find(|day| **day >= first && **day <= today).copied() else { return Vec::new() };
        let row = |day: Day| {
            let fact = facts.get(&day);
            OverviewRow {
                day: Some(day.date()),
                partial: Some(day == today),
                installations: Some(fact.map_or(0, |fact| fact.installations)),
                control_planes: Some(fact.map_or(0, |fact| fact.control_planes.with_left_out())),
                ..OverviewRow::new(OverviewTable::Day)
            }
        };
        (0..=today.since(begin)).map(|days| row(begin.plus(days))).collect()
    }

    fn notes(self, through: Day) -> Vec<String> {
        let weeks = Weeks::of(self.window, through).text();
        let mut notes =
            vec![
            format!("Today is not over: it is shown apart, and nothing is compared with it. The last complete day is \
                     {}.", through.date()),
            format!("New and gone installations and events: of {weeks}. Those first received in the last days may \
                     still be confirmed, and one that is received again is no longer gone."),
            "Events, not installations: nothing ties an event to an installation. They come up to 30 days late, and \
             are final after that.".to_owned(),
        ];
        if self.by == By::ControlPlanes {
            notes.push("Sizes are weighed by control planes: 1,000 at most of each installation.".to_owned());
        }
        notes
    }
}

impl OverviewRow {
    const fn new(table: OverviewTable) -> Self {
        Self {
            table,
            question: None,
            sentence: None,
            link: None,
            period: None,
            day: None,
            week: None,
            partial: None,
            size: None,
            state: None,
            event: None,
            installations: None,
            not_confirmed: None,
            bulk: None,
            gone: None,
            before: None,
            difference: None,
            control_planes: None,
            count: None,
            base: None,
            share: None,
        }
    }

    fn part(table: OverviewTable, count: u64, base: u64) -> Self {
        Self { count: Some(count), base: Some(base), share: fraction(count, base), ..Self::new(table) }
    }
}

fn installations(conditions: &[ConditionFact]) -> u64 {
    conditions.iter().map(|fact| fact.installations).sum()
}

fn on_day(days: &[DayFact], day: Day) -> Option<&DayFact> {
    days.iter().find(|fact| fact.day == day)
}

/// Answers in one sentence how many there are, how they grow, and how large they are.
fn build(parts: &Parts<'_>, asked: Asked) -> String {
    let active = installations(&parts.main.conditions);
    let apart = ByStanding::sum(&parts.main.last_seen, |day| day >= Window::Days30.first_day(asked.through()));
    let apart = apart.not_confirmed + apart.bulk;
    let apart_are = format!("{} more {} not confirmed or in bulk", count(apart), is_or_are(apart));
    match active {
        0 => format!(
            "No installation is active in 30 days, which takes receipts on two days, at least 20 hours apart; \
             {apart_are}."
        ),
        1 => format!("1 installation is active in 30 days, too few to say more; {apart_are}."),
        _ => {
            let growth = growth(&parts.main.days, asked.through());
            let size = sizes(&parts.main.conditions).unwrap_or_default();
            format!("{} are active in 30 days{growth}{size}; {apart_are}.", counted(active, "installation"))
        }
    }
}

fn active_rows(parts: &Parts<'_>, asked: Asked) -> [OverviewRow; 3] {
    let (today, through) = (asked.today(), asked.through());
    let row = |period, first: Day, active, day: Day| {
        let apart = ByStanding::sum(&parts.main.last_seen, |day| day >= first);
        OverviewRow {
            period: Some(period),
            day: Some(day.date()),
            partial: Some(day == today),
            installations: Some(active),
            not_confirmed: Some(apart.not_confirmed),
            bulk: Some(apart.bulk),
            ..OverviewRow::new(OverviewTable::Active)
        }
    };
    let active_today = on_day(&parts.main.days, today).map_or(0, |fact| fact.installations);
    let in_week = parts.week.first().map_or(0, |facts| installations(&facts.conditions));
    let in_month = installations(&parts.main.conditions);
    [
        row("today", today, active_today, today),
        row(Window::Days7.as_str(), Window::Days7.first_day(through), in_week, through),
        row(Window::Days30.as_str(), Window::Days30.first_day(through), in_month, through),
    ]
}

fn growth_rows(days: &[DayFact], through: Day) -> impl Iterator<Item = OverviewRow> {
    let last = on_day(days, through).map(|fact| fact.installations);
    [Window::Days7, Window::Days30].into_iter().map(move |window| {
        let day = through.minus(window.days());
        let before = on_day(days, day).map(|fact| fact.installations);
        OverviewRow {
            period: Some(window.as_str()),
            day: Some(day.date()),
            installations: last,
            before,
            difference: last.zip(before).map(|(last, before)| last.cast_signed().saturating_sub(before.cast_signed())),
            ..OverviewRow::new(OverviewTable::Growth)
        }
    })
}

/// Says how many were received on the last complete day, against 30 days before it.
fn growth(days: &[DayFact], through: Day) -> String {
    let on = |day| on_day(days, day).map(|fact| fact.installations);
    let Some(last) = on(through) else { return String::new() };
    let day = through.date();
    match on(through.minus(Window::Days30.days())) {
        None => format!(", and {} were received on {day}, with no data of 30 days before", count(last)),
        Some(before) if before == last => {
            format!(", and {} were received on {day}, as many as 30 days before", count(last))
        }
        Some(before) => {
            let more_or_fewer = if last > before { "more" } else { "fewer" };
            let difference = count(last.abs_diff(before));
            format!(", and {} were received on {day}, {difference} {more_or_fewer} than 30 days before", count(last))
        }
    }
}

/// Says how many installations are of the sizes up to the one that holds the median.
fn sizes(conditions: &[ConditionFact]) -> Option<String> {
    let all = installations(conditions);
    let up_to = |size: SizeClass| -> u64 {
        conditions.iter().filter(|fact| fact.size <= size).map(|fact| fact.installations).sum()
    };
    let median = SizeClass::ALL.into_iter().find(|size| all > 0 && up_to(*size) >= all.div_ceil(2))?;
    let (part, words) = match median {
        SizeClass::None => (up_to(median), "no control plane"),
        SizeClass::One => (up_to(median), "one control plane or none"),
        SizeClass::UpTo5 => (up_to(median), "5 control planes or fewer"),
        SizeClass::UpTo20 => (up_to(median), "20 control planes or fewer"),
        SizeClass::UpTo100 => (up_to(median), "100 control planes or fewer"),
        SizeClass::UpTo1000 => (up_to(median), "1,000 control planes or fewer"),
        SizeClass::Larger => (all - up_to(SizeClass::UpTo1000), "more than 1,000 control planes"),
    };
    let part = if part == all { "all".to_owned() } else { share_text(part, all) };
    Some(format!("; {part} have {words}"))
}

/// Returns a row for each size, smallest first, also where there is none.
fn size_rows(conditions: &[ConditionFact], by: By) -> Vec<OverviewRow> {
    let sum = |is_meant: &dyn Fn(SizeClass) -> bool| {
        let meant = conditions.iter().filter(|fact| is_meant(fact.size));
        meant.map(|fact| by.of(fact.installations, fact.weight)).sum()
    };
    let base = sum(&|_| true);
    let row = |size: SizeClass| OverviewRow {
        size: Some(size.label()),
        ..OverviewRow::part(OverviewTable::Size, sum(&|other| other == size), base)
    };
    SizeClass::ALL.map(row).to_vec()
}

fn state_rows(fact: Option<&DayFact>) -> Vec<OverviewRow> {
    let Some(DayFact { control_planes: totals, .. }) = fact else { return Vec::new() };
    let Totals { running, sleeping, not_ready, upgrading, left_out } = *totals;
    let row = |(state, count)| OverviewRow {
        state: Some(state),
        ..OverviewRow::part(OverviewTable::State, count, totals.with_left_out())
    };
    let states = [("running", running), ("sleeping", sleeping), ("not_ready", not_ready), ("upgrading", upgrading)];
    states.into_iter().chain([("left_out", left_out)]).map(row).collect()
}

/// The kinds of events, as answers name them.
const EVENTS: [&str; 4] = ["created", "minor_updated", "patch_updated", "deleted"];

/// Returns the kind of the events that an aspect counts; `None` if another aspect counts them as well.
const fn event_kind(aspect: EventAspect) -> Option<usize> {
    match aspect {
        EventAspect::Created { .. } => Some(0),
        EventAspect::MinorUpdate { .. } => Some(1),
        EventAspect::PatchUpdate { .. } => Some(2),
        EventAspect::Deletion { .. } => Some(3),
        EventAspect::Reached { .. } | EventAspect::ClusterApi(_) | EventAspect::NetworkProfile(_) => None,
    }
}

/// Returns a row for each week and kind, also where there is none.
fn event_rows(facts: &Facts, weeks: Weeks) -> Vec<OverviewRow> {
    let mut sums = BTreeMap::<Day, [u64; EVENTS.len()]>::new();
    for fact in &facts.event_weeks {
        if let Some(sum) = event_kind(fact.aspect).and_then(|kind| sums.entry(fact.week).or_default().get_mut(kind)) {
            *sum += fact.events;
        }
    }
    let rows = |monday: Day| {
        let kinds = sums.get(&monday).copied().unwrap_or_default();
        let base = kinds.iter().sum();
        EVENTS.into_iter().zip(kinds).map(move |(event, count)| OverviewRow {
            week: Some(monday.date()),
            event: Some(event),
            ..OverviewRow::part(OverviewTable::Event, count, base)
        })
    };
    weeks.mondays().flat_map(rows).collect()
}

#[cfg(test)]
mod tests;
