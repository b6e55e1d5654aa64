use proptest::prelude::*;

use super::super::definitions::{Versioned, is_at_or_below};
use super::super::test_facts::{any_kamaji, asked, day, kamaji_day, kubernetes_day, version_day};
use super::*;
use crate::catalog::KamajiVersion;

const THROUGH: &str = "2026-11-26";

fn question(window: Window) -> Versions {
    Versions { source: SourceKind::Agent, window, by: By::Installations, component: Component::Kamaji }
}

fn kamaji_facts(kamaji_days: Vec<VersionFact<KamajiVersion>>) -> Vec<Facts> {
    vec![Facts { kamaji_days, ..Facts::default() }]
}

/// Installations of a version, by day: on the first day, and on as many days after it as there are numbers.
fn run(first: &str, version: &str, numbers: &[u64]) -> Vec<VersionFact<KamajiVersion>> {
    let version = super::super::test_facts::kamaji(version);
    (0..).zip(numbers).map(|(days, number)| version_day(day(first).plus(days), version, *number)).collect()
}

fn answer_of(question: Versions, rows: Vec<VersionFact<KamajiVersion>>) -> Answer<VersionsRow> {
    question.answer(&kamaji_facts(rows), asked(THROUGH))
}

fn adoption<'a>(answer: &'a Answer<VersionsRow>, version: &str) -> &'a VersionsRow {
    let is_it = |row: &&VersionsRow| row.table == VersionsTable::Adoption && row.version == version;
    answer.rows.iter().find(is_it).unwrap()
}

fn words(answer: &Answer<VersionsRow>, version: &str) -> String {
    adoption(answer, version).adoption.clone().unwrap()
}

#[test]
fn shares_are_by_day_with_today_as_partial() {
    let rows = [
        run("2026-11-25", "v1.9.1", &[6, 3, 1]),
        run("2026-11-25", "v1.9.0", &[2, 0, 0]),
        run("2026-11-26", "v1.10.0", &[4, 1]),
        run("2026-11-26", "26.7.4-edge", &[1]),
        run("2026-11-26", "edge-26.7.4", &[2]),
        run("2026-11-25", "unknown", &[2, 0, 2]),
        run("2026-11-19", "v1.8.0", &[9]),
    ];
    let answer = answer_of(question(Window::Days7), rows.concat());
    let shares: Vec<_> = answer.rows.iter().filter(|row| row.table == VersionsTable::Share).collect();
    let found: Vec<_> = shares
        .iter()
        .map(|row| (row.date.unwrap().to_string(), row.version.as_str(), row.count, row.base, row.partial))
        .collect();
    let days = [("2026-11-25", [0, 8, 0, 2], 10, false), ("2026-11-26", [4, 3, 3, 0], 10, false)];
    let days = days.into_iter().chain([("2026-11-27", [1, 1, 0, 2], 4, true)]);
    let expected: Vec<_> = days
        .flat_map(|(date, counts, base, partial)| {
            let versions = ["v1.10", "v1.9", "26.7", "unknown"].into_iter().zip(counts);
            versions.map(move |(version, count)| (date.to_owned(), version, count, base, partial))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!((shares[1].share, shares[1].installations, shares[1].control_planes), (Some(0.8), 8, 80));
    assert_eq!((shares[2].line, shares[3].line), (Some(LineName::Edge), None));
}

#[test]
fn long_windows_are_by_the_state_of_wednesday_or_of_the_last_day_before_it() {
    // 2026-11-11 and 2026-11-18 are Wednesdays; today is Friday.
    let rows = [
        run("2026-11-11", "v1.9.0", &[1]),
        run("2026-11-12", "v1.9.0", &[9]),
        run("2026-11-16", "v1.9.0", &[2]),
        run("2026-11-17", "v1.9.0", &[3]),
        run("2026-11-25", "v1.9.0", &[4, 5, 6]),
    ];
    let answer = answer_of(question(Window::Days365), rows.concat());
    let shares = answer.rows.iter().filter(|row| row.table == VersionsTable::Share);
    let found: Vec<_> = shares.map(|row| (row.date.unwrap().to_string(), row.count, row.partial)).collect();
    let expected = [("2026-11-09", 1, false), ("2026-11-16", 3, false), ("2026-11-23", 4, true)];
    assert_eq!(found, expected.map(|(date, count, partial)| (date.to_owned(), count, partial)));
}

#[test]
fn a_week_whose_wednesday_is_before_the_window_is_not_drawn() {
    // The window of 365 days up to 2026-11-26 begins on Thursday 2025-11-27.
    let rows = [run("2025-11-26", "v1.9.0", &[1, 1, 1, 1]), run("2025-12-03", "v1.9.0", &[7])];
    let answer = answer_of(question(Window::Days365), rows.concat());
    let shares = answer.rows.iter().filter(|row| row.table == VersionsTable::Share);
    let found: Vec<_> = shares.map(|row| row.date.unwrap().to_string()).collect();
    assert_eq!(found, ["2025-12-01"]);
}

#[test]
fn days_are_counted_from_the_third_installation_to_half_and_nine_in_ten() {
    let rows = [
        run("2026-11-10", "v1.9.0", &[20; 17]),
        run("2026-11-12", "v1.10.0", &[2, 3, 19, 19, 20, 179, 180]),
        run("2026-11-19", "v1.10.0", &[40; 8]),
    ];
    let answer = answer_of(question(Window::Days30), rows.concat());
    let spread = adoption(&answer, "v1.10");
    assert_eq!(spread.first_seen.unwrap().to_string(), "2026-11-13");
    assert_eq!((spread.days_to_half, spread.days_to_nine_in_ten), (Some(3), Some(5)));
    assert_eq!((spread.days_since_first_seen, spread.before_data), (Some(13), Some(false)));
    assert_eq!((spread.count, spread.base), (40, 60));
    assert_eq!(spread.adoption.as_deref(), Some("half after 3 days, nine in ten after 5 days"));
    let old = adoption(&answer, "v1.9");
    assert_eq!((old.first_seen, old.before_data, old.count), (None, Some(true), 60));
    assert_eq!(old.adoption.as_deref(), Some("before the data"));
    assert_eq!(
        answer.answer,
        "67 % of 60 installations of the stable line run Kamaji v1.10 or newer, half after 3 days and nine in ten \
         after 5 days from its first sighting."
    );
}

#[test]
fn what_is_not_reached_is_said_with_the_share_so_far() {
    let rows = [run("2026-11-01", "v1.9.0", &[62; 26]), run("2026-11-06", "v1.10.0", &[38; 21])];
    let answer = answer_of(question(Window::Days30), rows.concat());
    assert_eq!(words(&answer, "v1.10"), "not yet: 38 % after 20 days");
    assert_eq!(adoption(&answer, "v1.10").days_to_half, None);
    let half = [run("2026-11-01", "v1.9.0", &[5; 26]), run("2026-11-25", "v1.10.0", &[3, 7])];
    let half = answer_of(question(Window::Days30), half.concat());
    assert_eq!(words(&half, "v1.10"), "half after 1 day, nine in ten not yet: 7 of 12 after 1 day");
    let few = [run("2026-11-01", "v1.9.0", &[5; 26]), run("2026-11-25", "v1.10.0", &[2, 2])];
    let few = answer_of(question(Window::Days30), few.concat());
    assert_eq!(words(&few, "v1.10"), "fewer than 3 installations");
    assert_eq!(adoption(&few, "v1.10").first_seen, None);
    assert!(
        few.answer.starts_with("7 of 7 installations of the stable line run Kamaji v1.9 or newer"),
        "{}",
        few.answer
    );
}

#[test]
fn a_version_older_than_the_window_keeps_its_first_sighting() {
    let rows = [run("2026-06-01", "v1.9.0", &[10]), run("2026-06-02", "v1.10.0", &[5]), run(THROUGH, "v1.10.0", &[10])];
    let answer = answer_of(question(Window::Days7), rows.concat());
    assert_eq!(adoption(&answer, "v1.10").first_seen.unwrap().to_string(), "2026-06-02");
}

#[test]
fn exact_versions_are_those_of_the_newest_minor_of_each_line() {
    let rows = ["v1.9.5", "v1.10.0", "v1.10.1", "26.6.1-edge", "edge-26.7.4", "26.7.5-edge", "latest"]
        .map(|version| run("2026-11-20", version, &[4; 7]));
    let answer = answer_of(question(Window::Days30), rows.concat());
    let exact = answer.rows.iter().filter(|row| row.precision == VersionPrecision::Exact);
    let found: Vec<_> = exact.map(|row| (row.version.as_str(), row.count, row.base)).collect();
    let expected = [("v1.10.1", 4, 12), ("v1.10.0", 8, 12), ("26.7.5-edge", 4, 12), ("edge-26.7.4", 8, 12)];
    assert_eq!(found, expected);
}

#[test]
fn rare_minors_are_other_in_shares_and_count_in_sums_at_or_above() {
    let rows = [
        run("2026-11-20", "v1.9.0", &[20; 7]),
        run("2026-11-22", "v1.10.0", &[4; 5]),
        run("2026-11-22", "v1.11.0", &[2; 5]),
        run("2026-11-22", "v1.12.0", &[1; 5]),
    ];
    let at = Asked { min_installations: 3, ..asked(THROUGH) };
    let answer = question(Window::Days7).answer(&kamaji_facts(rows.concat()), at);
    let versions: BTreeSet<_> = answer.rows.iter().map(|row| row.version.as_str()).collect();
    assert_eq!(versions, ["other", "v1.10", "v1.10.0", "v1.9"].into());
    let last = answer.rows.iter().rfind(|row| row.table == VersionsTable::Share).unwrap();
    assert_eq!((last.version.as_str(), last.count, last.base), ("other", 3, 27));
    assert_eq!(adoption(&answer, "v1.10").count, 7);
}

#[test]
fn control_planes_weigh_and_the_first_sighting_still_counts_installations() {
    let mut rows = [run("2026-11-20", "v1.9.0", &[24; 7]), run("2026-11-22", "v1.10.0", &[1, 3, 3, 3, 3])].concat();
    rows.iter_mut().filter(|row| row.version.to_string() == "v1.10.0").for_each(|row| row.weight = 960);
    let answer = answer_of(Versions { by: By::ControlPlanes, ..question(Window::Days7) }, rows);
    let spread = adoption(&answer, "v1.10");
    assert_eq!((spread.count, spread.base, spread.installations, spread.control_planes), (960, 1_200, 3, 30));
    assert_eq!(spread.first_seen.unwrap().to_string(), "2026-11-23");
    assert_eq!(spread.days_to_half, Some(0));
    assert!(answer.answer.starts_with("By control planes: 80 % of 27 installations of the stable line run"));
}

#[test]
fn no_installation_and_one_get_no_verdict() {
    let empty = answer_of(question(Window::Days30), Vec::new());
    assert_eq!((empty.answer.as_str(), empty.rows.len()), ("No installation was active in the last 30 days.", 0));
    assert_eq!(question(Window::Days30).answer(&[], asked(THROUGH)).rows.len(), 0);
    let today = answer_of(question(Window::Days30), run("2026-11-27", "v1.9.0", &[5]));
    assert_eq!(today.answer, "No installation was active in the last 30 days.");
    assert!(today.rows.iter().all(|row| row.table == VersionsTable::Share && row.partial));
    let one = answer_of(question(Window::Days30), run(THROUGH, "v1.9.0", &[1]));
    assert_eq!(one.answer, "1 active installation, which runs Kamaji v1.9.");
    let two = [run(THROUGH, "v1.9.0", &[1]), run(THROUGH, "26.7.4-edge", &[1])].concat();
    let two = question(Window::Days30).answer(&kamaji_facts(two), Asked { min_installations: 3, ..asked(THROUGH) });
    assert_eq!(two.answer, "2 active installations, which run Kamaji other.");
}

#[test]
fn versions_in_no_order_are_told_beside_those_of_the_line() {
    let rows = [
        run("2026-11-20", "v1.9.0", &[3; 7]),
        run("2026-11-20", "26.7.4-edge", &[30; 7]),
        run("2026-11-20", "latest", &[2; 7]),
    ];
    let answer = answer_of(question(Window::Days30), rows.concat());
    assert_eq!(
        answer.answer,
        "100 % of 30 installations of the edge line run Kamaji 26.7 or newer, which was there before the data; 2 more \
         run versions that are in no order."
    );
}

#[test]
fn kubernetes_is_one_line_and_its_numbers_may_be_large() {
    let rows = |version, number| kubernetes_day(THROUGH, version, number);
    let kubernetes_days = vec![rows("v1.9.0", 23_999_999), rows("v1.10.0", 1), rows("unknown", 1)];
    let facts = vec![Facts { kubernetes_days, ..Facts::default() }];
    let question = Versions { component: Component::Kubernetes, ..question(Window::Days30) };
    let answer = question.answer(&facts, asked(THROUGH));
    assert!(
        answer.answer.starts_with("100 % of 24,000,000 installations run Kubernetes v1.9 or newer"),
        "{}",
        answer.answer
    );
    assert!(answer.answer.ends_with("; 1 more runs a version that is in no order."));
    assert_eq!(answer.rows[0].version, "v1.10");
    assert!(answer.rows[0].share.unwrap() > 0.0);
    let query = question.queries(day(THROUGH))[0];
    assert_eq!((query.kamaji_days, query.kubernetes_days), (None, Some(day("2025-11-27"))));
}

/// The spread of a minor, computed from all rows for each day.
fn naive_spread(rows: &[VersionFact<KamajiVersion>], minor: &str) -> (Option<i32>, Option<i32>, Option<i32>) {
    let minor: crate::catalog::KamajiMinor = minor.parse().unwrap();
    let place = minor.place().unwrap();
    let sum = |day: Day, is_in: &dyn Fn(&VersionFact<KamajiVersion>) -> bool| -> u64 {
        rows.iter().filter(|row| row.day == day && is_in(row)).map(|row| row.installations).sum()
    };
    let above = |day| {
        let is_above = |row: &VersionFact<KamajiVersion>| {
            row.version.to_minor().place().is_some_and(|other| is_at_or_below(Some(place), other))
        };
        sum(day, &is_above)
    };
    let base = |day| sum(day, &|row| line(row.version) == Some(place.0));
    let days: Vec<_> =
        (0..40).map(|days| day("2026-10-18").plus(days)).filter(|day| sum(*day, &|_| true) > 0).collect();
    if days.first().is_none_or(|begin| above(*begin) > 0) {
        return (None, None, None);
    }
    let Some(first) = days.iter().copied().find(|day| above(*day) >= 3) else { return (None, None, None) };
    let after = |tenths| {
        let is_reached = |day: &Day| *day >= first && base(*day) > 0 && above(*day) * 10 >= base(*day) * tenths;
        days.iter().copied().find(is_reached).map(|day| day.since(first))
    };
    (Some(first.number()), after(5), after(9))
}

proptest! {
    #[test]
    fn every_share_and_every_spread_is_that_of_all_rows(
        rows in prop::collection::vec((0_i32..41, any_kamaji(), 1_u64..9), 0..60)
    ) {
        let first = day("2026-10-18");
        let fact = |(days, version, number): (i32, KamajiVersion, u64)| version_day(first.plus(days), version, number);
        let rows: Vec<_> = rows.into_iter().map(fact).collect();
        let answer = answer_of(question(Window::Days90), rows.clone());
        for row in &answer.rows {
            let date = Day::of(row.date.unwrap());
            let of_day = || rows.iter().filter(|fact| fact.day == date);
            match row.table {
                VersionsTable::Share => {
                    let of_version = of_day().filter(|fact| fact.version.to_minor().to_string() == row.version);
                    prop_assert_eq!(row.count, of_version.map(|fact| fact.installations).sum::<u64>());
                    prop_assert_eq!(row.base, of_day().map(|fact| fact.installations).sum::<u64>());
                    prop_assert_eq!(row.partial, date > day(THROUGH));
                }
                VersionsTable::Adoption if row.precision == VersionPrecision::Minor => {
                    let first_seen = row.first_seen.map(|date| Day::of(date).number());
                    let found = (first_seen, row.days_to_half, row.days_to_nine_in_ten);
                    prop_assert_eq!(found, naive_spread(&rows, &row.version));
                }
                VersionsTable::Adoption => {}
            }
        }
        let shown: u64 = answer.rows.iter().filter(|row| row.table == VersionsTable::Share).map(|row| row.count).sum();
        prop_assert_eq!(shown, rows.iter().map(|row| row.installations).sum::<u64>());
    }
}

#[test]
fn rows_serialize_flat_with_nulls() {
    let answer = answer_of(question(Window::Days30), vec![kamaji_day(THROUGH, "v1.9.0", 3)]);
    let json = serde_json::to_value(&answer.rows[0]).unwrap();
    assert_eq!((json["table"].as_str(), json["line"].as_str()), (Some("share"), Some("stable")));
    assert!(json.as_object().unwrap().contains_key("first_seen") && json["first_seen"].is_null());
}
