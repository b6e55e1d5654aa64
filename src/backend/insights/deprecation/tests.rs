use proptest::prelude::*;

use super::super::definitions::{Versioned, is_at_or_below};
use super::super::test_facts::{any_kamaji, asked, day, kamaji, kubernetes, version_day};
use super::*;
use crate::catalog::{KamajiMinor, KamajiVersion, KubernetesVersion};

/// A Sunday, so that the last week is complete. Its Thursday is 2026-11-19.
const THROUGH: &str = "2026-11-22";

fn question(component: Component) -> Deprecation {
    Deprecation { source: SourceKind::Agent, by: By::Installations, component }
}

/// Installations of two minors of Kubernetes on each day of complete weeks: those of the old one are given for each
/// week, the last one being the week of [`THROUGH`].
fn weekly(old: &[u64], all: u64) -> Vec<VersionFact<KubernetesVersion>> {
    let weeks = weeks::complete(day(THROUGH), i32::try_from(old.len()).unwrap()).zip(old);
    weeks
        .flat_map(|(week, old)| {
            weeks::days_of(week).flat_map(move |day| {
                let of = |version, number| version_day(day, kubernetes(version), number);
                [of("v1.9.0", *old), of("v1.10.0", all - old)]
            })
        })
        .collect()
}

fn answer_of(rows: Vec<VersionFact<KubernetesVersion>>) -> Answer<DeprecationRow> {
    let facts = Facts { kubernetes_days: rows, ..Facts::default() };
    question(Component::Kubernetes).answer(&[facts], asked(THROUGH))
}

fn row<'a>(answer: &'a Answer<DeprecationRow>, version: &str) -> &'a DeprecationRow {
    let is_it = |row: &&DeprecationRow| row.table == DeprecationTable::AtOrBelow && row.version == version;
    answer.rows.iter().find(is_it).unwrap()
}

fn verdict(old: &[u64], all: u64) -> DeprecationVerdict {
    row(&answer_of(weekly(old, all)), "v1.9").verdict.unwrap()
}

/// Returns the number whose logit of `all` falls by `slope` a week to `last`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a small number"
)]
fn falling(all: u64, last: f64, slope: f64, weeks: i32) -> Vec<u64> {
    let number = |week: i32| {
        let logit = logit(last) - slope * f64::from(weeks - 1 - week);
        (all as f64 / (1.0 + (-logit).exp())).round() as u64
    };
    (0..weeks).map(number).collect()
}

#[test]
fn a_share_that_falls_steadily_gets_the_date_on_which_its_logit_is_at_five_percent() {
    // From the logit of 10 % to that of 5 % are 0.747, which are 7.47 weeks of 0.1: 52.3 days from the Thursday.
    let answer = answer_of(weekly(&falling(10_000_000, 0.1, -0.1, 12), 10_000_000));
    let found = row(&answer, "v1.9");
    assert_eq!((found.verdict, found.weeks), (Some(DeprecationVerdict::Dated), Some(12)));
    let date = |date: Option<Date>| date.unwrap().to_string();
    assert_eq!((date(found.counted_from), date(found.under_5_percent_on)), ("2026-11-19".into(), "2027-01-11".into()));
    assert_eq!((date(found.earliest), date(found.latest)), ("2027-01-11".into(), "2027-01-11".into()));
    assert_eq!(
        answer.answer,
        "Kubernetes v1.9 and older: 10 % of 10,000,000 installations, under 5 % within days of 2027-01-11."
    );
}

#[test]
fn the_quartiles_of_the_pace_make_the_range() {
    let answer = answer_of(weekly(&[400, 380, 390, 300, 320, 250, 260, 200, 150, 160, 130, 100], 1_000));
    let found = row(&answer, "v1.9");
    let (date, earliest, latest) = (found.under_5_percent_on, found.earliest, found.latest);
    assert!(
        day(THROUGH).date() < earliest.unwrap() && earliest < date && date < latest,
        "{earliest:?} {date:?} {latest:?}"
    );
    let open = answer_of(weekly(&[300, 100, 300, 100, 280, 120, 260, 120, 260, 110, 250, 100], 1_000));
    let found = row(&open, "v1.9");
    assert_eq!((found.verdict, found.latest), (Some(DeprecationVerdict::Dated), None));
    assert!(open.answer.ends_with("and maybe not within two years."), "{}", open.answer);
}

#[test]
fn five_percent_is_not_under_five_percent() {
    assert_eq!(verdict(&[50; 12], 1_000), DeprecationVerdict::NotAtThisPace);
    assert_eq!(verdict(&[49; 12], 1_000), DeprecationVerdict::Already);
    let answer = answer_of(weekly(&[49; 12], 1_000));
    assert_eq!(answer.answer, "Kubernetes v1.9 and older: 4.9 % of 1,000 installations, under 5 % already.");
    assert_eq!(row(&answer, "v1.9").under_5_percent_on, None);
}

#[test]
fn what_is_flat_or_rises_is_not_at_this_pace() {
    let rising: Vec<_> = (0..12).map(|week| 100 + week).collect();
    assert_eq!(verdict(&rising, 1_000), DeprecationVerdict::NotAtThisPace);
    assert_eq!(verdict(&[100; 12], 1_000), DeprecationVerdict::NotAtThisPace);
    let answer = answer_of(weekly(&rising, 1_000));
    assert!(answer.answer.ends_with(", not under 5 % within two years at this pace."), "{}", answer.answer);
}

#[test]
fn a_date_is_within_two_years_of_the_last_complete_day() {
    let (from, through) = (day("2026-11-19"), day(THROUGH));
    let after = |days: f64| day_under(target() + days * 0.001, -0.001, from, through);
    assert_eq!(after(732.5), Some(through.plus(730)));
    assert_eq!(after(733.5), None);
    assert_eq!(after(1e30), None);
    assert_eq!(after(-1e30), Some(through.plus(1)), "no date is in the past");
    assert_eq!(after(3.5), Some(through.plus(1)));
    assert_eq!(after(4.5), Some(through.plus(2)));
    assert_eq!(day_under(1.0, 0.0, from, through), None);
    assert_eq!(day_under(1.0, f64::NAN, from, through), None);
}

#[test]
fn five_weeks_are_too_short_and_six_are_enough() {
    assert_eq!(verdict(&[400, 350, 300, 250, 200], 1_000), DeprecationVerdict::TooShort);
    assert_eq!(verdict(&[400, 350, 300, 250, 200, 150], 1_000), DeprecationVerdict::Dated);
    let answer = answer_of(weekly(&[400, 350, 300, 250, 200], 1_000));
    assert!(answer.answer.ends_with("too short for a date (5 complete weeks, 6 are needed)."), "{}", answer.answer);
}

#[test]
fn under_twenty_installations_get_no_verdict() {
    assert_eq!(verdict(&[5; 12], 19), DeprecationVerdict::TooFew);
    assert_eq!(verdict(&[5; 12], 20), DeprecationVerdict::NotAtThisPace);
    let answer = answer_of(weekly(&[5; 12], 19));
    assert_eq!(answer.answer, "5 of 19 installations run a Kubernetes older than v1.10: too few for a date.");
}

#[test]
fn the_newest_minor_that_can_be_dropped_and_the_next_one_are_told() {
    let versions = ["v1.28.0", "v1.29.0", "v1.30.0", "v1.31.0", "v1.32.0"].map(kubernetes);
    let rows = weeks::complete(day(THROUGH), 12).flat_map(|week| {
        let ago = u64::try_from(day(THROUGH).since(week)).unwrap() / 7;
        weeks::days_of(week).flat_map(move |date| {
            let numbers = [10, 20, 70 + 20 * ago, 400 - 10 * ago, 500 - 10 * ago];
            versions.into_iter().zip(numbers).map(move |(version, number)| version_day(date, version, number))
        })
    });
    let answer = answer_of(rows.collect());
    let begin = "Kubernetes v1.29 and older: 3.0 % of 1,000 installations, under 5 % already; v1.30 and older: 10 %, \
                 under 5 % about ";
    assert!(answer.answer.starts_with(begin), "{}", answer.answer);
    let below = answer.rows.last().unwrap();
    assert_eq!((below.table, below.version.as_str()), (DeprecationTable::BelowNewestThree, "v1.30"));
    assert_eq!((below.count, below.base, below.verdict), (30, 1_000, None));
    assert!(answer.notes.contains(
        &"Kubernetes older than v1.30, the third newest: 3.0 % of 1,000 installations with a known version.".to_owned()
    ));
    let old = row(&answer, "v1.30");
    assert_eq!((old.count, old.control_planes), (100, 1_000));
    // 30 days before was the fourth week before the last one.
    assert!((old.change.unwrap() + 0.08).abs() < 1e-9, "{:?}", old.change);
}

#[test]
fn only_complete_weeks_and_days_are_read() {
    let at = "2026-11-25";
    let mut rows = weekly(&[100; 12], 1_000);
    let of = |date, version, number| version_day(day(date), kubernetes(version), number);
    rows.extend([of("2026-11-24", "v1.9.0", 200), of("2026-11-24", "v1.10.0", 800)]);
    rows.extend([of("2026-11-26", "v1.9.0", 1_000), of("2026-11-26", "v1.11.0", 9_000)]);
    let facts = Facts { kubernetes_days: rows, ..Facts::default() };
    let answer = question(Component::Kubernetes).answer(&[facts], asked(at));
    let found = row(&answer, "v1.9");
    // Of the 25th there are no rows; those of the 24th stand for it, and those of the 26th, today, are not read.
    assert_eq!((found.date.to_string(), found.count, found.base), ("2026-11-24".to_owned(), 200, 1_000));
    assert_eq!((found.verdict, found.weeks), (Some(DeprecationVerdict::NotAtThisPace), Some(12)));
}

#[test]
fn lines_are_apart_and_what_is_in_no_order_is_not_in_the_base() {
    let rows = |version: &str, number| {
        let days = (0..42).map(|days| day("2026-10-12").plus(days));
        days.map(|day| version_day(day, kamaji(version), number)).collect::<Vec<_>>()
    };
    let versions =
        [("v1.9.0", 2), ("v1.10.0", 48), ("edge-26.7.4", 30), ("26.10.1-edge", 10), ("latest", 70), ("unknown", 9)];
    let kamaji_days = versions.map(|(version, number)| rows(version, number)).concat();
    let facts = Facts { kamaji_days, ..Facts::default() };
    let answer = question(Component::Kamaji).answer(&[facts], asked(THROUGH));
    let found: Vec<_> = answer.rows.iter().map(|row| (row.version.as_str(), row.count, row.base)).collect();
    assert_eq!(found, [("v1.10", 50, 50), ("v1.9", 2, 50), ("26.10", 40, 40), ("26.7", 30, 40)]);
    let verdicts: Vec<_> = answer.rows.iter().map(|row| row.verdict.unwrap()).collect();
    let slow = DeprecationVerdict::NotAtThisPace;
    assert_eq!(verdicts, [slow, DeprecationVerdict::Already, slow, slow]);
    assert_eq!(
        answer.answer,
        "Kamaji v1.9 and older: 4.0 % of 50 installations of the stable line, under 5 % already."
    );
}

#[test]
fn rare_minors_have_no_row_and_count_in_the_sums() {
    let rows = ["v1.27.0", "v1.28.1", "v1.28.2", "v1.29.0", "v1.30.0"].map(kubernetes);
    let rows = rows.into_iter().zip([1, 2, 2, 1, 54]);
    let kubernetes_days = rows.map(|(version, number)| version_day(day(THROUGH), version, number)).collect();
    let at = Asked { min_installations: 3, ..asked(THROUGH) };
    let answer = question(Component::Kubernetes).answer(&[Facts { kubernetes_days, ..Facts::default() }], at);
    let found: Vec<_> = answer.rows.iter().map(|row| (row.version.as_str(), row.count, row.base)).collect();
    assert_eq!(found, [("v1.30", 60, 60), ("v1.28", 5, 60)]);
}

#[test]
fn control_planes_weigh() {
    let mut rows = weekly(&[100; 12], 1_000);
    rows.iter_mut().filter(|row| row.version == kubernetes("v1.9.0")).for_each(|row| row.weight = 100);
    let facts = Facts { kubernetes_days: rows, ..Facts::default() };
    let question = Deprecation { by: By::ControlPlanes, ..question(Component::Kubernetes) };
    let answer = question.answer(&[facts], asked(THROUGH));
    let found = row(&answer, "v1.9");
    assert_eq!((found.count, found.base, found.installations, found.control_planes), (100, 9_100, 100, 1_000));
    assert_eq!(found.verdict, Some(DeprecationVerdict::Already));
    assert!(answer.answer.starts_with("By control planes: Kubernetes v1.9 and older: 1.1 % of 1,000 installations"));
}

#[test]
fn no_installation_and_one_get_no_verdict() {
    let empty = answer_of(Vec::new());
    assert_eq!((empty.answer.as_str(), empty.rows.len()), (NO_DATA, 0));
    assert_eq!(question(Component::Kamaji).answer(&[], asked(THROUGH)).answer, NO_DATA);
    let one = answer_of(vec![version_day(day(THROUGH), kubernetes("v1.9.0"), 1)]);
    assert_eq!(one.answer, "1 active installation, which runs Kubernetes v1.9.");
    let unknown = answer_of(vec![version_day(day(THROUGH), kubernetes("unknown"), 1)]);
    assert_eq!(unknown.answer, "1 active installation, with no minor of Kubernetes that is named.");
    let single = answer_of(vec![version_day(day(THROUGH), kubernetes("v1.9.0"), 24_000_000)]);
    assert_eq!(single.answer, "24,000,000 active installations, and no minor of Kubernetes before v1.9 that is named.");
    // A line that nobody runs on the day has a base of 0.
    let left =
        [version_day(day("2026-11-01"), kamaji("26.7.4-edge"), 5), version_day(day(THROUGH), kamaji("v1.9.0"), 5)];
    let facts = Facts { kamaji_days: left.into(), ..Facts::default() };
    let answer = question(Component::Kamaji).answer(&[facts], asked(THROUGH));
    let edge = row(&answer, "26.7");
    assert_eq!((edge.base, edge.share, edge.verdict), (0, None, Some(DeprecationVerdict::TooFew)));
}

#[test]
fn twelve_weeks_are_asked_for() {
    let query = question(Component::Kubernetes).queries(day(THROUGH))[0];
    assert_eq!((query.kamaji_days, query.kubernetes_days), (None, Some(day("2026-08-31"))));
    assert!(query.kubernetes_days.unwrap() <= day(THROUGH).minus(36));
}

/// Returns a quartile by its definition, of numbers that are not none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "few numbers")]
fn naive_quartile(mut numbers: Vec<f64>, quarters: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let rank = (numbers.len() - 1) as f64 * quarters / 4.0;
    let (low, high) = (numbers[rank.floor() as usize], numbers[rank.ceil() as usize]);
    low + (high - low) * (rank - rank.floor())
}

/// Returns the shares' logits of the weeks, each of the numbers at or below and of the line by day.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn naive_points(days: &[(Day, u64, u64)]) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for ago in 0..12 {
        let monday = day("2026-11-16").minus(7 * ago);
        let of_week = days.iter().filter(|(day, _, base)| day.monday() == monday && *base > 0);
        let shares: Vec<_> = of_week.map(|(_, count, base)| (*count as f64 + 0.5) / (*base as f64 + 1.0)).collect();
        if !shares.is_empty() {
            let share = naive_quartile(shares, 2.0);
            points.push((f64::from(-7 * ago), (share / (1.0 - share)).ln()));
        }
    }
    points
}

/// Returns the date, the earliest and the latest one, as days since the Thursday; `None` where there is none.
fn naive_dates(points: &[(f64, f64)]) -> [Option<f64>; 3] {
    let mut slopes = Vec::new();
    for (x, y) in points {
        slopes.extend(points.iter().filter(|(left, _)| left < x).map(|(left, low)| (y - low) / (x - left)));
    }
    let slope = naive_quartile(slopes.clone(), 2.0);
    let level = naive_quartile(points.iter().map(|(x, y)| y - slope * x).collect(), 2.0);
    [slope, naive_quartile(slopes.clone(), 1.0), naive_quartile(slopes, 3.0)].map(|slope| {
        let days = ((1.0_f64 / 19.0).ln() - level) / slope;
        // The last complete day is three days after the Thursday, and tomorrow four.
        (slope < 0.0 && days <= 733.0).then_some(days.max(4.0))
    })
}

proptest! {
    #[test]
    fn dates_are_those_of_a_naive_recomputation(
        numbers in prop::collection::vec((0_i32..83, 1_u64..30, 1_u64..30), 0..84),
        last in (10_u64..30, 10_u64..30),
    ) {
        let first = day("2026-08-31");
        let mut days: Vec<_> = numbers.into_iter().map(|(days, old, new)| (first.plus(days), old, old + new)).collect();
        days.push((day(THROUGH), last.0, last.0 + last.1));
        days.sort_unstable();
        days.reverse();
        days.dedup_by_key(|(day, ..)| *day);
        let rows = days.iter().flat_map(|(day, old, all)| {
            [version_day(*day, kubernetes("v1.9.0"), *old), version_day(*day, kubernetes("v1.10.0"), all - old)]
        });
        let answer = answer_of(rows.collect());
        let found = row(&answer, "v1.9");
        let points = naive_points(&days);
        prop_assert_eq!(found.weeks, Some(points.len()));
        if points.len() < 6 {
            prop_assert_eq!(found.verdict, Some(DeprecationVerdict::TooShort));
            return Ok(());
        }
        let naive = naive_dates(&points);
        prop_assert_eq!(found.verdict == Some(DeprecationVerdict::Dated), naive[0].is_some());
        let expected = if naive[0].is_some() { naive } else { [None; 3] };
        let dates = [found.under_5_percent_on, found.earliest, found.latest];
        for (date, expected) in dates.into_iter().zip(expected) {
            prop_assert_eq!(date.is_some(), expected.is_some());
            let days = date.map(|date| f64::from(Day::of(date).since(day("2026-11-19"))));
            // A day is begun.
            prop_assert!(days.zip(expected).is_none_or(|(days, expected)| (days - expected - 0.5).abs() < 0.5 + 1e-6));
        }
    }

    #[test]
    fn counts_bases_and_changes_are_those_of_all_rows(
        rows in prop::collection::vec((0_i32..84, any_kamaji(), 1_u64..40), 0..300),
        by in prop::sample::select(vec![By::Installations, By::ControlPlanes]),
    ) {
        let first = day("2026-08-31");
        let fact = |(days, version, number): (i32, KamajiVersion, u64)| version_day(first.plus(days), version, number);
        let rows: Vec<_> = rows.into_iter().map(fact).collect();
        let facts = Facts { kamaji_days: rows.clone(), ..Facts::default() };
        let answer = Deprecation { by, ..question(Component::Kamaji) }.answer(&[facts], asked(THROUGH));
        let stand_in = |day: Day| {
            rows.iter().map(|row| row.day).filter(|other| *other <= day && day.since(*other) <= 6).max()
        };
        let sum = |day: Day, is_in: &dyn Fn(KamajiVersion) -> bool| -> u64 {
            let of_day = rows.iter().filter(|row| row.day == day && is_in(row.version));
            of_day.map(|row| by.of(row.installations, row.weight)).sum()
        };
        let share = |day: Day, minor: KamajiMinor| {
            let place = minor.place().unwrap();
            let count = sum(day, &|version| is_at_or_below(version.to_minor().place(), place));
            (count, sum(day, &|version| line(version) == Some(place.0)))
        };
        for row in &answer.rows {
            let minor = row.version.parse().unwrap();
            let now = stand_in(day(THROUGH)).unwrap();
            let (count, base) = share(now, minor);
            prop_assert_eq!((Day::of(row.date), row.count, row.base), (now, count, base));
            let before = stand_in(day(THROUGH).minus(30)).map(|day| share(day, minor));
            let before = before.and_then(|(count, base)| fraction(count, base));
            prop_assert_eq!(row.change, fraction(count, base).zip(before).map(|(now, before)| now - before));
            let lines = rows.iter().filter(|fact| fact.day == now && line(fact.version) == line(minor));
            let installations: u64 = lines.map(|fact| fact.installations).sum();
            let is_already = installations >= 20 && count * 20 < base;
            prop_assert_eq!(row.verdict == Some(DeprecationVerdict::Already), is_already);
            prop_assert_eq!(row.verdict == Some(DeprecationVerdict::Dated), row.under_5_percent_on.is_some());
            if let Some(date) = row.under_5_percent_on {
                prop_assert!(date > day(THROUGH).date() && row.earliest.unwrap() <= date);
                prop_assert!(row.latest.is_none_or(|latest| latest >= date));
            }
        }
    }
}
