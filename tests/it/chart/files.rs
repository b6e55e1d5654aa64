//! Files that the agent's chart contains besides its templates.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::helm::{AGENT, Helm};
use super::read;
use crate::servers::checkout;

/// Each file of the chart's directory `files`, and the file of which it is a copy.
const COPIES: [(&str, &str); 4] = [
    ("files/debug.yaml", "otel-collector/debug.yaml"),
    ("files/relay.yaml", "otel-collector/relay.yaml"),
    ("files/token.yaml", "otel-collector/token.yaml"),
    ("files/values.yaml", "charts/kamaji-telemetry-agent/values.yaml"),
];

/// Returns the paths of all files below a directory.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A link out of the chart is lost where only its directory is taken from Git, as Flux does.
#[test]
fn the_charts_contain_their_files_themselves() {
    for path in files_below(&checkout("charts")) {
        assert!(!path.symlink_metadata().unwrap().is_symlink(), "{} is a link", path.display());
    }
    let names = files_below(&checkout("charts").join(AGENT.name).join("files"));
    assert_eq!(names.len(), COPIES.len(), "{names:?}");
    for (copy, original) in COPIES {
        assert!(AGENT.file(copy) == read(original), "{copy} differs from {original}: run `make generate`");
    }
}

/// Returns a copy of the agent's chart.
pub(super) fn copy_of_the_chart() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("cp").arg("-r").arg(format!("{}/.", AGENT.path())).arg(folder.path()).status();
    assert!(status.unwrap().success());
    folder
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_empty_or_missing_file_fails_the_rendering_unless_telemetry_is_off() {
    let helm = Helm::offline();
    let endpoint = json!({"telemetry": {"endpoint": "https://a.test"}, "relay": {"tokenSecret": {"name": "a"}}});
    for (file, values) in [
        ("files/debug.yaml", json!({})),
        ("files/relay.yaml", endpoint.clone()),
        ("files/token.yaml", endpoint),
        ("files/values.yaml", json!({})),
    ] {
        let folder = copy_of_the_chart();
        let (chart, path) = (folder.path().display().to_string(), folder.path().join(file));
        helm.template_of(&chart, &values).await.unwrap();
        for break_it in [|path: &Path| std::fs::write(path, "\n"), |path: &Path| std::fs::remove_file(path)] {
            break_it(&path).unwrap();
            let error = helm.template_of(&chart, &values).await.unwrap_err();
            assert!(error.contains(&format!("{file} is missing in this copy of the chart, or empty")), "{error}");
            let off = helm.template_of(&chart, &json!({"disabled": true})).await;
            assert_eq!(off.unwrap().trim(), "", "an opt-out works with an incomplete chart");
        }
    }
}

/// A template that reads a value first would fail without one, or render something while telemetry is off.
#[test]
fn every_template_asks_first_whether_telemetry_is_on() {
    let templates = files_below(&checkout("charts").join(AGENT.name).join("templates"));
    let templates: Vec<_> = templates.iter().filter(|path| !path.to_string_lossy().ends_with(".tpl")).collect();
    assert!(templates.len() > 8);
    for path in templates {
        let text = std::fs::read_to_string(path).unwrap();
        let (before, _) = text.split_once(".Values.").unwrap_or((&text, ""));
        assert!(before.contains("include \"kamaji-telemetry-agent.mode\" ."), "{}", path.display());
    }
}
