//! The update bot's configuration: it looks at each kind of file that pins something, and finds what it is told to look for.

use std::process::Command;

use regex::Regex;
use serde_json::Value;

use super::files::read;
use crate::servers::checkout;

/// Paths of files that pin something, as regular expressions, and the manager that updates them.
const MANAGERS: [(&str, &str); 7] = [
    (r"(^|/)Cargo\.toml$", "cargo"),
    (r"(^|/)Dockerfile$", "dockerfile"),
    (r"^\.github/(workflows|actions)/.*\.ya?ml$", "github-actions"),
    (r"(^|/)go\.mod$", "gomod"),
    (r"^charts/[^/]+/values\.yaml$", "helm-values"),
    (r"(^|/)package\.json$", "npm"),
    (r"(^|/)builder\.yaml$", "ocb"),
];

/// Files of other package managers, which the bot would need another manager for, as a regular expression.
const OTHERS: &str = concat!(
    r"(^|/)((docker-)?compose\.ya?ml|Containerfile|Gemfile|pyproject\.toml|requirements\.txt",
    r"|\.gitmodules|\.tool-versions|rust-toolchain(\.toml)?)$"
);

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
    files().into_iter().filter(|path| pattern.is_match(path)).collect()
}

/// Returns the paths of the repository's files.
fn files() -> Vec<String> {
    // Another user may own the checkout, as in a container.
    let list = ["-c", "safe.directory=*", "ls-files", "--cached"];
    let output = Command::new("git").args(list).current_dir(checkout("")).output().expect("`git` is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = String::from_utf8(output.stdout).unwrap();
    files.lines().filter(|path| checkout(path).is_file()).map(str::to_owned).collect()
}

#[test]
fn each_kind_of_file_that_pins_something_is_looked_at() {
    let configuration = configuration();
    let enabled: Vec<_> = texts(&configuration["enabledManagers"]).collect();
    for (pattern, manager) in MANAGERS {
        let pinned = matching(&format!("/{pattern}/"));
        assert!(!pinned.is_empty() && enabled.contains(&manager), "{pinned:?}: {manager} of {enabled:?}");
    }
    assert_eq!(matching(&format!("/{OTHERS}/")), [""; 0], "files that no manager of the bot updates");
    let unused: Vec<_> = enabled.iter().filter(|name| MANAGERS.iter().all(|(_, manager)| manager != *name)).collect();
    assert_eq!(unused, [&"custom.regex"], "a manager without files");
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
