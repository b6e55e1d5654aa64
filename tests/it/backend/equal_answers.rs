//! The answers to the questions about the demo's history, which are the same wherever they are read: over the API as JSON and
//! CSV, from the command as JSON, CSV and text, and on the pages.

use std::sync::Arc;

use jiff::Timestamp;
use kamaji_telemetry::backend::insights::parameters::QuestionName;
use kamaji_telemetry::backend::insights::wording::count;
use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{Retention, SecurityConfig};
use kamaji_telemetry::testkit::history;
use serde_json::Value;

use super::harness::Backend;
use super::insights_api::{cell, records};
use crate::program::command::{run, text};

/// The seed of the demo.
const SEED: u64 = 1;

/// The largest difference between a fraction and what is shown of it: three decimals, or `<0.001` of what is smaller.
const ROUNDING: f64 = 0.001;

/// Returns the parameters that each question is asked with: its defaults, and others.
const fn parameters(question: QuestionName) -> &'static [&'static [(&'static str, &'static str)]] {
    match question {
        QuestionName::Overview => &[&[], &[("window", "90d"), ("by", "control-planes")], &[("source", "kamaji")]],
        QuestionName::Versions => &[&[], &[("window", "365d"), ("component", "kubernetes"), ("by", "control-planes")]],
        QuestionName::TestMatrix => &[&[], &[("window", "7d"), ("cover", "80")], &[("by", "control-planes")]],
        QuestionName::Deprecation => &[&[], &[("component", "kubernetes")], &[("by", "control-planes")]],
        QuestionName::Health | QuestionName::Coverage => &[&[], &[("window", "365d")]],
        QuestionName::Upgrades => &[&[], &[("window", "365d")], &[("source", "kamaji"), ("window", "90d")]],
        QuestionName::Features => &[&[], &[("window", "7d")], &[("source", "kamaji")]],
    }
}

/// The answer to a question in one form.
struct Answered {
    json: Value,
    csv: String,
}

/// Returns a backend with the demo's history.
async fn backend_of_demo() -> Backend {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
    history::write(&store, SEED, Timestamp::now()).await.unwrap();
    Backend::serve(folder, Arc::new(store).into(), Retention::default(), SecurityConfig::default()).await
}

/// Returns the answer over the API.
async fn over_api(backend: &Backend, question: QuestionName, parameters: &[(&str, &str)]) -> Answered {
    let query = parameters.iter().map(|(name, value)| format!("&{name}={value}")).collect::<Vec<_>>().concat();
    let get = async |format: &str| {
        let reply = backend.get(&format!("{}?format={format}{query}", question.api_path())).await;
        assert_eq!(reply.status, 200, "{question} {query}");
        reply.text().to_owned()
    };
    Answered { json: serde_json::from_str(&get("json").await).unwrap(), csv: get("csv").await }
}

/// Returns what the command prints.
async fn printed(backend: &Backend, question: QuestionName, parameters: &[(&str, &str)], format: &str) -> String {
    let store = format!("sqlite:{}", backend.file().display());
    let flags = parameters.iter().map(|(name, value)| format!("--{name}={value}"));
    // As the harness serves: all versions by name.
    let flags: Vec<_> = flags.chain([format!("--format={format}"), "--min-version-installations=0".into()]).collect();
    let mut words = vec!["backend", "insights", question.as_str(), "--store", &store];
    words.extend(flags.iter().map(String::as_str));
    let output = run(&words, &[]).await;
    assert!(output.status.success(), "{words:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

async fn from_command(backend: &Backend, question: QuestionName, parameters: &[(&str, &str)]) -> Answered {
    let json = printed(backend, question, parameters, "json").await;
    let csv = printed(backend, question, parameters, "csv").await;
    Answered { json: serde_json::from_str(&json).unwrap(), csv }
}

fn check_csv(answered: &Answered, context: &str) {
    let (rows, mut records) = (answered.json["rows"].as_array().unwrap(), records(&answered.csv).into_iter());
    let names = records.next().unwrap();
    let expected: Vec<Vec<_>> = rows.iter().map(|row| names.iter().map(|name| cell(&row[name])).collect()).collect();
    assert_eq!(records.collect::<Vec<_>>(), expected, "{context}");
}

/// Checks the text for terminals against the rows of the JSON.
fn check_text(text: &str, json: &Value, context: &str) {
    assert_eq!(text.lines().next(), json["answer"].as_str(), "{context}");
    let rows = json["rows"].as_array().unwrap();
    let mut seen = 0;
    for block in text.split("\n\n").skip(1).filter(|block| !block.starts_with("data through ")) {
        let mut lines = block.lines();
        let (table, names) = (lines.next().unwrap(), cells(lines.next().unwrap()));
        let of_table: Vec<_> = rows.iter().filter(|row| row["table"] == table).collect();
        assert_eq!(of_table.len(), lines.clone().count(), "{context}, {table}");
        for (row, line) in of_table.iter().zip(lines) {
            let cells = cells(line);
            assert_eq!(cells.len(), names.len(), "{context}, {table}: {line}");
            for (name, cell) in names.iter().zip(cells) {
                assert!(is_shown(&row[name], cell), "{context}, {table}, {name}: {} as {cell}", row[name]);
            }
        }
        seen += of_table.len();
    }
    assert_eq!(seen, rows.len(), "{context}");
}

/// Returns the cells of a line, which are at least two spaces apart.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// Returns whether a cell shows a value.
fn is_shown(value: &Value, shown: &str) -> bool {
    match value {
        Value::Null => shown == "-",
        Value::Number(number) if number.is_f64() => {
            let (value, shown) = (number.as_f64().unwrap(), shown.trim_start_matches(['<', '>']).parse::<f64>());
            shown.is_ok_and(|shown| (shown - value).abs() <= ROUNDING && (value == 0.0) == (shown == 0.0))
        }
        other => shown == cell(other),
    }
}

/// Returns the tables of an answer whose numbers are all in its page, with their fields.
const fn fields_of_page(question: QuestionName) -> &'static [(&'static str, &'static [&'static str])] {
    match question {
        QuestionName::Overview => &[("answer", &["sentence"]), ("size", &["count"])],
        QuestionName::Versions => &[("adoption", &["version"])],
        QuestionName::TestMatrix => &[("pair", &["count"])],
        QuestionName::Health => &[("version", &["count", "base", "verdict"]), ("deletion", &["count"])],
        QuestionName::Upgrades => &[("path", &["count"])],
        QuestionName::Deprecation => &[("at_or_below", &["count", "under_5_percent_on"])],
        QuestionName::Features => &[("telling", &["count", "base"])],
        QuestionName::Coverage => &[("window", &["confirmed", "not_confirmed", "bulk"]), ("refused", &["count"])],
    }
}

/// Returns the text of a page without its elements, and with spaces where no line breaks.
pub(super) fn plain(page: &str) -> String {
    let parts = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<String>().replace('\u{a0}', " ")
}

/// Checks that a page says the sentence of an answer, and has the numbers of its main tables.
async fn check_page(backend: &Backend, question: QuestionName, parameters: &[(&str, &str)], json: &Value) {
    let path = if question == QuestionName::Overview { "/".to_owned() } else { format!("/insights/{question}") };
    let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let reply = backend.get(&format!("{path}?{}", query.join("&"))).await;
    assert_eq!(reply.status, 200, "{path}");
    let page = plain(reply.text());
    let has = |text: &str| assert!(page.contains(text), "{path}?{}: {text} is not in it", query.join("&"));
    if question != QuestionName::Overview {
        has(json["answer"].as_str().unwrap());
    }
    for row in json["rows"].as_array().unwrap() {
        let table = fields_of_page(question).iter().find(|(table, _)| row["table"] == *table);
        for field in table.into_iter().flat_map(|(_, fields)| *fields) {
            match &row[*field] {
                Value::Number(number) => has(&count(number.as_u64().unwrap())),
                Value::String(text) => has(&text.replace('_', " ")),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn an_answer_has_the_same_rows_over_the_api_in_the_terminal_and_on_its_page() {
    let backend = backend_of_demo().await;
    for question in QuestionName::ALL {
        for parameters in parameters(question) {
            let context = format!("{question} {parameters:?}");
            let command = from_command(&backend, question, parameters).await;
            assert!(command.json["rows"].as_array().unwrap().len() >= 2, "{context}: {}", command.json);
            check_csv(&command, &context);
            check_text(&printed(&backend, question, parameters, "table").await, &command.json, &context);
            let api = over_api(&backend, question, parameters).await;
            for part in ["data_through", "source", "window", "answer", "notes", "rows"] {
                assert_eq!(api.json[part], command.json[part], "{context}, {part}");
            }
            assert_eq!(api.csv, command.csv, "{context}");
            check_page(&backend, question, parameters, &command.json).await;
        }
    }
    let github = backend.get("/api/v1/insights/test-matrix?format=github").await;
    assert_eq!(github.text(), printed(&backend, QuestionName::TestMatrix, &[], "github").await);
}
