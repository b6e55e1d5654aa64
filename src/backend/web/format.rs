//! Numbers and times for people.

use jiff::{SignedDuration, Timestamp};

/// `1234567` as `1,234,567`.
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

/// `part` of `whole` in percent, rounded; empty where there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    (part * 100 + whole / 2).checked_div(whole).map(|percent| format!("{percent} %")).unwrap_or_default()
}

/// How long before `now` something was, in its largest unit.
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

/// `2026-11-23 20:05 UTC`.
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
    fn an_age_is_told_in_its_largest_unit() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365);
        let told = |seconds| ago(now - SignedDuration::from_secs(seconds), now);
        assert_eq!(told(-300), "just now");
        assert_eq!(told(59), "just now");
        assert_eq!(told(60), "1 min ago");
        assert_eq!(told(3_600), "1 h ago");
        assert_eq!(told(86_400), "1 day ago");
        assert_eq!(told(8 * 86_400), "8 days ago");
    }

    #[test]
    fn a_share_is_rounded() {
        assert_eq!((percent(1, 3), percent(2, 3), percent(0, 0)), ("33 %".into(), "67 %".into(), String::new()));
    }
}
