//! `metadata.managedFields`: a third of what a real object weighs, so the simulated ones have them too.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Who last wrote the given parts of an object, as the API server notes it.
pub(super) fn entry(manager: &str, subresource: Option<&str>, time: Timestamp, parts: &Value) -> Value {
    let mut entry = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields(parts, false),
        "manager": manager,
        "operation": "Update",
        "time": format!("{time:.0}"),
    });
    if let Some(subresource) = subresource {
        entry["subresource"] = subresource.into();
    }
    entry
}

/// The set of fields in a value: an `f:` before each key, nothing at the leaves, and a dot where a map stands for
/// itself too.
fn fields(value: &Value, nested: bool) -> Value {
    let Value::Object(object) = value else { return json!({}) };
    let itself = nested.then(|| (".".to_owned(), json!({})));
    let keys = object.iter().map(|(key, value)| (format!("f:{key}"), fields(value, true)));
    Value::Object(itself.into_iter().chain(keys).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_an_object_are_those_that_the_api_server_notes() {
        let parts = json!({ "spec": { "replicas": 2, "image": { "tag": "x" }, "list": [1, 2] } });
        let noted = entry("kubectl", Some("status"), Timestamp::UNIX_EPOCH, &parts);
        let expected = json!({ "f:spec": {
            ".": {}, "f:image": { ".": {}, "f:tag": {} }, "f:list": {}, "f:replicas": {}
        } });
        assert_eq!(noted["fieldsV1"], expected);
        assert_eq!(noted["time"], "1970-01-01T00:00:00Z");
    }
}
