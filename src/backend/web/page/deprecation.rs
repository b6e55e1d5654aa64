//! The page of the versions to drop.

use maud::{Markup, html};

use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::deprecation::{DeprecationRow, DeprecationTable, DeprecationVerdict};
use crate::backend::insights::version_days::LineName;
use crate::backend::insights::wording::signed_points;

/// Returns the content of the page.
pub(super) fn deprecation(answer: &Answer<DeprecationRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    if answer.rows.is_empty() {
        return view.empty(&answer.answer);
    }
    let (minors, below) = (rows(DeprecationTable::AtOrBelow), rows(DeprecationTable::BelowNewestThree));
    // Kubernetes has one line.
    let below = (!below.is_empty()).then(|| below_newest_three(&below, minors.iter().all(|row| in_percent(row)), view));
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: at_or_below(&minors, view).render(),
        notes: answer.notes.clone(),
        tables: below.into_iter().collect(),
    }
}

/// Returns whether the shares of a line are in percent: without a verdict there are too few.
fn in_percent(row: &DeprecationRow) -> bool {
    row.verdict != Some(DeprecationVerdict::TooFew)
}

fn at_or_below(rows: &[&DeprecationRow], view: &QuestionView) -> Table {
    let has_lines = rows.iter().any(|row| row.line == Some(LineName::Edge));
    let row = |row: &&DeprecationRow| {
        let line = if has_lines && row.line == Some(LineName::Edge) { " edge" } else { "" };
        let change = row.change.filter(|_| in_percent(row));
        let change = change.map(|change| format!("{} points", signed_points(change)));
        vec![
            Cell::new(format!("{}{line} and older", row.version)),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent(row)),
            cells::bar(row.count, row.base),
            cells::count(row.control_planes),
            cells::text(change.as_deref()),
            Cell::new(outlook(row)),
        ]
    };
    let day = rows.first().map(|row| format!(" on {}", row.date)).unwrap_or_default();
    Table {
        caption: format!("At or below each minor version{day}"),
        note: format!("{}, of its line", view.unit()),
        columns: vec![
            Column::text("Version"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::graphic("Bar"),
            Column::number("Control planes"),
            Column::number("In 30 days"),
            Column::text("Under 5 %"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

/// Renders when the share is under 5 %.
fn outlook(row: &DeprecationRow) -> Markup {
    html! {
        @match row.verdict {
            Some(DeprecationVerdict::Already) => strong { "already" },
            Some(DeprecationVerdict::Dated) => {
                "about "
                @if let Some(date) = row.under_5_percent_on { strong { time datetime=(date) { (date) } } }
                @if let Some(earliest) = row.earliest {
                    " " span.muted {
                        @match row.latest {
                            Some(latest) if latest == earliest => "within days",
                            Some(latest) => { "between " (earliest) " and " (latest) },
                            None => { "not before " (earliest) ", and maybe not within two years" },
                        }
                    }
                }
            },
            Some(DeprecationVerdict::NotAtThisPace) => "not at this pace",
            Some(DeprecationVerdict::TooShort) => {
                "too short " span.muted { "(" (row.weeks.unwrap_or_default()) " of 6 weeks)" }
            },
            Some(DeprecationVerdict::TooFew) => "too few",
            None => "–",
        }
    }
}

fn below_newest_three(rows: &[&DeprecationRow], in_percent: bool, view: &QuestionView) -> Table {
    let row = |row: &&DeprecationRow| {
        vec![
            Cell::new(format!("Older than {}", row.version)),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::bar(row.count, row.base),
            cells::count(row.control_planes),
        ]
    };
    Table {
        caption: "Older than the newest three minors".to_owned(),
        note: "of the management clusters whose version is known".to_owned(),
        columns: vec![
            Column::text("Kubernetes"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::graphic("Bar"),
            Column::number("Control planes"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}
