//! Formats of numbers and times for people.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use crate::backend::insights::wording::count;

/// The smallest number that [`compact`] shortens: up to there all digits fit where the short form does.
const MIN_COMPACT: u64 = 100_000;

/// Formats a number with three digits and a unit from 100,000 on, such as `1.18 M`.
pub(super) fn compact(value: u64) -> String {
    let units = [(1_000, "k"), (1_000_000, "M"), (1_000_000_000, "B")];
    if value < MIN_COMPACT {
        return count(value);
    }
    let shortened = units.into_iter().map(|(size, unit)| (three_digits(value, size), unit));
    // 999,950 is 1,000 k when it is rounded, which is 1 M.
    let mut fitting = shortened.filter(|((whole, _), unit)| *whole < 1_000 || *unit == "B");
    fitting
        .next()
        .map_or_else(|| count(value), |((whole, decimals), unit)| format!("{}{decimals} {unit}", count(whole)))
}

/// Returns `value` in units of `size`, rounded to three digits: the whole part, and the decimals with their point.
fn three_digits(value: u64, size: u64) -> (u64, String) {
    let decimals = match value / size {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let power = 10_u128.pow(decimals);
    let size = u128::from(size);
    let rounded = (u128::from(value) * power + size / 2) / size;
    let whole = u64::try_from(rounded / power).unwrap_or(u64::MAX);
    let decimals = format!(".{:0width$}", rounded % power, width = decimals as usize);
    (whole, decimals.trim_end_matches('0').trim_end_matches('.').to_owned())
}

/// Formats the time from `time` to `now`, in its largest unit.
pub(super) fn ago(time: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(time).max(SignedDuration::ZERO);
    let (minutes, hours) = (age.as_mins(), age.as_hours());
    match (hours / 24, hours, minutes) {
        (0, 0, 0) => "just now".to_owned(),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (1, ..) => "1 day ago".to_owned(),
        (days, ..) => format!("{days} days ago"),
    }
}

/// Formats a time to the minute, such as `2026-11-23 20:05 UTC`.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Renders a sentence in which no line breaks within a date, or between a number and its percent sign.
pub(super) fn unbroken(sentence: &str) -> Markup {
    let is_date = |word: &str| word.trim_end_matches([',', '.', ';']).parse::<Date>().is_ok();
    html! {
        @for (position, word) in sentence.split(' ').enumerate() {
            @if position > 0 { @if word.starts_with('%') { "\u{a0}" } @else { " " } }
            @if is_date(word) { span.whole { (word) } } @else { (word) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_neither_within_a_date_nor_before_a_percent_sign() {
        let sentence = unbroken("v1.31 and older: 6.6 %, under 5 % about 2027-01-10, or <never>.").into_string();
        let expected = "v1.31 and older: 6.6\u{a0}%, under 5\u{a0}% about <span class=\"whole\">2027-01-10,</span> or \
                        &lt;never&gt;.";
        assert_eq!(sentence, expected);
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365);
        let age = |seconds| ago(now - SignedDuration::from_secs(seconds), now);
        assert_eq!(age(-300), "just now");
        assert_eq!(age(59), "just now");
        assert_eq!(age(60), "1 min ago");
        assert_eq!(age(3_600), "1 h ago");
        assert_eq!(age(86_400), "1 day ago");
        assert_eq!(age(8 * 86_400), "8 days ago");
    }

    #[test]
    fn a_large_number_is_shortened_to_three_digits() {
        for (value, text) in [
            (0, "0"),
            (99_999, "99,999"),
            (100_000, "100 k"),
            (123_456, "123 k"),
            (999_499, "999 k"),
            (999_500, "1 M"),
            (1_180_234, "1.18 M"),
            (1_200_000, "1.2 M"),
            (9_999_999, "10 M"),
            (24_102_615, "24.1 M"),
            (1_500_000_000, "1.5 B"),
            (5_000_000_000_000, "5,000 B"),
        ] {
            assert_eq!(compact(value), text);
        }
        assert!(compact(u64::MAX).ends_with(" B"));
    }
}
