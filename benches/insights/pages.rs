//! The time and the bytes of each page over HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use kamaji_telemetry::backend::auth::token;
use kamaji_telemetry::backend::store::{Role, SqliteStore};
use kamaji_telemetry::backend::{self, Listeners, ServeSettings, Stores};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::Times;

/// The number of times that each page is read. A token may be used 100 times at once.
const TIMES: usize = 90;

/// The pages, with the parameters that show most.
const PAGES: [&str; 8] = [
    "/",
    "/insights/versions?window=365d",
    "/insights/test-matrix",
    "/insights/health?window=365d",
    "/insights/upgrades?window=365d",
    "/insights/deprecation?component=kubernetes",
    "/insights/features",
    "/insights/coverage?window=365d",
];

/// Serves the store, reads all pages, and prints a table.
pub(crate) async fn measure(store: Arc<SqliteStore>) -> anyhow::Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = Listeners::bind(any, any, None)?;
    let (server, shutdown) = (listeners.http.local_addr()?, CancellationToken::new());
    // Readers share no answer.
    let settings = ServeSettings { insights_max_age: Duration::ZERO, ..ServeSettings::default() };
    let stores = Stores::from(Arc::clone(&store));
    let backend = tokio::spawn(backend::serve(listeners, stores, settings, shutdown.clone()));
    println!("\neach page {TIMES} times, in ms");
    println!("{:42} {:>8} {:>8} {:>8} {:>10}", "", "p50", "p99", "worst", "bytes");
    for (position, page) in PAGES.iter().enumerate() {
        let name = format!("reader-{position}").parse()?;
        let (_, token) = token::create(store.as_ref(), name, Role::Viewer, 1).await?;
        let mut bytes = 0;
        let times = Times::of(TIMES, async || {
            bytes = read(server, page, &token).await?;
            anyhow::Ok(())
        });
        let times = times.await?;
        println!("{page:42} {} {bytes:10}", times.show());
    }
    shutdown.cancel();
    backend.await?
}

/// Reads a page over a new connection, and returns the bytes of its body.
async fn read(server: SocketAddr, page: &str, token: &str) -> anyhow::Result<usize> {
    let mut socket = TcpStream::connect(server).await?;
    let request =
        format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await?;
    ensure!(
        response.starts_with(b"HTTP/1.1 200"),
        "{page}: {}",
        String::from_utf8_lossy(&response[..response.len().min(200)])
    );
    let head = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a response without a head")?;
    Ok(response.len() - head - 4)
}
