//! A real collector between the agent and the backend, with the relay's own configuration.

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

/// How long the collector may take until it listens: ten times what it takes on a busy machine.
const START: Duration = Duration::from_secs(20);

/// How often it is asked meanwhile: a start is seen at once, and asking costs nothing.
const ASK: Duration = Duration::from_millis(50);

/// A collector that runs, and goes when this is dropped.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    listen: SocketAddr,
    /// Goes with the collector.
    _configuration: NamedTempFile,
}

impl Relay {
    /// Starts the collector at this path, to send to the backend's HTTP address, and waits until it listens.
    pub async fn start(collector: &Path, backend: SocketAddr) -> anyhow::Result<Self> {
        let mut configuration = tempfile::Builder::new().suffix(".yaml").tempfile()?;
        configuration.write_all(CONFIGURATION.as_bytes())?;
        let (listen, health) = (free_address().await?, free_address().await?);
        // It stays in our process group: whatever ends us from the terminal ends it too.
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

    /// Where it listens for OTLP over gRPC.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Lets it run until the shutdown. Fails where it ends before that.
    pub async fn run(mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            // A Ctrl-C reaches it at the same time as us.
            biased;
            () = shutdown.cancelled() => self.child.kill().await.context("the collector can't be ended"),
            ended = self.child.wait() => bail!("the collector ended: {}; its last lines say why", ended?),
        }
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let listens = async {
            while TcpStream::connect(self.listen).await.is_err() {
                sleep(ASK).await;
            }
        };
        tokio::select! {
            ended = self.child.wait() => bail!("the collector ended at its start: {}; its last lines say why", ended?),
            listens = timeout(START, listens) => listens
                .with_context(|| format!("the collector does not listen on {} within {START:?}", self.listen)),
        }
    }
}

/// An address that is free now. Somebody may take it before the collector does, which then says so and ends.
async fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}
