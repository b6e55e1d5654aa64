use super::super::definitions::Window;
use super::super::test_facts::{active, asked, condition, day, kamaji, kubernetes_day, minor, pair, seen, week};
use super::*;
use crate::backend::store::fold::Standing;
use crate::catalog::Status;

const THROUGH: &str = "2026-11-26";

fn overview(source: SourceKind, window: Window) -> FleetOverview {
    FleetOverview { source, window, by: By::Installations }
}

/// Returns the facts that each query asks for. Of conditions, those of the longest window hold the shorter ones'.
fn read(question: FleetOverview, store: &Facts, active: impl Fn(Day) -> Vec<ConditionFact>) -> Vec<Facts> {
    let read = |query: &FactsQuery| Facts {
        days: query.days.map_or_else(Vec::new, |_| store.days.clone()),
        kubernetes_days: query.kubernetes_days.map_or_else(Vec::new, |_| store.kubernetes_days.clone()),
        pairs: query.pairs.map_or_else(Vec::new, |_| store.pairs.clone()),
        conditions: query.conditions.map_or_else(Vec::new, &active),
        first_seen: query.first_seen.map_or_else(Vec::new, |_| store.first_seen.clone()),
        last_seen: query.last_seen.map_or_else(Vec::new, |_| store.last_seen.clone()),
        event_weeks: query.event_weeks.map_or_else(Vec::new, |_| store.event_weeks.clone()),
        ..Facts::default()
    };
    question.queries(day(THROUGH)).iter().map(read).collect()
}

fn ask_with(question: FleetOverview, store: &Facts, active: impl Fn(Day) -> Vec<ConditionFact>) -> Answer<OverviewRow> {
    question.answer(&read(question, store, active), asked(THROUGH))
}

fn ask(store: &Facts) -> Answer<OverviewRow> {
    ask_with(overview(SourceKind::Agent, Window::Days30), store, |_| Vec::new())
}

fn rows(answer: &Answer<OverviewRow>, table: OverviewTable) -> Vec<&OverviewRow> {
    answer.rows.iter().filter(|row| row.table == table).collect()
}

fn installations_since(first: Day) -> Vec<ConditionFact> {
    let number = match day(THROUGH).since(first) + 1 {
        7 => 150,
        30 => 176,
        days => panic!("a window of {days} days"),
    };
    vec![condition("v1.0.0", SizeClass::UpTo5, number)]
}

#[test]
fn active_installations_and_sizes_have_their_own_windows_whatever_that_of_the_question() {
    let last_seen = vec![
        seen("2026-11-27", Standing::NotConfirmed, 1),
        seen("2026-11-20", Standing::NotConfirmed, 2),
        seen("2026-11-19", Standing::Bulk, 4),
        seen("2026-10-27", Standing::NotConfirmed, 8),
        seen("2026-11-26", Standing::Confirmed, 100),
    ];
    let store = Facts { last_seen, days: vec![active(THROUGH, 140), active("2026-11-27", 90)], ..Facts::default() };
    for source in [SourceKind::Agent, SourceKind::Kamaji] {
        for window in [Window::Days7, Window::Days30, Window::Days90] {
            let answer = ask_with(overview(source, window), &store, installations_since);
            let active: Vec<_> = rows(&answer, OverviewTable::Active)
                .iter()
                .map(|row| (row.period.unwrap(), row.installations, row.not_confirmed, row.bulk, row.partial.unwrap()))
                .collect();
            let expected = [
                ("today", Some(90), Some(1), Some(0), true),
                ("7d", Some(150), Some(3), Some(0), false),
                ("30d", Some(176), Some(3), Some(4), false),
            ];
            assert_eq!(active, expected, "{source:?} {window}");
            let sizes = rows(&answer, OverviewTable::Size);
            assert_eq!(
                (sizes.len(), sizes[2].size, sizes[2].count, sizes[2].base),
                (7, Some("2–5"), Some(176), Some(176))
            );
        }
    }
}

#[test]
fn the_four_answers_are_those_of_their_questions() {
    let store = Facts {
        days: vec![active("2026-10-27", 128), active(THROUGH, 140)],
        pairs: vec![pair("v1.10.0", "v1.31.1", 30), pair("v1.9.0", "v1.30.1", 3)],
        kubernetes_days: vec![kubernetes_day(THROUGH, "v1.31.1", 40), kubernetes_day(THROUGH, "v1.30.1", 1)],
        last_seen: vec![seen(THROUGH, Standing::NotConfirmed, 40)],
        ..Facts::default()
    };
    let question = overview(SourceKind::Agent, Window::Days30);
    let answer = ask_with(question, &store, installations_since);
    let health = Facts { conditions: installations_since(day("2026-11-20")), ..Facts::default() };
    let store = [store];
    let asked = asked(THROUGH);
    let build = "176 installations are active in 30 days, and 140 were received on 2026-11-26, 12 more than 30 days \
                 before; all have 5 control planes or fewer; 40 more are not confirmed or in bulk.";
    let expected = [
        (Decision::Build, build.to_owned()),
        (Decision::Test, question.test_matrix().answer(&store, asked).answer),
        (Decision::Fix, Health::default().answer(&[health], asked).answer),
        (Decision::Deprecate, question.deprecation().answer(&store, asked).answer),
    ];
    let found: Vec<_> = rows(&answer, OverviewTable::Answer)
        .iter()
        .map(|row| (row.question.unwrap(), row.sentence.clone().unwrap()))
        .collect();
    assert_eq!(found, expected);
    assert!(rows(&answer, OverviewTable::Answer).iter().all(|row| row.link.unwrap().starts_with("/insights/")));
    assert_eq!(answer.answer, build);
}

#[test]
fn for_kamajis_own_counting_the_overview_says_why_it_cannot_tell_what_to_fix() {
    let answer = ask_with(overview(SourceKind::Kamaji, Window::Days30), &Facts::default(), installations_since);
    let fix = rows(&answer, OverviewTable::Answer)[2].sentence.clone().unwrap();
    assert!(fix.starts_with("Kamaji's built-in telemetry can't tell which release to fix: it counts"), "{fix}");
    assert_eq!(answer.source, "kamaji");
    assert!(
        overview(SourceKind::Kamaji, Window::Days30)
            .queries(day(THROUGH))
            .iter()
            .all(|query| query.source == SourceKind::Kamaji)
    );
}

#[test]
fn growth_compares_complete_days_and_leaves_out_those_without_data() {
    let growth = |days: &[DayFact]| {
        let answer = ask(&Facts { days: days.to_vec(), ..Facts::default() });
        let rows = rows(&answer, OverviewTable::Growth);
        rows.iter().map(|row| (row.day.unwrap().to_string(), row.before, row.difference)).collect::<Vec<_>>()
    };
    let days = [active("2026-11-19", 12), active(THROUGH, 10), active("2026-11-27", 99)];
    let expected = [("2026-11-19".to_owned(), Some(12), Some(-2)), ("2026-10-27".to_owned(), None, None)];
    assert_eq!(growth(&days), expected);
    assert_eq!(growth(&[active("2026-11-19", 12)])[0].2, None, "the last complete day has no data");
}

#[test]
fn an_installation_is_new_in_the_week_of_its_first_day_and_gone_thirty_days_after_its_last() {
    let store = Facts {
        first_seen: vec![
            seen("2026-11-15", Standing::Confirmed, 1),
            seen("2026-11-16", Standing::Confirmed, 2),
            seen("2026-11-22", Standing::NotConfirmed, 4),
            seen("2026-11-23", Standing::Confirmed, 8),
        ],
        last_seen: vec![
            // 30 days later it is Sunday 2026-11-15, Monday 16, Sunday 22 and Monday 23.
            seen("2026-10-16", Standing::Confirmed, 1),
            seen("2026-10-17", Standing::Confirmed, 2),
            seen("2026-10-23", Standing::Confirmed, 4),
            seen("2026-10-23", Standing::NotConfirmed, 100),
            seen("2026-10-24", Standing::Confirmed, 8),
        ],
        ..Facts::default()
    };
    let answer = ask(&store);
    let weeks: Vec<_> = rows(&answer, OverviewTable::Week)
        .iter()
        .map(|row| (row.week.unwrap().to_string(), row.installations, row.not_confirmed, row.gone))
        .collect();
    assert_eq!(weeks.len(), 4);
    assert_eq!(weeks[2], ("2026-11-09".to_owned(), Some(1), Some(0), Some(1)));
    assert_eq!(weeks[3], ("2026-11-16".to_owned(), Some(2), Some(4), Some(6)));
    let [query, ..] = overview(SourceKind::Agent, Window::Days30).queries(day(THROUGH))[..] else { panic!("no query") };
    assert_eq!(query.last_seen, Some(day("2026-09-26")), "30 days before the first week");
    assert_eq!(query.days, Some(day("2026-10-27")), "30 days before the last day");
}

#[test]
fn sizes_are_those_of_installations_or_of_their_weight() {
    let store = Facts::default();
    let conditions = |_| vec![condition("v1.0.0", SizeClass::UpTo5, 3), condition("v1.1.0", SizeClass::UpTo20, 1)];
    let question = overview(SourceKind::Agent, Window::Days30);
    let sizes = |by| {
        let answer = ask_with(FleetOverview { by, ..question }, &store, conditions);
        let rows = rows(&answer, OverviewTable::Size);
        (rows[2].count, rows[3].count, rows[3].base, rows[3].share)
    };
    assert_eq!(sizes(By::Installations), (Some(3), Some(1), Some(4), Some(0.25)));
    assert_eq!(sizes(By::ControlPlanes), (Some(30), Some(10), Some(40), Some(0.25)));
}

#[test]
fn states_are_those_of_the_last_complete_day() {
    let totals = Totals { running: 24_000_000, sleeping: 3, not_ready: 2, upgrading: 1, left_out: 4 };
    let last = DayFact { control_planes: totals, ..active(THROUGH, 10) };
    let answer = ask(&Facts { days: vec![last, active("2026-11-27", 99)], ..Facts::default() });
    let states: Vec<_> =
        rows(&answer, OverviewTable::State).iter().map(|row| (row.state.unwrap(), row.count.unwrap())).collect();
    let expected = [("running", 24_000_000), ("sleeping", 3), ("not_ready", 2), ("upgrading", 1), ("left_out", 4)];
    assert_eq!(states, expected);
    assert_eq!(rows(&answer, OverviewTable::State)[0].base, Some(24_000_010));
}

#[test]
fn each_event_is_counted_once_in_its_week() {
    let of = |aspect, events| week("2026-11-16", aspect, events);
    let version = kamaji("v1.0.0");
    let event_weeks = vec![
        of(EventAspect::Created { kamaji: version.to_minor(), minor: minor("v1.9") }, 8),
        of(EventAspect::Created { kamaji: version.to_minor(), minor: minor("v1.10") }, 2),
        of(EventAspect::ClusterApi(None), 10),
        of(EventAspect::MinorUpdate { from: minor("v1.9"), to: minor("v1.10") }, 4),
        of(EventAspect::Reached { kamaji: version.to_minor(), minor: minor("v1.10") }, 4),
        of(EventAspect::PatchUpdate { kamaji: version, is_downgrade: true }, 1),
        of(EventAspect::Deletion { kamaji: version, status: Status::Ready }, 5),
        week("2026-11-23", EventAspect::Deletion { kamaji: version, status: Status::Ready }, 100),
    ];
    let answer = ask(&Facts { event_weeks, ..Facts::default() });
    let events = rows(&answer, OverviewTable::Event);
    assert_eq!(events.len(), 4 * 4, "kinds and complete weeks");
    let last: Vec<_> =
        events[12..].iter().map(|row| (row.event.unwrap(), row.count.unwrap(), row.base.unwrap())).collect();
    assert_eq!(last, [("created", 10, 20), ("minor_updated", 4, 20), ("patch_updated", 1, 20), ("deleted", 5, 20)]);
}

#[test]
fn days_have_no_gap_and_the_one_that_is_not_over_is_partial() {
    let days = vec![active("2026-10-20", 9), active("2026-11-24", 3), active(THROUGH, 4), active("2026-11-27", 1)];
    let answer = ask(&Facts { days, ..Facts::default() });
    let days: Vec<_> = rows(&answer, OverviewTable::Day)
        .iter()
        .map(|row| (row.day.unwrap().to_string(), row.installations.unwrap(), row.partial.unwrap()))
        .collect();
    let expected =
        [("2026-11-24", 3, false), ("2026-11-25", 0, false), ("2026-11-26", 4, false), ("2026-11-27", 1, true)];
    assert_eq!(days, expected.map(|(day, installations, partial)| (day.to_owned(), installations, partial)));
}

#[test]
fn an_empty_store_and_one_installation_have_a_sentence() {
    assert_eq!(
        ask(&Facts::default()).answer,
        "No installation is active in 30 days, which takes receipts on two days, at least 20 hours apart; 0 more are \
         not confirmed or in bulk."
    );
    let one = ask_with(overview(SourceKind::Agent, Window::Days7), &Facts::default(), |_| {
        vec![condition("v1.0.0", SizeClass::One, 1)]
    });
    assert_eq!(
        one.answer,
        "1 installation is active in 30 days, too few to say more; 0 more are not confirmed or in bulk."
    );
    let nothing = overview(SourceKind::Agent, Window::Days365).answer(&[], asked(THROUGH));
    assert_eq!(rows(&nothing, OverviewTable::Answer).len(), 4, "facts that are missing are none");
}

#[test]
fn the_sizes_up_to_the_median_are_told_with_their_share() {
    let of = |sizes: &[(SizeClass, u64)]| {
        let conditions: Vec<_> = sizes.iter().map(|(size, number)| condition("v1.0.0", *size, *number)).collect();
        super::sizes(&conditions).unwrap_or_default()
    };
    assert_eq!(of(&[]), "");
    assert_eq!(of(&[(SizeClass::One, 1), (SizeClass::UpTo5, 1)]), "; 1 of 2 have one control plane or none");
    assert_eq!(of(&[(SizeClass::One, 50), (SizeClass::UpTo5, 70)]), "; all have 5 control planes or fewer");
    assert_eq!(
        of(&[(SizeClass::None, 45), (SizeClass::UpTo20, 30), (SizeClass::UpTo100, 25)]),
        "; 75 % have 20 control planes or fewer"
    );
    assert_eq!(of(&[(SizeClass::Larger, 60), (SizeClass::None, 40)]), "; 60 % have more than 1,000 control planes");
}
