use proptest::prelude::*;

use super::super::test_facts::{asked, day, seen, version_day};
use super::*;
use crate::backend::store::{AgentVersion, Hour, RefusalFact, ServedHour};

const THROUGH: &str = "2026-11-26";

fn ask(agent: Facts, kamaji: Facts) -> Answer<CoverageRow> {
    Coverage::default().answer(&[agent, kamaji], asked(THROUGH))
}

fn rows(answer: &Answer<CoverageRow>, table: CoverageTable) -> Vec<&CoverageRow> {
    answer.rows.iter().filter(|row| row.table == table).collect()
}

fn new_on(date: &str, installations: u64) -> SeenFact {
    seen(date, Standing::NotConfirmed, installations)
}

fn unusual(first_seen: &[SeenFact]) -> Vec<(Day, u64, f64)> {
    let days = unusual_days(first_seen, day("2026-11-01"), day(THROUGH)).into_iter();
    days.map(|unusual| (unusual.day, unusual.new, unusual.usual)).collect()
}

/// New installations on each of the 28 days before 2026-11-26.
fn usual(first_half: u64, second_half: u64) -> Vec<SeenFact> {
    let number = |days| if days <= 14 { first_half } else { second_half };
    (1..=28).map(|days| SeenFact { day: day(THROUGH).minus(days), ..new_on(THROUGH, number(days)) }).collect()
}

#[test]
fn a_window_and_the_time_since_the_last_receipt_have_each_standing_apart() {
    let last_seen = vec![
        seen("2026-11-27", Standing::NotConfirmed, 1),
        seen("2026-11-26", Standing::Confirmed, 2),
        seen("2026-11-20", Standing::Bulk, 4),
        seen("2026-11-19", Standing::Confirmed, 8),
        seen("2026-10-28", Standing::Confirmed, 16),
        seen("2026-10-27", Standing::Confirmed, 32),
        seen("2026-08-30", Standing::Confirmed, 64),
        seen("2026-08-29", Standing::Confirmed, 128),
        seen("2020-01-01", Standing::Confirmed, 256),
    ];
    let answer = ask(Facts { last_seen, ..Facts::default() }, Facts::default());
    let sums = |row: &&CoverageRow| (row.confirmed.unwrap(), row.not_confirmed.unwrap(), row.bulk.unwrap());
    let windows: Vec<_> = rows(&answer, CoverageTable::Window).iter().map(sums).collect();
    let expected = [(2, 1, 4), (26, 1, 4), (250, 1, 4), (250, 1, 4)];
    assert_eq!(windows[..4], expected, "from 2026-11-20, 2026-10-28, 2026-08-29 and 2025-11-27");
    assert_eq!(windows[4..], [(0, 0, 0); 4]);
    let classes: Vec<_> = rows(&answer, CoverageTable::LastSeen)[..6].iter().map(sums).collect();
    assert_eq!(classes, [(0, 1, 0), (2, 0, 0), (0, 0, 0), (8, 0, 4), (112, 0, 0), (384, 0, 0)]);
    assert_eq!(
        answer.answer,
        "In 30 days 26 confirmed installations of agents were received, and 0 of Kamaji's built-in telemetry, with 5 \
         more that are not confirmed or in bulk; the backend was never away, and no day had unusually many new \
         installations; how many opted out is not known."
    );
}

#[test]
fn agents_versions_are_those_of_the_last_complete_day() {
    let on = |date: &str, version: &str, installations| {
        version_day(day(date), version.parse::<AgentVersion>().unwrap(), installations)
    };
    let agent_days = vec![on(THROUGH, "2.0.0", 1), on(THROUGH, "2.1.0", 3), on("2026-11-27", "2.2.0", 9)];
    let answer = ask(Facts { agent_days, ..Facts::default() }, Facts::default());
    let versions: Vec<_> = rows(&answer, CoverageTable::AgentVersion)
        .iter()
        .map(|row| (row.agent_version.clone().unwrap(), row.count, row.share))
        .collect();
    assert_eq!(versions, [("2.1.0".into(), Some(3), Some(0.75)), ("2.0.0".into(), Some(1), Some(0.25))]);
}

#[test]
fn refusals_and_hours_away_are_those_of_the_window() {
    let refusal = |date: &str, records| RefusalFact { day: day(date), reason: "scope".to_owned(), records };
    let refusals = vec![refusal("2026-10-27", 9), refusal("2026-10-28", 1), refusal("2026-11-27", 2)];
    let begin = day("2026-10-28").first_hour();
    let served = |hour: Hour| ServedHour { hour, minutes: 60 };
    let served_hours = vec![
        served(begin.minus(9)),
        served(begin.minus(7)),
        served(begin.minus(-2)),
        served(begin.minus(-3)),
        served(begin.minus(-5)),
    ];
    let last_seen = vec![seen(THROUGH, Standing::Confirmed, 1)];
    let answer = ask(Facts { last_seen, refusals, served_hours, ..Facts::default() }, Facts::default());
    let refused: Vec<_> = rows(&answer, CoverageTable::Refused).iter().map(|row| row.count.unwrap()).collect();
    assert_eq!(refused, [1, 2]);
    let away: Vec<_> = rows(&answer, CoverageTable::Away)
        .iter()
        .map(|row| (row.from.unwrap().to_string(), row.until.unwrap().to_string(), row.count.unwrap()))
        .collect();
    let expected =
        [("2026-10-28T00:00:00Z", "2026-10-28T02:00:00Z", 2), ("2026-10-28T04:00:00Z", "2026-10-28T05:00:00Z", 1)];
    assert_eq!(away, expected.map(|(from, until, hours)| (from.to_owned(), until.to_owned(), hours)));
    assert!(answer.answer.contains("away for 3 hours"), "{}", answer.answer);
}

#[test]
fn an_unusual_day_has_twenty_new_installations_and_five_medians() {
    let with = |first_half, second_half, new| [usual(first_half, second_half), vec![new_on(THROUGH, new)]].concat();
    assert_eq!(unusual(&with(0, 0, 19)), [], "fewer than 20");
    assert_eq!(unusual(&with(0, 0, 20)), [(day(THROUGH), 20, 0.0)]);
    assert_eq!(unusual(&with(6, 6, 29)), []);
    assert_eq!(unusual(&with(6, 6, 30)), [(day(THROUGH), 30, 6.0)]);
    // The median of 14 days with 6 and 14 with 7 is 6.5, and five times that 32.5.
    assert_eq!(unusual(&with(6, 7, 32)), []);
    assert_eq!(unusual(&with(6, 7, 33)), [(day(THROUGH), 33, 6.5)]);
    assert_eq!(unusual(&with(4_000_000, 4_000_000, 24_000_000)), [(day(THROUGH), 24_000_000, 4_000_000.0)]);
}

#[test]
fn the_first_28_days_of_the_data_are_not_judged() {
    let begin = |date| unusual(&[new_on(date, 100), new_on(THROUGH, 100)]).len();
    assert_eq!((begin("2026-10-29"), begin("2026-10-30")), (1, 0));
}

#[test]
fn all_standings_of_a_day_are_new_and_the_day_that_is_not_over_is_left_out() {
    let of = |date, standing| seen(date, standing, 10);
    let first_seen = vec![
        new_on("2026-01-01", 1),
        of(THROUGH, Standing::Bulk),
        of(THROUGH, Standing::Confirmed),
        new_on("2026-11-27", 500),
    ];
    let agent = ask(Facts { first_seen: first_seen.clone(), ..Facts::default() }, Facts::default());
    let kamaji = ask(Facts::default(), Facts { first_seen, ..Facts::default() });
    for (answer, source) in [(agent, "agent"), (kamaji, "kamaji")] {
        let days = rows(&answer, CoverageTable::UnusualDay);
        let [row] = days[..] else { panic!("one day: {days:?}") };
        assert_eq!((row.source, row.day, row.count), (Some(source), Some(day(THROUGH).date()), Some(20)));
    }
}

#[test]
fn an_empty_store_says_that_nobody_was_received() {
    let answer = Coverage::default().answer(&[], asked(THROUGH));
    assert_eq!(answer.answer, "No installation was received in 30 days; how many opted out is not known.");
    assert!(answer.notes[0].contains("how many opted out"));
    let queries = Coverage { window: Window::Days7 }.queries(day(THROUGH));
    let sources: Vec<_> = queries.iter().map(|query| (query.source, query.last_seen.is_some())).collect();
    assert_eq!(sources, [(SourceKind::Agent, true), (SourceKind::Kamaji, true)]);
}

proptest! {
    #[test]
    fn unusual_days_are_those_of_a_look_at_each_day(numbers in prop::collection::vec(0_u64..60, 29..60)) {
        let first = day("2026-01-01");
        let facts: Vec<_> = numbers.iter().zip(0..).map(|(number, days)| SeenFact {
            day: first.plus(days), ..new_on(THROUGH, *number)
        }).collect();
        let last = first.plus(i32::try_from(numbers.len()).unwrap() - 1);
        let found: Vec<_> = unusual_days(&facts, first.plus(28), last).iter().map(|day| day.new).collect();
        let expected = numbers.windows(29).filter_map(|days| {
            let mut before = days[..28].to_vec();
            before.sort_unstable();
            (days[28] >= 20 && days[28] * 2 >= (before[13] + before[14]) * 5).then_some(days[28])
        });
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
    }
}
