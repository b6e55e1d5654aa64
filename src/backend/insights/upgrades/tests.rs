use proptest::prelude::*;

use super::super::test_facts::{asked, day, event_day, kamaji, minor, week};
use super::*;
use crate::backend::store::EventWeekFact;

const THROUGH: &str = "2026-11-26";

fn update(from: &str, to: &str, events: u64) -> EventWeekFact {
    week("2026-11-16", EventAspect::MinorUpdate { from: minor(from), to: minor(to) }, events)
}

fn ask(facts: Facts) -> Answer<UpgradesRow> {
    let question = Upgrades { source: SourceKind::Agent, window: Window::Days30 };
    question.answer(&[facts], asked(THROUGH))
}

fn of_weeks(event_weeks: Vec<EventWeekFact>) -> Answer<UpgradesRow> {
    ask(Facts { event_weeks, ..Facts::default() })
}

fn minors(mut event_days: Vec<EventDayFact>) -> Vec<UpgradesRow> {
    // The data begins long before.
    event_days.insert(0, event_day("2026-01-01", EventChange::Created, "v1.1", 1));
    let answer = ask(Facts { event_days, ..Facts::default() });
    answer.rows.into_iter().filter(|row| row.table == UpgradesTable::Minor).collect()
}

#[test]
fn minors_are_compared_as_numbers() {
    for (from, to, kind) in [
        ("v1.9", "v1.10", PathKind::Step),
        ("v1.9", "v1.11", PathKind::Coalesced),
        ("v1.10", "v1.9", PathKind::Downgrade),
        ("v1.10", "v2.0", PathKind::Step),
        ("v2.0", "v1.10", PathKind::Downgrade),
        ("unknown", "v1.10", PathKind::Unknown),
        ("v1.10", "other", PathKind::Unknown),
    ] {
        assert_eq!(PathKind::of(minor(from), minor(to)), kind, "{from} {to}");
    }
}

#[test]
fn paths_have_their_shares_of_all_minor_updates_newest_first() {
    let answer = of_weeks(vec![
        update("v1.9", "v1.10", 6),
        update("unknown", "v1.10", 1),
        update("v1.10", "v1.9", 1),
        update("v1.9", "v1.11", 8),
        update("v1.9", "v1.11", 4),
        week("2026-10-19", EventAspect::MinorUpdate { from: minor("v1.9"), to: minor("v1.10") }, 100),
        week("2026-11-23", EventAspect::MinorUpdate { from: minor("v1.9"), to: minor("v1.10") }, 100),
        week("2026-11-16", EventAspect::Reached { kamaji: kamaji("v1.0.0").to_minor(), minor: minor("v1.10") }, 7),
    ]);
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (row.from.as_deref().unwrap(), row.to.as_deref().unwrap(), row.kind.unwrap(), row.count, row.base))
        .collect();
    let base = Some(20);
    let expected = [
        ("v1.9", "v1.11", PathKind::Coalesced, 12, base),
        ("v1.9", "v1.10", PathKind::Step, 6, base),
        ("unknown", "v1.10", PathKind::Unknown, 1, base),
        ("v1.10", "v1.9", PathKind::Downgrade, 1, base),
    ];
    assert_eq!(rows, expected);
    assert_eq!(
        answer.answer,
        "30 % of 20 minor updates went one minor up, 60 % skipped one (coalesced) and 5.0 % went down in the 4 \
         complete \
         weeks from 2026-10-26 to 2026-11-22, most often from v1.9 to v1.11 (12 events); these are events, not \
         installations."
    );
}

#[test]
fn few_updates_are_counted_and_none_is_said() {
    let few = of_weeks(vec![update("v1.9", "v1.10", 18), update("v1.10", "v1.9", 1)]).answer;
    assert!(few.starts_with("18 of 19 minor updates went one minor up, none skipped one (coalesced) and 1 went down"));
    let none = ask(Facts::default());
    assert!(none.answer.starts_with("No control plane was updated") && none.rows.is_empty(), "{}", none.answer);
    let many = of_weeks(vec![update("v1.9", "v1.10", 23_999_999), update("v1.10", "v1.9", 1)]).answer;
    assert!(many.starts_with("> 99.9 % of 24,000,000 ") && many.contains("< 0.1 % went down"), "{many}");
}

#[test]
fn patches_go_up_and_down() {
    let patch = |version, is_downgrade, events| {
        week("2026-11-16", EventAspect::PatchUpdate { kamaji: kamaji(version), is_downgrade }, events)
    };
    let answer = of_weeks(vec![patch("v1.0.0", false, 2), patch("v1.1.0", false, 1), patch("v1.1.0", true, 1)]);
    let rows: Vec<_> = answer.rows.iter().map(|row| (row.direction, row.count, row.share)).collect();
    assert_eq!(rows, [(Some(Direction::Up), 3, Some(0.75)), (Some(Direction::Down), 1, Some(0.25))]);
}

#[test]
fn a_minor_is_sighted_by_the_third_event_that_makes_or_reaches_it() {
    let rows = minors(vec![
        event_day("2026-05-01", EventChange::MinorUpdated, "v1.35", 1),
        event_day("2026-05-02", EventChange::PatchUpdated, "v1.35", 9),
        event_day("2026-05-02", EventChange::Deleted, "v1.35", 9),
        event_day("2026-05-03", EventChange::Created, "v1.35", 1),
        event_day("2026-05-11", EventChange::Created, "v1.35", 1),
        event_day("2026-05-21", EventChange::MinorUpdated, "v1.35", 2),
        event_day("2026-05-31", EventChange::MinorUpdated, "v1.35", 2),
    ]);
    let [row] = &rows[..] else { panic!("one minor: {rows:?}") };
    assert_eq!((row.to.as_deref(), row.count), (Some("v1.35"), 5));
    assert_eq!(row.first_sighting, Some(day("2026-05-11").date()));
    let quartiles = (row.days_lower_quartile, row.days_median, row.days_upper_quartile);
    assert_eq!(quartiles, (Some(10.0), Some(10.0), Some(20.0)), "of 0, 10, 10, 20 and 20 days");
}

#[test]
fn two_events_sight_nothing_and_three_updates_have_no_quartiles() {
    assert_eq!(minors(vec![event_day("2026-05-01", EventChange::Created, "v1.35", 2)]), []);
    let rows = minors(vec![event_day("2026-05-01", EventChange::MinorUpdated, "v1.35", 3)]);
    assert_eq!((rows[0].days_median, rows[0].first_sighting), (None, Some(day("2026-05-01").date())));
    let rows = minors(vec![event_day("2026-05-01", EventChange::MinorUpdated, "v1.35", 4)]);
    assert_eq!(rows[0].days_median, Some(0.0));
}

#[test]
fn a_minor_of_the_first_28_days_of_the_data_may_be_older() {
    let before = minors(vec![event_day("2026-01-28", EventChange::MinorUpdated, "v1.35", 9)]);
    assert_eq!((before[0].before_data, before[0].first_sighting, before[0].days_median), (Some(true), None, None));
    let after = minors(vec![event_day("2026-01-29", EventChange::MinorUpdated, "v1.35", 9)]);
    assert_eq!((after[0].before_data, after[0].days_median), (Some(false), Some(0.0)));
}

#[test]
fn events_of_the_day_that_is_not_over_do_not_count() {
    let rows = minors(vec![event_day("2026-11-27", EventChange::MinorUpdated, "v1.35", 9)]);
    assert_eq!(rows, []);
}

proptest! {
    #[test]
    fn the_sighting_and_the_median_are_those_of_single_events(
        events in prop::collection::vec((0_i32..200, any::<bool>()), 0..60),
    ) {
        let change = |is_update| if is_update { EventChange::MinorUpdated } else { EventChange::Created };
        let first = day("2026-03-01");
        let facts = events.iter().map(|(days, is_update)| EventDayFact {
            day: first.plus(*days), change: change(*is_update), minor: minor("v1.35"), events: 1,
        });
        let rows = minors(facts.collect());
        let mut days: Vec<_> = events.iter().map(|(days, _)| *days).collect();
        days.sort_unstable();
        let sighting = days.get(2).copied();
        prop_assert_eq!(rows.first().and_then(|row| row.first_sighting), sighting.map(|days| first.plus(days).date()));
        let updates = events.iter().filter(|(_, is_update)| *is_update);
        let mut updates: Vec<_> = updates.filter_map(|(days, _)| Some((days - sighting?).max(0))).collect();
        updates.sort_unstable();
        let middle = |position: usize| f64::from(updates[position]);
        let number = updates.len();
        let median = (number >= 4).then(|| f64::midpoint(middle((number - 1) / 2), middle(number / 2)));
        prop_assert_eq!(rows.first().and_then(|row| row.days_median), median);
    }
}
