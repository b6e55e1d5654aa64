//! Validation of times.

use jiff::{SignedDuration, Timestamp};

use super::RejectReason;

/// The greatest age that is accepted: the longest that a journal may have waited for a network. The store knows the uids of
/// events for longer, so that an accepted event is never a repeat.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The greatest age of a gauge. An agent never sends old ones again, and a relay drops what it can't send within minutes:
/// the rest is for its clock.
const MAX_GAUGE_AGE: SignedDuration = SignedDuration::from_hours(1);

/// The greatest difference of clocks that is accepted.
const MAX_CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// A time as it is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timestamped {
    /// The time that was sent, or the time of receipt if that was too far ahead.
    At(Timestamp),
    /// A time too long ago.
    Expired,
}

/// Returns whether a gauge's time on the wire is near enough to the time of receipt: from one hour before it to ten
/// minutes after it.
pub(super) fn is_current(nanoseconds: u64, now: Timestamp) -> Result<bool, RejectReason> {
    let age = now.duration_since(parse(nanoseconds)?);
    Ok((-MAX_CLOCK_SKEW..=MAX_GAUGE_AGE).contains(&age))
}

/// Compares an event's time on the wire, in nanoseconds since 1970, with the time of receipt.
pub(super) fn classify(nanoseconds: u64, now: Timestamp) -> Result<Timestamped, RejectReason> {
    let time = parse(nanoseconds)?;
    let age = now.duration_since(time);
    Ok(if age > MAX_AGE {
        Timestamped::Expired
    } else if age < -MAX_CLOCK_SKEW {
        Timestamped::At(now)
    } else {
        Timestamped::At(time)
    })
}

fn parse(nanoseconds: u64) -> Result<Timestamp, RejectReason> {
    if nanoseconds == 0 {
        return Err(RejectReason::Time);
    }
    Timestamp::from_nanosecond(nanoseconds.into()).map_err(|_| RejectReason::Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_current_from_an_hour_ago_to_ten_minutes_ahead() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let is_current = |text: &str| {
            let time: Timestamp = text.parse().unwrap();
            is_current(time.as_nanosecond().try_into().unwrap(), now)
        };
        for current in ["2026-11-23T19:00:00Z", "2026-11-23T20:00:00Z", "2026-11-23T20:10:00Z"] {
            assert_eq!(is_current(current), Ok(true), "{current}");
        }
        for expired in ["2026-11-23T18:59:59Z", "2026-11-23T20:10:01Z", "1970-01-02T00:00:00Z", "2500-01-01T00:00:00Z"]
        {
            assert_eq!(is_current(expired), Ok(false), "{expired}");
        }
    }

    #[test]
    fn a_time_from_thirty_days_ago_to_ten_minutes_ahead_is_accepted() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let at = |text: &str| {
            let time: Timestamp = text.parse().unwrap();
            (classify(time.as_nanosecond().try_into().unwrap(), now), Ok(Timestamped::At(time)))
        };
        for accepted in ["2026-10-24T20:00:00Z", "2026-11-23T20:00:00Z", "2026-11-23T20:10:00Z"] {
            let (classified, same) = at(accepted);
            assert_eq!(classified, same, "{accepted}");
        }
        assert_eq!(at("2026-10-24T19:59:59Z").0, Ok(Timestamped::Expired));
        assert_eq!(at("2026-11-23T20:10:01Z").0, Ok(Timestamped::At(now)));
        assert_eq!(classify(u64::MAX, now), Ok(Timestamped::At(now)));
        assert_eq!(classify(1, now), Ok(Timestamped::Expired));
        assert_eq!(classify(0, now), Err(RejectReason::Time));
    }
}
