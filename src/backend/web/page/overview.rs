//! The page of the overview.

use jiff::civil::Date;
use maud::{Markup, html};

use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::{Answer, source_name};
use crate::backend::insights::overview::{Decision, OverviewRow, OverviewTable};
use crate::backend::insights::wording::{count, counted};
use crate::backend::store::SourceKind;
use crate::backend::web::chart::{self, Segment, Series, TimeChart, TimePoint, TimeStep, Unit, Value};
use crate::backend::web::format::{compact, unbroken};

/// The weeks in a table at most: a quarter.
const MAX_WEEKS: usize = 13;

/// The kinds of events, as rows name them, and for people.
const EVENTS: [(&str, &str); 4] = [
    ("created", "Created"),
    ("minor_updated", "Minor updates"),
    ("patch_updated", "Patch updates"),
    ("deleted", "Deleted"),
];

/// Returns the content of the overview.
pub(super) fn overview(answer: &Answer<OverviewRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    let (active, days) = (rows(OverviewTable::Active), rows(OverviewTable::Day));
    let has_installations = active
        .iter()
        .any(|row| [row.installations, row.not_confirmed, row.bulk].into_iter().flatten().sum::<u64>() > 0);
    let has_events = rows(OverviewTable::Event).iter().any(|row| row.count > Some(0));
    if !has_installations && !has_events && days.is_empty() {
        return view.empty(&answer.answer);
    }
    let (states, weeks) = (rows(OverviewTable::State), rows(OverviewTable::Week));
    // Each period holds the shorter ones.
    let in_percent =
        cells::has_percentages(active.iter().filter_map(|row| row.installations).max().unwrap_or_default());
    Content::Answer {
        answer: decisions(&rows(OverviewTable::Answer), view.parameters.source),
        chart: html! {
            section.panel { (chart::time_chart(&history(&days, view))) }
            (figures(&active, &states, &days, in_percent, answer.data_through))
        },
        notes: answer.notes.clone(),
        tables: vec![
            growth(&rows(OverviewTable::Growth), answer.data_through),
            sizes(&rows(OverviewTable::Size), in_percent, view),
            by_state(&states, in_percent, answer.data_through),
            by_week(&weeks),
            events(&rows(OverviewTable::Event)),
        ],
    }
}

/// Renders the answer for each decision, with the page that has its reasons.
fn decisions(rows: &[&OverviewRow], source: SourceKind) -> Markup {
    html! {
        section.answer.decisions aria-label="Answers" {
            @for row in rows {
                @if let (Some(decision), Some(link)) = (row.question, row.link) {
                    div.panel {
                        h2 { (decision_name(decision)) }
                        a href=(with_source(link, decision, source)) { (link_text(decision)) }
                        p { (unbroken(row.sentence.as_deref().unwrap_or_default())) }
                    }
                }
            }
        }
    }
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::Build => "Build",
        Decision::Test => "Test",
        Decision::Fix => "Fix",
        Decision::Deprecate => "Deprecate",
    }
}

fn link_text(decision: Decision) -> &'static str {
    match decision {
        Decision::Build => "Features",
        Decision::Test => "Test matrix",
        Decision::Fix => "Health",
        Decision::Deprecate => "Deprecation",
    }
}

/// Returns a link to the page of the same source. Only agents tell of health.
fn with_source(link: &str, decision: Decision, source: SourceKind) -> String {
    if source == SourceKind::Agent || decision == Decision::Fix {
        return link.to_owned();
    }
    let separator = if link.contains('?') { '&' } else { '?' };
    format!("{link}{separator}source={}", source_name(source))
}

fn figures(
    active: &[&OverviewRow],
    states: &[&OverviewRow],
    days: &[&OverviewRow],
    in_percent: bool,
    through: Date,
) -> Markup {
    let today = days.iter().find(|row| row.partial == Some(true)).and_then(|row| row.control_planes);
    html! {
        section.figures aria-label="Key figures" {
            @for row in active { (figure(row, today.filter(|_| row.partial == Some(true)))) }
            (control_planes(states, in_percent, through))
        }
    }
}

/// Renders how many are active in a period, with their control planes if they are known.
fn figure(row: &OverviewRow, control_planes: Option<u64>) -> Markup {
    let name = match row.period {
        Some("today") => "Active today",
        Some("7d") => "Active in 7 days",
        _ => "Active in 30 days",
    };
    let number = |number: Option<u64>| number.unwrap_or_default();
    let (installations, bulk) = (number(row.installations), number(row.bulk));
    html! {
        div.panel.figure {
            h2 { (name) @if row.partial == Some(true) { " " span.muted { "partial" } } }
            p.value { (compact(installations)) }
            p.muted {
                @if compact(installations) != count(installations) { (count(installations)) ", " }
                "and " (count(number(row.not_confirmed))) " not confirmed"
                @if bulk > 0 { ", " (count(bulk)) " in bulk" }
                @if let Some(control_planes) = control_planes { "; " (counted(control_planes, "control plane")) }
            }
        }
    }
}

/// Renders the control planes of the last complete day by state.
fn control_planes(states: &[&OverviewRow], in_percent: bool, through: Date) -> Markup {
    let total = states.iter().find_map(|row| row.base).unwrap_or_default();
    let parts: Vec<_> = states.iter().filter_map(|row| segment(row)).collect();
    html! {
        div.panel.planes {
            h2 { "Control planes " span.muted { "on " (through) } }
            p.value { (compact(total)) @if compact(total) != count(total) { " " span.exact { (count(total)) } } }
            (chart::stacked_bar(&parts))
            dl.legend {
                @for part in parts.iter().filter(|part| part.value > 0) {
                    div {
                        dt { span.swatch.{ (part.class) } {} (part.name) }
                        dd { (count(part.value)) @if in_percent { " " span.muted { (cells::part(part.value, total, true)) } } }
                    }
                }
            }
        }
    }
}

fn segment(row: &OverviewRow) -> Option<Segment> {
    let (class, name) = match row.state? {
        "running" => ("running", "Running"),
        "sleeping" => ("sleeping", "Sleeping"),
        "upgrading" => ("upgrading", "Upgrading"),
        "not_ready" => ("not-ready", "Not ready"),
        _ => ("series-older", "Not counted yet, of installations under 28 days"),
    };
    Some(Segment { class, name, value: row.count? })
}

/// Returns the chart of the installations of each day. On a day on which the backend was away there is a gap.
fn history(days: &[&OverviewRow], view: &QuestionView) -> TimeChart {
    let dated: Vec<_> = days.iter().filter_map(|row| Some((row.day?, row))).collect();
    let value = |(date, row): &(Date, &&OverviewRow)| {
        let is_away = view.outages.iter().any(|outage| outage.covers(*date));
        row.installations.filter(|installations| *installations > 0 || !is_away).map(Value::Count)
    };
    TimeChart {
        id: "active",
        title: "Active installations by day".to_owned(),
        description: description(&dated),
        step: TimeStep::Day,
        unit: Unit::Count,
        stacked: true,
        points: dated.iter().map(|(date, row)| TimePoint { date: *date, partial: row.partial == Some(true) }).collect(),
        series: vec![Series {
            name: "Installations".to_owned(),
            class: "only",
            values: dated.iter().map(value).collect(),
        }],
        outages: view.outages.clone(),
        marks: Vec::new(),
    }
}

/// Describes the chart by its first and its last complete day.
fn description(days: &[(Date, &&OverviewRow)]) -> String {
    let complete = || days.iter().filter(|(_, row)| row.partial != Some(true));
    let on =
        |(date, row): &(Date, &&OverviewRow)| format!("{} on {date}", count(row.installations.unwrap_or_default()));
    let ends = complete().next().map(on).zip(complete().next_back().map(on));
    let ends = ends.map(|(first, last)| format!(" {first}, {last}.")).unwrap_or_default();
    format!("The confirmed installations that were received on each UTC day.{ends}")
}

fn growth(rows: &[&OverviewRow], through: Date) -> Table {
    let row = |row: &&OverviewRow| {
        let period = if row.period == Some("7d") { "7 days before" } else { "30 days before" };
        let difference = row.difference.map(|difference| {
            let sign = match difference {
                0 => "",
                1.. => "+",
                _ => "−",
            };
            format!("{sign}{}", count(difference.unsigned_abs()))
        });
        vec![
            Cell::new(period),
            cells::date(row.day),
            cells::optional_count(row.before),
            cells::optional_count(row.installations),
            cells::text(difference.as_deref()),
        ]
    };
    Table {
        caption: format!("Growth up to {through}"),
        note: "confirmed installations received on the day".to_owned(),
        columns: vec![
            Column::text("Compared with"),
            Column::text("Day"),
            Column::number("Then"),
            Column::number(through.to_string()),
            Column::number("Difference"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn sizes(rows: &[&OverviewRow], in_percent: bool, view: &QuestionView) -> Table {
    Table {
        caption: "Sizes".to_owned(),
        note: format!("active in 30 days, counted by {}", view.unit()),
        columns: vec![
            Column::text("Control planes"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::graphic("Bar"),
        ],
        rows: rows.iter().map(|row| part(row.size.unwrap_or_default(), row, in_percent)).collect(),
        is_matrix: false,
    }
}

fn by_state(rows: &[&OverviewRow], in_percent: bool, through: Date) -> Table {
    let name = |row: &OverviewRow| segment(row).map_or("", |segment| segment.name);
    Table {
        caption: "Control planes by state".to_owned(),
        note: format!("of the installations received on {through}"),
        columns: vec![
            Column::text("State"),
            Column::number("Control planes"),
            Column::number("Share"),
            Column::graphic("Bar"),
        ],
        rows: rows.iter().map(|row| part(name(row), row, in_percent)).collect(),
        is_matrix: false,
    }
}

/// Returns the cells of a part of a whole.
fn part(name: &str, row: &OverviewRow, in_percent: bool) -> Vec<Cell> {
    let (number, base) = (row.count.unwrap_or_default(), row.base.unwrap_or_default());
    vec![Cell::new(name), cells::count(number), cells::share(number, base, in_percent), cells::bar(number, base)]
}

/// Returns the remark on a table of the newest weeks.
fn newest_weeks(all: usize) -> String {
    if all > MAX_WEEKS {
        format!("the newest {MAX_WEEKS} of {all} complete weeks")
    } else {
        "complete weeks".to_owned()
    }
}

fn by_week(rows: &[&OverviewRow]) -> Table {
    let row = |row: &&OverviewRow| {
        let numbers = [row.installations, row.gone, row.not_confirmed, row.bulk].map(cells::optional_count);
        std::iter::once(cells::date(row.week)).chain(numbers).collect()
    };
    Table {
        caption: "New and gone installations".to_owned(),
        note: newest_weeks(rows.len()),
        columns: vec![
            Column::text("Week from"),
            Column::number("New, confirmed"),
            Column::number("Gone"),
            Column::number("New, not confirmed"),
            Column::number("New, in bulk"),
        ],
        rows: rows.iter().rev().take(MAX_WEEKS).map(row).collect(),
        is_matrix: false,
    }
}

fn events(rows: &[&OverviewRow]) -> Table {
    let weeks: Vec<_> = rows.chunk_by(|one, next| one.week == next.week).collect();
    let row = |week: &&[&OverviewRow]| {
        let of = |event| week.iter().find(|row| row.event == Some(event)).and_then(|row| row.count);
        let kinds = EVENTS.map(|(event, _)| cells::optional_count(of(event)));
        let week = week.first();
        let ends = (cells::date(week.and_then(|row| row.week)), cells::optional_count(week.and_then(|row| row.base)));
        std::iter::once(ends.0).chain(kinds).chain([ends.1]).collect()
    };
    let kinds = EVENTS.map(|(_, name)| Column::number(name));
    Table {
        caption: "Events by kind".to_owned(),
        note: format!("events, not installations; {}", newest_weeks(weeks.len())),
        columns: std::iter::once(Column::text("Week from")).chain(kinds).chain([Column::number("All")]).collect(),
        rows: weeks.iter().rev().take(MAX_WEEKS).map(row).collect(),
        is_matrix: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_carries_the_source_but_for_health_which_agents_alone_tell() {
        let link = |link, decision, source| with_source(link, decision, source);
        let path = "/insights/deprecation?component=kubernetes";
        assert_eq!(link(path, Decision::Deprecate, SourceKind::Agent), path);
        assert_eq!(link(path, Decision::Deprecate, SourceKind::Kamaji), format!("{path}&source=kamaji"));
        assert_eq!(link("/insights/features", Decision::Build, SourceKind::Kamaji), "/insights/features?source=kamaji");
        assert_eq!(link("/insights/health", Decision::Fix, SourceKind::Kamaji), "/insights/health");
    }
}
