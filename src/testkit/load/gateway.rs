//! Sending: pools of HTTP/2 connections, as a gateway in front of the backends keeps them.

use std::future::poll_fn;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::attempt::{AttemptOutcome, SendFailure};
use super::requests::OtlpRequest;
use crate::backend::admin::ready::BackendUrl;
use crate::process::lock::lock;

/// The header in which a backend reads the installation's address.
pub(super) const TRUSTED_HEADER: &str = "x-forwarded-for";

/// The requests in flight on a connection: as many as a backend allows.
pub(super) const STREAMS: usize = 32;

/// The time of opening a connection, as the agent's.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for which nothing is sent to a URL that could not be reached, as a gateway takes it out of its rotation.
const PAUSE: Duration = Duration::from_secs(1);

/// The bound of a response's body in bytes: an error is a status and a sentence.
const MAX_BODY: usize = 16 * 1024;

/// The connections to all URLs.
pub(super) struct Gateway {
    pools: Vec<ChannelPool>,
    timeout: Duration,
}

/// The connections to one URL.
struct ChannelPool {
    /// Each opens its connection with its first request, and again after the connection ended.
    channels: Vec<Channel>,
    next: AtomicUsize,
    /// The end of the pause after a failed connection.
    paused_until: Mutex<Option<Instant>>,
}

impl Gateway {
    /// Creates the pools, of `connections` each. Nothing is connected yet.
    pub(super) fn new(
        urls: &[BackendUrl],
        connections: usize,
        ca: Option<&Path>,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let pools = urls.iter().map(|url| ChannelPool::new(url, connections, ca)).collect::<anyhow::Result<_>>()?;
        Ok(Self { pools, timeout })
    }

    /// Sends a request of the installation at `address`, and waits for the answer.
    pub(super) async fn send(&self, url: usize, request: OtlpRequest, address: Ipv6Addr) -> AttemptOutcome {
        let sending = self.pools[url].send(request, address);
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(outcome) => outcome,
            Err(_) => AttemptOutcome::Failed(SendFailure::TimedOut, None),
        }
    }
}

impl ChannelPool {
    fn new(url: &BackendUrl, connections: usize, ca: Option<&Path>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(url.to_string())?.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
        let endpoint = if endpoint.uri().scheme_str() == Some("https") {
            endpoint.tls_config(tls(ca)?).with_context(|| format!("{url} can't be reached over TLS"))?
        } else {
            endpoint
        };
        let channels = (0..connections).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { channels, next: AtomicUsize::new(0), paused_until: Mutex::new(None) })
    }

    async fn send(&self, request: OtlpRequest, address: Ipv6Addr) -> AttemptOutcome {
        if lock(&self.paused_until).is_some_and(|end| Instant::now() < end) {
            return AttemptOutcome::Failed(SendFailure::Unreachable, None);
        }
        let mut channel = self.channels[self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len()].clone();
        let response = async {
            poll_fn(|context| Service::<Request<Body>>::poll_ready(&mut channel, context)).await?;
            channel.call(http_request(request, address)).await
        };
        match response.await {
            Ok(response) => outcome(response).await,
            Err(error) if is_of_connecting(&error) => {
                *lock(&self.paused_until) = Some(Instant::now() + PAUSE);
                AttemptOutcome::Failed(SendFailure::Unreachable, None)
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection broke");
                AttemptOutcome::Failed(SendFailure::Broken, None)
            }
        }
    }
}

fn tls(ca: Option<&Path>) -> anyhow::Result<ClientTlsConfig> {
    let Some(path) = ca else { return Ok(ClientTlsConfig::new().with_enabled_roots()) };
    let pem = std::fs::read(path).with_context(|| format!("--ca-file {}", path.display()))?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn http_request(OtlpRequest { path, body }: OtlpRequest, address: Ipv6Addr) -> Request<Body> {
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(CONTENT_ENCODING, "gzip")
        .header(TRUSTED_HEADER, address.to_string())
        .body(Body::new(Full::new(body)));
    request.expect("a path and headers that are ASCII make a request")
}

/// Returns whether the request was not sent, since there was no connection.
fn is_of_connecting(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let is_io = error.downcast_ref::<tonic::ConnectError>().is_some();
        if is_io {
            return true;
        }
        cause = error.source();
    }
    false
}

async fn outcome(response: Response<Body>) -> AttemptOutcome {
    let (head, body) = response.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return AttemptOutcome::Failed(SendFailure::Broken, None);
    };
    if head.status != StatusCode::OK {
        return AttemptOutcome::Failed(SendFailure::Status(head.status.as_u16()), retry_after(&head.headers));
    }
    // The response of both services has the same form.
    let is_whole = ExportMetricsServiceResponse::decode(body.to_bytes())
        .is_ok_and(|response| response.partial_success.is_none_or(|partial| partial.rejected_data_points == 0));
    if is_whole { AttemptOutcome::Acknowledged } else { AttemptOutcome::Failed(SendFailure::Partial, None) }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
