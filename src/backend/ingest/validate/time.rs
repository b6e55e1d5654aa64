//! Which times are believed.

use jiff::{SignedDuration, Timestamp};

use super::RejectReason;

/// As long as a journal may have waited for a network. The store knows the uids of events for longer, so that what is
/// accepted is never a repeat.
const OLDEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What clocks may differ by.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// A time as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timestamped {
    /// As sent, or `now` where that was too far ahead.
    At(Timestamp),
    /// Too old to store.
    Expired,
}

/// Places a time on the wire, nanoseconds since 1970, against the time of receipt.
pub(super) fn place(nanoseconds: u64, now: Timestamp) -> Result<Timestamped, RejectReason> {
    if nanoseconds == 0 {
        return Err(RejectReason::Time);
    }
    let time = Timestamp::from_nanosecond(nanoseconds.into()).map_err(|_| RejectReason::Time)?;
    let age = now.duration_since(time);
    Ok(if age > OLDEST {
        Timestamped::Expired
    } else if age < -AHEAD {
        Timestamped::At(now)
    } else {
        Timestamped::At(time)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_from_thirty_days_ago_to_ten_minutes_ahead_is_kept() {
        let now: Timestamp = "2026-11-23T20:00:00Z".parse().unwrap();
        let at = |text: &str| {
            let time: Timestamp = text.parse().unwrap();
            (place(time.as_nanosecond().try_into().unwrap(), now), Ok(Timestamped::At(time)))
        };
        for kept in ["2026-10-24T20:00:00Z", "2026-11-23T20:00:00Z", "2026-11-23T20:10:00Z"] {
            let (placed, same) = at(kept);
            assert_eq!(placed, same, "{kept}");
        }
        assert_eq!(at("2026-10-24T19:59:59Z").0, Ok(Timestamped::Expired));
        assert_eq!(at("2026-11-23T20:10:01Z").0, Ok(Timestamped::At(now)));
        assert_eq!(place(u64::MAX, now), Ok(Timestamped::At(now)));
        assert_eq!(place(1, now), Ok(Timestamped::Expired));
        assert_eq!(place(0, now), Err(RejectReason::Time));
    }
}
