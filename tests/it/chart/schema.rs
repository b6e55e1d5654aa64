//! Schema of a chart's values, and values that Helm rejects.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Helm;
use super::helm::Chart;

impl Chart {
    /// Returns the content of values.yaml.
    pub(super) fn defaults(&self) -> Value {
        serde_yaml_ng::from_str(&self.file("values.yaml")).unwrap()
    }

    /// Returns the content of values.schema.json.
    pub(super) fn schema(&self) -> Value {
        serde_json::from_str(&self.file("values.schema.json")).unwrap()
    }
}

/// Returns `schema`, or the definition that it refers to.
pub(super) fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").map(|reference| reference.as_str().unwrap());
    reference.map_or(schema, |reference| root.pointer(reference.trim_start_matches('#')).unwrap())
}

fn keys(map: &Map<String, Value>) -> BTreeSet<&str> {
    map.keys().map(String::as_str).collect()
}

/// Asserts that the schema of a map accepts exactly the keys of its defaults, and lists them in the error for a misspelt key.
/// Globals belong to the parent chart, and those of other charts are accepted.
fn assert_schema_of(path: &str, values: &Map<String, Value>, schema: &Value, root: &Value, optional: &[&str]) {
    let Some(properties) = schema.get("properties").map(|properties| properties.as_object().unwrap()) else {
        let accepted = &schema["additionalProperties"];
        assert!(accepted.is_null() || accepted == &json!({"type": "string"}), "{path} is a free map");
        return;
    };
    let known: BTreeSet<_> = keys(values).into_iter().chain(optional.iter().copied()).collect();
    assert_eq!(keys(properties), known, "{path}: keys of the schema, and of values.yaml");
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let allowed = texts(&schema["if"]["propertyNames"]["enum"]);
    assert_eq!(allowed.iter().map(String::as_str).collect::<BTreeSet<_>>(), known, "{path}: allowed");
    let message = format!("a map with keys among {}", allowed.join(", "));
    assert_eq!(schema["else"]["const"], message, "{path}");
    for (key, value) in values.iter().filter(|(key, _)| *key != "global") {
        let inner = resolve(&properties[key], root);
        if let Value::Object(map) = value {
            assert_schema_of(&format!("{path}.{key}"), map, inner, root, &[]);
        }
        if value.is_boolean() {
            assert_eq!(inner["enum"], json!([true, false, null]), "{path}.{key}: the error lists the accepted values");
        }
    }
}

/// Asserts that the schema of a chart matches its values.yaml.
pub(super) fn assert_schema_matches_values(chart: &Chart) {
    let (defaults, schema) = (chart.defaults(), chart.schema());
    assert_schema_of("values", defaults.as_object().unwrap(), &schema, &schema, &["global", "enabled"]);
}

/// Returns Helm's error for values that it must reject.
pub(super) async fn rejection(helm: &Helm, values: Value) -> String {
    let error = helm.template(&values).await.err();
    error.unwrap_or_else(|| panic!("{values} is accepted"))
}
