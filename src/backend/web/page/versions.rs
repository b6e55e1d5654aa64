//! The page of the versions in use.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use maud::html;

use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::definitions::{By, Component, Window};
use crate::backend::insights::version_days::LineName;
use crate::backend::insights::versions::{VersionPrecision, VersionsRow, VersionsTable};
use crate::backend::web::chart::{self, Mark, Ramp, Series, TimeChart, TimePoint, TimeStep, Unit, Value, fold_older};

/// The versions of the larger line that are drawn by themselves, where there are two.
const KEPT_OF_LARGER: usize = 4;

/// Those of the smaller line.
const KEPT_OF_SMALLER: usize = 2;

/// Those of the only line.
const KEPT_OF_ONLY: usize = 6;

/// The versions of a day or a week, newest first: rows of one date.
type DatedVersions<'a> = [&'a VersionsRow];

/// A version, its line, and its values.
type VersionValues = (String, Option<LineName>, Vec<Option<Value>>);

/// Returns the content of the page.
pub(super) fn versions(answer: &Answer<VersionsRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table);
    let shares: Vec<_> = rows(VersionsTable::Share).collect();
    let days: Vec<_> = shares.chunk_by(|one, next| one.date == next.date).collect();
    if days.is_empty() {
        return view.empty(&answer.answer);
    }
    let in_percent = cells::has_percentages(days.iter().map(|day| installations(day)).max().unwrap_or_default());
    let adoption = |precision| rows(VersionsTable::Adoption).filter(move |row| row.precision == precision);
    let mut chart = share_chart(&days, in_percent, view);
    chart.marks = adoption(VersionPrecision::Minor).filter_map(first_sighting).collect();
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: html! { section.panel { (chart::time_chart(&chart)) } },
        notes: answer.notes.clone(),
        tables: vec![
            share_table(&days, in_percent, view),
            adoption_table("Spread of minor versions", adoption(VersionPrecision::Minor), in_percent, view),
            adoption_table(
                "Spread of the newest minor's versions",
                adoption(VersionPrecision::Exact),
                in_percent,
                view,
            ),
        ],
    }
}

/// Returns the installations of a day.
fn installations(day: &DatedVersions<'_>) -> u64 {
    day.iter().map(|row| row.installations).sum()
}

fn is_partial(day: &DatedVersions<'_>) -> bool {
    day.first().is_some_and(|row| row.partial)
}

fn date_of(day: &DatedVersions<'_>) -> Option<Date> {
    day.first().and_then(|row| row.date)
}

fn step(view: &QuestionView) -> TimeStep {
    if view.parameters.window > Window::Days90 { TimeStep::Week } else { TimeStep::Day }
}

fn first_sighting(row: &VersionsRow) -> Option<Mark> {
    Some(Mark { date: row.first_seen?, label: row.version.clone() })
}

fn share_chart(days: &[&DatedVersions<'_>], in_percent: bool, view: &QuestionView) -> TimeChart {
    let step = step(view);
    let by_date: BTreeMap<_, _> = days.iter().filter_map(|day| Some((date_of(day)?, *day))).collect();
    let dates = dates(&by_date, step);
    let point = |date: &Date| TimePoint { date: *date, partial: by_date.get(date).is_some_and(|day| is_partial(day)) };
    let component = component(view);
    let unit = match (view.parameters.by, in_percent) {
        (By::Installations, _) | (By::ControlPlanes, false) => "active installations",
        (By::ControlPlanes, true) => "active installations, by their control planes,",
    };
    TimeChart {
        id: "versions",
        title: format!("{component} by minor version"),
        description: format!(
            "The minor versions of {component} that {unit} run, stacked, newest at the bottom. The tables below have \
             the numbers."
        ),
        step,
        unit: if in_percent { Unit::Share } else { Unit::Count },
        stacked: true,
        points: dates.iter().map(point).collect(),
        series: series(&by_date, &dates, in_percent),
        outages: view.outages.clone(),
        marks: Vec::new(),
    }
}

/// Returns all dates from the first to the last, also those without rows: what is between them is not known.
fn dates(by_date: &BTreeMap<Date, &DatedVersions<'_>>, step: TimeStep) -> Vec<Date> {
    let (Some(first), Some(last)) = (by_date.keys().next(), by_date.keys().next_back()) else { return Vec::new() };
    first.series(step.days().days()).take_while(|date| date <= last).collect()
}

/// Returns the series of each line, the larger line first, then those of versions without an order.
fn series(by_date: &BTreeMap<Date, &DatedVersions<'_>>, dates: &[Date], in_percent: bool) -> Vec<Series> {
    let versions = by_date.values().next().into_iter().flat_map(|day| day.iter());
    let value = |row: &VersionsRow| {
        // As few as they are without percentages, installations are counted, whatever they weigh.
        if in_percent { Value::Share { count: row.count, base: row.base } } else { Value::Count(row.installations) }
    };
    let values = |version: &str| -> Vec<Option<Value>> {
        let of = |date| by_date.get(date)?.iter().find(|row| row.version == version).map(|row| value(row));
        dates.iter().map(of).collect()
    };
    let all: Vec<VersionValues> = versions.map(|row| (row.version.clone(), row.line, values(&row.version))).collect();
    let of_line = |line| -> Vec<_> {
        let versions = all.iter().filter(|(_, of, _)| *of == Some(line));
        versions.map(|(version, _, values)| (version.clone(), values.clone())).collect()
    };
    let last = by_date.values().next_back();
    let size = |line: LineName| -> u64 {
        last.into_iter().flat_map(|day| day.iter()).filter(|row| row.line == Some(line)).map(|row| row.count).sum()
    };
    let mut lines = vec![(LineName::Stable, Ramp::Stable, "older"), (LineName::Edge, Ramp::Edge, "older edge")];
    lines.sort_by_key(|(line, ..)| std::cmp::Reverse(size(*line)));
    lines.retain(|(line, ..)| all.iter().any(|(_, of, _)| *of == Some(*line)));
    let kept = if lines.len() > 1 { [KEPT_OF_LARGER, KEPT_OF_SMALLER] } else { [KEPT_OF_ONLY; 2] };
    let mut series = Vec::new();
    for ((line, ramp, older), kept) in lines.into_iter().zip(kept) {
        series.extend(fold_older(of_line(line), ramp, kept, older));
    }
    let unordered = all.into_iter().filter(|(_, line, _)| line.is_none());
    series.extend(unordered.map(|(name, _, values)| Series { name, class: "unordered", values }));
    series
}

fn component(view: &QuestionView) -> &'static str {
    match view.parameters.component {
        Component::Kamaji => "Kamaji",
        Component::Kubernetes => "Kubernetes",
    }
}

fn share_table(days: &[&DatedVersions<'_>], in_percent: bool, view: &QuestionView) -> Table {
    let complete = || days.iter().copied().filter(|day| !is_partial(day));
    let (first, last) = (complete().next(), complete().next_back());
    let partial = days.last().copied().filter(|day| is_partial(day));
    let name = |day: &DatedVersions<'_>| match (date_of(day), step(view)) {
        (None, _) => String::new(),
        (Some(date), TimeStep::Day) => date.to_string(),
        (Some(date), TimeStep::Week) => format!("Week from {date}"),
    };
    let last_name = match (date_of(last.or(partial).unwrap_or_default()), step(view)) {
        (Some(date), TimeStep::Week) => format!("in the week from {date}"),
        (Some(date), TimeStep::Day) => format!("on {date}"),
        (None, _) => String::new(),
    };
    let last_or_partial = last.or(partial).unwrap_or_default();
    let of = |day: &DatedVersions<'_>, version: &str| {
        let row = day.iter().find(|row| row.version == version);
        row.map_or_else(cells::none, |row| cells::share(row.count, row.base, in_percent))
    };
    let row = |row: &&VersionsRow| {
        let mut cells = vec![
            Cell::new(&row.version),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::bar(row.count, row.base),
            cells::count(row.control_planes),
        ];
        cells.extend(first.map(|day| of(day, &row.version)));
        cells.extend(partial.map(|day| of(day, &row.version)));
        cells
    };
    let mut columns = vec![
        Column::text("Version"),
        Column::number(view.column()),
        Column::number("Share"),
        Column::graphic("Bar"),
        Column::number("Control planes"),
    ];
    columns.extend(first.map(|day| Column::number(name(day))));
    columns.extend(partial.map(|day| Column::number(format!("{}, partial", name(day)))));
    Table {
        caption: format!("{} {last_name}", component(view)),
        note: "shares alone, not stacked; on the right those of the first and of the partial day or week".to_owned(),
        columns,
        rows: last_or_partial.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn adoption_table<'a>(
    caption: &str,
    rows: impl Iterator<Item = &'a VersionsRow>,
    in_percent: bool,
    view: &QuestionView,
) -> Table {
    let days = |days: Option<i32>| cells::optional_count(days.and_then(|days| u64::try_from(days).ok()));
    let row = |row: &VersionsRow| {
        let first = match row.before_data {
            Some(true) => Cell::new("before the data"),
            _ => cells::date(row.first_seen),
        };
        // The base is of the line alone.
        let in_percent = in_percent && cells::has_percentages(row.base);
        vec![
            Cell::new(&row.version),
            first,
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::bar(row.count, row.base),
            days(row.days_to_half),
            days(row.days_to_nine_in_ten),
            Cell::new(row.adoption.as_deref().unwrap_or_default()),
        ]
    };
    Table {
        caption: caption.to_owned(),
        note: format!("{} at or above the version, of its line", view.unit()),
        columns: vec![
            Column::text("Version"),
            Column::text("First sighting"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::graphic("Bar"),
            Column::number("Days to half"),
            Column::number("To nine in ten"),
            Column::text("Spread"),
        ],
        rows: rows.map(row).collect(),
        is_matrix: false,
    }
}
