//! The page of the health of each release.

use maud::{Markup, html};

use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::health::{Direction, HealthRow, HealthTable, Verdict};
use crate::backend::insights::wording::{self, count, share_text};
use crate::backend::web::chart::Extent;

/// Returns the content of the page.
pub(super) fn health(answer: &Answer<HealthRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    if answer.rows.is_empty() {
        return view.empty(&answer.answer);
    }
    let stuck = "stuck installations active in 7 days, with intervals of 95 %";
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: compared("Stuck, by version of Kamaji", stuck, &rows(HealthTable::Version), false).render(),
        notes: answer.notes.clone(),
        tables: vec![
            by_size(&rows(HealthTable::Size)),
            compared("Stuck, by size and version", stuck, &rows(HealthTable::SizeAndVersion), true),
            compared(
                "Upgrading for long, by version of Kamaji",
                "installations with a control plane that was upgrading on two days running",
                &rows(HealthTable::Upgrading),
                false,
            ),
            deletions(&rows(HealthTable::Deletion)),
            patch_updates(&rows(HealthTable::PatchUpdate)),
        ],
    }
}

/// Formats those with trouble out of all.
fn out_of(number: u64, base: u64) -> String {
    format!("{} of {}", count(number), count(base))
}

/// Returns the interval of a share that is shown: of too few installations there is none.
fn shown_interval(row: &HealthRow) -> (Option<f64>, Option<f64>, Option<f64>) {
    if cells::has_percentages(row.base) { (row.share_low, row.share, row.share_high) } else { (None, None, None) }
}

/// Returns the scale of the intervals of all rows.
fn extent(rows: &[&HealthRow]) -> Extent {
    Extent::of(rows.iter().filter_map(|row| shown_interval(row).2))
}

/// Returns the cells of a share with its interval.
fn share_cells(row: &HealthRow, extent: Extent) -> [Cell; 3] {
    let share = if cells::has_percentages(row.base) { share_text(row.count, row.base) } else { "–".to_owned() };
    let (low, value, high) = shown_interval(row);
    let range = row.share_low.zip(row.share_high);
    [Cell::new(share), cells::share_range(range, row.base), cells::interval(low, value, high, extent)]
}

fn share_columns() -> [Column; 3] {
    [Column::number("Share"), Column::number("Interval"), Column::graphic("Interval, drawn")]
}

/// Returns a table of versions, each with its difference to the version before it.
fn compared(caption: &str, note: &str, rows: &[&HealthRow], with_size: bool) -> Table {
    let extent = extent(rows);
    let row = |row: &&HealthRow| {
        let version = Cell::new(html! { span.nowrap { (row.kamaji_version.as_deref().unwrap_or_default()) } });
        let size = with_size.then(|| Cell::new(row.size.unwrap_or_default()));
        let mut cells: Vec<_> = size.into_iter().chain([version]).collect();
        cells.push(Cell::new(out_of(row.count, row.base)));
        cells.extend(share_cells(row, extent));
        cells.extend([before(row), difference(row), verdict(row.verdict)]);
        cells
    };
    let mut columns = vec![Column::text("Kamaji")];
    if with_size {
        columns.insert(0, Column::text("Control planes"));
    }
    columns.push(Column::number("Installations"));
    columns.extend(share_columns());
    columns.extend([Column::text("Version before"), Column::number("Difference"), Column::text("Verdict")]);
    Table {
        caption: caption.to_owned(),
        note: note.to_owned(),
        columns,
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

/// Returns the cell of the version before.
fn before(row: &HealthRow) -> Cell {
    let (Some(version), Some(number), Some(base)) = (&row.compared_with, row.compared_count, row.compared_base) else {
        return cells::none();
    };
    Cell::new(html! { span.nowrap { (version) } " " span.muted.nowrap { (out_of(number, base)) } })
}

/// Returns the cell of the difference to the version before. Too few installations have none.
fn difference(row: &HealthRow) -> Cell {
    match (row.difference, row.difference_low, row.difference_high) {
        (Some(value), Some(low), Some(high)) if row.verdict != Some(Verdict::TooFew) => {
            Cell::new(cells::difference(value, low, high))
        }
        _ => cells::none(),
    }
}

fn verdict(verdict: Option<Verdict>) -> Cell {
    let word = |class: &str, word: &str| -> Markup {
        html! { span.verdict.{ (class) } { (word) } }
    };
    match verdict {
        Some(Verdict::Worse) => Cell::new(word("worse", "worse")),
        Some(Verdict::Better) => Cell::new(word("better", "better")),
        Some(Verdict::NoDifferenceShown) => Cell::new(word("even", "no difference shown")),
        Some(Verdict::TooFew) => Cell::new(word("even", "too few")),
        None => cells::none(),
    }
}

fn by_size(rows: &[&HealthRow]) -> Table {
    let extent = extent(rows);
    let row = |row: &&HealthRow| {
        let name = [Cell::new(row.size.unwrap_or_default()), Cell::new(out_of(row.count, row.base))];
        name.into_iter().chain(share_cells(row, extent)).collect()
    };
    let columns = [Column::text("Control planes"), Column::number("Installations")];
    Table {
        caption: "Stuck, by size".to_owned(),
        note: "larger installations have trouble sooner".to_owned(),
        columns: columns.into_iter().chain(share_columns()).collect(),
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

/// The remark on tables of events.
const EVENTS: &str = "events, not installations";

/// Returns the deletions of each version by the last status.
fn deletions(rows: &[&HealthRow]) -> Table {
    let mut statuses: Vec<_> = rows.iter().filter_map(|row| row.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let versions = rows.chunk_by(|one, next| one.kamaji_version == next.kamaji_version);
    let row = |version: &[&HealthRow]| {
        let Some(first) = version.first() else { return Vec::new() };
        let of = |status: &&str| {
            let row = version.iter().find(|row| row.status == Some(status));
            row.map_or_else(cells::none, |row| Cell::new(wording::count_and_share(row.count, row.base)))
        };
        let name = cells::text(first.kamaji_version.as_deref());
        std::iter::once(name).chain(statuses.iter().map(of)).chain([cells::count(first.base)]).collect()
    };
    let columns = statuses.iter().map(|status| Column::number(*status));
    Table {
        caption: "Deletions by last status".to_owned(),
        note: EVENTS.to_owned(),
        columns: std::iter::once(Column::text("Kamaji")).chain(columns).chain([Column::number("All")]).collect(),
        rows: versions.map(row).collect(),
        is_matrix: false,
    }
}

fn patch_updates(rows: &[&HealthRow]) -> Table {
    let versions = rows.chunk_by(|one, next| one.kamaji_version == next.kamaji_version);
    let row = |version: &[&HealthRow]| {
        let Some(first) = version.first() else { return Vec::new() };
        let of = |direction| version.iter().find(|row| row.direction == Some(direction));
        let cell = |row: Option<&&HealthRow>| {
            row.map_or_else(cells::none, |row| Cell::new(wording::count_and_share(row.count, row.base)))
        };
        vec![
            cells::text(first.kamaji_version.as_deref()),
            cell(of(Direction::Down)),
            cell(of(Direction::Up)),
            cells::count(first.base),
        ]
    };
    Table {
        caption: "Patch updates of control planes".to_owned(),
        note: format!("{EVENTS}; many downgrades hint at a bad release"),
        columns: vec![Column::text("Kamaji"), Column::number("Down"), Column::number("Up"), Column::number("All")],
        rows: versions.map(row).collect(),
        is_matrix: false,
    }
}
