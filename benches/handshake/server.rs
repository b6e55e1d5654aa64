//! The process that serves the backend.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{
    self, Limits, Listeners, SecurityConfig, ServeSettings, ShareLimits, Stores, TlsFiles, TlsIdentity, TrustedProxies,
};
use tokio_util::sync::CancellationToken;

use crate::certificate::Certificate;
use crate::null_store::NullStore;
use crate::process::Process;
use crate::usage;

/// A server in a process of its own.
pub(crate) struct Server {
    process: Process,
    /// The address of OTLP over HTTP.
    pub(crate) address: SocketAddr,
}

/// What the server has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// CPU time, in microseconds.
    pub(crate) cpu: f64,
    /// Resident memory, in kB.
    pub(crate) memory: f64,
}

impl Server {
    pub(crate) fn start(max_connections: usize, certificate: Option<&Certificate>) -> anyhow::Result<Self> {
        let files = certificate.map(|certificate| certificate.paths().map(|path| path.display().to_string()));
        let mut arguments = vec!["serve".to_owned(), max_connections.to_string()];
        arguments.extend(files.into_iter().flatten());
        let mut process = Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let address = process.line()?.parse().context("expected an address")?;
        Ok(Self { process, address })
    }

    pub(crate) fn used(&mut self) -> anyhow::Result<Used> {
        let line = self.process.ask("")?;
        let (cpu, memory) = line.split_once(' ').with_context(|| line.clone())?;
        Ok(Used { cpu: cpu.parse()?, memory: memory.parse()? })
    }

    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.process.end()
    }
}

/// Serves a store that does nothing. Prints the address of OTLP over HTTP. For each line on standard input, it prints
/// the CPU time in microseconds and the resident memory in kB. It ends with the input.
pub(crate) fn run(max_connections: usize, files: Option<(&Path, &Path)>) -> anyhow::Result<()> {
    // Tokens need a store, although none is used.
    let elsewhere = tempfile::tempdir()?;
    let auth = Arc::new(SqliteStore::open(&elsewhere.path().join("telemetry.db"))?);
    let stores = Stores { rows: Arc::new(NullStore), auth };
    let tls = files.map(|(certificate, key)| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        TlsIdentity::load(TlsFiles { certificate, key, reload_interval: Duration::from_hours(1) })
    });
    let tls = tls.transpose()?;
    // The runtime of the program itself.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    std::thread::spawn(move || {
        if let Err(error) = print_figures() {
            eprintln!("failed to print figures: {error:#}");
        }
        ended.cancel();
    });
    runtime.block_on(serve(stores, max_connections, tls, shutdown))
}

/// Configures and runs the server. It has metrics, as in production, and no rates, since all come from one machine.
async fn serve(
    stores: Stores,
    max_connections: usize,
    tls: Option<Arc<TlsIdentity>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = Listeners::bind(any, any, Some(any))?;
    println!("{}", listeners.http.local_addr()?);
    stdout().flush()?;
    let limits = Limits {
        requests: 0,
        items: 0,
        bytes_per_day: 0,
        shares: ShareLimits { installations: 0, events: 0, new_installations: 0, bulk_events: 0, values: 0 },
        snapshots: 0,
        max_connections,
        max_connections_per_client: max_connections,
        trusted_proxies: TrustedProxies::default(),
    };
    let security = SecurityConfig { limits, tls, ..SecurityConfig::default() };
    backend::serve(listeners, stores, ServeSettings { security, ..ServeSettings::default() }, shutdown).await
}

fn print_figures() -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        line?;
        println!("{} {}", usage::cpu()?.as_micros(), usage::memory()?);
        stdout().flush()?;
    }
    Ok(())
}
