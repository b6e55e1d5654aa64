//! The table of rights in `docs/security.md`, compared with the rules that the agent's chart renders.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::servers::{checkout, documents};

/// Verbs, resource, name and place of a rule, as the table's cells have them.
type Row = [String; 4];

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn code(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Returns the rules of the roles in a snapshot.
fn granted(snapshot: &str) -> Vec<Row> {
    let objects = documents(&fs::read_to_string(checkout(snapshot)).unwrap());
    let mut rows = Vec::new();
    for object in &objects {
        let place = match (object["kind"].as_str(), object["metadata"]["name"].as_str().unwrap_or_default()) {
            (Some("ClusterRole"), _) => "cluster",
            (Some("Role"), name) if name.ends_with("-kamaji") => "Kamaji's namespace",
            _ => "own namespace",
        };
        for rule in object["rules"].as_array().into_iter().flatten() {
            let (groups, resources) = (texts(&rule["apiGroups"]), texts(&rule["resources"]));
            let ([group], [resource]) = (&groups[..], &resources[..]) else { panic!("one resource a rule: {rule}") };
            let resource = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
            let names = texts(&rule["resourceNames"]);
            let name = if names.is_empty() { "any".to_owned() } else { code(&names) };
            rows.push([code(&texts(&rule["verbs"])), code(&[&resource]), name, place.to_owned()]);
        }
    }
    rows
}

#[test]
fn the_table_of_rights_is_that_of_the_agents_chart() {
    let text = fs::read_to_string(checkout("docs/security.md")).unwrap();
    let (_, section) = text.split_once("\n## Rights\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: Vec<Row> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let line = format!("`{}", line.trim_end_matches(" |"));
            let cells: Vec<_> = line.split(" | ").map(str::to_owned).collect();
            let [verbs, resource, name, place, reason] = <[String; 5]>::try_from(cells).unwrap();
            assert!(reason.len() > 10, "{line}: expected a reason");
            [verbs, resource, name, place]
        })
        .collect();
    let snapshots = ["tests/it/snapshots/default.yaml", "tests/it/snapshots/extended.yaml"];
    let granted: BTreeSet<_> = snapshots.into_iter().flat_map(granted).collect();
    assert_eq!(BTreeSet::from_iter(documented.clone()), granted);
    assert_eq!(documented.len(), granted.len(), "each right is there once");
    let number = ["nine rules", "ten rules", "eleven rules", "twelve rules"];
    let words = number.get(granted.len().wrapping_sub(9)).expect("few rights");
    assert!(text.contains(&format!("[{words}](#rights)")), "{} rules", granted.len());
}
