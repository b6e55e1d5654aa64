//! The catalog as the collector's allow-list: the `filter` and `transform` processors of a relay, in YAML.
//!
//! The filters drop every signal with a value that the catalog does not allow, and every signal that they can't
//! evaluate. The transforms rebuild the remaining signals from the fields that the catalog names. Conditions and
//! statements are in OTTL, the OpenTelemetry Transformation Language of the collector's contrib distribution.

use std::fmt::Write;

use super::{
    Attribute, EVENT_KINDS, EventKind, LOG_RESOURCE, MAX_COUNT, METRIC_RESOURCE, METRICS, Metric, SERVICE_NAME, Values,
};

/// The line before the output of [`processors`] in a configuration.
pub const BEGIN: &str = "  # --- generated from src/catalog.rs by: kamaji-telemetry catalog --output collector ---\n";
/// The line after the output of [`processors`] in a configuration.
pub const END: &str = "  # --- end of generated part ---\n";

/// Returns the four processors, indented as entries of `processors`.
pub fn processors() -> String {
    let mut yaml = String::new();
    filter(&mut yaml, "metrics", &metric_conditions());
    filter(&mut yaml, "logs", &log_conditions());
    transform(&mut yaml, "metric", &metric_statements());
    transform(&mut yaml, "log", &log_statements());
    yaml
}

/// A context of OTTL, and the conditions or statements in it.
type InContext = (&'static str, Vec<String>);

fn filter(yaml: &mut String, signal: &str, conditions: &[InContext]) {
    push(yaml, &format!("  filter/{signal}:\n    error_mode: propagate\n    {signal}:\n"));
    for (context, conditions) in conditions {
        push(yaml, &format!("      {context}:\n"));
        for condition in conditions {
            push(yaml, &format!("        - '{condition}'\n"));
        }
    }
}

fn transform(yaml: &mut String, signal: &str, statements: &[InContext]) {
    push(yaml, &format!("  transform/{signal}s:\n    error_mode: propagate\n    {signal}_statements:\n"));
    for (context, statements) in statements {
        push(yaml, &format!("      - context: {context}\n        statements:\n"));
        for statement in statements {
            push(yaml, &format!("          - '{statement}'\n"));
        }
    }
}

fn push(yaml: &mut String, text: &str) {
    write!(yaml, "{text}").expect("a String takes any text");
}

fn metric_conditions() -> Vec<InContext> {
    let mut points = vec![
        "Len(datapoint.exemplars) > 0".to_owned(),
        "datapoint.flags != 0".to_owned(),
        "datapoint.value_double != 0.0".to_owned(),
        format!("datapoint.value_int < 0 or datapoint.value_int > {MAX_COUNT}"),
    ];
    let kinds = METRICS.iter().map(|metric| (metric.name, metric.attributes));
    points.extend(invalid_in_kinds("datapoint", "metric.name", &kinds.collect::<Vec<_>>()));
    let names = METRICS.iter().map(|metric| metric.name);
    let metric = vec![not_named("metric.name", names), "metric.type != METRIC_DATA_TYPE_GAUGE".to_owned()];
    vec![("resource", resource_conditions(METRIC_RESOURCE)), ("metric", metric), ("datapoint", points)]
}

fn log_conditions() -> Vec<InContext> {
    let names = EVENT_KINDS.iter().map(|kind| kind.name);
    let mut records = vec![not_named("log.event_name", names), "log.body != nil".to_owned()];
    let kinds = EVENT_KINDS.iter().map(|kind| (kind.name, kind.attributes));
    records.extend(invalid_in_kinds("log", "log.event_name", &kinds.collect::<Vec<_>>()));
    vec![("resource", resource_conditions(LOG_RESOURCE)), ("log_record", records)]
}

/// Returns the conditions on the attributes of several kinds of signal. An attribute that all kinds have yields one
/// condition.
fn invalid_in_kinds(context: &str, name: &str, kinds: &[(&str, &[&Attribute])]) -> Vec<String> {
    let is_common = |attribute: &&&Attribute| kinds.iter().all(|(_, attributes)| attributes.contains(attribute));
    let common = kinds.iter().take(1).flat_map(|(_, attributes)| attributes.iter().filter(is_common));
    let common = common.map(|attribute| invalid(context, attribute));
    let own = kinds.iter().flat_map(|(kind, attributes)| {
        let own = attributes.iter().filter(|attribute| !is_common(attribute));
        own.map(move |attribute| {
            let value = at(context, attribute);
            let is_present =
                if attribute.extended && context == "log" { format!("{value} != nil and ") } else { String::new() };
            format!("{name} == \"{kind}\" and {is_present}({})", invalid(context, attribute))
        })
    });
    common.chain(own).collect()
}

fn resource_conditions(attributes: &[&Attribute]) -> Vec<String> {
    attributes.iter().map(|attribute| invalid("resource", attribute)).collect()
}

/// Returns a condition that is true for a name that is not in the list.
fn not_named(path: &str, names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.map(|name| name.replace('.', "\\.")).collect();
    format!("not IsMatch({path}, \"{}\")", escape(&format!("^({})$", names.join("|"))))
}

/// Returns a condition that is true for a value that is missing or that the catalog does not allow.
fn invalid(context: &str, attribute: &Attribute) -> String {
    let value = at(context, attribute);
    let Some(pattern) = attribute.values.pattern() else {
        debug_assert_eq!(attribute.values, Values::Bool, "only a boolean has no pattern");
        return format!("not IsBool({value})");
    };
    format!("not IsString({value}) or not IsMatch({value}, \"{}\")", escape(&pattern))
}

fn at(context: &str, attribute: &Attribute) -> String {
    format!("{context}.attributes[\"{}\"]", attribute.key)
}

/// Doubles each backslash, as a string of OTTL requires.
fn escape(pattern: &str) -> String {
    pattern.replace('\\', "\\\\")
}

fn metric_statements() -> Vec<InContext> {
    let unit =
        |metric: &&Metric| format!("set(metric.unit, \"{}\") where metric.name == \"{}\"", metric.unit, metric.name);
    let mut metric = vec!["set(metric.description, \"\")".to_owned()];
    metric.extend(METRICS.iter().map(unit));
    metric.push("set(metric.metadata, {})".to_owned());

    let keep = |metric: &&Metric| {
        format!("{} where metric.name == \"{}\"", keep_required("datapoint", metric.attributes), metric.name)
    };
    let mut points = vec!["set(datapoint.start_time_unix_nano, 0)".to_owned()];
    points.extend(METRICS.iter().map(keep));
    vec![
        ("resource", resource_statements(METRIC_RESOURCE)),
        ("scope", scope_statements()),
        ("metric", metric),
        ("datapoint", points),
    ]
}

fn log_statements() -> Vec<InContext> {
    let mut records: Vec<String> = [
        "set(log.observed_time_unix_nano, log.time_unix_nano)",
        "set(log.severity_number, SEVERITY_NUMBER_INFO)",
        "set(log.severity_text, \"\")",
        "set(log.flags, 0)",
        "set(log.trace_id, TraceID(0x00000000000000000000000000000000))",
        "set(log.span_id, SpanID(0x0000000000000000))",
        "set(log.dropped_attributes_count, 0)",
    ]
    .map(str::to_owned)
    .into();
    records.extend(EVENT_KINDS.iter().flat_map(|kind| keep_for_event(kind)));
    vec![("resource", resource_statements(LOG_RESOURCE)), ("scope", scope_statements()), ("log", records)]
}

/// Returns the statements that keep only the attributes of an event. A map of OTTL can't leave out a missing value, so
/// the optional attributes are cached and restored one by one.
fn keep_for_event(kind: &EventKind) -> Vec<String> {
    let only = format!("where log.event_name == \"{}\"", kind.name);
    let (optional, required): (Vec<&Attribute>, Vec<&Attribute>) =
        kind.attributes.iter().copied().partition(|attribute| attribute.extended);
    let mut statements = Vec::new();
    if !optional.is_empty() {
        statements.push(format!("set(log.cache, log.attributes) {only}"));
    }
    statements.push(format!("{} {only}", keep_required("log", &required)));
    statements.extend(optional.iter().map(|attribute| {
        let kept = format!("log.cache[\"{}\"]", attribute.key);
        format!("set({}, {kept}) {only} and {kept} != nil", at("log", attribute))
    }));
    statements
}

fn resource_statements(attributes: &[&Attribute]) -> Vec<String> {
    vec![
        keep_required("resource", attributes),
        "set(resource.dropped_attributes_count, 0)".to_owned(),
        "set(resource.schema_url, \"\")".to_owned(),
    ]
}

fn scope_statements() -> Vec<String> {
    vec![
        format!("set(scope.name, \"{SERVICE_NAME}\")"),
        "set(scope.version, \"\")".to_owned(),
        "set(scope.attributes, {})".to_owned(),
        "set(scope.dropped_attributes_count, 0)".to_owned(),
        "set(scope.schema_url, \"\")".to_owned(),
    ]
}

/// Returns a statement that replaces the attributes by these alone.
fn keep_required(context: &str, attributes: &[&Attribute]) -> String {
    let entry = |attribute: &&Attribute| format!("\"{}\": {}", attribute.key, at(context, attribute));
    let entries: Vec<_> = attributes.iter().map(entry).collect();
    format!("set({context}.attributes, {{{}}})", entries.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_name_every_signal_of_the_catalog() {
        let yaml = processors();
        for metric in METRICS {
            assert!(yaml.contains(&format!("metric.name == \"{}\"", metric.name)), "{}", metric.name);
        }
        for kind in EVENT_KINDS {
            assert!(yaml.contains(&format!("log.event_name == \"{}\"", kind.name)), "{}", kind.name);
        }
    }

    #[test]
    fn the_relays_configurations_hold_the_generated_processors() {
        for (name, yaml) in [
            ("relay.yaml", include_str!("../../otel-collector/relay.yaml")),
            ("debug.yaml", include_str!("../../otel-collector/debug.yaml")),
        ] {
            let (_, after) = yaml.split_once(BEGIN).unwrap_or_else(|| panic!("{name} lacks the line {BEGIN}"));
            let (generated, _) = after.split_once(END).unwrap_or_else(|| panic!("{name} lacks the line {END}"));
            assert_eq!(generated, processors(), "{name} differs from the catalog: run `make generate`");
        }
    }
}
