//! A real OpenTelemetry Collector.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::process::{Launch, Process, free_address, tool_path, variable};
use super::web;

/// A running collector with a configuration of this project, on free ports.
pub(crate) struct Collector {
    process: Process,
    addresses: Addresses,
}

/// The variable with the path of another distribution of the collector to test.
const PROGRAM: &str = "KAMAJI_TELEMETRY_COLLECTOR";

fn program() -> PathBuf {
    variable(PROGRAM).unwrap_or_else(|| tool_path("collector"))
}

struct Addresses {
    otlp: SocketAddr,
    health: SocketAddr,
}

impl Collector {
    /// Starts a collector with `config`, the variables `environment`, and `overrides` of single settings
    /// (`exporters::otlp_http::timeout=1s`), and waits until it is healthy.
    pub(crate) async fn start(config: &Path, environment: &[(&str, &str)], overrides: &[&str]) -> Self {
        Self::start_merged(&[config], environment, overrides).await
    }

    /// Starts a collector with several files, which are merged in this order.
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

    /// Validates `config` with the collector itself.
    pub(crate) fn validate(config: &Path, environment: &[(&str, &str)]) -> Output {
        Command::new(program())
            .args(["validate", "--config"])
            .arg(config)
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .expect("the collector can be run")
    }

    /// Returns the URL of OTLP/gRPC.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addresses.otlp)
    }

    /// Returns the address of OTLP/gRPC.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.otlp
    }

    /// Returns the URL of the health check.
    pub(crate) fn health_url(&self) -> String {
        format!("http://{}", self.addresses.health)
    }

    /// Returns its output so far.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Returns a figure of its memory; see [`Process::memory`].
    pub(crate) fn memory(&self, field: &str) -> u64 {
        self.process.memory(field)
    }

    /// Kills the collector.
    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts the collector again on the same ports and waits until it is healthy.
    pub(crate) async fn resume(&mut self) {
        self.process.resume(async || is_healthy(&self.addresses).await).await;
    }
}

async fn is_healthy(addresses: &Addresses) -> bool {
    web::answers_ok(&format!("http://{}", addresses.health), "/").await
}
