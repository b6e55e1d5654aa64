//! Both ports: which connections are taken, how long they may be idle, and TLS.
//!
//! Neither tonic's server nor axum's bounds the number of connections, or closes those on which nothing happens; this
//! one serves the routes of either.

pub(super) mod bind;
mod connection;
mod connection_limit;
mod in_flight;
pub(super) mod probes;
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

use super::metrics::{self, ConnectionRejection};
use super::rate_limit::{Limiter, Limits};
use crate::process::log_throttle::LogThrottle;
use connection::Connection;
use connection_limit::{ConnectionSlot, ConnectionSlots};
use tls::TlsIdentity;

/// How long to wait where no connection can be taken at all, for want of file descriptors: others end meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// HTTP/2 alone, which gRPC is.
    Grpc,
    /// HTTP/1.1 and HTTP/2.
    Http,
    /// The same, for the probes and the metrics.
    Health,
}

/// Connections to the probes and the metrics at once: a kubelet has one or two, a Prometheus one.
const PROBES: usize = 64;

/// Lets connections in, those of both ports together.
#[derive(Debug, Clone)]
pub(super) struct Acceptor {
    places: Arc<ConnectionSlots>,
    limiter: Arc<Limiter>,
    identity: Option<Arc<TlsIdentity>>,
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
    pub(super) fn new(limits: &Limits, limiter: Arc<Limiter>, identity: Option<Arc<TlsIdentity>>) -> Self {
        Self { places: ConnectionSlots::new(limits), limiter, identity }
    }

    /// For the probes and the metrics: they are to answer when nothing else does.
    pub(super) fn for_probes() -> Self {
        let limits =
            Limits { requests: 0, max_connections: PROBES, max_connections_per_client: PROBES, ..Limits::default() };
        Self::new(&limits, Limiter::new(&limits), None)
    }

    /// Serves `routes` until `shutdown`, and finishes what is under way.
    pub(super) async fn serve(self, listener: TcpListener, port: Port, routes: Router, shutdown: CancellationToken) {
        let tls = self.identity.as_ref().and_then(|identity| identity.acceptor(port));
        let open = TaskTracker::new();
        let said = LogThrottle::per_minute();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => match self.place(port, peer.ip()) {
                    Ok(place) => {
                        let connection = Connection {
                            port,
                            peer: peer.ip(),
                            tls: tls.clone(),
                            routes: routes.clone(),
                            activity: place.activity.clone(),
                            replaced: place.replaced.clone(),
                        };
                        let shutdown = shutdown.clone();
                        open.spawn(async move {
                            let _place = place;
                            connection.serve(stream, shutdown).await;
                        });
                    }
                    Err(reason) => metrics::not_accepted(reason),
                },
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    said.failed(|_| tell(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Whoever connects now is told at once that nobody listens.
        drop(listener);
        open.close();
        open.wait().await;
    }

    fn place(&self, port: Port, peer: IpAddr) -> Result<ConnectionSlot, ConnectionRejection> {
        let source = self.limiter.source_of_peer(peer);
        self.limiter.check_connection(source).map_err(|_| ConnectionRejection::Rate)?;
        self.places.take(port, source)
    }
}

/// Whether one connection ended before it was taken, which says nothing of the next.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

fn tell(error: &io::Error) {
    tracing::warn!(%error, "no connection can be taken; tried again: see that the limit of open files (ulimit -n) is above --max-connections");
}
