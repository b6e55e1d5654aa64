//! Helm client, run as an operator runs it.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::read;
use crate::servers::{ApiServer, User, checkout, tool_path};

/// Namespace of the releases, which is that of Kamaji in `tests/fixtures/operator.yaml`.
pub(super) const NAMESPACE: &str = "kamaji-system";

/// The version of Kubernetes to render for. Without a cluster, Helm would assume that of its own client library.
const KUBE_VERSION: &str = "--kube-version=1.36.3";

/// A chart and its release.
#[derive(Debug)]
pub(super) struct Chart {
    /// Name of the chart and of its folder.
    pub(super) name: &'static str,
    /// Name of the release.
    pub(super) release: &'static str,
}

/// The chart of the agent and its relay.
pub(super) const AGENT: Chart = Chart { name: "kamaji-telemetry-agent", release: "telemetry" };

/// The chart of the backend.
pub(super) const BACKEND: Chart = Chart { name: "kamaji-telemetry-backend", release: "backend" };

impl Chart {
    /// Both charts.
    pub(super) const ALL: [&'static Self; 2] = [&AGENT, &BACKEND];

    /// Returns the path of the chart's folder.
    pub(super) fn path(&self) -> String {
        checkout("charts").join(self.name).display().to_string()
    }

    /// Returns the content of a file of the chart.
    pub(super) fn file(&self, file: &str) -> String {
        read(&format!("charts/{}/{file}", self.name))
    }
}

/// A Helm client with its own home directory, for a release of one chart, by default the agent's.
pub(super) struct Helm {
    chart: &'static Chart,
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Creates a client without a cluster.
    pub(super) fn offline() -> Self {
        Self { chart: &AGENT, home: tempfile::tempdir().unwrap(), kubeconfig: None }
    }

    /// Creates a client with the administrator's kubeconfig of `cluster`.
    pub(super) fn of(cluster: &ApiServer) -> Self {
        Self { kubeconfig: Some(cluster.kubeconfig(User::Admin)), ..Self::offline() }
    }

    /// Replaces the chart.
    pub(super) fn with(self, chart: &'static Chart) -> Self {
        Self { chart, ..self }
    }

    /// Runs helm and returns its standard output, or its standard error if it fails.
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

    /// Renders the release with `values`.
    pub(super) async fn template(&self, values: &Value) -> Result<String, String> {
        self.template_of(&self.chart.path(), values).await
    }

    /// Renders the release with `values` for a tool that applies what Helm renders, which is not to run `helm test`.
    pub(super) async fn manifests(&self, values: &Value) -> String {
        let (Chart { release, .. }, chart, values) = (self.chart, self.chart.path(), self.file(values));
        let arguments = ["template", release, &chart, "--namespace", NAMESPACE, "--values", &values];
        self.run(&[&arguments[..], &["--skip-tests", KUBE_VERSION]].concat()).await.unwrap()
    }

    /// Renders another copy of the chart, in the folder or package `chart`, with `values`.
    pub(super) async fn template_of(&self, chart: &str, values: &Value) -> Result<String, String> {
        self.render(self.chart.release, chart, NAMESPACE, values).await
    }

    /// Renders a release of another name in another namespace.
    pub(super) async fn template_as(&self, release: &str, namespace: &str, values: &Value) -> Result<String, String> {
        self.render(release, &self.chart.path(), namespace, values).await
    }

    async fn render(&self, release: &str, chart: &str, namespace: &str, values: &Value) -> Result<String, String> {
        let values = self.file(values);
        self.run(&["template", release, chart, "--namespace", namespace, "--values", &values, KUBE_VERSION]).await
    }

    /// Lints the chart with `values`, and returns what helm prints.
    pub(super) async fn lint(&self, values: &Value) -> Result<String, String> {
        let values = self.file(values);
        self.run(&["lint", "--strict", KUBE_VERSION, &self.chart.path(), "--values", &values]).await
    }

    /// Installs or upgrades the release with `values`, and returns the notes.
    pub(super) async fn upgrade(&self, values: &Value) -> String {
        let (Chart { release, .. }, chart, values) = (self.chart, self.chart.path(), self.file(values));
        let arguments = ["upgrade", "--install", release, &chart, "--namespace", NAMESPACE, "--values", &values];
        // Without this flag, empty values would reuse those of the last revision.
        self.run(&[&arguments[..], &["--reset-values"]].concat()).await.unwrap()
    }

    /// Uninstalls the release.
    pub(super) async fn uninstall(&self) {
        self.run(&["uninstall", self.chart.release, "--namespace", NAMESPACE]).await.unwrap();
    }

    fn file(&self, values: &Value) -> String {
        let path = self.home.path().join("values.json");
        std::fs::write(&path, values.to_string()).unwrap();
        path.display().to_string()
    }
}
