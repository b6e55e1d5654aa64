//! Tables. On a narrow screen each row becomes a card with the names of its columns; the roles are written out, since a
//! browser takes those of a table away with its layout.

use maud::{Markup, Render, html};

/// A table in a panel of its own.
#[derive(Debug)]
pub(in crate::backend::web) struct Table {
    /// The heading.
    pub(in crate::backend::web) caption: String,
    /// The remark beside it, such as the unit; may be empty.
    pub(in crate::backend::web) note: String,
    /// The columns. The first one names the row.
    pub(in crate::backend::web) columns: Vec<Column>,
    /// The rows, each with as many cells as there are columns.
    pub(in crate::backend::web) rows: Vec<Vec<Cell>>,
    /// Every column but the first has one kind of value, and is as narrow as it: a matrix.
    pub(in crate::backend::web) is_matrix: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Column {
    /// The heading.
    pub(in crate::backend::web) name: String,
    /// The alignment.
    pub(in crate::backend::web) kind: ColumnKind,
}

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum ColumnKind {
    /// To the left.
    Text,
    /// To the right, so that digits are below each other.
    Number,
    /// A bar or an interval, which takes the width that is left.
    Graphic,
}

impl ColumnKind {
    fn class(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Graphic => "graphic",
        }
    }
}

impl Column {
    /// Creates a column of text.
    pub(in crate::backend::web) fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: ColumnKind::Text }
    }

    /// Creates a column of numbers.
    pub(in crate::backend::web) fn number(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: ColumnKind::Number }
    }

    /// Creates a column of bars or intervals, whose name screen readers alone tell.
    pub(in crate::backend::web) fn graphic(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: ColumnKind::Graphic }
    }
}

/// A cell of a table.
#[derive(Debug)]
pub(in crate::backend::web) struct Cell {
    content: Markup,
    class: &'static str,
}

impl Cell {
    /// Creates a cell.
    pub(in crate::backend::web) fn new(content: impl Render) -> Self {
        Self { content: content.render(), class: "" }
    }

    /// Gives the cell a class, such as one of a heat map.
    pub(in crate::backend::web) fn with_class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }
}

impl Table {
    /// Renders the table.
    pub(in crate::backend::web) fn render(&self) -> Markup {
        html! {
            div.panel {
                table.matrix[self.is_matrix] role="table" {
                    caption {
                        span.title { (self.caption) }
                        @if !self.note.is_empty() { " " span.muted { (self.note) } }
                    }
                    thead role="rowgroup" {
                        tr role="row" {
                            @for column in &self.columns {
                                th.{ (column.kind.class()) } scope="col" role="columnheader" {
                                    @if column.kind == ColumnKind::Graphic { span.unseen { (column.name) } }
                                    @else { (column.name) }
                                }
                            }
                        }
                    }
                    tbody role="rowgroup" { @for row in &self.rows { (self.row(row)) } }
                }
                @if self.rows.is_empty() { p.muted { "None." } }
            }
        }
    }

    fn row(&self, cells: &[Cell]) -> Markup {
        html! {
            tr role="row" {
                @for (position, (cell, Column { name, kind })) in cells.iter().zip(&self.columns).enumerate() {
                    @if position == 0 {
                        th.{ (kind.class()) }.{ (cell.class) } scope="row" role="rowheader" { (cell.content) }
                    } @else {
                        @let label = (*kind != ColumnKind::Graphic).then_some(name);
                        td.{ (kind.class()) }.{ (cell.class) } role="cell" data-label=[label] { (cell.content) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(rows: Vec<Vec<Cell>>) -> String {
        let columns = vec![Column::text("Version"), Column::number("Installations")];
        let table = Table { caption: "Versions <here>".into(), note: String::new(), columns, rows, is_matrix: false };
        table.render().into_string()
    }

    #[test]
    fn a_table_names_its_rows_and_columns_also_as_cards() {
        let table = rendered(vec![vec![Cell::new("v1.1<script>"), Cell::new(44).with_class("heat-1")]]);
        for part in [
            "<caption><span class=\"title\">Versions &lt;here&gt;</span></caption>",
            "<th class=\"number\" scope=\"col\" role=\"columnheader\">Installations</th>",
            "scope=\"row\" role=\"rowheader\">v1.1&lt;script&gt;</th>",
            "<td class=\"number heat-1\" role=\"cell\" data-label=\"Installations\">44</td>",
        ] {
            assert!(table.contains(part), "{part} is not in {table}");
        }
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert!(rendered(Vec::new()).contains("None."));
        assert!(!rendered(vec![vec![Cell::new("v1.1"), Cell::new(44)]]).contains("None."));
    }
}
