//! Formats of numbers and times for people.

use jiff::{SignedDuration, Timestamp};

/// Formats a number with separators, such as `1,234,567`.
pub(super) fn number(value: impl Into<u64>) -> String {
    let digits = value.into().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats `part` of `whole` in percent, rounded; empty if `whole` is 0.
pub(super) fn percent(part: u64, whole: u64) -> String {
    (part * 100 + whole / 2).checked_div(whole).map(|percent| format!("{percent} %")).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        for (value, text) in
            [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")]
        {
            assert_eq!(number(value), text);
        }
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
    fn a_share_is_rounded() {
        assert_eq!((percent(1, 3), percent(2, 3), percent(0, 0)), ("33 %".into(), "67 %".into(), String::new()));
    }
}
