//! Accepts connections on all ports: limits, TLS, timeouts, and the shutdown.
//!
//! ```text
//! listener ──▶ connection_limit ──▶ tls ──▶ connection ──▶ routes
//!                      │                    └ in_flight
//!                      └──────── eviction_order ┘
//! ```
//!
//! Neither tonic's server nor axum's bounds the number of connections, or closes idle ones. This one serves the routes of
//! either.

pub(super) mod bind;
mod connection;
mod connection_limit;
mod in_flight;
mod eviction_order;
pub(super) mod probes;
pub(super) mod origin;
mod refusals;
mod request_body;
pub(super) mod security_headers;
pub(super) mod tls;
pub(super) mod trace;

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Clock;
use super::metrics::{self, ConnectionRejection};
use super::rate_limit::{Limiter, Limits};
use crate::process::log_throttle::LogThrottle;
use connection::Connection;
use connection_limit::{ConnectionSlot, ConnectionSlots};
use tls::TlsIdentity;

/// The pause after an error of `accept` that is not the peer's, such as a lack of file descriptors. Connections end
/// meanwhile, and free some.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The most connections to the probes and the metrics: a kubelet has one or two, a Prometheus one.
const MAX_PROBE_CONNECTIONS: usize = 64;

/// A port, with the protocol that is spoken on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// HTTP/2 only, for gRPC.
    Grpc,
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// HTTP/1.1 and HTTP/2, for the probes and the metrics.
    Health,
}

/// Accepts connections. Its limits hold for all ports that it serves together.
#[derive(Debug, Clone)]
pub(super) struct Acceptor {
    slots: Arc<ConnectionSlots>,
    limiter: Arc<Limiter>,
    tls: Option<Arc<TlsIdentity>>,
}

impl Port {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Health => "health",
        }
    }
}

impl Acceptor {
    pub(super) fn new(limits: &Limits, limiter: Arc<Limiter>, tls: Option<Arc<TlsIdentity>>) -> Self {
        Self { slots: ConnectionSlots::new(limits), limiter, tls }
    }

    /// Creates an acceptor for the probes and the metrics, with limits of its own: they are served when nothing else is.
    pub(super) fn for_probes() -> Self {
        let limits = Limits {
            requests: 0,
            max_connections: MAX_PROBE_CONNECTIONS,
            max_connections_per_client: MAX_PROBE_CONNECTIONS,
            ..Limits::default()
        };
        Self::new(&limits, Limiter::new(&limits, Clock::default()), None)
    }

    /// Serves `routes` until `shutdown`, then waits for the connections that are open.
    pub(super) async fn serve(self, listener: TcpListener, port: Port, routes: Router, shutdown: CancellationToken) {
        let tls = self.tls.as_ref().and_then(|identity| identity.acceptor(port));
        let connections = TaskTracker::new();
        let accept_errors = LogThrottle::per_minute();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.take_slot(port, peer.ip()) {
                    Ok(slot) => {
                        let connection = Connection {
                            port,
                            peer: peer.ip(),
                            tls: tls.clone(),
                            routes: routes.clone(),
                            in_flight: slot.in_flight.clone(),
                            evicted: slot.evicted.clone(),
                        };
                        let shutdown = shutdown.clone();
                        connections.spawn(async move {
                            let _slot = slot;
                            connection.serve(stream, shutdown).await;
                        });
                    }
                    Err(reason) => metrics::connections_rejected(reason),
                },
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    accept_errors.failed(|errors| log_accept_error(&error, port, errors));
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
        // New connections are refused at once, rather than left in the backlog.
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    fn take_slot(&self, port: Port, peer: IpAddr) -> Result<ConnectionSlot, ConnectionRejection> {
        let client = self.limiter.client_of_peer(peer);
        self.limiter.check_connection(client).map_err(|_| ConnectionRejection::Rate)?;
        self.slots.take(port, client)
    }
}

/// Returns whether one connection ended before it was accepted, which does not concern the next.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

fn log_accept_error(error: &io::Error, port: Port, errors: u64) {
    tracing::warn!(
        %error,
        port = port.as_str(),
        errors,
        "failed to accept a connection; retrying: see that the limit of open files (ulimit -n) is above --max-connections"
    );
}
