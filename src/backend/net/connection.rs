//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
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
use crate::backend::metrics::{self, ConnectionRejection};
use crate::backend::rate_limit::PeerAddr;

/// How long a connection may take to become one: TLS, and as long again until the head of the first request is there.
/// Ten round trips on a bad network are 5 s.
const OPENING: Duration = Duration::from_secs(10);

/// How long a connection may be idle after a request, and the head of the next may take. An agent sends every five
/// minutes, so that keeping its connection would keep a place for it that nobody uses nine tenths of the time; a client
/// that sends what waited, or a browser that loads a page, sends within seconds.
const IDLE: Duration = Duration::from_secs(30);

/// How long a connection is kept at most: what is stuck on one, such as an answer that is never read, ends with it.
const AGE: Duration = Duration::from_hours(1);

/// How long the rest of a conversation may take once its end was told: an answer is written at once.
const LINGER: Duration = Duration::from_secs(1);

/// How long an idle connection that gives its place to another may take to say so: its place is taken already.
const FAREWELL: Duration = Duration::from_millis(100);

/// How long what is under way may take then: as long as a request.
const LAST: Duration = Duration::from_secs(30);

/// How often a connection with something under way is asked whether it is still there, so that peers that vanished are
/// let go, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Requests at once on a connection. An agent has one a signal under way; this is room for a gateway in front of many.
const STREAMS: u32 = 32;

/// Bytes of one head. What a relay sends is below 1 kB; a browser's cookies are below 8 kB.
const HEAD: u32 = 16 * 1024;

/// Fields of one head over HTTP/1, which a browser sends 20 of. Over HTTP/2 the bytes of a head alone are bounded, in
/// which each field counts 32 more than it has.
const FIELDS: usize = 64;

/// What may be on its way to us unread, of one request and of one connection: bodies are read as they come, so that this
/// is enough for 1 MB a second over a tenth of one.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// Requests that a peer took back before they were looked at, and that it broke off with an error, after which the
/// connection ends ("rapid reset", CVE-2023-44487). Clients that time out take back what they have under way.
const TAKEN_BACK: usize = STREAMS as usize;
const BROKEN_OFF: usize = 4 * STREAMS as usize;

/// What is answered for as long as the connection lasts. Nothing is under way meanwhile: it would keep its place for
/// who does no more than listen.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// A connection that was taken.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) port: Port,
    pub(super) peer: IpAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) routes: Router,
    pub(super) activity: InFlight,
    /// Cancelled where another has its place.
    pub(super) replaced: CancellationToken,
}

impl Connection {
    /// Serves it until it ends, is idle for too long, or `shutdown`.
    pub(super) async fn serve(self, stream: TcpStream, shutdown: CancellationToken) {
        // Without TCP_NODELAY an answer waits up to 40 ms for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY on a connection");
        }
        let Some(tls) = self.tls.clone() else {
            return self.converse(stream, shutdown).await;
        };
        let handshake = tokio::select! {
            () = shutdown.cancelled() => return,
            () = self.replaced.cancelled() => return,
            handshake = tokio::time::timeout(OPENING, tls.accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.converse(stream, shutdown).await,
            Ok(Err(_)) | Err(_) => metrics::not_accepted(ConnectionRejection::Tls),
        }
    }

    async fn converse<S>(self, stream: S, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { port, peer, tls: _, routes, activity, replaced } = self;
        let service = service_fn(|request| answer(request, peer, routes.clone(), activity.clone()));
        let builder = builder(port);
        let mut conversation = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // How it ended is the peer's affair: what was not answered, it sends again.
        tokio::select! {
            _ = conversation.as_mut() => return,
            () = activity.idle(OPENING, IDLE) => {}
            () = tokio::time::sleep(AGE) => {}
            () = shutdown.cancelled() => {}
            () = replaced.cancelled() => {}
        }
        conversation.as_mut().graceful_shutdown();
        tokio::select! {
            _ = conversation => {}
            () = activity.idle(LINGER, LINGER) => {}
            () = tokio::time::sleep(LAST) => {}
            () = last_words(&replaced) => {}
        }
    }
}

async fn last_words(replaced: &CancellationToken) {
    replaced.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

fn builder(port: Port) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(HEAD as usize)
        .max_headers(FIELDS)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(TAKEN_BACK)
        .max_local_error_reset_streams(BROKEN_OFF);
    match port {
        Port::Grpc => builder.http2_only(),
        Port::Http | Port::Health => builder,
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: IpAddr,
    mut routes: Router,
    activity: InFlight,
) -> Result<Response<ResponseBody>, Infallible> {
    let under_way = activity.begin();
    let is_watch = request.uri().path() == WATCH;
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(PeerAddr(peer));
    let response = routes.call(request).await?;
    Ok(response.map(|body| ResponseBody::new(body, (!is_watch).then_some(under_way))))
}
