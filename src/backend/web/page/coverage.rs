//! The page of what the data covers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::ToSpan;
use jiff::civil::Date;
use maud::html;

use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::coverage::{CoverageRow, CoverageTable};
use crate::backend::insights::wording::{count, share_text};
use crate::backend::web::chart::{self, Outage, Ramp, TimeChart, TimePoint, TimeStep, Unit, Value, fold_older};
use crate::backend::web::format::minute;

/// The days with refused records in the table at most: two weeks.
const MAX_DAYS: usize = 14;

/// The reasons that the chart shows by themselves.
const MAX_REASONS: usize = 4;

/// Returns the content of the page.
pub(super) fn coverage(answer: &Answer<CoverageRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    let (windows, refused) = (rows(CoverageTable::Window), rows(CoverageTable::Refused));
    let last_seen = rows(CoverageTable::LastSeen);
    let is_nobody =
        |row: &&CoverageRow| [row.confirmed, row.not_confirmed, row.bulk].into_iter().flatten().sum::<u64>() == 0;
    if last_seen.iter().all(is_nobody) && refused.is_empty() {
        return view.empty(&answer.answer);
    }
    let refusals = (!refused.is_empty()).then(|| refusal_chart(&refused, answer.data_through, view));
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: html! {
            (by_standing("Installations by source and window", "Received in", &windows, window_name).render())
            @if let Some(refusals) = refusals { section.panel { (chart::time_chart(&refusals)) } }
        },
        notes: answer.notes.clone(),
        tables: vec![
            by_standing("Last receipt", "Days ago", &last_seen, |row| row.last_seen.unwrap_or_default().to_owned()),
            agent_versions(&rows(CoverageTable::AgentVersion)),
            refused_table(&refused),
            away(&rows(CoverageTable::Away)),
            unusual(&rows(CoverageTable::UnusualDay)),
        ],
    }
}

/// Returns the times at which the backend was away, as charts shade them.
pub(in crate::backend::web) fn outages(answer: &Answer<CoverageRow>) -> Vec<Outage> {
    let outage = |row: &CoverageRow| {
        let (from, until) = (row.from?, row.until?);
        Some(Outage { from, until, label: format!("The backend was away from {} to {}.", minute(from), minute(until)) })
    };
    answer.rows.iter().filter_map(outage).collect()
}

fn source_name(row: &CoverageRow) -> &'static str {
    match row.source {
        Some("kamaji") => "Kamaji's built-in telemetry",
        _ => "This project's agent",
    }
}

fn window_name(row: &CoverageRow) -> String {
    row.window.map(|window| format!("{} days", window.days())).unwrap_or_default()
}

fn by_standing(caption: &str, column: &str, rows: &[&CoverageRow], name: impl Fn(&CoverageRow) -> String) -> Table {
    let row = |row: &&CoverageRow| {
        let numbers = [row.confirmed, row.not_confirmed, row.bulk].map(cells::optional_count);
        [Cell::new(source_name(row)), Cell::new(name(row))].into_iter().chain(numbers).collect()
    };
    Table {
        caption: caption.to_owned(),
        note: "an installation may run both: the sources are not to be added up".to_owned(),
        columns: vec![
            Column::text("Source"),
            Column::text(column),
            Column::number("Confirmed"),
            Column::number("Not confirmed"),
            Column::number("In bulk"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

/// Returns the records that were refused by day and reason. A day without a row had none, unless the backend was away.
fn refusal_chart(rows: &[&CoverageRow], through: Date, view: &QuestionView) -> TimeChart {
    let mut days = BTreeMap::<Date, BTreeMap<&str, u64>>::new();
    let mut sums = BTreeMap::<&str, u64>::new();
    for row in rows {
        if let (Some(day), Some(reason), Some(records)) = (row.day, row.reason.as_deref(), row.count) {
            *days.entry(day).or_default().entry(reason).or_default() += records;
            *sums.entry(reason).or_default() += records;
        }
    }
    let mut reasons: Vec<_> = sums.into_iter().collect();
    reasons.sort_by_key(|(reason, records)| (std::cmp::Reverse(*records), *reason));
    let first = through.saturating_sub((view.parameters.window.days() - 1).days());
    let last = days.keys().next_back().copied().unwrap_or(through).max(through);
    let dates: Vec<_> = first.series(1.day()).take_while(|date| *date <= last).collect();
    let value = |date: &Date, reason: &str| {
        let records = days.get(date).and_then(|reasons| reasons.get(reason)).copied();
        let is_away = view.outages.iter().any(|outage| outage.covers(*date));
        records.or((!is_away).then_some(0)).map(Value::Count)
    };
    let series = |(reason, _): &(&str, u64)| {
        ((*reason).to_owned(), dates.iter().map(|date| value(date, reason)).collect::<Vec<_>>())
    };
    let series = reasons.iter().map(series).collect();
    TimeChart {
        id: "refused",
        title: "Refused records by day and reason".to_owned(),
        description: "The points, events and whole requests that were refused on each UTC day, by reason.".to_owned(),
        step: TimeStep::Day,
        unit: Unit::Count,
        stacked: true,
        points: dates.iter().map(|date| TimePoint { date: *date, partial: *date > through }).collect(),
        series: fold_older(series, Ramp::Stable, MAX_REASONS, "others"),
        outages: view.outages.clone(),
        marks: Vec::new(),
    }
}

fn refused_table(rows: &[&CoverageRow]) -> Table {
    let reasons: BTreeSet<_> = rows.iter().filter_map(|row| row.reason.as_deref()).collect();
    let days: Vec<_> = rows.chunk_by(|one, next| one.day == next.day).collect();
    let row = |day: &&[&CoverageRow]| {
        let of = |reason: &&str| {
            let row = day.iter().find(|row| row.reason.as_deref() == Some(*reason));
            row.map_or_else(cells::none, |row| cells::optional_count(row.count))
        };
        let date = cells::date(day.first().and_then(|row| row.day));
        std::iter::once(date).chain(reasons.iter().map(of)).collect()
    };
    let note = match days.len() {
        all if all > MAX_DAYS => format!("records; the newest {MAX_DAYS} of {all} days"),
        _ => "records; what was sent again was counted again".to_owned(),
    };
    let columns = reasons.iter().map(|reason| Column::number(reason.replace('_', " ")));
    Table {
        caption: "Refused by day and reason".to_owned(),
        note,
        columns: std::iter::once(Column::text("Day")).chain(columns).collect(),
        rows: days.iter().rev().take(MAX_DAYS).map(row).collect(),
        is_matrix: false,
    }
}

fn agent_versions(rows: &[&CoverageRow]) -> Table {
    let row = |row: &&CoverageRow| {
        let (number, base) = (row.count.unwrap_or_default(), row.base.unwrap_or_default());
        vec![
            cells::text(row.agent_version.as_deref()),
            cells::count(number),
            Cell::new(share_text(number, base)),
            cells::bar(number, base),
        ]
    };
    let day = rows.iter().find_map(|row| row.day);
    Table {
        caption: "Versions of the agent".to_owned(),
        note: day.map(|day| format!("of those active on {day}")).unwrap_or_default(),
        columns: vec![
            Column::text("Version"),
            Column::number("Installations"),
            Column::number("Share"),
            Column::graphic("Bar"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn away(rows: &[&CoverageRow]) -> Table {
    let time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(cells::none, |time| Cell::new(html! { time datetime=(time) { (minute(time)) } }))
    };
    Table {
        caption: "The backend was away".to_owned(),
        note: "nothing was received; agents send their events later".to_owned(),
        columns: vec![Column::text("From"), Column::text("Until"), Column::number("Hours")],
        rows: rows.iter().map(|row| vec![time(row.from), time(row.until), cells::optional_count(row.count)]).collect(),
        is_matrix: false,
    }
}

fn unusual(rows: &[&CoverageRow]) -> Table {
    let row = |row: &&CoverageRow| {
        vec![
            cells::date(row.day),
            Cell::new(source_name(row)),
            cells::optional_count(row.count),
            row.usual.map_or_else(cells::none, |usual| Cell::new(usual.to_string())),
        ]
    };
    Table {
        caption: "Unusual days".to_owned(),
        note: format!(
            "{} or more new installations, of any standing, and five times the median of 28 days",
            count(20_u64)
        ),
        columns: vec![
            Column::text("Day"),
            Column::text("Source"),
            Column::number("New installations"),
            Column::number("Usual"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}
