//! Graphics in a cell of a table, in percent of its width. They are hidden from screen readers: their numbers stand beside
//! them.

use maud::{Markup, html};

use super::data::{Segment, float};
use super::plot::px;
use crate::backend::insights::wording::count;

/// The minimum width of a bar of something, in percent: one pixel of most cells.
const MIN_BAR: f64 = 1.0;

/// The classes of a heat map, from nothing to the sixth sixth of the largest value.
const HEAT: [&str; 7] = ["heat-0", "heat-1", "heat-2", "heat-3", "heat-4", "heat-5", "heat-6"];

/// Renders one bar of parts that fills its width.
pub(in crate::backend::web) fn stacked_bar(parts: &[Segment]) -> Markup {
    let total: u64 = parts.iter().map(|part| part.value).sum();
    let mut below = 0;
    let positioned = parts.iter().map(|part| {
        let x = percent(below, total);
        below += part.value;
        (x, part)
    });
    html! {
        svg.bar aria-hidden="true" {
            @for (x, part) in positioned {
                rect.{ (part.class) } x={ (px(x)) "%" } width={ (px(percent(part.value, total))) "%" } height="100%" {
                    title { (part.name) ": " (count(part.value)) }
                }
            }
        }
    }
}

/// Renders a bar of `value` out of `whole`.
pub(in crate::backend::web) fn share_bar(value: u64, whole: u64) -> Markup {
    let width = if value == 0 { 0.0 } else { percent(value, whole).clamp(MIN_BAR, 100.0) };
    html! {
        svg.share aria-hidden="true" { rect.share-value width={ (px(width)) "%" } height="100%" {} }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    float(part) / float(whole.max(1)) * 100.0
}

/// The values at the left and at the right side of a column of graphics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::backend::web) struct Extent {
    from: f64,
    to: f64,
}

impl Extent {
    /// Returns the extent that has zero and all `values` in it.
    pub(in crate::backend::web) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let wider = |Self { from, to }, value: f64| Self { from: from.min(value), to: to.max(value) };
        values.into_iter().filter(|value| value.is_finite()).fold(Self { from: 0.0, to: 0.0 }, wider)
    }

    /// Returns the position of a value, in percent.
    fn position(self, value: f64) -> f64 {
        let width = self.to - self.from;
        if width > 0.0 { ((value - self.from) / width * 100.0).clamp(0.0, 100.0) } else { 0.0 }
    }
}

/// Renders an interval from `low` to `high` with its `value`, and the line of zero if the extent goes below it.
pub(in crate::backend::web) fn interval(low: f64, value: f64, high: f64, extent: Extent) -> Markup {
    let at = |value| format!("{}%", px(extent.position(value)));
    html! {
        svg.interval aria-hidden="true" {
            line.track x1="0%" x2="100%" y1="50%" y2="50%" {}
            @if extent.from < 0.0 { line.zero x1=(at(0.0)) x2=(at(0.0)) y1="0%" y2="100%" {} }
            line.range x1=(at(low)) x2=(at(high)) y1="50%" y2="50%" {}
            circle cx=(at(value)) cy="50%" r="4" {}
        }
    }
}

/// Returns the class of a cell of a heat map: by the sixth of the largest value that it is in.
pub(in crate::backend::web) fn heat_class(value: u64, largest: u64) -> &'static str {
    let sixth = (u128::from(value) * 6).div_ceil(u128::from(largest.max(1)));
    usize::try_from(sixth).ok().and_then(|sixth| HEAT.get(sixth)).copied().unwrap_or(HEAT[6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_of_something_is_seen_and_one_of_nothing_is_not() {
        let width = |value, whole| share_bar(value, whole).into_string();
        assert!(width(0, 24_102_615).contains("width=\"0%\""));
        assert!(width(1, 24_102_615).contains("width=\"1%\""));
        assert!(width(1, 4).contains("width=\"25%\""));
        assert!(width(5, 0).contains("width=\"100%\""), "more than the whole fills the cell");
    }

    #[test]
    fn the_parts_of_a_bar_are_beside_each_other() {
        let part = |value| Segment { class: "running", name: "Running", value };
        let bar = stacked_bar(&[part(1), part(3)]).into_string();
        assert!(bar.contains("x=\"0%\" width=\"25%\"") && bar.contains("x=\"25%\" width=\"75%\""), "{bar}");
    }

    #[test]
    fn intervals_of_a_column_have_one_scale() {
        let drawn = |low, value, high, extent| interval(low, value, high, extent).into_string();
        let shares = Extent::of([0.1, 0.4, f64::NAN]);
        let markup = drawn(0.1, 0.2, 0.4, shares);
        assert!(markup.contains("x1=\"25%\" x2=\"100%\"") && markup.contains("cx=\"50%\""), "{markup}");
        assert!(!markup.contains("zero"), "zero is the left side");
        let differences = drawn(-0.1, 0.1, 0.3, Extent::of([-0.1, 0.3]));
        assert!(
            differences.contains("class=\"zero\" x1=\"25%\"") && differences.contains("cx=\"50%\""),
            "{differences}"
        );
        let nothing = drawn(0.0, 0.0, 0.0, Extent::of([]));
        assert!(nothing.contains("cx=\"0%\""), "{nothing}");
    }

    #[test]
    fn a_cell_is_in_the_sixth_of_its_value() {
        for (value, largest, class) in [
            (0, 60, "heat-0"),
            (1, 60, "heat-1"),
            (10, 60, "heat-1"),
            (11, 60, "heat-2"),
            (60, 60, "heat-6"),
            (0, 0, "heat-0"),
            (u64::MAX, u64::MAX, "heat-6"),
            (61, 60, "heat-6"),
        ] {
            assert_eq!(heat_class(value, largest), class, "{value} of {largest}");
        }
    }
}
