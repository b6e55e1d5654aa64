//! The process that serves the backend.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{
    self, Limits, Listeners, SecurityConfig, ServeSettings, ShareLimits, Stores, TrustedProxies,
};
use tokio_util::sync::CancellationToken;

use crate::null_store::NullStore;
use crate::usage;

/// Serves the store in `file`, or one that does nothing. Prints the address of OTLP/gRPC. For each line on standard
/// input, it prints the CPU time in microseconds and the peak of memory in kB. It ends with the input.
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
        shares: ShareLimits { installations: 0, events: 0, new_installations: 0, bulk_events: 0 },
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
        println!("{} {}", usage::cpu()?.as_micros(), usage::peak_memory()?);
        stdout().flush()?;
    }
    Ok(())
}
