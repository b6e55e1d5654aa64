//! A connection, from its handshake to its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service;

use super::Port;
use super::in_flight::{InFlight, ResponseBody};
use super::refusals::Refusals;
use super::request_body::lingering;
use crate::backend::metrics::{self, ConnectionRejection};
use crate::backend::rate_limit::PeerAddr;

/// The time that the TLS handshake may take, and again the head of the first request. Ten round trips on a bad network are
/// 5 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a connection may be idle after a request, and that the head of the next may take. An agent sends every
/// five minutes, so that its connection would hold a slot unused for nine tenths of the time. A client with a backlog, or a
/// browser that loads a page, sends within seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The time after which a connection is closed: a request that is stuck, such as one whose response is never read, ends with
/// it.
const MAX_CONNECTION_AGE: Duration = Duration::from_hours(1);

/// The idle time after which a closing connection is dropped.
const CLOSING_IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// The time that an evicted connection may take to announce its end: its slot is taken already.
const EVICTION_GRACE: Duration = Duration::from_millis(100);

/// The time that requests in flight may take once the end of their connection was announced: as long as a request.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(30);

/// The interval of HTTP/2 pings, on an idle connection as well, and the time that their acknowledgement may take: peers
/// that vanished are dropped.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The most requests in flight on a connection. An agent has one a signal; this is room for a gateway in front of many.
const MAX_STREAMS: u32 = 32;

/// The most bytes of a head. A relay's has less than 1 kB; a browser's cookies have less than 8 kB.
const MAX_HEAD_BYTES: u32 = 16 * 1024;

/// The most fields of a head over HTTP/1, of which a browser sends 20. Over HTTP/2 [`MAX_HEAD_BYTES`] is the bound, to which
/// each field adds 32 bytes.
const MAX_HEAD_FIELDS: usize = 64;

/// Unread bytes of one request. Bodies are read as they arrive, so that this is enough for 1 MB a second at a round trip of
/// 100 ms.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Unread bytes of one connection.
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Requests that a peer reset before they were accepted, after which the connection ends ("rapid reset", CVE-2023-44487).
/// A client that times out resets all that it has in flight.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;

/// Requests that were reset for the peer's violations of the protocol, after which the connection ends.
const MAX_ERROR_RESETS: usize = 4 * MAX_STREAMS as usize;

/// The refusals in a row after which a connection is closed. An agent that looks for the one record of 500 that is refused
/// gets 9 of 18 requests refused; a gateway that has as many requests in flight as a connection may have, one for each of 32
/// agents, gets them all refused four times before it counts as one that does not listen.
const MAX_REFUSALS: usize = 4 * MAX_STREAMS as usize;

/// The path of a call whose response lasts as long as its connection. It does not count as in flight: a client that
/// does no more than listen would hold its slot.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A connection that was accepted.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) port: Port,
    pub(super) peer: IpAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) routes: Router,
    pub(super) in_flight: InFlight,
    /// Cancelled once another connection has the slot.
    pub(super) evicted: CancellationToken,
}

impl Connection {
    /// Serves the connection until it ends, is idle for too long, had too many requests refused, is evicted, or `shutdown`.
    pub(super) async fn serve(self, stream: TcpStream, shutdown: CancellationToken) {
        // Without TCP_NODELAY a response waits up to 40 ms for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY on a connection");
        }
        let Some(tls) = self.tls.clone() else {
            return self.serve_stream(stream, shutdown).await;
        };
        let handshake = tokio::select! {
            () = shutdown.cancelled() => return,
            () = self.evicted.cancelled() => return,
            handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.serve_stream(stream, shutdown).await,
            Ok(Err(_)) | Err(_) => metrics::connections_rejected(ConnectionRejection::Tls),
        }
    }

    async fn serve_stream<S>(self, stream: S, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { port, peer, tls: _, routes, in_flight, evicted } = self;
        let refusals = Refusals::new(MAX_REFUSALS);
        let service = service_fn(|request| handle(request, peer, routes.clone(), in_flight.clone(), refusals.clone()));
        let builder = builder(port);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // An error is of the peer or of the network, and the peer sends unanswered requests again.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = in_flight.idle(HANDSHAKE_TIMEOUT, IDLE_TIMEOUT) => {}
            () = tokio::time::sleep(MAX_CONNECTION_AGE) => {}
            () = shutdown.cancelled() => {}
            () = evicted.cancelled() => {}
            () = refusals.exceeded() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = in_flight.idle(CLOSING_IDLE_TIMEOUT, CLOSING_IDLE_TIMEOUT) => {}
            () = tokio::time::sleep(CLOSING_TIMEOUT) => {}
            () = eviction_grace_elapsed(&evicted) => {}
        }
    }
}

async fn eviction_grace_elapsed(evicted: &CancellationToken) {
    evicted.cancelled().await;
    tokio::time::sleep(EVICTION_GRACE).await;
}

fn builder(port: Port) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES as usize)
        .max_headers(MAX_HEAD_FIELDS)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    match port {
        Port::Grpc => builder.http2_only(),
        Port::Http | Port::Health => builder,
    }
}

async fn handle(
    request: Request<Incoming>,
    peer: IpAddr,
    mut routes: Router,
    in_flight: InFlight,
    refusals: Refusals,
) -> Result<Response<ResponseBody>, Infallible> {
    let guard = in_flight.begin();
    let is_watch = request.uri().path() == WATCH;
    let mut request = lingering(request);
    request.extensions_mut().insert(PeerAddr(peer));
    let response = routes.call(request).await?;
    refusals.count(&response);
    Ok(response.map(|body| ResponseBody::new(body, (!is_watch).then_some(guard))))
}
