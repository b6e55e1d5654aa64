//! The process that serves the backend.

use std::fs;
use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{
    self, Limits, Listeners, SecurityConfig, ServeSettings, ShareLimits, Stores, TrustedProxies,
};
use tokio_util::sync::CancellationToken;

use crate::null_store::NullStore;
use crate::usage;

/// Serves the store in `file`, or one that does nothing. Prints the address of OTLP/gRPC. For each line on standard
/// input, it prints the CPU time in microseconds and the bytes written. It ends with the input.
pub(crate) fn run(file: Option<&Path>) -> anyhow::Result<()> {
    // Tokens need a store, although none is used.
    let elsewhere = tempfile::tempdir()?;
    let sqlite = Arc::new(SqliteStore::open(file.unwrap_or(&elsewhere.path().join("telemetry.db")))?);
    let stores = match file {
        Some(_) => Stores::from(sqlite),
        None => Stores { rows: Arc::new(NullStore), auth: sqlite },
    };
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
    runtime.block_on(serve(stores, shutdown))
}

/// Configures and runs the server. It has metrics, as in production, and no limits, since all requests come from one
/// address.
async fn serve(stores: Stores, shutdown: CancellationToken) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = Listeners::bind(any, any, Some(any))?;
    println!("{}", listeners.grpc.local_addr()?);
    stdout().flush()?;
    let unlimited = usize::MAX;
    let limits = Limits {
        requests: 0,
        items: 0,
        bytes_per_day: 0,
        shares: ShareLimits { installations: 0, events: 0, new_installations: 0, bulk_events: 0, values: 0 },
        snapshots: 0,
        max_connections: unlimited,
        max_connections_per_client: unlimited,
        trusted_proxies: TrustedProxies::default(),
    };
    let security = SecurityConfig { limits, ..SecurityConfig::default() };
    backend::serve(listeners, stores, ServeSettings { security, ..ServeSettings::default() }, shutdown).await
}

fn print_figures() -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        line?;
        let [written, accounted] = written()?;
        println!("{} {written} {accounted}", usage::cpu()?.as_micros());
        stdout().flush()?;
    }
    Ok(())
}

/// Returns the bytes that the process has written, to sockets as well, and those that the kernel accounts for as going
/// to disk. With large folios it accounts for each page of one of which any changes, though only those that change are
/// written: ext4 of Linux 6.18 for 37 kB where a random page of 4 kB is written.
fn written() -> anyhow::Result<[u64; 2]> {
    let io = fs::read_to_string("/proc/self/io").context("no procfs: expected Linux")?;
    let number = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        anyhow::Ok(line.with_context(|| format!("no {name} in procfs"))?.parse()?)
    };
    Ok([number("wchar")?, number("write_bytes")?])
}
