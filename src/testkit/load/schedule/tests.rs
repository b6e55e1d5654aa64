use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A minute of the longest backoff, and the time of a round trip.
const HERD: Duration = Duration::from_secs(61);

fn settings(installations: u32) -> ScheduleSettings {
    ScheduleSettings {
        installations,
        urls: 1,
        places: usize::MAX,
        timeout: Duration::from_secs(10),
        outage: Duration::ZERO,
        events_per_day: 0.0,
    }
}

fn new(settings: ScheduleSettings) -> LoadSchedule {
    LoadSchedule::new(settings, Rng::with_seed(7))
}

/// Runs a schedule whose attempts are answered at once, and passes each to `answer`.
fn run(schedule: &mut LoadSchedule, end: Duration, mut answer: impl FnMut(&Attempt, Duration) -> AttemptOutcome) {
    while let Some(now) = schedule.next_due().filter(|due| *due < end) {
        schedule.advance(now);
        while let Some(attempt) = schedule.take(now) {
            let outcome = answer(&attempt, now);
            schedule.finish(&attempt, outcome, now);
        }
    }
}

fn unreachable() -> AttemptOutcome {
    AttemptOutcome::Failed(SendFailure::Unreachable, None)
}

#[test]
fn the_cycles_of_a_fleet_are_spread_over_the_interval() {
    let mut schedule = new(settings(10_000));
    let mut by_half_minute = [0; 20];
    let mut last: HashMap<u32, Duration> = HashMap::new();
    run(&mut schedule, 2 * INTERVAL, |attempt, now| {
        by_half_minute[usize::try_from(now.as_secs() / 30).unwrap()] += 1;
        assert!(last.insert(attempt.installation, now).is_none_or(|last| now == last + INTERVAL));
        AttemptOutcome::Acknowledged
    });
    assert_eq!(by_half_minute.iter().sum::<u32>(), 20_000);
    assert!(by_half_minute.iter().all(|cycles| (800..1_200).contains(cycles)), "{by_half_minute:?}");
}

#[test]
fn the_herd_after_an_outage_is_spread_over_the_longest_backoff() {
    let outage = Duration::from_hours(1);
    let mut schedule = new(ScheduleSettings { outage, events_per_day: 24.0, ..settings(10_000) });
    let waiting = schedule.waiting_events();
    assert!((9_000..11_000).contains(&waiting), "{waiting} events of the outage");
    let mut seconds: BTreeMap<u64, u32> = BTreeMap::new();
    let mut first = BTreeSet::new();
    run(&mut schedule, HERD, |attempt, now| {
        *seconds.entry(now.as_secs()).or_default() += 1;
        first.insert(attempt.installation);
        AttemptOutcome::Acknowledged
    });
    assert_eq!(first.len(), 10_000, "each installation is back within the longest backoff");
    // 10,000 installations, and some 6,000 of them with events, in 30 to 60 s.
    let busiest = seconds.values().max().unwrap();
    assert!(*busiest < 1_000, "{busiest} in one second: {seconds:?}");
    assert_eq!(schedule.waiting_events(), 0);
}

#[test]
fn each_url_gets_its_part_and_takes_over_what_fails_at_another() {
    let mut schedule = new(ScheduleSettings { urls: 2, ..settings(1_000) });
    let mut acknowledged = BTreeSet::new();
    let mut failed = 0;
    run(&mut schedule, INTERVAL + 2 * SECOND, |attempt, _| {
        if attempt.url == 1 {
            failed += 1;
            return unreachable();
        }
        acknowledged.insert(attempt.installation);
        AttemptOutcome::Acknowledged
    });
    assert_eq!(acknowledged.len(), 1_000);
    assert!((500..520).contains(&failed), "{failed} attempts at the URL that is down, of a part of 500");
    assert_eq!(schedule.figures.failed(), failed);
}

#[test]
fn an_event_is_sent_again_as_itself_until_it_is_acknowledged() {
    let mut schedule = new(ScheduleSettings { events_per_day: 10_000.0, ..settings(10) });
    let mut attempts: HashMap<Uuid, u32> = HashMap::new();
    let mut acknowledged = BTreeSet::new();
    run(&mut schedule, INTERVAL, |attempt, _| {
        let AttemptContent::Events(events) = &attempt.content else { return AttemptOutcome::Acknowledged };
        for event in events {
            *attempts.entry(event.uid).or_default() += 1;
        }
        if attempts[&events[0].uid] < 3 {
            return AttemptOutcome::Failed(SendFailure::Status(503), None);
        }
        acknowledged.extend(events.iter().map(|event| event.uid));
        AttemptOutcome::Acknowledged
    });
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert_eq!(schedule.figures.events_acknowledged, acknowledged.len() as u64, "no event is acknowledged twice");
    let waiting = schedule.waiting_events() as u64;
    assert_eq!(schedule.figures.events_made, schedule.figures.events_acknowledged + waiting);
}

#[test]
fn events_wait_as_long_as_the_backend_asks_for_and_gauges_do_not() {
    let mut schedule = new(ScheduleSettings { events_per_day: 100_000.0, ..settings(1) });
    let mut times: [Vec<Duration>; 2] = Default::default();
    run(&mut schedule, INTERVAL, |attempt, now| {
        times[usize::from(matches!(attempt.content, AttemptContent::Events(_)))].push(now);
        AttemptOutcome::Failed(SendFailure::Status(429), Some(100 * SECOND))
    });
    let [gauges, events] = times;
    assert!(events.windows(2).all(|pair| pair[1] >= pair[0] + 100 * SECOND), "{events:?}");
    assert!(gauges.windows(2).any(|pair| pair[1] <= pair[0] + SECOND), "{gauges:?}");
    assert!(gauges.windows(2).all(|pair| pair[1] <= pair[0] + RETRY_MAX), "{gauges:?}");
}

#[test]
fn no_more_is_in_flight_than_a_url_has_places_and_what_waits_too_long_times_out() {
    let mut schedule = new(ScheduleSettings { places: 3, ..settings(1_000) });
    schedule.advance(INTERVAL / 10);
    let taken: Vec<_> = std::iter::from_fn(|| schedule.take(INTERVAL / 10)).collect();
    assert_eq!((taken.len(), schedule.in_flight()), (3, 3));
    // The others of the first 20 s were due too long ago.
    assert!(schedule.figures.failures[&SendFailure::TimedOutInQueue] > 50);
    schedule.finish(&taken[0], AttemptOutcome::Acknowledged, INTERVAL / 10);
    assert!(schedule.take(INTERVAL / 10).is_some() && schedule.take(INTERVAL / 10).is_none());
}
