use proptest::prelude::*;

use super::super::test_facts::{any_kamaji, any_kubernetes, asked, day, kamaji, minor, pair, week};
use super::*;
use crate::backend::store::Dimension;

const THROUGH: &str = "2026-11-26";

fn question() -> TestMatrix {
    let (window, by, cover) = (MatrixWindow::default(), By::default(), Cover::default());
    TestMatrix { source: SourceKind::Agent, window, by, cover }
}

fn answer_of(pairs: Vec<PairFact>) -> Answer<TestMatrixRow> {
    question().answer(&[Facts { pairs, ..Facts::default() }], asked(THROUGH))
}

fn chosen(answer: &Answer<TestMatrixRow>) -> Vec<(&str, &str, u64)> {
    let chosen = answer.rows.iter().filter(|row| row.chosen == Some(true));
    chosen.map(|row| (row.kamaji.as_deref().unwrap(), row.kubernetes.as_deref().unwrap(), row.count)).collect()
}

#[test]
fn the_fewest_pairs_cover_enough_and_the_newer_is_first_at_a_tie() {
    let answer = answer_of(vec![
        pair("v1.9.0", "v1.31.0", 10),
        pair("v1.9.0", "v1.32.0", 10),
        pair("v1.10.0", "v1.31.0", 10),
        pair("26.10.1-edge", "v1.31.0", 10),
        pair("26.7.4-edge", "v1.31.1", 4),
        pair("edge-26.7.4", "v1.31.0", 46),
        pair("v1.8.0", "v1.30.0", 10),
    ]);
    assert_eq!(
        chosen(&answer),
        [
            ("26.7", "v1.31", 50),
            ("v1.10", "v1.31", 10),
            ("v1.9", "v1.32", 10),
            ("v1.9", "v1.31", 10),
            ("v1.8", "v1.30", 10)
        ]
    );
    let cumulative: Vec<_> = answer.rows.iter().map(|row| row.cumulative.unwrap()).collect();
    assert_eq!(cumulative, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
    assert_eq!((answer.rows[5].chosen, answer.rows[5].base), (Some(false), 100));
    assert_eq!(answer.answer, "5 pairs of minor versions cover 90 % of 100 active installations.");
}

#[test]
fn the_cover_is_reached_and_not_passed() {
    let pairs = vec![pair("v1.2.0", "v1.31.0", 80), pair("v1.1.0", "v1.31.0", 15), pair("v1.0.0", "v1.31.0", 5)];
    for (cover, expected) in [("80", 1), ("90", 2), ("95", 2)] {
        let question = TestMatrix { cover: cover.parse().unwrap(), ..question() };
        let answer = question.answer(&[Facts { pairs: pairs.clone(), ..Facts::default() }], asked(THROUGH));
        assert_eq!(chosen(&answer).len(), expected, "{cover}");
    }
    let answer = answer_of(vec![pair("v1.2.0", "v1.31.0", 89), pair("v1.1.0", "v1.31.0", 11)]);
    assert_eq!(chosen(&answer).len(), 2);
}

#[test]
fn unknown_versions_are_apart_and_told() {
    let answer = answer_of(vec![
        pair("v1.1.0", "v1.31.0", 30),
        pair("latest", "v1.31.0", 6),
        pair("v1.1.0", "unknown", 3),
        pair("other", "v1.31.0", 1),
    ]);
    let unknown: Vec<_> = answer
        .rows
        .iter()
        .filter(|row| row.table == TestMatrixTable::Unknown)
        .map(|row| (row.kamaji.as_deref().unwrap(), row.kubernetes.as_deref().unwrap(), row.count, row.base))
        .collect();
    assert_eq!(unknown, [("latest", "v1.31", 6, 40), ("v1.1", "unknown", 3, 40), ("other", "v1.31", 1, 40)]);
    assert_eq!(
        answer.answer,
        "1 pair of minor versions covers 100 % of 30 active installations; 10 more run a version that is not known."
    );
}

#[test]
fn a_pair_has_its_most_used_exact_versions() {
    let answer = answer_of(vec![
        pair("v1.1.0", "v1.35.4", 20),
        pair("v1.1.1", "v1.35.4", 24),
        pair("v1.1.1", "v1.35.3", 24),
        pair("v1.1.9", "v1.35.9", 3),
    ]);
    let row = &answer.rows[0];
    let exact = (row.kamaji_version.as_deref(), row.kubernetes_version.as_deref());
    assert_eq!((exact, row.count), ((Some("v1.1.1"), Some("v1.35.4")), 71));
    let tie =
        answer_of(vec![pair("v1.9.9", "v1.35.9", 5), pair("v1.9.10", "v1.35.1", 5), pair("v1.9.8", "v1.35.9", 5)]);
    assert_eq!(tie.rows[0].kamaji_version.as_deref(), Some("v1.9.10"));
}

#[test]
fn masked_versions_are_not_named_and_a_minor_by_its_own_sum() {
    let pairs = vec![
        pair("v1.1.0", "v1.35.1", 20),
        pair("v1.1.0", "v1.34.1", 2),
        pair("v1.1.0", "v1.34.2", 2),
        pair("v1.0.0", "v1.35.1", 2),
        pair("v1.1.1", "v1.35.1", 2),
    ];
    let at = Asked { min_installations: 3, ..asked(THROUGH) };
    let answer = question().answer(&[Facts { pairs, ..Facts::default() }], at);
    let shown: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (row.kamaji.as_deref().unwrap(), row.kubernetes.as_deref().unwrap(), row.count))
        .collect();
    assert_eq!(shown, [("v1.1", "v1.35", 22), ("v1.1", "v1.34", 4), ("other", "v1.35", 2)]);
    assert_eq!(answer.rows[0].kamaji_version.as_deref(), Some("v1.1.0"));
    // None of the exact versions of v1.34 may be named; Kamaji's is that of the other pairs.
    let second = &answer.rows[1];
    assert_eq!((second.kamaji_version.as_deref(), second.kubernetes_version.as_deref()), (Some("v1.1.0"), None));
    assert!(github_matrix(&answer).contains("v1.35.1") && !github_matrix(&answer).contains("v1.34"));
    assert!(answer.notes.iter().any(|note| note.contains("v1.1 on v1.34")));
}

#[test]
fn the_matrix_of_github_is_one_line_with_the_chosen_pairs() {
    let answer = answer_of(vec![
        pair("v1.1.1", "v1.35.4", 44),
        pair("edge-26.7.4", "v1.34.1", 120),
        pair("v1.0.0", "v1.30.0", 11),
    ]);
    let entries = [
        r#"{"kamaji":"edge-26.7.4","kubernetes":"v1.34.1","installations":120,"share":0.686,"cumulative":0.686}"#,
        r#"{"kamaji":"v1.1.1","kubernetes":"v1.35.4","installations":44,"share":0.251,"cumulative":0.937}"#,
    ];
    assert_eq!(github_matrix(&answer), format!(r#"{{"include":[{}]}}"#, entries.join(",")));
    assert_eq!(github_matrix(&answer_of(Vec::new())), r#"{"include":[]}"#);
}

#[test]
fn the_matrix_of_github_has_256_entries_at_most() {
    let pairs = (0..300).map(|minor| pair("v1.1.1", &format!("v1.{minor}.0"), 1)).collect();
    let answer = answer_of(pairs);
    assert_eq!(chosen(&answer).len(), 270);
    let matrix: serde_json::Value = serde_json::from_str(&github_matrix(&answer)).unwrap();
    assert_eq!(matrix["include"].as_array().unwrap().len(), 256);
    assert_eq!(matrix["include"][0]["kubernetes"], "v1.299.0");
    assert!(answer.notes.iter().any(|note| note.contains("256")));
}

#[test]
fn other_windows_and_covers_are_refused() {
    assert_eq!("30d".parse(), Ok(MatrixWindow::Days30));
    assert_eq!("90d".parse::<MatrixWindow>().unwrap_err().to_string(), "expected 7d or 30d");
    assert_eq!("91".parse::<Cover>().unwrap_err().to_string(), "expected 80, 90 or 95");
}

#[test]
fn no_installation_and_few_get_counts() {
    assert_eq!(answer_of(Vec::new()).answer, "No installation was active in the last 30 days.");
    assert_eq!(question().answer(&[], asked(THROUGH)).rows.len(), 0);
    let one = answer_of(vec![pair("v1.9.0", "v1.31.0", 1)]);
    assert_eq!(one.answer, "1 active installation, which runs Kamaji v1.9 on Kubernetes v1.31.");
    let unknown = answer_of(vec![pair("latest", "v1.31.0", 1)]);
    assert_eq!(unknown.answer, "1 active installation, with no pair of known versions.");
    let few = |number| answer_of(vec![pair("v1.9.0", "v1.31.0", number), pair("v1.8.0", "v1.31.0", 1)]).answer;
    assert_eq!(few(18), "1 pair of minor versions covers 18 of 19 active installations.");
    assert_eq!(few(19), "1 pair of minor versions covers 95 % of 20 active installations.");
}

#[test]
fn control_planes_weigh_also_in_large_numbers() {
    let mut pairs = vec![pair("v1.9.0", "v1.31.0", 24_000_000), pair("v1.8.0", "v1.31.0", 240_000)];
    pairs[1].weight = 240_000_000;
    let question = TestMatrix { by: By::ControlPlanes, ..question() };
    let answer = question.answer(&[Facts { pairs, ..Facts::default() }], asked(THROUGH));
    assert_eq!(answer.rows[0].kamaji.as_deref(), Some("v1.9"));
    assert_eq!(
        (answer.rows[0].count, answer.rows[0].base, answer.rows[1].share),
        (240_000_000, 480_000_000, Some(0.5))
    );
    assert_eq!(
        answer.answer,
        "By control planes: 2 pairs of minor versions cover 100 % of 24,240,000 active installations."
    );
}

#[test]
fn tenants_are_events_of_complete_weeks_and_the_stock_is_of_those_that_tell() {
    let created = |version, tenant| EventAspect::Created { kamaji: kamaji(version).to_minor(), minor: minor(tenant) };
    let reached = |version, tenant| EventAspect::Reached { kamaji: kamaji(version).to_minor(), minor: minor(tenant) };
    let event_weeks = vec![
        week("2026-11-16", created("v1.9.0", "v1.31"), 3),
        week("2026-11-09", reached("v1.9.1", "v1.31"), 2),
        week("2026-11-09", created("v1.10.0", "v1.9"), 5),
        week("2026-11-16", EventAspect::MinorUpdate { from: minor("v1.30"), to: minor("v1.31") }, 2),
        week("2026-11-23", created("v1.9.0", "v1.31"), 100),
    ];
    let value = |text| DimensionPart::Value(Dimension::new(&BY_VERSION, text).unwrap());
    let fact = |part, installations, count| DimensionFact { part, installations, count };
    let dimensions = vec![
        fact(value("v1.9"), 3, 20),
        fact(value("v1.10"), 2, 60),
        fact(DimensionPart::Metric(&BY_VERSION), 4, 80),
        fact(DimensionPart::Metric(&crate::catalog::DATASTORE_COUNT), 9, 9),
    ];
    let facts = Facts { pairs: vec![pair("v1.9.0", "v1.31.0", 30)], event_weeks, dimensions, ..Facts::default() };
    let answer = question().answer(&[facts], asked(THROUGH));
    let of = |table| {
        let rows = answer.rows.iter().filter(move |row| row.table == table);
        rows.map(|row| (row.kamaji.as_deref(), row.tenant.as_deref().unwrap(), row.count, row.base, row.installations))
            .collect::<Vec<_>>()
    };
    let events = [(Some("v1.10"), "v1.9", 5, 10, None), (Some("v1.9"), "v1.31", 5, 10, None)];
    assert_eq!(of(TestMatrixTable::Tenant), events);
    let stock = [(None, "v1.10", 60, 80, Some(2)), (None, "v1.9", 20, 80, Some(3))];
    assert_eq!(of(TestMatrixTable::TenantStock), stock);
    assert!(answer.notes.contains(&"13 % of 30 report the versions of their tenants.".to_owned()));
    let query = question().queries(day(THROUGH))[0];
    assert_eq!((query.pairs, query.event_weeks), (Some(day("2026-10-28")), Some(day("2026-10-26"))));
}

/// Returns the size of the smallest set of numbers that is large enough, by trying all.
fn fewest(numbers: &[u64], enough: u64) -> u32 {
    (0_u32..1 << numbers.len())
        .filter(|set| {
            let sum: u64 = (0..).zip(numbers).filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, number)| number).sum();
            sum * 100 >= enough
        })
        .map(u32::count_ones)
        .min()
        .unwrap()
}

proptest! {
    #[test]
    fn no_other_pairs_cover_as_much_with_fewer(
        pairs in prop::collection::vec((any_kamaji(), any_kubernetes(), 1_u64..9), 0..10),
        cover in prop::sample::select(vec![Cover::Percent80, Cover::Percent90, Cover::Percent95]),
    ) {
        let fact = |(kamaji, kubernetes, installations)| {
            PairFact { kamaji, kubernetes, installations, control_planes: 0, weight: 0 }
        };
        let pairs: Vec<_> = pairs.into_iter().map(fact).collect();
        let all: u64 = pairs.iter().map(|pair| pair.installations).sum();
        let answer = TestMatrix { cover, ..question() }.answer(&[Facts { pairs, ..Facts::default() }], asked(THROUGH));
        let known: Vec<_> = answer.rows.iter().filter(|row| row.table == TestMatrixTable::Pair).collect();
        let numbers: Vec<_> = known.iter().map(|row| row.count).collect();
        let base: u64 = numbers.iter().sum();
        prop_assert!(known.iter().all(|row| row.base == base));
        let expected = if base == 0 { 0 } else { fewest(&numbers, base * cover.percent()) };
        prop_assert_eq!(u32::try_from(chosen(&answer).len()).unwrap(), expected);
        prop_assert_eq!(answer.rows.iter().map(|row| row.count).sum::<u64>(), all);
        serde_json::from_str::<serde_json::Value>(&github_matrix(&answer)).unwrap();
    }
}
