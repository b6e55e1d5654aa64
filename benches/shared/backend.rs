//! A backend that a process of its own serves for a benchmark.

use std::io::{BufRead, Write, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kamaji_telemetry::backend::{
    self, Limits, Listeners, SecurityConfig, ServeSettings, ShareLimits, Stores, TlsIdentity, TrustedProxies,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The backend of a benchmark.
pub(crate) struct BenchBackend {
    pub(crate) stores: Stores,
    pub(crate) tls: Option<Arc<TlsIdentity>>,
    pub(crate) max_connections: usize,
    /// The listener whose address is printed.
    pub(crate) listener: fn(&Listeners) -> &TcpListener,
    /// The figures of the process so far, in one line.
    pub(crate) figures: fn() -> anyhow::Result<String>,
}

impl BenchBackend {
    /// Serves, and prints the address. Prints the figures for each line on standard input, and ends with the input.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // The runtime of the program itself.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let shutdown = CancellationToken::new();
        let (ended, figures) = (shutdown.clone(), self.figures);
        std::thread::spawn(move || {
            if let Err(error) = print_figures(figures) {
                eprintln!("failed to print figures: {error:#}");
            }
            ended.cancel();
        });
        runtime.block_on(self.serve(shutdown))
    }

    /// Configures and runs the server. It has metrics, as in production, and no rates, since all requests come from one
    /// machine.
    async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { stores, tls, max_connections, listener, figures: _ } = self;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = Listeners::bind(any, any, Some(any))?;
        println!("{}", listener(&listeners).local_addr()?);
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
}

fn print_figures(figures: fn() -> anyhow::Result<String>) -> anyhow::Result<()> {
    for line in stdin().lock().lines() {
        line?;
        println!("{}", figures()?);
        stdout().flush()?;
    }
    Ok(())
}
