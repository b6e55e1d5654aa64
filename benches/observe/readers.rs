//! The readers, which are separate processes. Each prints figures after the first sync and after the changes.

use std::io::{BufRead, Read, Write, stdin, stdout};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use kamaji_telemetry::agent::consent::{KamajiOptOut, OptOut};
use kamaji_telemetry::agent::export::connection::ExporterConfig;
use kamaji_telemetry::agent::kubernetes::connect;
use kamaji_telemetry::agent::kubernetes::operator::OperatorLocation;
use kamaji_telemetry::agent::kubernetes::watch::{self, WatchIntervals, WatchMemory};
use kamaji_telemetry::agent::observe::{Index, IndexOptions, WatcherEvent};
use kamaji_telemetry::agent::{self, Config};
use kamaji_telemetry::testkit::fleet::KAMAJI_NAMESPACE;
use tokio::sync::mpsc;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio_util::sync::CancellationToken;

use crate::access::{AGENT_NAMESPACE, Access};
use crate::usage;

/// The request of the agent's watch.
const REQUEST: &str = "GET /apis/kamaji.clastix.io/v1alpha1/tenantcontrolplanes?&watch=true&timeoutSeconds=290\
                       &allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan HTTP/1.1\r\n";

/// Reads the stream and decodes nothing.
pub(crate) fn bare(access: Access) -> anyhow::Result<()> {
    let started = Instant::now();
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
    print_figures(started)?;
    // The deletion is in a read of its own, since the server waits before it.
    read_until(&mut stream, |read| starts_with(read, b"\"DELETED\""))?;
    print_figures(started)
}

/// Reads the stream, a TLS record at once, until `is_end` holds for a read.
fn read_until(stream: &mut impl Read, mut is_end: impl FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server ended the stream");
        if is_end(&buffer[..count]) {
            return Ok(());
        }
    }
}

/// Returns whether the end of a read contains `word`. Searching all of it would add to the cost of the bare reader.
fn ends_with(read: &[u8], word: &[u8]) -> bool {
    read[read.len().saturating_sub(256)..].windows(word.len()).any(|window| window == word)
}

fn starts_with(read: &[u8], word: &[u8]) -> bool {
    read[..read.len().min(64)].windows(word.len()).any(|window| window == word)
}

/// Runs the agent's watch and fold, without journal and export.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn watch(access: Access) -> anyhow::Result<()> {
    let started = Instant::now();
    let client = connect(Some(access.config()?)).await?;
    // The capacity of the agent's channel between watch and fold.
    let (sender, mut events) = mpsc::channel(100);
    let (memory, minute) = (WatchMemory::default(), Duration::from_mins(1));
    let intervals = WatchIntervals { retry_max: minute, compare: minute };
    let mut index = Index::new(IndexOptions { extended: false, limit: usize::MAX });
    let fold = async {
        while let Some(next) = events.recv().await {
            let (synced, deleted) = (next == WatcherEvent::InitDone, matches!(next, WatcherEvent::Delete(_)));
            index.fold(next, Timestamp::now(), 100);
            if synced || deleted {
                print_figures(started)?;
            }
            if deleted {
                break;
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        () = watch::run(&client, intervals, &memory, sender) => anyhow::bail!("the watch ended"),
        done = fold => done,
    }
}

/// Runs the whole agent, which exports to `sink`. It prints figures for each line on standard input, since it does not
/// detect the end of the sync itself.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn agent(access: Access, sink: &str) -> anyhow::Result<()> {
    let started = Instant::now();
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    std::thread::spawn(move || {
        for _ in stdin().lock().lines() {
            if let Err(error) = print_figures(started) {
                eprintln!("failed to print figures: {error:#}");
            }
        }
        ended.cancel();
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
            headers_file: None,
            ca: None,
            identity: None,
        },
        export_interval: Duration::from_mins(5),
        operator_poll_interval: Duration::from_mins(3),
        erase_interval: Duration::from_mins(1),
        retry_max_interval: Duration::from_mins(1),
        operator_location: OperatorLocation { namespace: KAMAJI_NAMESPACE.to_owned(), deployment: None },
        kamaji_opt_out: KamajiOptOut::Ignore,
        kamaji_version: None,
        namespace: Some(AGENT_NAMESPACE.to_owned()),
        owner_deployment: None,
        extended: false,
        election: None,
        health_addr: None,
        relay: None,
        opt_out: OptOut::default(),
        cluster: Some(cluster),
    }
}

/// Prints the time since the start and the CPU time in microseconds, and the peak of memory in kB.
fn print_figures(started: Instant) -> anyhow::Result<()> {
    let (time, cpu, memory) = (started.elapsed(), usage::cpu()?, usage::peak_memory()?);
    println!("{} {} {memory}", time.as_micros(), cpu.as_micros());
    Ok(stdout().flush()?)
}
