//! The update bot's configuration: it looks at each kind of file that pins something, and finds what it is told to look for.

use std::fs;

use regex::Regex;
use serde_json::Value;

use super::files::read;
use crate::servers::checkout;

/// Files that pin something, and the manager that updates them.
const PINS: [(&str, &str); 8] = [
    ("Cargo.toml", "cargo"),
    ("Dockerfile", "dockerfile"),
    ("otel-collector/Dockerfile", "dockerfile"),
    (".github/workflows/ci.yml", "github-actions"),
    ("tests/tools/collector/go.mod", "gomod"),
    ("charts/kamaji-telemetry-agent/values.yaml", "helm-values"),
    ("tests/tools/browser/package.json", "npm"),
    ("otel-collector/builder.yaml", "ocb"),
];

/// Directories in which the custom managers look, the checkout itself included.
const FOLDERS: [&str; 6] =
    ["", ".github/workflows", "docs", "charts/kamaji-telemetry-agent", "otel-collector", "tests/tools/collector"];

fn configuration() -> Value {
    serde_json::from_str(&read(".github/renovate.json")).unwrap()
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Returns the paths of files that match a pattern, which is a regular expression between slashes.
fn matching(pattern: &str) -> Vec<String> {
    let pattern =
        pattern.strip_prefix('/').and_then(|pattern| pattern.strip_suffix('/')).expect("a regular expression");
    let pattern = Regex::new(pattern).unwrap();
    let files = FOLDERS.into_iter().flat_map(|folder| {
        let files = fs::read_dir(checkout(folder)).unwrap().map(|file| file.unwrap());
        let files = files.filter(|file| file.file_type().unwrap().is_file());
        files.map(move |file| format!("{folder}/{}", file.file_name().display()).trim_start_matches('/').to_owned())
    });
    files.filter(|path| pattern.is_match(path)).collect()
}

#[test]
fn each_kind_of_file_that_pins_something_is_looked_at() {
    let configuration = configuration();
    let enabled: Vec<_> = texts(&configuration["enabledManagers"]).collect();
    for (path, manager) in PINS {
        assert!(checkout(path).is_file() && enabled.contains(&manager), "{path}: {manager} of {enabled:?}");
    }
    let [manifests] = &texts(&configuration["ocb"]["managerFilePatterns"]).collect::<Vec<_>>()[..] else {
        panic!("one")
    };
    assert_eq!(matching(manifests), ["otel-collector/builder.yaml", "tests/tools/collector/builder.yaml"]);
}

#[test]
fn each_custom_manager_finds_a_version_in_each_file_that_it_looks_at() {
    let configuration = configuration();
    let managers = configuration["customManagers"].as_array().unwrap();
    assert!(!managers.is_empty());
    for manager in managers {
        for pattern in texts(&manager["managerFilePatterns"]) {
            let files = matching(pattern);
            assert!(!files.is_empty(), "{pattern}: no such file");
            for file in files {
                let found =
                    texts(&manager["matchStrings"]).any(|found| Regex::new(found).unwrap().is_match(&read(&file)));
                assert!(found, "{file}: nothing for {}", manager["description"]);
            }
        }
    }
}
