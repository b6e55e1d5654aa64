//! The question of what the data covers, and what it does not.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, BOTH_SOURCES, Question, source_name};
use super::away::Away;
use super::definitions::Window;
use super::masking::masked;
use super::wording::{count, counted, fraction, is_or_are};
use crate::backend::store::fold::Standing;
use crate::backend::store::{Day, Facts, FactsQuery, SeenFact, SourceKind};

/// The days before a day whose new installations say what is usual.
const USUAL_DAYS: i32 = 28;

/// The fewest new installations of an unusual day: below, a day of a small fleet is unusual by chance.
const MIN_UNUSUAL: u64 = 20;

/// The new installations of an unusual day, in medians of the days before.
const UNUSUAL_MEDIANS: u64 = 5;

/// The coverage of the data: the senders and their agents, what was refused, and when nothing could be received.
///
/// Installations are counted by the day of their last receipt and their standing at the moment of the reading, by
/// source: confirmed, not confirmed, and in bulk apart. A window holds those that were received last on one of its days
/// or on the day that is not over. Agent versions are those of the installations that are active on the last complete
/// day. Refused records are counted by day and reason. The backend was away in the hours between the first and the last
/// hour in which it served that have fewer than 30 served minutes. A day is unusual if its new installations, of any
/// standing, are 20 or more, and five times the median of the 28 days before, or more. The first 28 days of the data
/// are not judged.
///
/// Nobody can know here how many opted out, and how many have no way to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The window of refused records, hours away, and unusual days.
    pub window: Window,
}

/// The tables of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CoverageTable {
    /// Installations by source and window.
    Window,
    /// Installations by source and the time since their last receipt.
    LastSeen,
    /// Active installations by the version of their agent.
    AgentVersion,
    /// Refused records by day and reason.
    Refused,
    /// Hours in a row in which the backend was away.
    Away,
    /// Days with unusually many new installations.
    UnusualDay,
}

/// A row of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CoverageRow {
    /// The table.
    pub table: CoverageTable,
    /// The senders: `agent` or `kamaji`.
    pub source: Option<&'static str>,
    /// The window.
    pub window: Option<Window>,
    /// The days since the last receipt: `today`, `1 day`, `2–6 days` and so on.
    pub last_seen: Option<&'static str>,
    /// The version of the agent.
    pub agent_version: Option<String>,
    /// The day.
    pub day: Option<Date>,
    /// The reason of the refusal, as the metric of refused records labels it.
    pub reason: Option<String>,
    /// The beginning of the first hour away.
    pub from: Option<Timestamp>,
    /// The end of the last hour away.
    pub until: Option<Timestamp>,
    /// The number of confirmed installations.
    pub confirmed: Option<u64>,
    /// The number of installations that are not confirmed.
    pub not_confirmed: Option<u64>,
    /// The number of installations in bulk.
    pub bulk: Option<u64>,
    /// The number of active installations with an agent's version, of refused records, of hours, or of new
    /// installations.
    pub count: Option<u64>,
    /// The number of all active installations.
    pub base: Option<u64>,
    /// `count` of `base`, from 0 to 1.
    pub share: Option<f64>,
    /// The median of the new installations a day in the 28 days before an unusual one.
    pub usual: Option<f64>,
}

/// Installations by standing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByStanding {
    /// Confirmed ones.
    pub confirmed: u64,
    /// Those that are not confirmed.
    pub not_confirmed: u64,
    /// Those in bulk.
    pub bulk: u64,
}

/// A day whose new installations are unusually many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UnusualDay {
    /// The day.
    pub day: Day,
    /// Its new installations.
    pub new: u64,
    /// The median of the new installations a day in the 28 days before.
    pub usual: f64,
}

/// Classes of the time since the last receipt, by their first day before today; each ends where the next one begins.
const LAST_SEEN: [(i32, &str); 6] =
    [(0, "today"), (1, "1 day"), (2, "2–6 days"), (7, "7–29 days"), (30, "30–89 days"), (90, "90 days or more")];

impl Question for Coverage {
    type Row = CoverageRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let all_days = Some(Day::from_number(0));
        // These have three rows a day at most, one of each standing.
        let of = |source| FactsQuery { first_seen: all_days, last_seen: all_days, ..FactsQuery::new(source, through) };
        let agent = FactsQuery {
            agent_days: Some(through),
            // An absence that began before the window is seen by the hour before it.
            operations: Some(Window::Days365.first_day(through)),
            ..of(SourceKind::Agent)
        };
        vec![agent, of(SourceKind::Kamaji)]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<CoverageRow> {
        let none = Facts::default();
        let agent = masked(facts.first().unwrap_or(&none), asked.min_installations);
        let sources = [(SourceKind::Agent, &*agent), (SourceKind::Kamaji, facts.get(1).unwrap_or(&none))];
        let mut rows = Vec::new();
        for (source, facts) in sources {
            rows.extend(Window::ALL.map(|window| window_row(source, window, &facts.last_seen, asked)));
        }
        for (source, facts) in sources {
            rows.extend(last_seen_rows(source, &facts.last_seen, asked.today()));
        }
        rows.extend(agent_version_rows(&agent, asked.through()));
        rows.extend(self.refused_rows(&agent, asked));
        rows.extend(self.away_rows(&agent, asked));
        for (source, facts) in sources {
            let days = unusual_days(&facts.first_seen, self.window.first_day(asked.through()), asked.through());
            rows.extend(days.into_iter().map(|day| unusual_row(source, day)));
        }
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: BOTH_SOURCES,
            window: Some(self.window),
            answer: self.sentence(&rows),
            notes: notes(),
            rows,
        }
    }
}

impl CoverageRow {
    const fn new(table: CoverageTable) -> Self {
        Self {
            table,
            source: None,
            window: None,
            last_seen: None,
            agent_version: None,
            day: None,
            reason: None,
            from: None,
            until: None,
            confirmed: None,
            not_confirmed: None,
            bulk: None,
            count: None,
            base: None,
            share: None,
            usual: None,
        }
    }

    fn of_source(table: CoverageTable, source: SourceKind, sums: ByStanding) -> Self {
        let ByStanding { confirmed, not_confirmed, bulk } = sums;
        Self {
            source: Some(source_name(source)),
            confirmed: Some(confirmed),
            not_confirmed: Some(not_confirmed),
            bulk: Some(bulk),
            ..Self::new(table)
        }
    }
}

impl ByStanding {
    /// Sums up the installations of the days that are meant.
    pub fn sum(facts: &[SeenFact], is_meant: impl Fn(Day) -> bool) -> Self {
        let mut sums = Self::default();
        for fact in facts.iter().filter(|fact| is_meant(fact.day)) {
            let sum = match fact.standing {
                Standing::Confirmed => &mut sums.confirmed,
                Standing::NotConfirmed => &mut sums.not_confirmed,
                Standing::Bulk => &mut sums.bulk,
            };
            *sum += fact.installations;
        }
        sums
    }

    /// Returns the sum of all.
    pub const fn total(self) -> u64 {
        self.confirmed + self.not_confirmed + self.bulk
    }
}

fn window_row(source: SourceKind, window: Window, last_seen: &[SeenFact], asked: Asked) -> CoverageRow {
    let first = window.first_day(asked.through());
    let sums = ByStanding::sum(last_seen, |day| day >= first);
    CoverageRow { window: Some(window), ..CoverageRow::of_source(CoverageTable::Window, source, sums) }
}

fn last_seen_rows(source: SourceKind, last_seen: &[SeenFact], today: Day) -> impl Iterator<Item = CoverageRow> {
    let class = move |day: Day| LAST_SEEN.iter().rposition(|(first, _)| today.since(day) >= *first).unwrap_or_default();
    LAST_SEEN.iter().enumerate().map(move |(position, (_, label))| CoverageRow {
        last_seen: Some(*label),
        ..CoverageRow::of_source(
            CoverageTable::LastSeen,
            source,
            ByStanding::sum(last_seen, |day| class(day) == position),
        )
    })
}

/// Returns the agents' versions of the last complete day, the most frequent first.
fn agent_version_rows(facts: &Facts, through: Day) -> Vec<CoverageRow> {
    let mut versions: Vec<_> = facts.agent_days.iter().filter(|fact| fact.day == through).collect();
    versions.sort_by_key(|fact| (std::cmp::Reverse(fact.installations), fact.version.to_string()));
    let base = versions.iter().map(|fact| fact.installations).sum();
    let row = |(version, installations): (String, u64)| CoverageRow {
        agent_version: Some(version),
        day: Some(through.date()),
        count: Some(installations),
        base: Some(base),
        share: fraction(installations, base),
        ..CoverageRow::new(CoverageTable::AgentVersion)
    };
    versions.into_iter().map(|fact| row((fact.version.to_string(), fact.installations))).collect()
}

fn unusual_row(source: SourceKind, unusual: UnusualDay) -> CoverageRow {
    let UnusualDay { day, new, usual } = unusual;
    CoverageRow {
        source: Some(source_name(source)),
        day: Some(day.date()),
        count: Some(new),
        usual: Some(usual),
        ..CoverageRow::new(CoverageTable::UnusualDay)
    }
}

/// Returns the unusual days from `first` to `last`. `first_seen` is from the beginning of the data, and the first 28
/// days of it are not judged; a later day without a fact has no new installation.
pub fn unusual_days(first_seen: &[SeenFact], first: Day, last: Day) -> Vec<UnusualDay> {
    let mut new = HashMap::<Day, u64>::new();
    for fact in first_seen {
        *new.entry(fact.day).or_default() += fact.installations;
    }
    let of = |day: Day| new.get(&day).copied().unwrap_or_default();
    let mut days: Vec<_> = new.keys().copied().filter(|day| (first..=last).contains(day)).collect();
    days.sort_unstable();
    let begin = new.keys().min().map(|begin| begin.plus(USUAL_DAYS));
    let unusual = |day: Day| {
        let twice_usual = twice_median((1..=USUAL_DAYS).map(|days| of(day.minus(days))).collect());
        let is_unusual =
            of(day) >= MIN_UNUSUAL && of(day).saturating_mul(2) >= twice_usual.saturating_mul(UNUSUAL_MEDIANS);
        // A half of a whole number. The fraction of 2 is never `None`.
        is_unusual.then(|| UnusualDay { day, new: of(day), usual: fraction(twice_usual, 2).unwrap_or_default() })
    };
    days.into_iter().filter(|day| Some(*day) >= begin).filter_map(unusual).collect()
}

/// Returns twice the median, which is a whole number: of an even number of values the median is the mean of the middle
/// two.
fn twice_median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let middle = |position: usize| values.get(position).copied().unwrap_or_default();
    middle(values.len().saturating_sub(1) / 2).saturating_add(middle(values.len() / 2))
}

impl Coverage {
    fn refused_rows(self, facts: &Facts, asked: Asked) -> Vec<CoverageRow> {
        let first = self.window.first_day(asked.through());
        let mut sums = BTreeMap::<(Day, &str), u64>::new();
        for fact in facts.refusals.iter().filter(|fact| fact.day >= first) {
            *sums.entry((fact.day, &fact.reason)).or_default() += fact.records;
        }
        let row = |((day, reason), records): ((Day, &str), u64)| CoverageRow {
            day: Some(day.date()),
            reason: Some(reason.to_owned()),
            count: Some(records),
            ..CoverageRow::new(CoverageTable::Refused)
        };
        sums.into_iter().map(row).collect()
    }

    fn away_rows(self, facts: &Facts, asked: Asked) -> Vec<CoverageRow> {
        let begin = self.window.first_day(asked.through()).first_hour();
        let within = |away: Away| Away { first: away.first.max(begin), ..away };
        let row = |away: Away| CoverageRow {
            from: Some(away.from()),
            until: Some(away.until()),
            count: u64::try_from(away.hours()).ok(),
            ..CoverageRow::new(CoverageTable::Away)
        };
        let away = Away::between(&facts.served_hours).into_iter().filter(|away| away.last >= begin);
        away.map(within).map(row).collect()
    }

    /// Answers in one sentence.
    fn sentence(self, rows: &[CoverageRow]) -> String {
        let of = |source| {
            let is_meant =
                |row: &&CoverageRow| row.window == Some(self.window) && row.source == Some(source_name(source));
            let row = rows.iter().find(is_meant);
            let number = |number: Option<u64>| number.unwrap_or_default();
            row.map_or((0, 0), |row| (number(row.confirmed), number(row.not_confirmed) + number(row.bulk)))
        };
        let ((agents, apart), (built_in, built_in_apart)) = (of(SourceKind::Agent), of(SourceKind::Kamaji));
        if agents + apart + built_in + built_in_apart == 0 {
            let days = self.window.days();
            return format!("No installation was received in {days} days; how many opted out is not known.");
        }
        let away: u64 = rows.iter().filter(|row| row.table == CoverageTable::Away).filter_map(|row| row.count).sum();
        let unusual = rows.iter().filter(|row| row.table == CoverageTable::UnusualDay).count();
        let unusual = u64::try_from(unusual).unwrap_or(u64::MAX);
        let away =
            if away == 0 { "was never away".to_owned() } else { format!("was away for {}", counted(away, "hour")) };
        let unusual = if unusual == 0 { "no day".to_owned() } else { counted(unusual, "day") };
        format!(
            "In {} days {} of agents {} received, and {} of Kamaji's built-in telemetry, with {} more that {} not \
             confirmed or in bulk; the backend {away}, and {unusual} had unusually many new installations; how many \
             opted out is not known.",
            self.window.days(),
            counted(agents, "confirmed installation"),
            if agents == 1 { "was" } else { "were" },
            count(built_in),
            count(apart + built_in_apart),
            is_or_are(apart + built_in_apart),
        )
    }
}

fn notes() -> Vec<String> {
    [
        "Not known: how many opted out, how many have no way to send, and how many installations of Kamaji there \
         are.",
        "An installation may run both an agent and Kamaji's built-in telemetry: the sources are not to be added up.",
        "Installations have the standing that they have today; those received today are in each window.",
        "Refused records tell no sender: one that is misconfigured can be all of them.",
        "In the hours in which the backend was away nothing was received; agents send their events later.",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests;
