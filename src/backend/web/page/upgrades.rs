//! The page of the upgrades of control planes.

use super::matrix::{MatrixCell, MatrixHead, matrix};
use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::health::Direction;
use crate::backend::insights::upgrades::{PathKind, UpgradesRow, UpgradesTable};
use crate::backend::insights::wording::share_text;
use crate::backend::web::chart::Extent;
use crate::catalog::KubernetesMinor;

/// Returns the content of the page.
pub(super) fn upgrades(answer: &Answer<UpgradesRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    if answer.rows.is_empty() {
        return view.empty(&answer.answer);
    }
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: paths(&rows(UpgradesTable::Path)).render(),
        notes: answer.notes.clone(),
        tables: vec![minors(&rows(UpgradesTable::Minor)), patches(&rows(UpgradesTable::Patch))],
    }
}

/// Returns the matrix of the updates from one minor version to another.
fn paths(rows: &[&UpgradesRow]) -> Table {
    let cells = rows.iter().map(|row| MatrixCell {
        row: row.from.as_deref().unwrap_or_default(),
        column: row.to.as_deref().unwrap_or_default(),
        count: row.count,
        base: row.base.unwrap_or_default(),
        mark: mark(row.kind),
        is_outlined: false,
    });
    let head = MatrixHead {
        caption: "Updates from one minor version to another",
        note: "events, not installations; one that skips a minor is coalesced".to_owned(),
        rows: "From",
        columns: "to ",
    };
    let in_percent = rows.iter().any(|row| cells::has_percentages(row.base.unwrap_or_default()));
    matrix::<KubernetesMinor, KubernetesMinor>(head, &cells.collect::<Vec<_>>(), in_percent)
}

/// Returns the word for an update that Kamaji refuses.
fn mark(kind: Option<PathKind>) -> Option<&'static str> {
    match kind {
        Some(PathKind::Coalesced) => Some("coalesced"),
        Some(PathKind::Downgrade) => Some("downgrade"),
        Some(PathKind::Step | PathKind::Unknown) | None => None,
    }
}

fn minors(rows: &[&UpgradesRow]) -> Table {
    let extent = Extent::of(rows.iter().filter_map(|row| row.days_upper_quartile));
    let days = |days: Option<f64>| days.map_or_else(cells::none, |days| Cell::new(format!("{days:.0}")));
    let row = |row: &&UpgradesRow| {
        let first = match row.before_data {
            Some(true) => Cell::new("before the data"),
            _ => cells::date(row.first_sighting),
        };
        vec![
            cells::text(row.to.as_deref()),
            first,
            cells::count(row.count),
            days(row.days_lower_quartile),
            days(row.days_median),
            days(row.days_upper_quartile),
            cells::interval(row.days_lower_quartile, row.days_median, row.days_upper_quartile, extent),
        ]
    };
    Table {
        caption: "Days from the first sighting of a minor to the updates that reached it".to_owned(),
        note: "events of 365 days: a quarter, half, and three quarters of them within so many days".to_owned(),
        columns: vec![
            Column::text("Minor"),
            Column::text("First sighting"),
            Column::number("Updates"),
            Column::number("A quarter"),
            Column::number("Half"),
            Column::number("Three quarters"),
            Column::graphic("Quarters, drawn"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn patches(rows: &[&UpgradesRow]) -> Table {
    let row = |row: &&UpgradesRow| {
        let name = match row.direction {
            Some(Direction::Down) => "To an older patch",
            Some(Direction::Up) | None => "To a newer patch",
        };
        let base = row.base.unwrap_or_default();
        vec![
            Cell::new(name),
            cells::count(row.count),
            Cell::new(share_text(row.count, base)),
            cells::bar(row.count, base),
        ]
    };
    Table {
        caption: "Updates within a minor version".to_owned(),
        note: "events, not installations".to_owned(),
        columns: vec![
            Column::text("Direction"),
            Column::number("Updates"),
            Column::number("Share"),
            Column::graphic("Bar"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}
