//! Agents after an outage: the time of the next attempt of each, by its backoff. No I/O.

use std::time::Duration;

use crate::agent::backoff::Backoff;

/// The first cycle or attempt after an outage.
#[derive(Debug, Clone)]
pub(super) struct Resumption {
    /// The time of the next attempt after the end of the outage.
    pub(super) due: Duration,
    /// The time of the next cycle after the end of the outage.
    pub(super) next_cycle: Duration,
    /// The backoff so far; `None` if nothing failed.
    pub(super) backoff: Option<Backoff>,
}

/// Returns how the cycles of an installation go on after an outage. Its first cycle after the outage would be at `phase`.
///
/// A cycle that fails is tried again until the next is due, as the agent does. Its backoff goes on over cycles.
pub(super) fn cycles_after(
    outage: Duration,
    phase: Duration,
    interval: Duration,
    (min, max): (Duration, Duration),
) -> Resumption {
    // After two intervals of failures a backoff is at its maximum, and what was before has no effect.
    let length = outage.min(2 * interval);
    let mut backoff = if outage > length { Backoff::new(max, max) } else { Backoff::new(min, max) };
    let mut attempt = remainder(phase + length, interval);
    let mut next_cycle = attempt + interval;
    if attempt >= length {
        let due = attempt.saturating_sub(length);
        return Resumption { due, next_cycle: due, backoff: None };
    }
    while attempt < length {
        let retry = attempt + backoff.wait();
        if retry < next_cycle {
            attempt = retry;
        } else {
            attempt = next_cycle;
            next_cycle += interval;
        }
    }
    let [due, next_cycle] = [attempt, next_cycle].map(|time| time.saturating_sub(length));
    Resumption { due, next_cycle, backoff: Some(backoff) }
}

/// Returns when an event is tried again that happened so long before the end of an outage, and its backoff.
pub(super) fn events_after(age: Duration, (min, max): (Duration, Duration)) -> (Duration, Backoff) {
    let mut backoff = Backoff::new(min, max);
    let mut attempt = Duration::ZERO;
    while attempt < age {
        attempt += backoff.wait();
    }
    (attempt.saturating_sub(age), backoff)
}

fn remainder(time: Duration, interval: Duration) -> Duration {
    let nanoseconds = time.as_nanos() % interval.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(5);
    const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

    fn phases() -> impl Iterator<Item = Duration> {
        (0..3_000).map(|number| INTERVAL * number / 3_000)
    }

    #[test]
    fn a_long_outage_brings_every_installation_back_within_the_longest_backoff() {
        for outage in [Duration::from_mins(9), Duration::from_hours(1), Duration::from_hours(24)] {
            for phase in phases() {
                let Resumption { due, next_cycle, backoff } = cycles_after(outage, phase, INTERVAL, WAITS);
                assert!(backoff.is_some() && due <= WAITS.1, "{outage:?} {phase:?}: {due:?}");
                assert!(due <= next_cycle && next_cycle <= due + INTERVAL, "{outage:?} {phase:?}: {next_cycle:?}");
            }
        }
    }

    #[test]
    fn a_short_outage_concerns_the_cycles_within_it_alone() {
        let outage = Duration::from_secs(30);
        let failing = phases().filter(|phase| cycles_after(outage, *phase, INTERVAL, WAITS).backoff.is_some());
        assert_eq!(failing.count(), 300);
        let unaffected = cycles_after(outage, Duration::from_secs(100), INTERVAL, WAITS);
        assert_eq!(unaffected.due, Duration::from_secs(100));
    }

    #[test]
    fn the_cycles_keep_their_phase() {
        for phase in phases().step_by(7) {
            let next = cycles_after(Duration::from_hours(1), phase, INTERVAL, WAITS).next_cycle;
            assert_eq!(remainder(next, INTERVAL), phase);
        }
    }

    #[test]
    fn an_event_of_the_outage_waits_for_its_backoff() {
        for age in [0, 1, 60, 3_600].map(Duration::from_secs) {
            let (due, _) = events_after(age, WAITS);
            // A wait is at most twice the one before, and all of them together are longer than the event is old.
            assert!(due <= WAITS.1.min(2 * age), "{age:?}: {due:?}");
        }
    }
}
