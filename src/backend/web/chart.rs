//! Charts as SVG. The page's policy allows no inline styles, so sizes are attributes and colours are classes.

use maud::{Markup, html};

use super::format::number;

/// A part of a bar: the class of its colour, its name, and its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) value: u64,
}

/// A column of [`columns`].
#[derive(Debug)]
pub(super) struct Column {
    /// The label, such as a day.
    pub(super) label: String,
    /// The parts from bottom to top.
    pub(super) parts: Vec<Segment>,
}

impl Column {
    fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.value).sum()
    }
}

/// The height of [`columns`], in the units of its view box.
const HEIGHT: u64 = 1_000;
/// The width of a column and the gap beside it, in the same units.
const COLUMN_WIDTH: u64 = 10;

/// The width of the gap within it.
const GAP_WIDTH: u64 = 2;

/// Renders one stacked bar that fills its width.
pub(super) fn stacked_bar(parts: &[Segment]) -> Markup {
    let total: u64 = parts.iter().map(|part| part.value).sum();
    let mut offset = 0;
    let positioned = parts.iter().map(|part| {
        let x = offset;
        offset += part.value;
        (x, part)
    });
    html! {
        svg.bar viewBox={ "0 0 " (total.max(1)) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            @for (x, part) in positioned {
                rect class=(part.class) x=(x) width=(part.value) height="1" { title { (part.name) ": " (number(part.value)) } }
            }
        }
    }
}

/// Renders a bar of `value` out of `whole`.
pub(super) fn share_bar(value: u64, whole: u64) -> Markup {
    html! {
        svg.share viewBox={ "0 0 " (whole.max(1)) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            rect.share-value width=(value) height="1" {}
        }
    }
}

/// Renders stacked columns, one a day, of which the last is today. The largest is the scale.
pub(super) fn columns(description: &str, columns: &[Column]) -> Markup {
    let scale = columns.iter().map(Column::total).max().unwrap_or_default();
    let count = u64::try_from(columns.len()).unwrap_or_default();
    html! {
        figure.chart {
            div.scale { (number(scale)) }
            svg role="img" aria-label=(description) viewBox={ "0 0 " (count * COLUMN_WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                @for (position, column) in (0..).zip(columns) { (bars(position * COLUMN_WIDTH, column, scale.max(1))) }
            }
            figcaption {
                span { (columns.first().map_or("", |column| &column.label)) }
                span { "today so far" }
            }
        }
    }
}

fn bars(x: u64, column: &Column, scale: u64) -> Markup {
    let mut top = HEIGHT;
    let positioned = column.parts.iter().map(|part| {
        let height = part.value * HEIGHT / scale;
        top -= height;
        (top, height, part)
    });
    let parts = column.parts.iter().map(|part| format!("{}: {}", part.name, number(part.value)));
    let title = format!("{}\n{}", column.label, parts.collect::<Vec<_>>().join("\n"));
    html! {
        g {
            title { (title) }
            rect.hover x=(x) width=(COLUMN_WIDTH) height=(HEIGHT) {}
            @for (y, height, part) in positioned {
                @if height > 0 { rect class=(part.class) x=(x) y=(y) width=(COLUMN_WIDTH - GAP_WIDTH) height=(height) {} }
            }
        }
    }
}
