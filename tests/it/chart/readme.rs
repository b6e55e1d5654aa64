//! The charts' READMEs: their tables of values are made of values.yaml. `make generate` writes it anew.

use serde_json::Value;

use super::helm::Chart;
use super::schema::resolve;
use super::{read, snapshots};

const BEGIN: &str = "<!-- of values.yaml, by `make generate` -->\n";
const END: &str = "<!-- end of values.yaml -->\n";

/// The rows of the table, in the order of values.yaml: each value that the schema doesn't look into with its default, each
/// group of values without, and what is said of it.
fn rows(chart: &Chart) -> Vec<[String; 3]> {
    let (text, defaults, schema) = (chart.file("values.yaml"), chart.defaults(), chart.schema());
    let (mut rows, mut path, mut said) = (Vec::new(), Vec::<String>::new(), String::new());
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(comment) = content.strip_prefix('#') {
            said.push_str(if said.is_empty() { comment.trim_start() } else { comment });
            continue;
        }
        let depth = (line.len() - content.len()) / 2;
        if let Some((key, _)) = content.split_once(':').filter(|_| depth <= path.len()) {
            path.truncate(depth);
            path.push(key.to_owned());
            if let Some(is_group) = is_group(&path, &schema) {
                let default = defaults.pointer(&format!("/{}", path.join("/"))).unwrap();
                let default = if is_group { String::new() } else { format!("`{default}`") };
                rows.push([path.join("."), default, said.clone()]);
            }
        }
        said.clear();
    }
    rows
}

/// Says whether the schema knows values below this one; `None` where it doesn't know it.
fn is_group(path: &[String], root: &Value) -> Option<bool> {
    let mut schema = root;
    for key in path {
        schema = resolve(schema.get("properties")?.get(key)?, root);
    }
    Some(schema.get("properties").is_some())
}

fn table(chart: &Chart) -> String {
    let row = |[path, default, said]: [String; 3]| {
        assert!(!said.is_empty(), "{path} has no comment in values.yaml");
        format!("| `{path}` | {default} | {} |\n", said.replace('|', "\\|"))
    };
    let rows: Vec<_> = rows(chart).into_iter().map(row).collect();
    format!("| value | default | |\n|---|---|---|\n{}", rows.concat())
}

#[test]
fn the_readmes_tell_every_value_as_values_yaml_does() {
    for chart in Chart::ALL {
        let path = format!("charts/{}/README.md", chart.name);
        let text = read(&path);
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        snapshots::compare(&path, &format!("{before}{BEGIN}{}{END}{after}", table(chart)));
    }
}
