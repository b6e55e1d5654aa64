//! Helm, as an operator runs it.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::CHART;
use crate::servers::{ApiServer, User, checkout, tool_path};

/// What the release is called.
pub(super) const RELEASE: &str = "telemetry";

/// Where it is installed: where Kamaji is, in `tests/fixtures/operator.yaml`.
pub(super) const NAMESPACE: &str = "kamaji-system";

/// Helm with a home of its own.
pub(super) struct Helm {
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

/// The folder of the chart.
pub(super) fn chart() -> String {
    checkout(CHART).display().to_string()
}

impl Helm {
    /// Without a cluster.
    pub(super) fn offline() -> Self {
        Self { home: tempfile::tempdir().unwrap(), kubeconfig: None }
    }

    /// As the administrator of `cluster`.
    pub(super) fn of(cluster: &ApiServer) -> Self {
        Self { kubeconfig: Some(cluster.kubeconfig(User::Admin)), ..Self::offline() }
    }

    /// What it prints, or what it says is wrong.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(tool_path("helm"));
        command.args(arguments).env_clear().env("HOME", self.home.path()).kill_on_drop(true);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let output = command.output().await.expect("helm can be run");
        let text = |bytes| String::from_utf8(bytes).expect("helm writes UTF-8");
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// The manifests of the release, with `values`.
    pub(super) async fn template(&self, values: &Value) -> Result<String, String> {
        self.template_of(&chart(), values).await
    }

    /// The same of another copy of the chart.
    pub(super) async fn template_of(&self, chart: &str, values: &Value) -> Result<String, String> {
        let values = self.file(values);
        // What it would ask a cluster for.
        let version = "--kube-version=1.36.3";
        self.run(&["template", RELEASE, chart, "--namespace", NAMESPACE, "--values", &values, version]).await
    }

    /// What it says of the chart with `values`, where it has anything to object.
    pub(super) async fn lint(&self, values: &Value) -> Result<String, String> {
        let values = self.file(values);
        self.run(&["lint", "--strict", "--kube-version=1.36.3", &chart(), "--values", &values]).await
    }

    /// Installs the release, or brings it to `values`, and gives the notes.
    pub(super) async fn upgrade(&self, values: &Value) -> String {
        let (chart, values) = (chart(), self.file(values));
        let arguments = ["upgrade", "--install", RELEASE, &chart, "--namespace", NAMESPACE, "--values", &values];
        // Without, none at all would mean the last ones.
        self.run(&[&arguments[..], &["--reset-values"]].concat()).await.unwrap()
    }

    /// Removes the release.
    pub(super) async fn uninstall(&self) {
        self.run(&["uninstall", RELEASE, "--namespace", NAMESPACE]).await.unwrap();
    }

    fn file(&self, values: &Value) -> String {
        let path = self.home.path().join("values.json");
        std::fs::write(&path, values.to_string()).unwrap();
        path.display().to_string()
    }
}
