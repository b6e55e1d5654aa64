//! The defaults that a release writes into the agent's chart with `make chart-defaults`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::artifact_hub::containers;
use super::helm::{AGENT, Helm};
use super::read;
use crate::servers::{checkout, documents};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Runs `make chart-defaults` for the charts in a directory.
fn write_defaults(charts: &Path, digest: &str) -> Output {
    let mut make = Command::new("make");
    make.arg("--silent").arg("--directory").arg(checkout("")).arg("chart-defaults");
    make.arg(format!("CHARTS={}", charts.display())).arg(format!("RELAY_DIGEST={digest}"));
    make.output().expect("`make` is there")
}

/// Returns a copy of the charts, without links.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--dereference"]).arg(checkout("charts")).arg(folder.path());
    assert!(copy.status().unwrap().success());
    folder
}

/// Returns the reference of the relay's image that the chart in `folder` renders.
async fn relay_image(folder: &Path, values: Value) -> String {
    let rendered = Helm::offline().template_of(&folder.display().to_string(), &values).await.unwrap();
    let objects = documents(&rendered);
    let relay = objects.iter().flat_map(containers).find(|container| container["name"] == "relay").unwrap();
    relay["image"].as_str().unwrap().to_owned()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_release_makes_its_own_relay_the_default_and_leaves_the_contrib_distribution_possible() {
    let folder = copy();
    let charts = folder.path().join("charts");
    let output = write_defaults(&charts, DIGEST);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let chart = charts.join(AGENT.name);
    let changed = |file: &str| {
        let (before, after) =
            (read(&format!("charts/{}/{file}", AGENT.name)), fs::read_to_string(chart.join(file)).unwrap());
        assert_eq!(before.lines().count(), after.lines().count(), "{file}: lines are changed, and none is added");
        before.lines().zip(after.lines()).filter(|(before, after)| before != after).count()
    };
    assert_eq!((changed("values.yaml"), changed("README.md"), changed("Chart.yaml")), (4, 4, 1));
    let values: Value = serde_yaml_ng::from_str(&fs::read_to_string(chart.join("values.yaml")).unwrap()).unwrap();
    assert_eq!(
        fs::read_to_string(chart.join("files/values.yaml")).unwrap(),
        fs::read_to_string(chart.join("values.yaml")).unwrap()
    );
    let (repository, tag) = ("clastix/kamaji-telemetry-relay", env!("CARGO_PKG_VERSION"));
    for (key, expected) in [("registry", "ghcr.io"), ("repository", repository), ("tag", tag), ("digest", DIGEST)] {
        assert_eq!(values["relay"]["image"][key], expected, "{key}");
    }

    let image = format!("ghcr.io/{repository}@{DIGEST}");
    assert_eq!(relay_image(&chart, json!({})).await, image);
    let listed = fs::read_to_string(chart.join("Chart.yaml")).unwrap();
    assert!(listed.contains(&format!("- name: relay\n      image: {image}\n")), "{listed}");
    let contrib = "otel/opentelemetry-collector-contrib";
    let own = json!({"registry": "docker.io", "repository": contrib, "tag": "0.161.0", "digest": ""});
    assert_eq!(relay_image(&chart, json!({"relay": {"image": own}})).await, format!("docker.io/{contrib}:0.161.0"));
}

#[test]
fn a_digest_that_is_none_is_not_written() {
    let folder = copy();
    for digest in ["", "latest", "sha256:abc", &DIGEST.to_uppercase()] {
        let output = write_defaults(&folder.path().join("charts"), digest);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(&format!("RELAY_DIGEST is `{digest}`")), "{error}");
    }
}
