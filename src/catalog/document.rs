//! The catalog as a document: Markdown for people, JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use super::{Attribute, EVENT_KINDS, EventKind, LOG_RESOURCE, MAX_COUNT, METRIC_RESOURCE, METRICS, Metric, Values};

#[derive(Serialize)]
struct Document {
    metric_resource: Vec<AttributeDocument>,
    log_resource: Vec<AttributeDocument>,
    metrics: Vec<MetricDocument>,
    events: Vec<EventDocument>,
}

#[derive(Serialize)]
struct MetricDocument {
    name: &'static str,
    kind: &'static str,
    unit: &'static str,
    min: u32,
    max: u32,
    extended: bool,
    description: &'static str,
    reason: &'static str,
    attributes: Vec<AttributeDocument>,
}

#[derive(Serialize)]
struct EventDocument {
    name: &'static str,
    severity: &'static str,
    description: &'static str,
    reason: &'static str,
    attributes: Vec<AttributeDocument>,
}

#[derive(Serialize)]
struct AttributeDocument {
    key: &'static str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    extended: bool,
    reason: &'static str,
}

impl From<&&Attribute> for AttributeDocument {
    fn from(attribute: &&Attribute) -> Self {
        let Attribute { key, values, extended, reason } = **attribute;
        let r#type = if values == Values::Bool { "boolean" } else { "string" };
        Self { key, r#type, pattern: values.pattern(), extended, reason }
    }
}

impl From<&&Metric> for MetricDocument {
    fn from(metric: &&Metric) -> Self {
        let Metric { name, unit, description, attributes, extended, reason } = **metric;
        let attributes = attributes.iter().map(AttributeDocument::from).collect();
        Self { name, kind: "gauge", unit, min: 0, max: MAX_COUNT, extended, description, reason, attributes }
    }
}

impl From<&&EventKind> for EventDocument {
    fn from(kind: &&EventKind) -> Self {
        let EventKind { name, description, attributes, reason } = **kind;
        let attributes = attributes.iter().map(AttributeDocument::from).collect();
        Self { name, severity: "INFO", description, reason, attributes }
    }
}

/// Returns the catalog as one JSON object, indented, with a newline at its end.
pub fn json() -> serde_json::Result<String> {
    let document = Document {
        metric_resource: METRIC_RESOURCE.iter().map(AttributeDocument::from).collect(),
        log_resource: LOG_RESOURCE.iter().map(AttributeDocument::from).collect(),
        metrics: METRICS.iter().map(MetricDocument::from).collect(),
        events: EVENT_KINDS.iter().map(EventDocument::from).collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Returns the catalog as Markdown, the content of `docs/signals.md`.
pub fn markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("## Metrics\n\n");
    push(
        &mut text,
        &format!(
            "Each is a gauge of whole numbers from 0 to {MAX_COUNT}. The first are sent with the first complete list of \
             control planes, then once an interval (5 minutes by default), zeros included.\n\n"
        ),
    );
    text.push_str("| resource attribute | value | why |\n|---|---|---|\n");
    rows(&mut text, METRIC_RESOURCE);
    for metric in METRICS {
        metric_section(&mut text, metric);
    }
    text.push_str("\n## Events\n\n");
    text.push_str(
        "Each is a log record whose `EventName` is the name of the event, with severity INFO and no body. Its \
         resource does not name the installation: an event can't be traced to one.\n\n",
    );
    text.push_str("| resource attribute | value | why |\n|---|---|---|\n");
    rows(&mut text, LOG_RESOURCE);
    for kind in EVENT_KINDS {
        event_section(&mut text, kind);
    }
    text.push_str(VALUES);
    text
}

const INTRODUCTION: &str = "<!-- Printed by `kamaji-telemetry catalog`; `make generate` rewrites it. -->

# Signals

This page lists everything that can leave a cluster. The agent can build no other signal, the relay forwards no other, and the
backend stores no other. Signals marked *extended* are sent only if the operator sets `--extended`.

Never sent: names of clusters, hosts, namespaces or control planes, labels, annotations, addresses, UIDs of objects, and free text.

";

const VALUES: &str = "
## Values

- **Kubernetes version**: `vX.Y.Z`, with `-alpha.N`, `-beta.N` or `-rc.N` kept; `unknown` if there is none. The agent adds a missing `v`
  and cuts every other suffix, because the tag of a private build can name a company.
- **Kubernetes minor version**: `vX.Y`, or `unknown`.
- **Kamaji version**: as a Kubernetes version, and Kamaji's edge forms `edge-X.Y.Z` and `X.Y.Z-edge`; or `latest`.
- **UUID**: random (version 4), in lower case with hyphens.
";

fn metric_section(text: &mut String, metric: &Metric) {
    let Metric { name, unit, description, attributes, extended, reason } = metric;
    let mark = if *extended { " (extended)" } else { "" };
    let section = format!("\n### `{name}`{mark}\n\n{description} Unit `{unit}`. {reason}\n\n");
    push(text, &section);
    text.push_str("| attribute | value | why |\n|---|---|---|\n");
    rows(text, attributes);
}

fn event_section(text: &mut String, kind: &EventKind) {
    let EventKind { name, description, attributes, reason } = kind;
    push(text, &format!("\n### `{name}`\n\n{description} {reason}\n\n"));
    text.push_str("| attribute | value | why |\n|---|---|---|\n");
    rows(text, attributes);
}

fn rows(text: &mut String, attributes: &[&Attribute]) {
    for Attribute { key, values, extended, reason } in attributes {
        let mark = if *extended { " (extended)" } else { "" };
        push(text, &format!("| `{key}`{mark} | {} | {reason} |\n", describe(*values)));
    }
}

fn push(text: &mut String, line: &str) {
    write!(text, "{line}").expect("a String takes any text");
}

fn describe(values: Values) -> String {
    match values {
        Values::KubernetesVersion => "Kubernetes version".to_owned(),
        Values::KubernetesMinor => "Kubernetes minor version".to_owned(),
        Values::KamajiVersion => "Kamaji version".to_owned(),
        Values::ServiceVersion => "version `X.Y.Z`".to_owned(),
        Values::Uuid => "UUID".to_owned(),
        Values::OneOf(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Values::Bool => "`true` or `false`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_what_the_catalog_prints() {
        let committed = include_str!("../../docs/signals.md");
        assert_eq!(committed, markdown(), "docs/signals.md differs from the catalog: run `make generate`");
    }

    #[test]
    fn the_json_names_every_signal() {
        let json: serde_json::Value = serde_json::from_str(&json().unwrap()).unwrap();
        assert_eq!(json["metrics"].as_array().unwrap().len(), METRICS.len());
        assert_eq!(json["events"].as_array().unwrap().len(), EVENT_KINDS.len());
    }
}
