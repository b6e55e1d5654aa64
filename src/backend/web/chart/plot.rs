//! The geometry of a chart over time: sizes, margins, and the two scales.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::data::{Outage, Series, TimeChart};
use super::ticks::{DateTick, ValueTick, date_ticks, value_ticks};
use super::{Shape, stack};

/// A size at which each chart is drawn. Text in a drawing grows and shrinks with it, so each is shown on screens of about
/// its own width only.
#[derive(Debug)]
pub(super) struct Size {
    /// The class by which the style sheet shows it.
    pub(super) class: &'static str,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) font: f64,
    /// The maximum number of ticks of the date axis: as many as their labels leave room for.
    pub(super) max_date_ticks: usize,
    /// A pointer shows values: phones have none.
    pub(super) has_hover: bool,
}

/// All sizes.
pub(super) const SIZES: [Size; 3] = [
    Size { class: "wide", width: 1_100.0, height: 300.0, font: 13.0, max_date_ticks: 13, has_hover: true },
    Size { class: "medium", width: 640.0, height: 300.0, font: 13.0, max_date_ticks: 7, has_hover: true },
    Size { class: "narrow", width: 340.0, height: 280.0, font: 14.0, max_date_ticks: 5, has_hover: false },
];

/// The width of a character in parts of the font's size, which is that of most digits and letters of a sans-serif font.
const CHARACTER_WIDTH: f64 = 0.58;

/// The minimum width of an outage, so that an hour of a year is seen.
const MIN_OUTAGE_WIDTH: f64 = 2.0;

/// The space between a tick of the date axis and its label.
pub(super) const DATE_LABEL_INDENT: f64 = 4.0;

/// The space between two labels of the date axis.
const DATE_LABEL_GAP: f64 = 6.0;

impl Size {
    /// Estimates the width of a text.
    pub(super) fn text_width(&self, text: &str) -> f64 {
        let characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        f64::from(characters) * self.font * CHARACTER_WIDTH
    }

    /// Returns the height of a line of text.
    pub(super) fn line_height(&self) -> f64 {
        self.font * 1.25
    }
}

/// A chart's geometry at one size.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) size: &'static Size,
    pub(super) shape: Shape,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) value_ticks: Vec<ValueTick>,
    pub(super) date_ticks: Vec<DateTick>,
    /// The first day of the date axis.
    first: Date,
    /// The length of the date axis, in days.
    days: f64,
    /// The middles of the points' days or weeks, counted in days from the first.
    middles: Vec<f64>,
}

impl Plot {
    /// Lays out a chart, with room of `label_width` right of it.
    pub(super) fn new(chart: &TimeChart, shape: Shape, size: &'static Size, label_width: f64) -> Self {
        let first = chart.points.first().map_or(Date::ZERO, |point| point.date);
        let starts = || chart.points.iter().map(|point| days_between(first, point.date));
        let step = chart.step.days();
        let length = starts().max().unwrap_or_default().max(0).saturating_add(step);
        let middles = starts().map(|start| f64::from(start) + f64::from(step) / 2.0).collect();
        let value_ticks = value_ticks(max_height(chart, shape), chart.unit);
        let tick_width = value_ticks.iter().map(|tick| size.text_width(&tick.label)).fold(0.0, f64::max);
        // A third is left to the labels at most: the drawing is what they are about.
        let label_width = label_width.min(size.width / 3.0);
        let plot = Self {
            size,
            shape,
            left: tick_width + 10.0,
            right: size.width - label_width,
            top: size.font,
            bottom: size.height - size.line_height() - 6.0,
            date_ticks: Vec::new(),
            value_ticks,
            first,
            days: f64::from(length),
            middles,
        };
        let date_ticks = plot.legible(date_ticks(first, length, size.max_date_ticks));
        Self { date_ticks, ..plot }
    }

    /// Leaves out the labels of dates that would cover the one before them, or end beyond the drawing. Their ticks stay.
    fn legible(&self, ticks: Vec<DateTick>) -> Vec<DateTick> {
        let mut free_from = f64::MIN;
        let legible = |tick: DateTick| {
            let x = self.x(tick.day) + DATE_LABEL_INDENT;
            let end = x + self.size.text_width(&tick.label);
            if x < free_from || end > self.size.width {
                return DateTick { label: String::new(), ..tick };
            }
            free_from = end + DATE_LABEL_GAP;
            tick
        };
        ticks.into_iter().map(legible).collect()
    }

    /// Leaves room for so many lines of text above the chart.
    pub(super) fn with_lines_above(self, lines: u32) -> Self {
        Self { top: self.top + f64::from(lines) * self.size.line_height(), ..self }
    }

    /// Returns the coordinate of a day, counted from the first one.
    pub(super) fn x(&self, day: f64) -> f64 {
        self.left + day / self.days.max(1.0) * (self.right - self.left)
    }

    /// Returns the coordinate of a point: the middle of its day or week.
    pub(super) fn x_of(&self, position: usize) -> f64 {
        self.x(self.middles.get(position).copied().unwrap_or_default())
    }

    /// Returns the coordinate of the middle of a date's day, if it is on the axis.
    pub(super) fn x_of_date(&self, date: Date) -> Option<f64> {
        let day = f64::from(days_between(self.first, date));
        (0.0..self.days).contains(&day).then(|| self.x(day + 0.5))
    }

    /// Returns the coordinate of a value.
    pub(super) fn y(&self, value: f64) -> f64 {
        let top = self.value_ticks.last().map_or(1.0, |tick| tick.value);
        self.bottom - (value / top).clamp(0.0, 1.0) * (self.bottom - self.top)
    }

    /// Returns the left side and the width of an outage, if it is on the axis.
    pub(super) fn span(&self, outage: &Outage) -> Option<(f64, f64)> {
        let (from, until) = (days_to(self.first, outage.from), days_to(self.first, outage.until));
        let is_seen = until > 0.0 && from < self.days && until > from;
        let (from, until) = (self.x(from.clamp(0.0, self.days)), self.x(until.clamp(0.0, self.days)));
        is_seen.then(|| (from, (until - from).max(MIN_OUTAGE_WIDTH)))
    }

    /// Returns the path through points, each a position and a value.
    pub(super) fn line(&self, points: impl Iterator<Item = (usize, f64)>) -> String {
        let mut path = String::new();
        for (position, value) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            write!(path, "{command}{} {}", px(self.x_of(position)), px(self.y(value)))
                .expect("a string can be written to");
        }
        path
    }
}

/// Formats a coordinate: a tenth of a pixel is all that a screen shows.
pub(super) fn px(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Returns the largest value that is drawn.
fn max_height(chart: &TimeChart, shape: Shape) -> f64 {
    let columns: Vec<_> = chart.series.iter().map(Series::heights).collect();
    let tops = match shape {
        Shape::Stacked => stack::bands(&columns).into_iter().map(|band| band.upper).collect(),
        Shape::Points | Shape::Lines => columns,
    };
    tops.iter().flatten().flatten().copied().fold(0.0, f64::max)
}

/// Returns the number of days from one date to another.
fn days_between(first: Date, date: Date) -> i32 {
    i32::try_from(date.duration_since(first).as_hours() / 24).unwrap_or(i32::MAX)
}

/// Returns the time from the start of a UTC day, in days.
fn days_to(first: Date, time: Timestamp) -> f64 {
    let start = first.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |start| start.timestamp());
    time.duration_since(start).as_secs_f64() / 86_400.0
}
