//! The JSON log format of the program.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::program::{AgentOptions, PROGRAM};

#[tokio::test]
async fn each_line_of_the_json_log_is_a_flat_object() {
    // No cluster is needed: that there is none is logged, with a field.
    let options = AgentOptions::with_kubeconfig(Path::new("/nowhere"), "http://127.0.0.1:1");
    let mut agent = options.argument("--disable-telemetry").argument("--log-format=json").start().await;
    agent.logged("failed to delete what an earlier run may have left").await;
    assert_eq!(agent.terminate().await, Some(0), "{}", agent.log());
    let log = agent.log();
    let lines: Vec<Map<String, Value>> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 4, "off, no kubeconfig, not deleted, shutting down: {log}");
    for line in &lines {
        assert!(["timestamp", "level", "message"].into_iter().all(|key| line[key].is_string()), "{line:?}");
        assert!(line.values().all(|value| !value.is_object() && !value.is_array()), "{line:?}");
    }
    assert_eq!(lines[0]["message"], "telemetry is off; nothing is watched and nothing is sent");
    assert_eq!(lines[0]["reason"], "--disable-telemetry is set");
    let not_deleted = lines.iter().find(|line| line.contains_key("error")).unwrap();
    assert!(not_deleted["error"].as_str().unwrap().contains("KUBECONFIG"), "{log}");
}

/// Returns what an agent without a cluster writes to standard error before it fails.
fn failed_start(filter: &str) -> String {
    let mut agent = Command::new(PROGRAM);
    agent.env_clear().env("KUBECONFIG", "/nowhere").env("RUST_LOG", filter);
    let output = agent.args(["agent", "--endpoint=http://127.0.0.1:1", "--log-format=json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_error_that_ends_the_program_is_a_line_of_the_json_log() {
    let log = failed_start("info");
    let line: Map<String, Value> = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "ERROR", "{log}");
    assert_eq!(line["message"], "failed", "{log}");
    assert!(line["error"].as_str().unwrap().contains("KUBECONFIG"), "{log}");
    assert!(line.values().all(|value| !value.is_object() && !value.is_array()), "{log}");
}

#[test]
fn a_filter_does_not_hide_the_error_that_ends_the_program() {
    let log = failed_start("off");
    assert!(log.starts_with("error: "), "{log}");
}
