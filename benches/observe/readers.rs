//! The processes that read. Each prints a line of figures after the first sync, and one after the changes.

use std::io::{BufRead, Read, Write, stdin, stdout};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use kamaji_telemetry::agent::consent::{KamajiOptOut, OptOut};
use kamaji_telemetry::agent::export::connection::ExporterConfig;
use kamaji_telemetry::agent::kubernetes::{connect, watch};
use kamaji_telemetry::agent::observe::{Index, IndexOptions, WatcherEvent};
use kamaji_telemetry::agent::{self, Config};
use kamaji_telemetry::process::log_throttle::LogThrottle;
use kamaji_telemetry::testkit::fleet::KAMAJI_NAMESPACE;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_util::sync::CancellationToken;

use crate::access::{AGENT_NAMESPACE, Access};
use crate::usage;

/// The request that the agent makes, too.
const REQUEST: &str = "GET /apis/kamaji.clastix.io/v1alpha1/tenantcontrolplanes?&watch=true&timeoutSeconds=290\
                       &allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan HTTP/1.1\r\n";

/// Reads the stream and decodes nothing.
pub(crate) fn bare(access: Access) -> anyhow::Result<()> {
    let begun = Instant::now();
    let Access { server, authorities, token } = access;
    let server: http::Uri = server.parse()?;
    let host = server.host().context("a server without a host")?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.into())?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host.to_owned())?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect((host, server.port_u16().unwrap_or(443)))?);
    write!(stream, "{REQUEST}host: {host}\r\nauthorization: Bearer {token}\r\n\r\n")?;
    read_until(&mut stream, |read| ends_with(read, b"initial-events-end"))?;
    print_figures(begun)?;
    // The deletion comes alone: the server waits before it.
    read_until(&mut stream, |read| starts_with(read, b"\"DELETED\""))?;
    print_figures(begun)
}

/// Reads as much at once as a record of TLS holds, until a read is what is waited for.
fn read_until(stream: &mut impl Read, mut is_it: impl FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server ended the stream");
        if is_it(&buffer[..count]) {
            return Ok(());
        }
    }
}

/// Looks only where a bookmark would end: looking everywhere would cost what decoding nothing is to save.
fn ends_with(read: &[u8], word: &[u8]) -> bool {
    read[read.len().saturating_sub(256)..].windows(word.len()).any(|window| window == word)
}

fn starts_with(read: &[u8], word: &[u8]) -> bool {
    read[..read.len().min(64)].windows(word.len()).any(|window| window == word)
}

/// The agent's watch and its fold, and nothing behind them.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn watch(access: Access) -> anyhow::Result<()> {
    let begun = Instant::now();
    let client = connect(Some(access.config()?)).await?;
    // As far as the agent lets the watch be ahead of the fold.
    let (sender, mut seen) = mpsc::channel(100);
    let quiet = LogThrottle::hourly();
    let mut view = Index::new(IndexOptions { extended: false, limit: usize::MAX });
    let fold = async {
        while let Some(next) = seen.recv().await {
            let (synced, gone) = (next == WatcherEvent::InitDone, matches!(next, WatcherEvent::Delete(_)));
            view.fold(next, Timestamp::now(), 100);
            if synced || gone {
                print_figures(begun)?;
            }
            if gone {
                break;
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = watch::run(&client, Duration::from_mins(1), &quiet, sender) => anyhow::bail!("the watch ended"),
        done = fold => done,
    }
}

/// The whole agent, which sends to `sink`. It can't tell when it has seen what: each line on its standard input asks
/// for figures.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn agent(access: Access, sink: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    std::thread::spawn(move || {
        for _ in stdin().lock().lines() {
            if let Err(error) = print_figures(begun) {
                eprintln!("no figures: {error:#}");
            }
        }
        told.cancel();
    });
    agent::run(agent_config(access.config()?, sink), shutdown).await
}

fn agent_config(cluster: kube::Config, sink: &str) -> Config {
    Config {
        exporter: ExporterConfig {
            endpoint: sink.to_owned(),
            timeout: Duration::from_secs(10),
            gzip: true,
            headers: http::HeaderMap::new(),
            ca: None,
            identity: None,
        },
        export_interval: Duration::from_mins(5),
        operator_poll_interval: Duration::from_mins(3),
        erase_interval: Duration::from_mins(1),
        acknowledge_interval: Duration::from_secs(30),
        retry_max_interval: Duration::from_mins(1),
        kamaji_namespace: KAMAJI_NAMESPACE.to_owned(),
        kamaji_opt_out: KamajiOptOut::Ignore,
        kamaji_version: None,
        namespace: Some(AGENT_NAMESPACE.to_owned()),
        owner_deployment: None,
        extended: false,
        election: None,
        health_addr: None,
        opt_out: OptOut::default(),
        cluster: Some(cluster),
    }
}

/// Time since the start, CPU, and peak memory: microseconds, microseconds, kB.
fn print_figures(begun: Instant) -> anyhow::Result<()> {
    let (time, cpu, memory) = (begun.elapsed(), usage::cpu()?, usage::peak_memory()?);
    println!("{} {} {memory}", time.as_micros(), cpu.as_micros());
    Ok(stdout().flush()?)
}
