//! Tests of the pages: each is rendered from the answer to its question, with no data, one installation, and a million.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::*;
use crate::backend::auth::Principal;
use crate::backend::insights::answer::{Asked, Question};
use crate::backend::insights::coverage::Coverage;
use crate::backend::insights::definitions::{By, Component, Window};
use crate::backend::insights::deprecation::Deprecation;
use crate::backend::insights::features::Features;
use crate::backend::insights::health::Health;
use crate::backend::insights::overview::FleetOverview;
use crate::backend::insights::parameters::Parameters;
use crate::backend::insights::render::{AnswerFormat, AnyAnswer};
use crate::backend::insights::test_matrix::{Cover, MatrixWindow, TestMatrix};
use crate::backend::insights::upgrades::Upgrades;
use crate::backend::insights::versions::Versions;
use crate::backend::insights::wording::count;
use crate::backend::store::fold::{DimensionPart, EventAspect, EventChange, SizeClass, Standing};
use crate::backend::store::{
    AgentVersion, ConditionFact, Day, DayFact, Dimension, DimensionFact, EventDayFact, EventWeekFact, Facts, PairFact,
    RefusalFact, Role, SeenFact, ServedHour, SourceKind, Token, Totals, VersionFact,
};
use crate::backend::web::format::unbroken;
use crate::backend::web::page::{Frame, Place, outages};
use crate::catalog::{
    BY_VERSION, DATASTORE_COUNT, KamajiVersion, KubernetesMinor, KubernetesVersion, NetworkProfile, Status,
};

/// Friday noon; the last complete day is 2026-11-26.
const NOW: &str = "2026-11-27T12:00:00Z";

/// The days of the data: so many that there are weeks to compare.
const DAYS: i32 = 120;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn today() -> Day {
    Day::of("2026-11-27".parse().unwrap())
}

fn kamaji(version: &str) -> KamajiVersion {
    version.parse().unwrap()
}

fn minor(version: &str) -> KubernetesMinor {
    version.parse().unwrap()
}

/// Returns the facts of as many installations as `scale` says, in several of each kind.
fn facts(scale: u64) -> Facts {
    let first = today().minus(DAYS);
    let kamaji_versions =
        [("v1.1.1", 41), ("v1.1.0", 23), ("v1.0.2", 17), ("edge-26.7.4", 11), ("edge-26.6.1", 5), ("latest", 3)];
    let kubernetes_versions = [("v1.35.4", 53), ("v1.34.2", 31), ("v1.31.9", 13), ("unknown", 3)];
    let days: Vec<_> = (0..=DAYS).map(|day| first.plus(day)).collect();
    let seen = |day: Day, standing, installations| SeenFact { day, standing, installations };
    Facts {
        first_day: Some(first),
        days: days.iter().map(|day| active(*day, 100 * scale)).collect(),
        kamaji_days: by_day(&days, &kamaji_versions.map(|(version, part)| (kamaji(version), part * scale))),
        kubernetes_days: by_day(
            &days,
            &kubernetes_versions.map(|(version, part)| (version.parse::<KubernetesVersion>().unwrap(), part * scale)),
        ),
        agent_days: by_day(&days, &[("0.1.0".parse::<AgentVersion>().unwrap(), 100 * scale)]),
        pairs: pairs(scale),
        conditions: conditions(scale),
        dimensions: dimensions(scale),
        first_seen: days.iter().map(|day| seen(*day, Standing::Confirmed, scale)).collect(),
        last_seen: vec![
            seen(today(), Standing::Confirmed, 97 * scale),
            seen(today().minus(45), Standing::Confirmed, 3 * scale),
            seen(today(), Standing::NotConfirmed, 7 * scale),
            seen(today().minus(3), Standing::Bulk, 9 * scale),
        ],
        event_days: days.iter().flat_map(|day| event_days(*day, scale)).collect(),
        event_weeks: (0..8).flat_map(|week| event_weeks(today().minus(7 * week).monday(), scale)).collect(),
        refusals: vec![
            RefusalFact { day: today().minus(2), reason: "too_old".to_owned(), records: 19 * scale },
            RefusalFact { day: today(), reason: "not_allowed".to_owned(), records: 29 * scale },
        ],
        served_hours: served_hours(first),
    }
}

/// Returns the hours of all days but one whole day, twenty days ago, and its neighbours.
fn served_hours(first: Day) -> Vec<ServedHour> {
    let away = today().minus(20).first_hour();
    let hours = (0..DAYS * 24).map(|hour| first.first_hour().minus(-hour));
    let served = hours.filter(|hour| !(-1..=24).contains(&hour.since(away)));
    served.map(|hour| ServedHour { hour, minutes: 60 }).collect()
}

fn active(day: Day, installations: u64) -> DayFact {
    let installations = if day == today().minus(20) { 0 } else { installations };
    let control_planes = Totals {
        running: installations * 7,
        sleeping: installations * 2,
        not_ready: installations,
        upgrading: installations / 3,
        left_out: 0,
    };
    DayFact { day, installations, control_planes, weight: installations * 10 }
}

fn by_day<V: Clone>(days: &[Day], versions: &[(V, u64)]) -> Vec<VersionFact<V>> {
    let fact = |day: Day, version: &V, installations: u64| VersionFact {
        day,
        version: version.clone(),
        installations,
        control_planes: installations * 11,
        weight: installations * 10,
    };
    let known = days.iter().filter(|day| **day != today().minus(20));
    known.flat_map(|day| versions.iter().map(|(version, number)| fact(*day, version, *number))).collect()
}

fn pairs(scale: u64) -> Vec<PairFact> {
    let pair = |kamaji: &str, kubernetes: &str, part: u64| PairFact {
        kamaji: self::kamaji(kamaji),
        kubernetes: kubernetes.parse().unwrap(),
        installations: part * scale,
        control_planes: part * scale * 11,
        weight: part * scale * 10,
    };
    vec![
        pair("v1.1.1", "v1.35.4", 43),
        pair("v1.1.1", "v1.34.2", 21),
        pair("v1.0.2", "v1.34.2", 17),
        pair("edge-26.7.4", "v1.35.4", 9),
        pair("edge-26.7.4", "v1.31.9", 7),
        pair("latest", "v1.31.9", 3),
    ]
}

fn conditions(scale: u64) -> Vec<ConditionFact> {
    let condition = |version: &str, size, stuck, part: u64| ConditionFact {
        kamaji: kamaji(version),
        size,
        stuck,
        upgrading_long: false,
        installations: part * scale,
        weight: part * scale * 10,
    };
    vec![
        condition("v1.1.1", SizeClass::UpTo5, false, 31),
        condition("v1.1.1", SizeClass::UpTo20, true, 13),
        condition("v1.1.0", SizeClass::UpTo5, false, 37),
        condition("v1.1.0", SizeClass::UpTo20, true, 2),
        condition("latest", SizeClass::Larger, false, 17),
    ]
}

fn dimensions(scale: u64) -> Vec<DimensionFact> {
    let fact = |part, installations: u64, count: u64| DimensionFact {
        part,
        installations: installations * scale,
        count: count * scale,
    };
    let value = |metric, value: &str| DimensionPart::Value(Dimension::new(metric, value).unwrap());
    vec![
        fact(DimensionPart::Metric(&DATASTORE_COUNT), 8, 12),
        fact(value(&DATASTORE_COUNT, "etcd"), 6, 9),
        fact(value(&DATASTORE_COUNT, "MySQL"), 2, 3),
        fact(DimensionPart::Metric(&BY_VERSION), 5, 47),
        fact(value(&BY_VERSION, "v1.34"), 4, 33),
        fact(value(&BY_VERSION, "v1.33"), 3, 14),
    ]
}

fn event_days(day: Day, scale: u64) -> Vec<EventDayFact> {
    let fact = |change, minor: &str, events| EventDayFact { day, change, minor: self::minor(minor), events };
    let is_new = day > today().minus(60);
    let mut facts = vec![fact(EventChange::Created, "v1.33", 5 * scale)];
    if is_new {
        facts.extend([
            fact(EventChange::Created, "v1.34", 3 * scale),
            fact(EventChange::MinorUpdated, "v1.34", 2 * scale),
        ]);
    }
    facts
}

fn event_weeks(week: Day, scale: u64) -> Vec<EventWeekFact> {
    let fact = |aspect, part: u64| EventWeekFact { week, aspect, events: part * scale };
    let kamaji = kamaji("v1.1.1");
    vec![
        fact(EventAspect::Created { kamaji: kamaji.to_minor(), minor: minor("v1.34") }, 13),
        fact(EventAspect::Reached { kamaji: kamaji.to_minor(), minor: minor("v1.34") }, 6),
        fact(EventAspect::MinorUpdate { from: minor("v1.33"), to: minor("v1.34") }, 5),
        fact(EventAspect::MinorUpdate { from: minor("v1.32"), to: minor("v1.34") }, 1),
        fact(EventAspect::PatchUpdate { kamaji, is_downgrade: false }, 8),
        fact(EventAspect::PatchUpdate { kamaji, is_downgrade: true }, 4),
        fact(EventAspect::Deletion { kamaji, status: Status::NotReady }, 2),
        fact(EventAspect::Deletion { kamaji, status: Status::Ready }, 3),
        fact(EventAspect::ClusterApi(Some(true)), 7),
        fact(EventAspect::ClusterApi(None), 6),
        fact(EventAspect::NetworkProfile(NetworkProfile::Ingress), 4),
    ]
}

/// Returns rows of installations with a thousand control planes each.
fn heavy<V>(facts: Vec<VersionFact<V>>) -> Vec<VersionFact<V>> {
    facts.into_iter().map(|fact| VersionFact { weight: 1_000 * fact.installations, ..fact }).collect()
}

/// Returns the facts of one installation with a thousand control planes.
fn one() -> Facts {
    let all = facts(1);
    let states = Totals { running: 700, sleeping: 200, not_ready: 100, ..Totals::default() };
    let days: Vec<_> = (0..=20).map(|day| today().minus(20 - day)).collect();
    Facts {
        days: days.iter().map(|day| DayFact { control_planes: states, weight: 1_000, ..active(*day, 1) }).collect(),
        kamaji_days: heavy(by_day(&days, &[(kamaji("v1.1.1"), 1)])),
        kubernetes_days: heavy(by_day(&days, &[("v1.35.4".parse().unwrap(), 1)])),
        agent_days: by_day(&days, &[("0.1.0".parse().unwrap(), 1)]),
        pairs: vec![PairFact { installations: 1, weight: 1_000, ..all.pairs[0] }],
        conditions: vec![ConditionFact { installations: 1, weight: 1_000, ..all.conditions[0] }],
        first_seen: vec![SeenFact { day: days[0], standing: Standing::Confirmed, installations: 1 }],
        last_seen: vec![SeenFact { day: today(), standing: Standing::Confirmed, installations: 1 }],
        served_hours: all.served_hours,
        ..Facts::default()
    }
}

fn boxed<Q>(question: &Q, facts: &Facts) -> Box<dyn AnyAnswer>
where
    Q: Question,
    Q::Row: Serialize + ToSchema + Send + Sync + 'static,
{
    let asked = Asked { at: now(), min_installations: 0 };
    let queries = question.queries(asked.through());
    Box::new(question.answer(&vec![facts.clone(); queries.len()], asked))
}

fn ask(question: QuestionName, by: By, facts: &Facts) -> Box<dyn AnyAnswer> {
    let (source, window) = (SourceKind::Agent, Window::Days30);
    let (short, component) = (MatrixWindow::Days30, Component::Kamaji);
    match question {
        QuestionName::Overview => boxed(&FleetOverview { source, window, by }, facts),
        QuestionName::Versions => boxed(&Versions { source, window, by, component }, facts),
        QuestionName::TestMatrix => boxed(&TestMatrix { source, window: short, by, cover: Cover::default() }, facts),
        QuestionName::Health => boxed(&Health { window }, facts),
        QuestionName::Upgrades => boxed(&Upgrades { source, window }, facts),
        QuestionName::Deprecation => boxed(&Deprecation { source, by, component }, facts),
        QuestionName::Features => boxed(&Features { source, window: short }, facts),
        QuestionName::Coverage => boxed(&Coverage { window }, facts),
    }
}

fn any(answer: &dyn AnyAnswer) -> &dyn Any {
    answer
}

/// Renders the page of a question.
fn page(question: QuestionName, by: By, facts: &Facts) -> String {
    let answer = ask(question, by, facts);
    let coverage = ask(QuestionName::Coverage, by, facts);
    let view = QuestionView {
        question,
        parameters: Parameters { by, ..Parameters::default_of(question) },
        grpc: "127.0.0.1:4317".parse().unwrap(),
        outages: any(coverage.as_ref()).downcast_ref().map(outages).unwrap(),
    };
    let (prefix, name) = ("ktt_01234567".to_owned(), "alice".to_owned());
    let token = Token { prefix, name, role: Role::Viewer, created: now(), expires: Timestamp::MAX, revoked: None };
    let principal = Principal::from(token);
    let place = Place::Question(question);
    let frame = Frame { place, principal: &principal, as_of: now(), address: place.path() };
    view.render(&frame, &content(any(answer.as_ref()), &view).unwrap()).into_string()
}

/// Returns the answer as its JSON.
fn json(question: QuestionName, by: By, facts: &Facts) -> Value {
    serde_json::from_str(&ask(question, by, facts).render(AnswerFormat::Json).unwrap()).unwrap()
}

/// Returns the text of a page, without its elements.
fn text(page: &str) -> String {
    page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_page_without_data_says_what_will_stand_there_and_how_it_begins() {
    for question in QuestionName::ALL {
        let page = page(question, By::Installations, &Facts::default());
        for part in ["No data yet", "This page will show", "kamaji-telemetry agent --endpoint http://localhost:4317"] {
            assert!(page.contains(part), "{question}: {part}");
        }
        assert!(page.contains("What is counted") && !page.contains("<table"), "{question}");
    }
}

#[test]
fn a_page_has_its_answer_its_downloads_and_its_words() {
    for question in QuestionName::ALL {
        let facts = facts(11);
        let page = page(question, By::Installations, &facts);
        let json = json(question, By::Installations, &facts);
        let sentence = unbroken(json["answer"].as_str().unwrap()).into_string();
        assert!(page.contains(&sentence), "{question}: {sentence}");
        let query = Parameters::default_of(question).query(question).replace('&', "&amp;");
        for format in ["csv", "json"] {
            let link = format!("href=\"{}?{query}&amp;format={format}\"", question.api_path());
            assert!(page.contains(&link), "{question}: {link}");
        }
        assert!(page.contains("What is counted") && page.contains("<caption>"), "{question}");
        assert_eq!(page.matches("<h1>").count(), 1, "{question}");
        for forbidden in [" style=", "<script", "<style", "NaN", "null", "Some("] {
            assert!(!page.contains(forbidden), "{question}: {forbidden}");
        }
    }
}

#[test]
fn the_ids_of_a_page_are_unique() {
    for question in QuestionName::ALL {
        let page = page(question, By::Installations, &facts(11));
        let ids: Vec<_> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{question}: {ids:?}");
    }
}

/// Returns whether a page shows the numbers of a row in a table: of shares by day those of the last complete one, and
/// days in the chart alone.
fn is_in_a_table(row: &Value) -> bool {
    match row["table"].as_str().unwrap() {
        "share" => row["date"] == "2026-11-26",
        "day" => false,
        _ => true,
    }
}

#[test]
fn each_number_of_the_rows_is_on_the_page() {
    let names =
        ["count", "installations", "not_confirmed", "bulk", "gone", "before", "confirmed", "compared_count", "sum"];
    // Scales at which numbers have more than one digit and no number stands for another.
    for (scale, by) in [(1_009, By::Installations), (1_009, By::ControlPlanes), (10_007, By::Installations)] {
        let facts = facts(scale);
        for question in QuestionName::ALL {
            let page = text(&page(question, by, &facts));
            let numbers: BTreeSet<_> = page
                .split(|part: char| !part.is_ascii_digit() && part != ',')
                .map(|part| part.trim_matches(','))
                .collect();
            let json = json(question, by, &facts);
            for row in json["rows"].as_array().unwrap().iter().filter(|row| is_in_a_table(row)) {
                for name in names {
                    // By control planes, the number of installations stands in the answer alone.
                    let is_shown = name != "installations" || by == By::Installations;
                    if let Some(number) = row[name].as_u64().filter(|_| is_shown) {
                        let number = count(number);
                        assert!(numbers.contains(number.as_str()), "{question}: {name} {number} of {row}");
                    }
                }
            }
        }
    }
}

#[test]
fn one_installation_has_counts_and_points_but_no_percentage_and_no_verdict() {
    let views = [By::Installations, By::ControlPlanes].map(|by| QuestionName::ALL.map(|question| (question, by)));
    for (question, by) in views.concat() {
        let page = page(question, by, &one());
        let (main, _) = page.split_once("What is counted").unwrap();
        let shown = text(main.split_once("<button>Show</button>").unwrap().1);
        let shown = shown.replace("of 95 %", "").replace("Under 5 %", "").replace("cover 90 % of the", "");
        if !main.contains("No data yet") {
            assert!(!main.contains("class=\"area"), "{question}: an area");
        }
        for word in [">worse<", ">better<"] {
            assert!(!main.contains(word), "{question}: {word}");
        }
        assert!(!shown.contains(" %"), "{question}: {shown}");
    }
}

#[test]
fn a_chart_over_time_shades_the_hours_in_which_the_backend_was_away_and_has_a_gap() {
    for question in [QuestionName::Overview, QuestionName::Versions, QuestionName::Coverage] {
        let page = page(question, By::Installations, &facts(11));
        assert!(page.contains("class=\"outage\"") && page.contains("Shaded: the backend was away."), "{question}");
    }
    let overview = page(QuestionName::Overview, By::Installations, &facts(11));
    let wide = overview.split("class=\"drawing wide\"").nth(1).unwrap().split("</svg>").next().unwrap();
    assert_eq!(wide.matches("class=\"area\"").count(), 2, "one on each side of the day on which it was away");
}

#[test]
fn the_overview_answers_four_decisions_with_links_to_their_reasons() {
    let page = page(QuestionName::Overview, By::Installations, &facts(11));
    for part in [
        "<h2>Build</h2>",
        "<h2>Test</h2>",
        "<h2>Fix</h2>",
        "<h2>Deprecate</h2>",
        "href=\"/insights/test-matrix\"",
        "href=\"/insights/health\"",
        "href=\"/insights/deprecation?component=kubernetes\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let million = self::page(QuestionName::Overview, By::Installations, &facts(11_802));
    assert!(million.contains("1.18 M") && million.contains("1,180,200"), "the exact number beside the short one");
}

#[test]
fn chosen_pairs_and_verdicts_are_said_in_words() {
    let matrix = page(QuestionName::TestMatrix, By::Installations, &facts(11));
    assert!(matrix.contains("<span class=\"mark\">chosen</span>") && matrix.contains("format=github"), "{matrix}");
    let health = page(QuestionName::Health, By::Installations, &facts(11));
    assert!(health.contains(">worse</span>") && health.contains("points"), "{health}");
    let upgrades = page(QuestionName::Upgrades, By::Installations, &facts(11));
    assert!(upgrades.contains(">coalesced</span>"), "{upgrades}");
    let features = page(QuestionName::Features, By::Installations, &facts(22));
    assert!(features.contains("176 of 2,200 report it"), "{features}");
}

#[test]
fn the_newest_version_of_each_line_is_drawn_and_versions_without_an_order_are_apart() {
    let page = page(QuestionName::Versions, By::Installations, &facts(11));
    for part in [
        "class=\"series-1\"",
        "class=\"edge-1\"",
        "class=\"unordered\"",
        ">v1.1</text>",
        ">26.7</text>",
        ">latest</text>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains("Stacked: each area stands on the one below it."));
}

#[test]
fn a_first_sighting_is_marked() {
    let mut facts = facts(11);
    let sighting = today().minus(10);
    facts.kamaji_days.retain(|fact| fact.version.to_minor() != kamaji("v1.1.0").to_minor() || fact.day >= sighting);
    let page = page(QuestionName::Versions, By::Installations, &facts);
    assert!(page.contains(&format!("<title>{}: v1.1</title>", sighting.date())), "{page}");
}

#[test]
fn the_answer_to_another_question_has_no_page() {
    let answer = ask(QuestionName::Health, By::Installations, &facts(1));
    let question = QuestionName::Versions;
    let view = QuestionView {
        question,
        parameters: Parameters::default_of(question),
        grpc: "127.0.0.1:4317".parse().unwrap(),
        outages: Vec::new(),
    };
    assert!(content(any(answer.as_ref()), &view).is_none());
}
