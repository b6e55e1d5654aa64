//! The process that serves.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{self, Limits, Listeners, Retention, SecurityConfig, Stores};
use tokio_util::sync::CancellationToken;

use crate::nothing::Nothing;
use crate::usage;

/// Serves the store in `file`, or one that does nothing. Prints where OTLP over gRPC is listened for; then, for each
/// line on standard input until that ends, the CPU that was used and the peak of memory: microseconds and kB.
pub(crate) fn run(file: Option<&Path>) -> anyhow::Result<()> {
    // Nothing is read there: tokens are of no account, but have to be somewhere.
    let elsewhere = tempfile::tempdir()?;
    let sqlite = Arc::new(SqliteStore::open(file.unwrap_or(&elsewhere.path().join("telemetry.db")))?);
    let stores = match file {
        Some(_) => Stores::from(sqlite),
        None => Stores { rows: Arc::new(Nothing), access: sqlite },
    };
    // As the program's own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    std::thread::spawn(move || {
        if let Err(error) = answer() {
            eprintln!("no figures: {error:#}");
        }
        told.cancel();
    });
    runtime.block_on(serve(stores, shutdown))
}

/// The one place where the server is configured. It keeps accounts, as one that is looked after does. All comes from one
/// address, whose limits are off.
async fn serve(stores: Stores, shutdown: CancellationToken) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = Listeners::bind(any, any, Some(any))?;
    println!("{}", listeners.grpc.local_addr()?);
    stdout().flush()?;
    let unlimited = usize::MAX;
    let limits = Limits {
        requests: 0,
        rows: 0,
        items_per_day: 0,
        snapshots: 0,
        connections: unlimited,
        max_connections_per_client: unlimited,
        proxies: Vec::new(),
    };
    let protection = SecurityConfig { limits, ..SecurityConfig::default() };
    backend::serve(listeners, stores, Retention::default(), protection, shutdown).await
}

fn answer() -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        line?;
        println!("{} {}", usage::cpu()?.as_micros(), usage::peak_memory()?);
        stdout().flush()?;
    }
    Ok(())
}
