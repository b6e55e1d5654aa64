use proptest::prelude::*;

use super::super::test_facts::{any_kamaji, asked, condition, kamaji, week};
use super::*;
use crate::backend::store::EventWeekFact;

const THROUGH: &str = "2026-11-26";

/// Installations of a version of one size, of which some are stuck.
fn of_size(version: &str, size: SizeClass, stuck: u64, all: u64) -> [ConditionFact; 2] {
    let of = |stuck, installations| ConditionFact { stuck, ..condition(version, size, installations) };
    [of(true, stuck), of(false, all - stuck)]
}

fn of(version: &str, stuck: u64, all: u64) -> [ConditionFact; 2] {
    of_size(version, SizeClass::UpTo5, stuck, all)
}

fn ask(conditions: Vec<ConditionFact>) -> Answer<HealthRow> {
    ask_about(Facts { conditions, ..Facts::default() }, 0)
}

fn ask_about(facts: Facts, min_installations: u64) -> Answer<HealthRow> {
    Health::default().answer(&[facts], Asked { min_installations, ..asked(THROUGH) })
}

fn rows(answer: &Answer<HealthRow>, table: HealthTable) -> Vec<&HealthRow> {
    answer.rows.iter().filter(|row| row.table == table).collect()
}

/// Returns version, the version before, and the verdict.
fn verdicts(answer: &Answer<HealthRow>, table: HealthTable) -> Vec<(String, String, Option<Verdict>)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let of = |row: &&HealthRow| (text(&row.kamaji_version), text(&row.compared_with), row.verdict);
    rows(answer, table).iter().map(of).collect()
}

fn verdict_of(own: (u64, u64), before: (u64, u64)) -> Option<Verdict> {
    let answer = ask([of("v1.10.0", own.0, own.1), of("v1.9.0", before.0, before.1)].concat());
    verdicts(&answer, HealthTable::Version)[0].2
}

#[test]
fn a_version_is_worse_only_where_the_interval_is_above_zero() {
    // Newcombe's lower ends for 4 and 5 of 20 against 0 of 20 are -0.0005 and 0.0378.
    assert_eq!(verdict_of((4, 20), (0, 20)), Some(Verdict::NoDifferenceShown));
    assert_eq!(verdict_of((5, 20), (0, 20)), Some(Verdict::Worse));
    assert_eq!(verdict_of((0, 20), (4, 20)), Some(Verdict::NoDifferenceShown));
    assert_eq!(verdict_of((0, 20), (5, 20)), Some(Verdict::Better));
    assert_eq!(verdict_of((24_000_000, 24_000_000), (0, 24_000_000)), Some(Verdict::Worse));
}

#[test]
fn nineteen_installations_have_no_verdict() {
    assert_eq!(verdict_of((19, 19), (0, 20)), Some(Verdict::TooFew));
    assert_eq!(verdict_of((20, 20), (0, 19)), Some(Verdict::TooFew));
    assert_eq!(verdict_of((20, 20), (0, 20)), Some(Verdict::Worse));
}

#[test]
fn the_version_before_is_the_newest_older_one_of_the_line_that_enough_run() {
    let groups = [
        of("v1.9.0", 0, 40),
        of("v1.10.0", 0, 19),
        of("v1.11.0", 0, 40),
        of("edge-26.9.1", 0, 30),
        of("26.10.1-edge", 0, 30),
        of("latest", 0, 30),
        of("unknown", 0, 30),
    ];
    let too_few = Some(Verdict::TooFew);
    let same = Some(Verdict::NoDifferenceShown);
    let expected = [
        ("v1.11.0", "v1.9.0", same),
        ("v1.10.0", "v1.9.0", too_few),
        ("v1.9.0", "", None),
        ("26.10.1-edge", "edge-26.9.1", same),
        ("edge-26.9.1", "", None),
        ("unknown", "", None),
        ("latest", "", None),
    ];
    let expected = expected.map(|(version, before, verdict)| (version.to_owned(), before.to_owned(), verdict));
    assert_eq!(verdicts(&ask(groups.concat()), HealthTable::Version), expected);
}

#[test]
fn the_sentence_names_the_worst_release_with_its_interval() {
    let groups = [of("v1.0.0", 3, 60), of("v1.1.1", 9, 128), of("v1.2.0", 12, 48)];
    assert_eq!(
        ask(groups.concat()).answer,
        "v1.2.0: 25 % of 48 installations are stuck, against 7.0 % of 128 with v1.1.1: worse (between 6.3 and 32 \
         points, 95 % interval)."
    );
}

#[test]
fn the_sentence_says_that_a_later_version_mends_it_and_that_others_are_worse_too() {
    let groups = [of("v1.0.0", 0, 60), of("v1.1.0", 30, 60), of("v1.1.1", 1, 60), of("v1.2.0", 20, 60)];
    let answer = ask(groups.concat()).answer;
    assert!(answer.starts_with("v1.1.0: 50 % of 60 installations are stuck, against 0 of 60 with v1.0.0: worse"));
    assert!(answer.ends_with("; v1.1.1 is better than it; 1 more version is worse than the one before."), "{answer}");
}

#[test]
fn without_a_worse_release_the_sentence_says_what_can_be_compared() {
    let none = ask([of("v1.0.0", 5, 60), of("v1.1.0", 6, 60)].concat()).answer;
    assert_eq!(
        none,
        "No release stands out: 9.2 % of 120 active installations are stuck (95 % interval 5.2 to 16 %), and the one \
         version that can be compared with the one before is not shown to be worse."
    );
    let lone = ask(of("v1.0.0", 0, 24_000_000).to_vec()).answer;
    assert_eq!(
        lone,
        "No release can be compared with the one before: 0 of 24,000,000 active installations are stuck (95 % \
         interval 0 to < 0.1 %), and no two versions of a line have 20 each."
    );
}

#[test]
fn few_installations_are_counted_one_has_no_verdict_and_none_is_said() {
    assert_eq!(
        ask(of("v1.0.0", 3, 19).to_vec()).answer,
        "3 of 19 active installations are stuck: too few to compare versions, which takes 20 of each."
    );
    assert_eq!(
        ask(of("v1.0.0", 1, 1).to_vec()).answer,
        "1 installation is active, and is stuck: too few to compare versions."
    );
    assert_eq!(ask(Vec::new()).answer, "No installation was active in the 7 days up to 2026-11-26.");
    assert_eq!(Health::default().answer(&[], asked(THROUGH)).rows, []);
}

#[test]
fn larger_installations_do_not_make_a_release_look_worse_within_a_size() {
    // Both versions have the same shares within a size, but the newer one runs on the larger installations.
    let (small, large) = (SizeClass::One, SizeClass::UpTo100);
    let groups = [
        of_size("v1.0.0", small, 2, 100),
        of_size("v1.0.0", large, 10, 20),
        of_size("v1.1.0", small, 0, 20),
        of_size("v1.1.0", large, 50, 100),
    ];
    let answer = ask(groups.concat());
    assert_eq!(verdicts(&answer, HealthTable::Version)[0].2, Some(Verdict::Worse));
    let within: Vec<_> = rows(&answer, HealthTable::SizeAndVersion)
        .iter()
        .map(|row| (row.size.unwrap_or_default(), row.kamaji_version.clone().unwrap_or_default(), row.verdict))
        .collect();
    let same = Some(Verdict::NoDifferenceShown);
    let expected =
        [("1", "v1.1.0", same), ("1", "v1.0.0", None), ("21–100", "v1.1.0", same), ("21–100", "v1.0.0", None)];
    assert_eq!(within, expected.map(|(size, version, verdict)| (size, version.to_owned(), verdict)));
    let sizes: Vec<_> = rows(&answer, HealthTable::Size).iter().map(|row| (row.size, row.count, row.base)).collect();
    assert_eq!(sizes, [(Some("1"), 2, 120), (Some("21–100"), 60, 120)]);
}

#[test]
fn upgrading_for_long_has_a_table_of_its_own() {
    let upgrading = ConditionFact { upgrading_long: true, ..condition("v1.1.0", SizeClass::One, 10) };
    let answer = ask([of("v1.0.0", 0, 20).to_vec(), of("v1.1.0", 0, 10).to_vec(), vec![upgrading]].concat());
    assert_eq!(verdicts(&answer, HealthTable::Upgrading)[0].2, Some(Verdict::Worse));
    assert_eq!(verdicts(&answer, HealthTable::Version)[0].2, Some(Verdict::NoDifferenceShown));
}

#[test]
fn events_of_complete_weeks_have_shares_and_neither_interval_nor_verdict() {
    let deletion = |version: &str, status| EventAspect::Deletion { kamaji: kamaji(version), status };
    let patch = |is_downgrade| EventAspect::PatchUpdate { kamaji: kamaji("v1.9.0"), is_downgrade };
    let event_weeks: Vec<EventWeekFact> = vec![
        week("2026-10-25", deletion("v1.9.0", Status::NotReady), 100),
        week("2026-10-26", deletion("v1.9.0", Status::NotReady), 1),
        week("2026-11-22", deletion("v1.9.0", Status::NotReady), 2),
        week("2026-11-22", deletion("v1.9.0", Status::Ready), 9),
        week("2026-11-22", deletion("v1.10.0", Status::Ready), 4),
        week("2026-11-23", deletion("v1.10.0", Status::Ready), 100),
        week("2026-11-16", patch(true), 1),
        week("2026-11-16", patch(false), 3),
    ];
    let answer = ask_about(Facts { event_weeks, ..Facts::default() }, 0);
    let deletions: Vec<_> = rows(&answer, HealthTable::Deletion)
        .iter()
        .map(|row| (row.kamaji_version.clone().unwrap_or_default(), row.status, row.count, row.base))
        .collect();
    let expected = [("v1.10.0", "Ready", 4, 4), ("v1.9.0", "Ready", 9, 12), ("v1.9.0", "NotReady", 3, 12)];
    assert_eq!(
        deletions,
        expected.map(|(version, status, count, base)| (version.to_owned(), Some(status), count, base))
    );
    let updates: Vec<_> =
        rows(&answer, HealthTable::PatchUpdate).iter().map(|row| (row.direction, row.count, row.share)).collect();
    assert_eq!(updates, [(Some(Direction::Down), 1, Some(0.25)), (Some(Direction::Up), 3, Some(0.75))]);
    assert!(answer.rows.iter().all(|row| row.share_low.is_none() && row.verdict.is_none()));
    assert!(answer.notes.iter().any(|note| note.contains("events, not installations")));
}

#[test]
fn a_rare_version_is_in_other_which_has_no_verdict() {
    let answer =
        ask_about(Facts { conditions: [of("v1.0.0", 0, 30), of("v1.1.0", 2, 2)].concat(), ..Facts::default() }, 3);
    let expected = [("v1.0.0", "", None), ("other", "", None)];
    let expected = expected.map(|(version, before, verdict)| (version.to_owned(), before.to_owned(), verdict));
    assert_eq!(verdicts(&answer, HealthTable::Version), expected);
}

fn any_installation() -> impl Strategy<Value = ConditionFact> {
    let size = prop::sample::select(vec![SizeClass::One, SizeClass::UpTo100]);
    (any_kamaji(), size, any::<bool>(), any::<bool>()).prop_map(|(kamaji, size, stuck, upgrading_long)| ConditionFact {
        kamaji,
        size,
        stuck,
        upgrading_long,
        installations: 1,
        weight: 1,
    })
}

/// Returns the newest older version that 20 installations run, by a look at each pair.
fn naive_before(version: KamajiVersion, all: &[ConditionFact]) -> Option<KamajiVersion> {
    let (line, numbers) = version.place()?;
    let number = |other: KamajiVersion| all.iter().filter(|fact| fact.kamaji == other).count();
    let older = all.iter().map(|fact| fact.kamaji).filter(|other| number(*other) >= 20);
    let older = older.filter_map(|other| Some((other.place()?, number(other), other)));
    let before =
        older.filter(|((of, at), ..)| *of == line && *at < numbers).max_by_key(|(place, number, _)| (*place, *number));
    before.map(|(.., other)| other)
}

proptest! {
    #[test]
    fn shares_and_versions_before_are_those_of_a_naive_count(all in prop::collection::vec(any_installation(), 0..300)) {
        let answer = ask(all.clone());
        let version_rows = rows(&answer, HealthTable::Version);
        for row in &version_rows {
            let version = kamaji(row.kamaji_version.as_deref().unwrap());
            let own: Vec<_> = all.iter().filter(|fact| fact.kamaji == version).collect();
            let stuck = own.iter().filter(|fact| fact.stuck).count();
            prop_assert_eq!((row.base, row.count), (own.len() as u64, stuck as u64));
            let before = naive_before(version, &all).and_then(Versioned::place);
            prop_assert_eq!(row.compared_with.as_deref().and_then(|other| kamaji(other).place()), before);
            let may_judge = row.base >= MIN_COMPARED && row.compared_base >= Some(MIN_COMPARED);
            let is_judged = !matches!(row.verdict, None | Some(Verdict::TooFew));
            prop_assert_eq!(is_judged, may_judge);
        }
        prop_assert_eq!(version_rows.iter().map(|row| row.base).sum::<u64>(), all.len() as u64);
    }
}
