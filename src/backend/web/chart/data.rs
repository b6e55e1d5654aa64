//! The data of a chart.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::backend::insights::wording::{self, count_and_share};

/// A part of a bar: the class of its colour, its name, and its value.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::web) struct Segment {
    pub(in crate::backend::web) class: &'static str,
    pub(in crate::backend::web) name: &'static str,
    pub(in crate::backend::web) value: u64,
}

/// A chart of one or more series over time.
#[derive(Debug, Clone)]
pub(in crate::backend::web) struct TimeChart {
    /// The first part of the ids in the drawing, unique on the page.
    pub(in crate::backend::web) id: &'static str,
    /// The name of what is drawn, with its unit.
    pub(in crate::backend::web) title: String,
    /// The sentence that a screen reader says in place of the picture.
    pub(in crate::backend::web) description: String,
    /// The time that one point stands for.
    pub(in crate::backend::web) step: TimeStep,
    /// The unit of the value axis.
    pub(in crate::backend::web) unit: Unit,
    /// The series stand on each other.
    pub(in crate::backend::web) stacked: bool,
    /// The dates, oldest first.
    pub(in crate::backend::web) points: Vec<TimePoint>,
    /// The series, strongest first; in a stack from bottom to top.
    pub(in crate::backend::web) series: Vec<Series>,
    /// The times at which the backend was away.
    pub(in crate::backend::web) outages: Vec<Outage>,
    /// The dates at which something happened, such as the first sighting of a version.
    pub(in crate::backend::web) marks: Vec<Mark>,
}

impl TimeChart {
    /// Returns whether no series has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().flat_map(|series| &series.values).all(Option::is_none)
    }

    /// Returns whether it counts one at most, of which a line or an area would show a trend that is none.
    pub(super) fn is_of_one(&self) -> bool {
        let sum = |position: usize| -> f64 {
            self.series.iter().filter_map(|series| series.value(position)).map(Value::height).sum()
        };
        self.unit == Unit::Count && (0..self.points.len()).all(|position| sum(position) <= 1.0)
    }

    /// Returns the number of complete dates at which any series has a value.
    pub(super) fn complete_points(&self) -> usize {
        let has_value = |position: usize| self.series.iter().any(|series| series.value(position).is_some());
        (0..).zip(&self.points).filter(|(position, point)| !point.partial && has_value(*position)).count()
    }
}

/// The time that one point of a chart stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum TimeStep {
    /// A UTC day.
    Day,
    /// An ISO week, named by its Monday.
    Week,
}

impl TimeStep {
    /// Returns the number of days.
    pub(in crate::backend::web) fn days(self) -> i32 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
        }
    }

    /// Names the day, or the week by its Monday.
    pub(super) fn name(self, date: Date) -> String {
        match self {
            Self::Day => date.to_string(),
            Self::Week => format!("the week from {date}"),
        }
    }
}

/// The unit of a value axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum Unit {
    /// Whole numbers.
    Count,
    /// Fractions of 1, shown in percent.
    Share,
}

/// A date of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) struct TimePoint {
    /// The day, or the Monday of the week.
    pub(in crate::backend::web) date: Date,
    /// It is today or this week, which are not over.
    pub(in crate::backend::web) partial: bool,
}

/// A value of a series at one date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::web) enum Value {
    /// A number.
    Count(u64),
    /// A number and what it is a part of.
    Share {
        /// The part.
        count: u64,
        /// The whole. A share of nothing is drawn as zero.
        base: u64,
    },
}

impl Value {
    /// Returns the height at which the value is drawn.
    pub(super) fn height(self) -> f64 {
        match self {
            Self::Count(count) => float(count),
            Self::Share { base: 0, .. } => 0.0,
            Self::Share { count, base } => float(count) / float(base),
        }
    }

    /// Formats the value for people.
    pub(super) fn text(self) -> String {
        match self {
            Self::Count(count) => wording::count(count),
            Self::Share { count, base } => count_and_share(count, base),
        }
    }

    /// Adds values of one date that have one base.
    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Count(count), Self::Count(more)) => Self::Count(count.saturating_add(more)),
            (Self::Share { count, base }, Self::Share { count: more, .. } | Self::Count(more))
            | (Self::Count(more), Self::Share { count, base }) => {
                Self::Share { count: count.saturating_add(more), base }
            }
        }
    }
}

/// Converts a number to a coordinate. One above 2^53 is rounded, by less than any pixel shows.
#[expect(clippy::cast_precision_loss, reason = "a coordinate: words and tables take numbers from elsewhere")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// A line, or an area of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Series {
    /// The name, which stands at the end of the line.
    pub(in crate::backend::web) name: String,
    /// The class of its colour.
    pub(in crate::backend::web) class: &'static str,
    /// A value for each date; `None` where there is none, such as for a day on which the backend was away.
    pub(in crate::backend::web) values: Vec<Option<Value>>,
}

impl Series {
    pub(super) fn value(&self, position: usize) -> Option<Value> {
        self.values.get(position).copied().flatten()
    }

    pub(super) fn heights(&self) -> Vec<Option<f64>> {
        self.values.iter().map(|value| value.map(Value::height)).collect()
    }
}

/// A time at which the backend was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Outage {
    /// Its start.
    pub(in crate::backend::web) from: Timestamp,
    /// Its end.
    pub(in crate::backend::web) until: Timestamp,
    /// The text that a pointer shows.
    pub(in crate::backend::web) label: String,
}

impl Outage {
    /// Returns whether the whole UTC day is in it.
    pub(in crate::backend::web) fn covers(&self, date: Date) -> bool {
        let start = |date: Date| date.to_zoned(TimeZone::UTC).map(|start| start.timestamp());
        let (Ok(from), Ok(until)) = (start(date), start(date.saturating_add(1.day()))) else { return false };
        self.from <= from && until <= self.until
    }
}

/// A date at which something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Mark {
    /// The day.
    pub(in crate::backend::web) date: Date,
    /// The text above the chart, in a few words.
    pub(in crate::backend::web) label: String,
}
