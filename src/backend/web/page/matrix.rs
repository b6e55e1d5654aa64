//! Matrices of versions: heat maps with a row and a column for each version, newest first.

use std::str::FromStr;

use maud::{Markup, html};

use super::{Cell, Column, Table, cells};
use crate::backend::insights::definitions::{Versioned, newest_first};
use crate::backend::insights::wording;
use crate::backend::web::chart;

/// The caption of a matrix, the remark beside it, and the names of its axes.
#[derive(Debug)]
pub(super) struct MatrixHead<'a> {
    /// The caption.
    pub(super) caption: &'a str,
    /// The remark.
    pub(super) note: String,
    /// The name of the rows.
    pub(super) rows: &'a str,
    /// The word before the version of a column; may be empty.
    pub(super) columns: &'a str,
}

/// A cell of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MatrixCell<'a> {
    /// The version of its row.
    pub(super) row: &'a str,
    /// The version of its column.
    pub(super) column: &'a str,
    /// The number.
    pub(super) count: u64,
    /// The number of all.
    pub(super) base: u64,
    /// The word that marks it.
    pub(super) mark: Option<&'static str>,
    /// It is outlined.
    pub(super) is_outlined: bool,
}

/// Returns the table of a matrix, whose rows have versions of the kind `R`, and its columns of the kind `C`.
pub(super) fn matrix<R, C>(head: MatrixHead<'_>, cells: &[MatrixCell<'_>], in_percent: bool) -> Table
where
    R: Versioned + FromStr,
    C: Versioned + FromStr,
{
    let rows = ordered::<R>(cells.iter().map(|cell| cell.row));
    let columns = ordered::<C>(cells.iter().map(|cell| cell.column));
    let largest = cells.iter().map(|cell| cell.count).max().unwrap_or_default();
    let line = |row: &&str| {
        let of = |column: &&str| {
            let found = cells.iter().find(|cell| cell.row == *row && cell.column == *column);
            let class = chart::heat_class(found.map_or(0, |cell| cell.count), largest);
            Cell::new(html! { @if let Some(cell) = found { (content(cell, in_percent)) } }).with_class(class)
        };
        std::iter::once(Cell::new(*row)).chain(columns.iter().map(of)).collect()
    };
    let names = columns.iter().map(|column| Column::number(format!("{}{column}", head.columns)));
    Table {
        caption: head.caption.to_owned(),
        note: head.note,
        columns: std::iter::once(Column::text(head.rows)).chain(names).collect(),
        rows: rows.iter().map(line).collect(),
        is_matrix: true,
    }
}

fn content(cell: &MatrixCell<'_>, in_percent: bool) -> Markup {
    html! {
        span.chosen[cell.is_outlined] {
            strong { (wording::count(cell.count)) }
            @if in_percent { " " (cells::part(cell.count, cell.base, true)) }
            @if let Some(mark) = cell.mark { " " span.mark { (mark) } }
        }
    }
}

/// Returns versions without repetition, newest first; those that are in no order last.
fn ordered<'a, V: Versioned + FromStr>(versions: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let place = |text: &str| text.parse::<V>().ok().and_then(Versioned::place);
    let mut versions: Vec<_> = versions.collect();
    versions.sort_by(|left, right| newest_first(place(left), place(right)).then(left.cmp(right)));
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{KamajiMinor, KubernetesMinor};

    #[test]
    fn versions_are_compared_as_versions_and_those_without_an_order_are_last() {
        let versions = ["unknown", "26.10", "v1.9", "v1.10", "26.9", "v1.9", "other"];
        assert_eq!(
            ordered::<KamajiMinor>(versions.into_iter()),
            ["v1.10", "v1.9", "26.10", "26.9", "other", "unknown"]
        );
    }

    #[test]
    fn a_cell_that_nothing_is_in_has_no_number() {
        let cell = |row, column, count, mark: Option<_>| MatrixCell {
            row,
            column,
            count,
            base: 40,
            mark,
            is_outlined: mark.is_some(),
        };
        let cells = [cell("v1.9", "v1.35", 30, Some("chosen")), cell("v1.10", "v1.34", 10, None)];
        let head = MatrixHead { caption: "Pairs", note: String::new(), rows: "Kamaji", columns: "" };
        let table = matrix::<KamajiMinor, KubernetesMinor>(head, &cells, true).render().into_string();
        let rows: Vec<_> = table.split("<tr").skip(2).collect();
        assert!(rows[0].contains("v1.10") && rows[0].contains("heat-0") && rows[0].contains("10</strong> 25 %"));
        assert!(
            rows[1].contains("<span class=\"chosen\"><strong>30</strong> 75 % <span class=\"mark\">chosen"),
            "{table}"
        );
    }
}
