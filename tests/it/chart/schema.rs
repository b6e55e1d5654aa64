//! Values and schema of a chart, and what is not taken.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Helm;
use super::helm::Chart;

impl Chart {
    /// Its values.yaml.
    pub(super) fn defaults(&self) -> Value {
        serde_yaml_ng::from_str(&self.file("values.yaml")).unwrap()
    }

    /// What values it takes.
    pub(super) fn schema(&self) -> Value {
        serde_json::from_str(&self.file("values.schema.json")).unwrap()
    }
}

/// `schema`, or the definition that it refers to.
pub(super) fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").map(|reference| reference.as_str().unwrap());
    reference.map_or(schema, |reference| root.pointer(reference.trim_start_matches('#')).unwrap())
}

fn keys(map: &Map<String, Value>) -> BTreeSet<&str> {
    map.keys().map(String::as_str).collect()
}

/// Holds a map of defaults against its schema: it takes just these keys, demands them, since null would remove one, and
/// says which they are to whoever has misspelt one.
fn has_a_place(path: &str, values: &Map<String, Value>, schema: &Value, root: &Value, optional: &[&str]) {
    let Some(properties) = schema.get("properties").map(|properties| properties.as_object().unwrap()) else {
        let taken = &schema["additionalProperties"];
        assert!(taken.is_null() || taken == &json!({"type": "string"}), "{path} is a free map");
        return;
    };
    let known: BTreeSet<_> = keys(values).into_iter().chain(optional.iter().copied()).collect();
    assert_eq!(keys(properties), known, "{path}: keys of the schema, and of values.yaml");
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let required = texts(&schema["required"]);
    assert_eq!(required.iter().map(String::as_str).collect::<BTreeSet<_>>(), keys(values), "{path}: required");
    let allowed = texts(&schema["if"]["propertyNames"]["enum"]);
    assert_eq!(allowed.iter().map(String::as_str).collect::<BTreeSet<_>>(), known, "{path}: allowed");
    let said = format!("a map with keys among {}", allowed.join(", "));
    assert_eq!(schema["else"]["const"], said, "{path}");
    for (key, value) in values {
        let inner = resolve(&properties[key], root);
        if let Value::Object(map) = value {
            has_a_place(&format!("{path}.{key}"), map, inner, root, &[]);
        }
        if value.is_boolean() {
            assert_eq!(inner["enum"], json!([true, false]), "{path}.{key}: its message says what is allowed");
        }
    }
}

/// Holds all values of a chart against its schema.
pub(super) fn every_value_has_its_place(chart: &Chart) {
    let (defaults, schema) = (chart.defaults(), chart.schema());
    has_a_place("values", defaults.as_object().unwrap(), &schema, &schema, &["global", "enabled"]);
}

/// What Helm says of values that are not taken.
pub(super) async fn refusal(helm: &Helm, values: Value) -> String {
    let said = helm.template(&values).await.err();
    said.unwrap_or_else(|| panic!("{values} is taken"))
}
