//! Charts as SVG. Sizes are attributes and colours classes, since the page's policy allows no style in elements.

use maud::{Markup, html};

use super::format::number;

/// One part of a bar: the class that colours it, its name, and its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) value: u64,
}

/// A column of [`columns`].
#[derive(Debug)]
pub(super) struct Column {
    /// What it stands for.
    pub(super) label: String,
    /// From the ground up.
    pub(super) parts: Vec<Segment>,
}

impl Column {
    fn total(&self) -> u64 {
        self.parts.iter().map(|part| part.value).sum()
    }
}

/// The height of [`columns`] in units of its own.
const HEIGHT: u64 = 1_000;
/// The width of a column and of the gap beside it, in the same units.
const COLUMN: u64 = 10;
const GAP: u64 = 2;

/// One stacked bar that fills its width.
pub(super) fn stacked_bar(parts: &[Segment]) -> Markup {
    let total: u64 = parts.iter().map(|part| part.value).sum();
    let mut offset = 0;
    let placed = parts.iter().map(|part| {
        let x = offset;
        offset += part.value;
        (x, part)
    });
    html! {
        svg.bar viewBox={ "0 0 " (total.max(1)) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            @for (x, part) in placed {
                rect class=(part.class) x=(x) width=(part.value) height="1" { title { (part.name) ": " (number(part.value)) } }
            }
        }
    }
}

/// A bar of `value` out of `whole`.
pub(super) fn share_bar(value: u64, whole: u64) -> Markup {
    html! {
        svg.share viewBox={ "0 0 " (whole.max(1)) " 1" } preserveAspectRatio="none" aria-hidden="true" {
            rect.share-value width=(value) height="1" {}
        }
    }
}

/// Stacked columns over days of which the last is today, with the largest as the scale.
pub(super) fn columns(description: &str, columns: &[Column]) -> Markup {
    let scale = columns.iter().map(Column::total).max().unwrap_or_default();
    let count = u64::try_from(columns.len()).unwrap_or_default();
    html! {
        figure.chart {
            div.scale { (number(scale)) }
            svg role="img" aria-label=(description) viewBox={ "0 0 " (count * COLUMN) " " (HEIGHT) } preserveAspectRatio="none" {
                @for (position, column) in (0..).zip(columns) { (bars(position * COLUMN, column, scale.max(1))) }
            }
            figcaption {
                span { (columns.first().map_or("", |column| &column.label)) }
                span { "today so far" }
            }
        }
    }
}

fn bars(x: u64, column: &Column, scale: u64) -> Markup {
    let mut ground = HEIGHT;
    let placed = column.parts.iter().map(|part| {
        let height = part.value * HEIGHT / scale;
        ground -= height;
        (ground, height, part)
    });
    let parts = column.parts.iter().map(|part| format!("{}: {}", part.name, number(part.value)));
    let title = format!("{}\n{}", column.label, parts.collect::<Vec<_>>().join("\n"));
    html! {
        g {
            title { (title) }
            rect.hover x=(x) width=(COLUMN) height=(HEIGHT) {}
            @for (y, height, part) in placed {
                @if height > 0 { rect class=(part.class) x=(x) y=(y) width=(COLUMN - GAP) height=(height) {} }
            }
        }
    }
}
