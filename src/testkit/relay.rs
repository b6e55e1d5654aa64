//! A real OpenTelemetry Collector between agent and backend, with the configuration of the relay.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const CONFIGURATION: &str = include_str!("../../otel-collector/relay.yaml");

/// The timeout of the collector's start: ten times as long as it takes on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The interval of the connection attempts during the start: short enough not to delay the demo.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running collector, which is killed when this value is dropped.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    listen: SocketAddr,
    /// Deleted when this value is dropped.
    _configuration: NamedTempFile,
}

impl Relay {
    /// Starts the collector at this path, with the backend's HTTP address as its endpoint, and waits until it listens.
    pub async fn start(collector: &Path, backend: SocketAddr) -> anyhow::Result<Self> {
        let mut configuration = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        configuration.write_all(CONFIGURATION.as_bytes())?;
        let (listen, health) = (free_address().await?, free_address().await?);
        // It stays in this process group, so that a Ctrl-C in the terminal ends it too.
        let child = Command::new(collector)
            .arg("--config")
            .arg(configuration.path())
            .env("RELAY_ENDPOINT", format!("http://{backend}"))
            .env("RELAY_LISTEN", listen.to_string())
            .env("RELAY_HEALTH_LISTEN", health.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!("can't start the collector {}: expected a program such as otelcol-contrib", collector.display())
            })?;
        let mut relay = Self { child, listen, _configuration: configuration };
        relay.wait_until_it_listens().await?;
        Ok(relay)
    }

    /// Returns the URL of its OTLP/gRPC receiver.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Waits for the shutdown and kills the collector. Fails if the collector ends before.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            // A Ctrl-C reaches the collector at the same time: its end is no error then.
            biased;
            () = shutdown.cancelled() => self.child.kill().await.context("the collector can't be ended"),
            ended = self.child.wait() => bail!("the collector ended: {}; its last lines say why", ended?),
        }
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let listens = async {
            while TcpStream::connect(self.listen).await.is_err() {
                sleep(POLL_INTERVAL).await;
            }
        };
        tokio::select! {
            ended = self.child.wait() => bail!("the collector ended at its start: {}; its last lines say why", ended?),
            listens = timeout(START_TIMEOUT, listens) => listens
                .with_context(|| format!("the collector does not listen on {} within {START_TIMEOUT:?}", self.listen)),
        }
    }
}

/// Returns a free address. If another process takes it first, the collector logs that and ends.
async fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}
