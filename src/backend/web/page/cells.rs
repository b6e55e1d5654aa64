//! The cells of the tables that show answers.

use jiff::civil::Date;
use maud::{Markup, html};

use super::Cell;
use crate::backend::insights::wording::{self, MIN_FOR_PERCENT, percent, percent_range, signed_points};
use crate::backend::web::chart::{self, Extent};

/// The text of a cell without a value.
const NONE: &str = "–";

/// The text of a cell of rows that are too few for a percentage.
const FEW: &str = "too few";

/// Returns whether parts of so many installations are shown in percent.
pub(super) const fn has_percentages(installations: u64) -> bool {
    installations >= MIN_FOR_PERCENT
}

/// Formats `count` of `base` in percent or, if there are too few for that, as a count.
pub(super) fn part(count: u64, base: u64, in_percent: bool) -> String {
    if in_percent { percent(count, base) } else { format!("{} of {}", wording::count(count), wording::count(base)) }
}

/// Returns the cell of a number. A zero is muted.
pub(super) fn count(number: u64) -> Cell {
    Cell::new(wording::count(number)).with_class(if number == 0 { "muted" } else { "" })
}

/// Returns the cell of a number that may be missing.
pub(super) fn optional_count(number: Option<u64>) -> Cell {
    number.map_or_else(none, count)
}

/// Returns the cell of a value that is missing.
pub(super) fn none() -> Cell {
    Cell::new(NONE).with_class("muted")
}

/// Returns the cell of a text that may be missing.
pub(super) fn text(text: Option<&str>) -> Cell {
    text.map_or_else(none, Cell::new)
}

/// Returns the cell of a share.
pub(super) fn share(count: u64, base: u64, in_percent: bool) -> Cell {
    Cell::new(part(count, base, in_percent)).with_class(if count == 0 { "muted" } else { "" })
}

/// Returns the cell of a bar of `count` out of `base`.
pub(super) fn bar(count: u64, base: u64) -> Cell {
    Cell::new(chart::share_bar(count, base))
}

/// Returns the cell of a date.
pub(super) fn date(date: Option<Date>) -> Cell {
    date.map_or_else(none, |date| Cell::new(html! { time datetime=(date) { (date) } }))
}

/// Returns the cell of an interval of shares in words; of fewer than 20 installations there is none.
pub(super) fn share_range(range: Option<(f64, f64)>, base: u64) -> Cell {
    match range {
        Some((low, high)) if has_percentages(base) => Cell::new(percent_range(low, high)),
        Some(_) => Cell::new(FEW).with_class("muted"),
        None => none(),
    }
}

/// Returns the cell of a graphic of an interval, each part of which may be missing.
pub(super) fn interval(low: Option<f64>, value: Option<f64>, high: Option<f64>, extent: Extent) -> Cell {
    match (low, value, high) {
        (Some(low), Some(value), Some(high)) => Cell::new(chart::interval(low, value, high, extent)),
        _ => Cell::new(""),
    }
}

/// Formats a difference of shares with its range, in points.
pub(super) fn difference(value: f64, low: f64, high: f64) -> Markup {
    html! {
        (signed_points(value)) " points "
        span.muted { "(" (signed_points(low)) " to " (signed_points(high)) ")" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_few_are_counts() {
        assert_eq!((part(3, 12, false), part(1_200, 24_000, true)), ("3 of 12".to_owned(), "5.0 %".to_owned()));
        assert!(!has_percentages(19) && has_percentages(20));
    }
}
