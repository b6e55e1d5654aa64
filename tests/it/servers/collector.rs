//! The OpenTelemetry Collector.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::process::{Launch, Process, free_address, tool_path, variable};
use super::web;

/// A collector with one of our configurations, on free ports.
pub(crate) struct Collector {
    process: Process,
    addresses: Addresses,
}

/// Names another distribution of the collector to try our configurations with.
const PROGRAM: &str = "KAMAJI_TELEMETRY_COLLECTOR";

fn program() -> PathBuf {
    variable(PROGRAM).unwrap_or_else(|| tool_path("collector"))
}

struct Addresses {
    otlp: SocketAddr,
    health: SocketAddr,
}

impl Collector {
    /// Starts it with `config`, the variables `environment`, and `overrides` of single settings
    /// (`exporters::otlp_http::timeout=1s`), and waits until it is healthy.
    pub(crate) async fn start(config: &Path, environment: &[(&str, &str)], overrides: &[&str]) -> Self {
        Self::start_merged(&[config], environment, overrides).await
    }

    /// Starts it with files of which the later ones add to the earlier.
    pub(crate) async fn start_merged(configs: &[&Path], environment: &[(&str, &str)], overrides: &[&str]) -> Self {
        let launch = |_: &Path| {
            let addresses = Addresses { otlp: free_address(), health: free_address() };
            let mut arguments: Vec<_> = configs.iter().map(|config| format!("--config={}", config.display())).collect();
            arguments.extend(overrides.iter().map(|setting| format!("--set={setting}")));
            let mut variables = vec![
                ("RELAY_LISTEN".to_owned(), addresses.otlp.to_string()),
                ("RELAY_HEALTH_LISTEN".to_owned(), addresses.health.to_string()),
            ];
            variables.extend(environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
            (Launch { program: program(), arguments, environment: variables }, addresses)
        };
        let ready = async |addresses: &Addresses| is_healthy(addresses).await;
        let (process, addresses) = Process::start(launch, ready).await;
        Self { process, addresses }
    }

    /// Runs the collector's own check of `config` with the variables `environment`.
    pub(crate) fn validate(config: &Path, environment: &[(&str, &str)]) -> Output {
        Command::new(program())
            .args(["validate", "--config"])
            .arg(config)
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .expect("the collector can be run")
    }

    /// The URL for OTLP over gRPC.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addresses.otlp)
    }

    /// Where it listens for that.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.otlp
    }

    /// What it wrote so far, to standard output and standard error.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// What the kernel says of its memory; see [`Process::memory`].
    pub(crate) fn memory(&self, field: &str) -> u64 {
        self.process.memory(field)
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again on the same ports, and waits until it is healthy.
    pub(crate) async fn resume(&mut self) {
        self.process.resume(async || is_healthy(&self.addresses).await).await;
    }
}

async fn is_healthy(addresses: &Addresses) -> bool {
    web::answers_ok(&format!("http://{}", addresses.health), "/").await
}
