//! `docs/reference.md`: flags and variables from clap's commands, metrics from where they are described.
//! `make generate` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::{Arg, Command};
use kamaji_telemetry::cli::{IncompleteError, UsageError};
use regex::Regex;

use super::{commands, sources};
use crate::servers::checkout;

const PATH: &str = "docs/reference.md";

/// Variable that `make generate` sets.
const WRITE: &str = "KAMAJI_TELEMETRY_WRITE";

const INTRODUCTION: &str = "\
<!-- Written by `make generate` from src/cli and from the metrics' descriptions; a test compares it. -->

# Reference

Flags and variables of each command, and the metrics of both programs. A flag wins over its variable. A variable that is
empty is unset, and words such as `gzip` are read in any case. The charts' values are in the READMEs of
[kamaji-telemetry-agent](../charts/kamaji-telemetry-agent/README.md#values) and
[kamaji-telemetry-backend](../charts/kamaji-telemetry-backend/README.md#values); the signals that are sent are in
[signals.md](signals.md).

**Contents**
";

/// The head of a table of flags.
const HEAD: &str = "| flag | variable | default | meaning |\n|---|---|---|---|\n";

/// A metric of `/metrics`.
struct Metric {
    name: String,
    kind: &'static str,
    labels: BTreeSet<String>,
    help: String,
}

/// Escapes what Markdown would read in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

/// Returns the words of an argument, such as `--store <STORE>` or `[FILE]`.
fn words(argument: &Arg) -> String {
    let value = || {
        let names = argument.get_value_names().unwrap_or_default();
        names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ")
    };
    match argument.get_long() {
        None => value(),
        Some(long) if !argument.get_action().takes_values() => format!("--{long}"),
        Some(long) if is_switch(argument) => format!("--{long}[=true|false]"),
        Some(long) => format!("--{long} {}", value()),
    }
}

/// Returns whether the flag stands for `true` without a value.
fn is_switch(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|range| range.min_values() == 0)
}

fn row(argument: &Arg) -> String {
    let variable = argument.get_env().map(|variable| format!("`{}`", variable.to_string_lossy())).unwrap_or_default();
    let mut meaning = argument.get_help().unwrap_or_default().to_string();
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let mut default = if argument.is_required_set() { "required".to_owned() } else { String::new() };
    if defaults.iter().any(|value| !value.is_empty()) {
        default = format!("`{}`", defaults.join(","));
    } else if let Some((before, described)) = meaning.split_once(" [default: ") {
        // A default that depends on something is in the help's text.
        (meaning, default) = (before.to_owned(), described.trim_end_matches(']').to_owned());
    }
    let possible = argument.get_possible_values();
    if !possible.is_empty() && !is_switch(argument) {
        let names: Vec<_> = possible.iter().map(|value| format!("`{}`", value.get_name())).collect();
        meaning = format!("{}. One of {}", meaning.trim_end_matches('.'), names.join(", "));
    }
    format!("| `{}` | {variable} | {default} | {} |\n", words(argument).replace('|', "\\|"), cell(&meaning))
}

fn is_shown(argument: &Arg) -> bool {
    !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
}

/// Returns the section of a command; `known` are the rows of the agent's, which the preview does not repeat.
fn section(words: &str, command: &Command, known: &[String]) -> String {
    let about = command.get_about().unwrap_or_default();
    let own = command.get_arguments().filter(|argument| is_shown(argument) && !argument.is_global_set());
    let all: Vec<_> = own.map(row).collect();
    let rows: Vec<_> = all.iter().filter(|row| !known.contains(row)).cloned().collect();
    let as_agent = if all.len() > rows.len() + 10 { " It takes the agent's flags as well:" } else { "" };
    if rows.is_empty() || as_agent.is_empty() {
        return format!("\n## {words}\n\n{about}.\n\n{HEAD}{}", all.concat());
    }
    let link = "[kamaji-telemetry agent](#kamaji-telemetry-agent)";
    format!("\n## {words}\n\n{about}.{as_agent} {link}.\n\n{HEAD}{}", rows.concat())
}

/// Returns the metrics that the sources with this prefix in their names describe, in their order.
fn metrics(prefix: &str) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let constant = Regex::new(r#"const ([A-Z_]+): &str =\s*"(kamaji_telemetry_[a-z_]+)""#).unwrap();
    let description = Regex::new(
        r#"describe_(counter|gauge|histogram)!\(\s*(?:"([a-z_]+)"|([A-Z_]+)),\s*(?:Unit::\w+,\s*)?"((?:[^"\\]|\\.)*)""#,
    );
    let description = description.unwrap();
    let use_of =
        Regex::new(r"(?s)\b(?:counter|gauge|histogram)!\(\s*([A-Z_]+)(.*?)\)\s*\.(?:increment|set|record|decrement)\(");
    let use_of = use_of.unwrap();
    let label = Regex::new(r#""([a-z_]+)"\s*=>"#).unwrap();
    let continued = Regex::new(r"\\\n\s*").unwrap();
    for (_, text) in sources().iter().filter(|(_, text)| text.contains(prefix)) {
        let text = continued.replace_all(text, "");
        let names: BTreeMap<_, _> =
            constant.captures_iter(&text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for found in use_of.captures_iter(&text) {
            let keys = label.captures_iter(&found[2]).map(|key| key[1].to_owned());
            labels.entry(found[1].to_owned()).or_default().extend(keys.collect::<Vec<_>>());
        }
        let count = metrics.len();
        for found in description.captures_iter(&text) {
            let kind = ["counter", "gauge", "histogram"].into_iter().find(|kind| *kind == &found[1]).unwrap();
            let key = found.get(2).or(found.get(3)).unwrap().as_str();
            let name = names.get(key).cloned().unwrap_or_else(|| key.to_owned());
            let labels = labels.get(key).cloned().unwrap_or_default();
            metrics.push(Metric { name, kind, labels, help: found[4].to_owned() });
        }
        assert_eq!(metrics.len() - count, names.len(), "a metric is not described, or not as the others are");
    }
    metrics
}

fn metrics_section(title: &str, prefix: &str) -> String {
    let mut text = format!("\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    let metrics = metrics(prefix);
    assert!(metrics.len() > 10, "{} metrics of {prefix}", metrics.len());
    for Metric { name, kind, labels, help } in metrics {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), cell(&help)).unwrap();
    }
    text
}

/// Returns the table of exit codes.
fn exit_codes() -> String {
    let (usage, incomplete) = (UsageError::EXIT_CODE, IncompleteError::EXIT_CODE);
    format!(
        "| exit code | meaning |\n|---|---|\n| 0 | done |\n| 1 | failed |\n| {usage} | a flag or its value can't be used |\n\
         | {incomplete} | run it again: `backend migrate` has copied what it found, while a backend served the store of `--from` |\n\n"
    )
}

fn reference() -> String {
    let commands = commands();
    let global = commands[0].1.get_arguments().filter(|argument| argument.is_global_set() && is_shown(argument));
    let mut sections = vec![format!(
        "\n## All commands\n\n{HEAD}{}\n{}{}",
        global.map(row).collect::<String>(),
        exit_codes(),
        "`RUST_LOG` sets the log's filter; `kamaji_telemetry=info` if it is not set. With the default filter no body, sender's \
         address or token is logged. A `RUST_LOG` that includes other crates, such as `debug`, can log them.\n",
    )];
    let mut known = Vec::new();
    for (words, command) in &commands {
        sections.push(section(words, command, &known));
        if words.ends_with(" agent") {
            known.extend(command.get_arguments().map(row));
        }
    }
    sections.push(metrics_section("Metrics of the agent", "kamaji_telemetry_agent_"));
    sections.push(metrics_section("Metrics of the backend", "kamaji_telemetry_backend_"));
    let titles = sections.iter().filter_map(|section| section.lines().nth(1)?.strip_prefix("## "));
    let contents = titles.map(|title| format!("- [{title}](#{})\n", title.to_lowercase().replace(' ', "-")));
    let contents: String = contents.collect();
    format!("{INTRODUCTION}\n{contents}{}", sections.concat())
}

#[test]
fn the_reference_is_of_the_commands_and_the_metrics() {
    let made = reference();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(checkout(PATH), &made).unwrap();
    }
    let committed = std::fs::read_to_string(checkout(PATH)).unwrap();
    assert!(made == committed, "{PATH} differs from the code: run `make generate`, and read the diff");
}
