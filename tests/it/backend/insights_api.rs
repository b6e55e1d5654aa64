//! The API of the questions: its parameters, formats and description.

use std::collections::BTreeSet;

use jsonschema::Validator;
use kamaji_telemetry::backend::auth::routes::{ROUTES, RouteAccess};
use kamaji_telemetry::backend::auth::token;
use kamaji_telemetry::backend::insights::parameters::{ParameterName, QuestionName};
use kamaji_telemetry::backend::store::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::{Backend, Reply};
use super::samples::{created, logs_request, metrics_request, now, state_gauges};

fn parse(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

/// Returns a backend with an installation and an event.
async fn backend_with_data() -> Backend {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let gauges = metrics_request(installation, state_gauges([5, 2, 1, 0], now()));
    backend.metrics_client().await.export(gauges).await.unwrap();
    backend.logs_client().await.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
    backend
}

/// Returns the `Authorization` of a new viewer.
async fn viewer(backend: &Backend) -> String {
    let name = format!("viewer-{}", Uuid::new_v4().simple()).parse().unwrap();
    let (_, token) = token::create(backend.auth.as_ref(), name, Role::Viewer, 1).await.unwrap();
    format!("Bearer {token}")
}

/// Returns the queries of all combinations of a question's parameters.
fn combinations(question: QuestionName) -> Vec<String> {
    let mut queries = vec![String::new()];
    for parameter in question.parameters() {
        let with = |query: &String| -> Vec<String> {
            let values = question.values(*parameter).into_iter();
            values.map(|value| format!("{query}&{}={value}", parameter.as_str())).collect()
        };
        queries = queries.iter().flat_map(with).collect();
    }
    queries
}

/// Returns the validator of the answers of a path.
fn validator(api: &Value, path: &str) -> Validator {
    let schema = &api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{path} has no schema");
    jsonschema::validator_for(&json!({"allOf": [schema], "components": api["components"]})).unwrap()
}

/// Returns the cells of CSV in which nothing is quoted, or of quoted ones without line breaks.
pub(super) fn records(csv: &str) -> Vec<Vec<String>> {
    csv.split("\r\n").filter(|line| !line.is_empty()).map(cells).collect()
}

fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut is_quoted) = (vec![String::new()], false);
    for (position, part) in line.split('"').enumerate() {
        is_quoted = position % 2 == 1;
        let mut fields = if is_quoted { vec![part] } else { part.split(',').collect() }.into_iter();
        cells.last_mut().unwrap().push_str(fields.next().unwrap());
        cells.extend(fields.map(str::to_owned));
    }
    assert!(!is_quoted, "{line}");
    cells
}

pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn each_answer_is_valid_by_the_description_and_its_csv_has_the_same_rows() {
    let backend = backend_with_data().await;
    let api = parse(&backend.get("/api/v1/openapi.json").await);
    for question in QuestionName::ALL {
        let path = question.api_path();
        let validator = validator(&api, path);
        // Each token may read a hundred times at once.
        let viewer = viewer(&backend).await;
        let get = async |query: String| {
            let reply = backend.send("GET", &format!("{path}?{query}"), &[("authorization", &viewer)]).await;
            assert_eq!(reply.status, 200, "{path} {query}: {reply:?}");
            reply
        };
        for query in combinations(question) {
            let reply = get(format!("format=json{query}")).await;
            assert_eq!(reply.header("content-type"), Some("application/json"));
            let json = parse(&reply);
            let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{path} {query}: {errors:?} in {json}");
            let csv = get(format!("format=csv{query}")).await;
            assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
            let mut records = records(csv.text()).into_iter();
            let names = records.next().unwrap();
            let rows = json["rows"].as_array().unwrap();
            for (row, record) in rows.iter().zip(records.by_ref()) {
                assert_eq!(row.as_object().unwrap().len(), names.len(), "{path}");
                let expected: Vec<_> = names.iter().map(|name| cell(&row[name])).collect();
                assert_eq!(record, expected, "{path} {query}");
            }
            assert_eq!(records.next(), None);
        }
    }
}

#[tokio::test]
async fn the_description_has_the_paths_and_the_methods_of_the_table_of_routes() {
    let backend = Backend::start().await;
    let api = parse(&backend.get("/api/v1/openapi.json").await);
    let mut described = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            let route =
                ROUTES.iter().find(|route| route.path == path && route.method.as_str() == method.to_uppercase());
            let is_public = route.is_some_and(|route| route.access == RouteAccess::Public);
            assert_eq!(operation["security"].is_array(), !is_public, "{method} {path}");
        }
    }
    let routes = ROUTES.iter().filter(|route| route.path.starts_with("/api/v1/"));
    let routes: BTreeSet<_> = routes.map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(described, routes);
}

#[tokio::test]
async fn what_admins_read_is_valid_by_the_description() {
    let backend = backend_with_data().await;
    let api = parse(&backend.get("/api/v1/openapi.json").await);
    for path in ["/api/v1/installations", "/api/v1/events", "/api/v1/audit-log"] {
        let json = parse(&backend.get(path).await);
        let validator = validator(&api, path);
        let errors: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{path}: {errors:?} in {json}");
    }
}

#[tokio::test]
async fn a_parameter_that_cannot_be_used_is_named_with_what_was_expected() {
    let backend = Backend::start().await;
    let error = async |query: &str| {
        let reply = backend.get(&format!("/api/v1/insights/versions?{query}")).await;
        assert_eq!((reply.status, reply.header("content-type")), (400, Some("application/json")), "{query}");
        let error = parse(&reply);
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        [text("parameter"), text("value"), text("expected")]
    };
    assert_eq!(error("window=1d").await, ["window", "1d", "30d, 7d, 90d or 365d"]);
    assert_eq!(error("format=xml").await, ["format", "xml", "json or csv"]);
    assert_eq!(error("colour=re%20d").await, ["colour", "re d", "window, source, by, component or format"]);
    assert_eq!(error("by=installations&by=installations").await[2], "by once");
    assert_eq!(error("source").await, ["source", "", "agent or kamaji"]);
    assert_eq!(error(&format!("source={}", "x".repeat(4_000))).await[1].chars().count(), 65);
}

#[tokio::test]
async fn the_format_is_that_of_the_parameter_or_else_the_accepted_one() {
    let backend = Backend::start().await;
    let admin = backend.admin();
    let media_type = async |query: &str, accept: &str| {
        let headers = [("authorization", admin), ("accept", accept)];
        let reply = backend.send("GET", &format!("/api/v1/insights/test-matrix{query}"), &headers).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("vary"), Some("Accept, Authorization, Cookie"));
        let is_file =
            reply.header("content-disposition").is_some_and(|value| value.starts_with("attachment; filename="));
        (reply.header("content-type").unwrap().to_owned(), is_file)
    };
    let (json, csv) =
        (("application/json".to_owned(), false), ("text/csv; charset=utf-8; header=present".to_owned(), true));
    assert_eq!(media_type("", "*/*").await, json);
    assert_eq!(media_type("", "text/csv, application/json;q=0.5").await, csv);
    assert_eq!(media_type("?format=json", "text/csv").await, json);
    assert_eq!(media_type("?format=csv", "application/json").await, csv);
    let matrix = backend.get("/api/v1/insights/test-matrix?format=github").await;
    assert!(parse(&matrix)["include"].is_array() && matrix.text().lines().count() == 1, "{matrix:?}");
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again_and_is_in_the_audit_log_all_the_same() {
    let backend = backend_with_data().await;
    let admin = backend.admin();
    let path = "/api/v1/insights/features";
    let get = async |tag: &str| backend.send("GET", path, &[("authorization", admin), ("if-none-match", tag)]).await;
    let first = get("\"other\"").await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && first.status == 200, "{first:?}");
    let second = get(&tag).await;
    assert_eq!((second.status, second.body.len(), second.header("etag")), (304, 0, Some(tag.as_str())));
    for reply in [&first, &second] {
        assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
    }
    assert_ne!(backend.get(&format!("{path}?format=csv")).await.header("etag"), Some(tag.as_str()));
    let log = backend.auth.audit_log(100).await.unwrap();
    let statuses: Vec<_> =
        log.iter().filter(|entry| entry.action == format!("GET {path}")).map(|entry| entry.status).collect();
    assert_eq!(statuses, [Some(200), Some(304), Some(200)]);
}

#[test]
fn every_question_has_a_route_for_viewers() {
    for question in QuestionName::ALL {
        assert!(ROUTES.iter().any(|route| route.path == question.api_path()), "{question}");
        assert!(question.parameters().iter().all(|parameter| ParameterName::ALL.contains(parameter)));
    }
}
