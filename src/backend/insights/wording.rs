//! Shares, and numbers in sentences.

/// The fewest installations of which a sentence says a percentage: of fewer, each one moves it by more than five
/// points.
pub const MIN_FOR_PERCENT: u64 = 20;

/// Formats a number with separators, such as `1,234,567`.
pub fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats a number and its noun, whose plural ends with `s`: `1 installation`, `1,200 installations`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), plural(number))
}

/// Returns the ending of a noun after a number.
pub const fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// Returns `is` or `are`, as a number demands it.
pub const fn is_or_are(number: u64) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// Formats `count` of `base` in percent: with one decimal under 10 % and over 99 %, so that `0 %` is nothing and `100 %`
/// is all. A dash if `base` is 0.
pub fn percent(count: u64, base: u64) -> String {
    let (part, whole) = (u128::from(count), u128::from(base));
    let tenths = |part: u128| (part * 1_000 + whole / 2) / whole;
    match (part, whole) {
        (_, 0) => "–".to_owned(),
        (0, _) => "0 %".to_owned(),
        (part, whole) if part == whole => "100 %".to_owned(),
        (part, whole) if part * 1_000 < whole => "< 0.1 %".to_owned(),
        (part, whole) if part < whole && (whole - part) * 1_000 < whole => "> 99.9 %".to_owned(),
        (part, whole) if tenths(part) < 100 || (part * 100 > whole * 99 && part < whole) => {
            format!("{}.{} %", tenths(part) / 10, tenths(part) % 10)
        }
        // Rounded from the numbers, not from the tenths: 13.46 % is 13 %, also by way of 13.5 %.
        (part, whole) => format!("{} %", (part * 100 + whole / 2) / whole),
    }
}

/// Formats `count` of `base` without its base, as a percentage; as `3 of 12` if the base is under 20.
pub fn share_text(count: u64, base: u64) -> String {
    if base < MIN_FOR_PERCENT { share_with_base(count, base) } else { percent(count, base) }
}

/// Formats `count` of `base` with its base: `25 % of 1,200`; `3 of 12` if the base is under 20, and `0 of 1,200`.
pub fn share_with_base(count: u64, base: u64) -> String {
    let of = self::count(base);
    if base < MIN_FOR_PERCENT || count == 0 {
        format!("{} of {of}", self::count(count))
    } else {
        format!("{} of {of}", percent(count, base))
    }
}

/// Formats a count with its share, such as `44 (25 %)`; as `3 of 12` if the base is under 20.
pub fn count_and_share(count: u64, base: u64) -> String {
    let share = share_text(count, base);
    if base < MIN_FOR_PERCENT { share } else { format!("{} ({share})", self::count(count)) }
}

/// Returns `count` of `base` as a fraction; `None` if the base is 0.
#[expect(clippy::cast_precision_loss, reason = "a share of 2^53 and more is right to 15 digits")]
pub fn fraction(count: u64, base: u64) -> Option<f64> {
    (base > 0).then(|| count as f64 / base as f64)
}

/// Formats the size of a fraction in hundredths, without the sign: one decimal under 10.
fn hundredths(fraction: f64) -> String {
    // A value of 9.95 and more is rounded to 10.
    match fraction.abs() * 100.0 {
        0.0 => "0".to_owned(),
        size if size < 0.1 => "< 0.1".to_owned(),
        size if size < 9.95 => format!("{size:.1}"),
        size => format!("{size:.0}"),
    }
}

/// Formats an interval of shares, such as `4.1 to 12 %`.
pub fn percent_range(low: f64, high: f64) -> String {
    format!("{} to {} %", hundredths(low), hundredths(high))
}

/// Formats an interval of differences of one sign by their sizes, smaller first: `between 8.0 and 31 points`.
pub fn points_between(low: f64, high: f64) -> String {
    let (near, far) = if low.abs() <= high.abs() { (low, high) } else { (high, low) };
    format!("between {} and {} points", hundredths(near), hundredths(far))
}

/// Formats a difference of shares with its sign, in points: `+19`, `−1.2`, `0`.
pub fn signed_points(difference: f64) -> String {
    let sign = match difference {
        positive if positive > 0.0 => "+",
        negative if negative < 0.0 => "−",
        _ => "",
    };
    format!("{sign}{}", hundredths(difference))
}

/// Formats words as a list: `a`, `a and b`, `a, b and c`.
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (number, text) in
            [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (123_456, "123,456"), (24_000_000, "24,000,000")]
        {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "week"), counted(0, "week")), ("1 week".to_owned(), "0 weeks".to_owned()));
    }

    #[test]
    fn something_is_never_nothing_and_a_part_is_never_all() {
        for (part, whole, text) in [
            (0, 10, "0 %"),
            (1, 1_001, "< 0.1 %"),
            (1, 1_000, "0.1 %"),
            (102_615, 24_000_000, "0.4 %"),
            (1, 24_000_000, "< 0.1 %"),
            (5, 100, "5.0 %"),
            (9_949, 100_000, "9.9 %"),
            (9_950, 100_000, "10 %"),
            (1_346, 10_000, "13 %"),
            (99, 100, "99 %"),
            (9_901, 10_000, "99.0 %"),
            (995, 1_000, "99.5 %"),
            (999, 1_000, "99.9 %"),
            (9_991, 10_000, "> 99.9 %"),
            (23_999_999, 24_000_000, "> 99.9 %"),
            (24_000_000, 24_000_000, "100 %"),
            (u64::MAX - 1, u64::MAX, "> 99.9 %"),
            (12, 10, "120 %"),
            (0, 0, "–"),
            (3, 0, "–"),
        ] {
            assert_eq!(percent(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn shares_of_under_twenty_are_counts() {
        assert_eq!((share_text(3, 19), share_text(5, 20)), ("3 of 19".to_owned(), "25 %".to_owned()));
        assert_eq!((count_and_share(3, 8), count_and_share(44, 176)), ("3 of 8".to_owned(), "44 (25 %)".to_owned()));
        assert_eq!(share_with_base(300, 1_200), "25 % of 1,200");
        assert_eq!((share_with_base(0, 0), share_with_base(0, 1_200)), ("0 of 0".to_owned(), "0 of 1,200".to_owned()));
        assert_eq!((fraction(1, 4), fraction(0, 0), fraction(u64::MAX, u64::MAX)), (Some(0.25), None, Some(1.0)));
    }

    #[test]
    fn an_interval_is_said_in_percent_or_points() {
        assert_eq!(percent_range(0.041, 0.1234), "4.1 to 12 %");
        assert_eq!(percent_range(0.0, 0.0996), "0 to 10 %");
        assert_eq!(points_between(0.08, 0.314), "between 8.0 and 31 points");
        assert_eq!(points_between(-0.314, -0.000_5), "between < 0.1 and 31 points", "of what is less");
        let signed = [0.191, -0.012, 0.0, -0.000_5].map(signed_points);
        assert_eq!(signed, ["+19", "−1.2", "0", "−< 0.1"]);
    }

    #[test]
    fn a_list_has_one_and() {
        let words = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([0, 1, 2, 3].map(|length| list(&words[..length])), ["", "a", "a and b", "a, b and c"]);
    }
}
