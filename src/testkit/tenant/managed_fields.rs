//! `metadata.managedFields`, which make up a third of the size of a real object.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Returns the entry that the API server records for the writer of parts of an object.
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

/// Returns the set of fields in a value: each key with the prefix `f:`, an empty object for a leaf, and a dot for a
/// nested map itself.
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
    fn the_fields_of_an_object_are_those_that_the_api_server_records() {
        let parts = json!({ "spec": { "replicas": 2, "image": { "tag": "x" }, "list": [1, 2] } });
        let entry = entry("kubectl", Some("status"), Timestamp::UNIX_EPOCH, &parts);
        let expected = json!({ "f:spec": {
            ".": {}, "f:image": { ".": {}, "f:tag": {} }, "f:list": {}, "f:replicas": {}
        } });
        assert_eq!(entry["fieldsV1"], expected);
        assert_eq!(entry["time"], "1970-01-01T00:00:00Z");
    }
}
