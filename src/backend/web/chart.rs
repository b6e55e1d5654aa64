//! Charts as SVG. The pages' policy allows no inline styles and no script: sizes are attributes, colours are classes, and
//! what a pointer shows is a rule of `style.css`. No I/O. Tables take no number from a chart.
//!
//! Drawn here and not by a crate: charts-rs 2.3 counts in `f32`, sets colours as attributes, writes a `<style>` that the
//! policy blocks, and has an axis of categories where outages and first sightings need one of time.

mod cell;
mod data;
mod end_labels;
mod hover;
mod marks;
mod older;
mod plot;
mod stack;
mod ticks;

use maud::{Markup, html};

pub(super) use cell::{Extent, heat_class, interval, share_bar, stacked_bar};
pub(super) use data::{Mark, Outage, Segment, Series, TimeChart, TimePoint, TimeStep, Unit, Value};
pub(super) use older::{Ramp, fold_older};
use plot::{DATE_LABEL_INDENT, Plot, SIZES, Size, px};
use stack::{Band, Run};

/// The minimum number of complete points of a series that is drawn as a line or an area. Between fewer than three points a
/// line shows a trend that nothing supports.
const MIN_LINE_POINTS: usize = 3;

/// The maximum number of dates at which each point of a line is drawn too: dots of more than two weeks touch.
const MAX_DOTTED_POINTS: usize = 14;

/// Renders a chart over time, at each of the sizes of which the style sheet shows one.
pub(super) fn time_chart(chart: &TimeChart) -> Markup {
    let shape = Shape::of(chart);
    html! {
        figure.time-chart {
            figcaption {
                h2 { (chart.title) }
                @if !chart.is_empty() { p.muted { (explanation(chart, shape)) } }
            }
            @if chart.is_empty() {
                p.muted { "Nothing was received in this window." }
            } @else {
                @for size in &SIZES { (drawing(chart, shape, size)) }
            }
        }
    }
}

/// The form in which the series of a chart are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Too few points for lines.
    Points,
    Lines,
    /// Areas, each on top of those before it.
    Stacked,
}

impl Shape {
    fn of(chart: &TimeChart) -> Self {
        match () {
            () if chart.complete_points() < MIN_LINE_POINTS || chart.is_of_one() => Self::Points,
            () if chart.stacked => Self::Stacked,
            () => Self::Lines,
        }
    }
}

/// Explains what the eye cannot know: that areas are stacked, that a point is partial, and what a shade is.
fn explanation(chart: &TimeChart, shape: Shape) -> String {
    let mut parts = Vec::new();
    if shape == Shape::Stacked && chart.series.len() > 1 {
        parts.push("Stacked: each area stands on the one below it.".to_owned());
    }
    if let Some(point) = chart.points.iter().rfind(|point| point.partial) {
        let mark = if shape == Shape::Points { "Hollow" } else { "Dashed" };
        parts.push(format!("{mark}: {} is not over, so it is partial.", chart.step.name(point.date)));
    }
    if !chart.outages.is_empty() {
        parts.push("Shaded: the backend was away.".to_owned());
    }
    parts.join(" ")
}

fn drawing(chart: &TimeChart, shape: Shape, size: &'static Size) -> Markup {
    let plot = Plot::new(chart, shape, size, end_labels::width(chart, size));
    let placed = marks::place(chart, &plot);
    let plot = &plot.with_lines_above(marks::rows(&placed));
    let (title, description) =
        (format!("{}-{}-title", chart.id, plot.size.class), format!("{}-{}-desc", chart.id, plot.size.class));
    html! {
        svg.drawing.{ (plot.size.class) } role="img" aria-labelledby=(title) aria-describedby=(description)
            viewBox={ "0 0 " (px(plot.size.width)) " " (px(plot.size.height)) } font-size=(px(plot.size.font)) {
            // In a group of their own, which has no area: a browser shows the title of what is under the pointer.
            g { title id=(title) { (chart.title) } desc id=(description) { (chart.description) } }
            (outages(chart, plot))
            (value_axis(plot))
            (date_axis(plot))
            @match plot.shape {
                Shape::Points => (dots(chart, plot)),
                Shape::Lines => (lines(chart, plot)),
                Shape::Stacked => (areas(chart, plot)),
            }
            (marks::marks(chart, &placed, plot))
            (end_labels::end_labels(chart, plot))
            @if plot.size.has_hover { (hover::hover(chart, plot)) }
        }
    }
}

fn value_axis(plot: &Plot) -> Markup {
    html! {
        g.axis {
            @for tick in &plot.value_ticks {
                @let y = plot.y(tick.value);
                line.grid.zero[tick.value == 0.0] x1=(px(plot.left)) x2=(px(plot.right)) y1=(px(y)) y2=(px(y)) {}
                text x=(px(plot.left - 8.0)) y=(px(y + plot.size.font * 0.35)) text-anchor="end" { (tick.label) }
            }
        }
    }
}

fn date_axis(plot: &Plot) -> Markup {
    html! {
        g.axis {
            @for tick in &plot.date_ticks {
                @let x = plot.x(tick.day);
                line.tick x1=(px(x)) x2=(px(x)) y1=(px(plot.bottom)) y2=(px(plot.bottom + 5.0)) {}
                text x=(px(x + DATE_LABEL_INDENT)) y=(px(plot.bottom + plot.size.font + 5.0)) { (tick.label) }
            }
        }
    }
}

fn outages(chart: &TimeChart, plot: &Plot) -> Markup {
    let shades = chart.outages.iter().filter_map(|outage| plot.span(outage).map(|span| (outage, span)));
    html! {
        @for (outage, (x, width)) in shades {
            rect.outage x=(px(x)) width=(px(width)) y=(px(plot.top)) height=(px(plot.bottom - plot.top)) {
                title { (outage.label) }
            }
        }
    }
}

/// Draws each value by itself.
fn dots(chart: &TimeChart, plot: &Plot) -> Markup {
    html! { @for series in chart.series.iter().rev() { (series_dots(chart, series, plot, |_| true)) } }
}

/// Draws those values of a series by themselves whose position `wanted` says; a partial one hollow.
fn series_dots(chart: &TimeChart, series: &Series, plot: &Plot, wanted: impl Fn(usize) -> bool) -> Markup {
    let points = chart.points.iter().zip(&series.values).enumerate();
    html! {
        g.{ (series.class) } {
            @for (position, (point, value)) in points {
                @if let Some(value) = value && wanted(position) {
                    circle.dot.partial[point.partial] cx=(px(plot.x_of(position))) cy=(px(plot.y(value.height()))) r="3.5" {}
                }
            }
        }
    }
}

/// Draws lines, the first and strongest one on top. A value with no other beside it is a dot.
fn lines(chart: &TimeChart, plot: &Plot) -> Markup {
    html! {
        @for series in chart.series.iter().rev() {
            @let runs = stack::runs(&series.heights());
            g.{ (series.class) } {
                @for run in &runs {
                    @for (part, partial) in stack::split_partial(run, &chart.points) {
                        @if part.len() > 1 { path.line.partial[partial] d=(plot.line(part.iter().copied())) {} }
                    }
                }
            }
            (series_dots(chart, series, plot, |position| {
                chart.points.len() <= MAX_DOTTED_POINTS || chart.points[position].partial || is_alone(&runs, position)
            }))
        }
    }
}

fn is_alone(runs: &[Run], position: usize) -> bool {
    runs.iter().any(|run| matches!(run.as_slice(), [(only, _)] if *only == position))
}

/// Draws areas from bottom to top, in the order of the series.
fn areas(chart: &TimeChart, plot: &Plot) -> Markup {
    let columns: Vec<_> = chart.series.iter().map(Series::heights).collect();
    html! {
        @for (series, Band { lower, upper }) in chart.series.iter().zip(stack::bands(&columns)) {
            g.{ (series.class) } {
                @for run in stack::runs(&upper) {
                    @for (part, partial) in stack::split_partial(&run, &chart.points) {
                        (area(part, &lower, plot, partial))
                    }
                }
            }
        }
    }
}

/// Draws one area, or a thin bar where a point has no other beside it.
fn area(part: &[(usize, f64)], lower: &[Option<f64>], plot: &Plot, partial: bool) -> Markup {
    let floor = |position: usize| lower.get(position).copied().flatten().unwrap_or_default();
    html! {
        @match part {
            [] => {},
            [(position, top)] => {
                @let (x, y) = (plot.x_of(*position), plot.y(*top));
                rect.area.partial[partial] x=(px(x - 2.0)) width="4" y=(px(y)) height=(px(plot.y(floor(*position)) - y)) {}
            },
            part => {
                @let back = part.iter().rev().map(|(position, _)| (*position, floor(*position)));
                path.area.partial[partial] d={ (plot.line(part.iter().copied().chain(back))) "Z" } {}
                path.edge.partial[partial] d=(plot.line(part.iter().copied())) {}
            },
        }
    }
}

#[cfg(test)]
mod tests;
