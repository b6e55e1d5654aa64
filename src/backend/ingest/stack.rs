//! The layers in front of every ingest route, the same for each protocol.
//!
//! ```text
//! request ──▶ render and count ──▶ check limits ──▶ check the ingest token ──▶ check the head ──▶ read the body ──▶ handler
//! ```
//!
//! A rejected request counts as one, so the limits come before the token. A body is read only if the sender may
//! send, and if its head is one that the route takes: whatever the head decides is answered at once. Behind the stack, a
//! body is complete, plain, and no longer than its protocol allows.
//!
//! An error travels outwards as an extension of its response, and is rendered once, in the format of the request.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::error::IngestError;
use super::refusals::RefusalTally;
use crate::backend::auth::AuthError;
use crate::backend::clock_guard::ClockGuard;
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{Decompressed, LimitScope, Limiter, Permit, RateLimitError, within_deadline};
use crate::backend::store::{Batch, Store, WriteError};
use crate::process::log_throttle::LogThrottle;

/// The protocol-specific parts of the ingest stack.
pub(super) trait Protocol: 'static {
    /// The label of its metrics.
    const TRANSPORT: Transport;

    /// The largest body in bytes, before decompression.
    const MAX_BODY: usize;

    /// The format of a request, in which it is answered.
    type Format: Send;

    /// Returns the format of a request with these headers.
    fn format(headers: &HeaderMap) -> Self::Format;

    /// Checks the head of a request, before its body is read.
    fn check_head(head: &Parts) -> Result<(), IngestError>;

    /// Decompresses a body, and removes its encoding from the head.
    fn decompress(head: &mut Parts, body: Bytes) -> Decompressed<IngestError>;

    /// Renders an error.
    fn respond(error: IngestError, format: Self::Format) -> Response;

    /// Returns the result of a request for the metrics: one of a few status codes.
    fn result(response: &Response) -> String;
}

/// An error on its way to the layer that renders it.
#[derive(Clone)]
struct Rejected(Arc<IngestError>);

/// The state of the outer layers.
#[derive(Clone)]
pub(super) struct OuterLayers {
    pub(super) limiter: Arc<Limiter>,
    pub(super) refusals: Arc<RefusalTally>,
}

/// Returns `routes` behind the layers. `auth` adds the one that checks the ingest token.
pub(super) fn layers<P: Protocol>(
    routes: Router,
    outer: OuterLayers,
    auth: impl FnOnce(Router, fn(AuthError) -> Response) -> Router,
) -> Router {
    let routes = routes.layer(from_fn(read::<P>));
    outer_layers::<P>(auth(routes, |error| reject(error.into())), outer)
}

/// Returns `routes`, whose requests are rejected by their heads alone, behind the layers that read no body.
pub(super) fn outer_layers<P: Protocol>(routes: Router, outer: OuterLayers) -> Router {
    let OuterLayers { limiter, refusals } = outer;
    routes.layer(from_fn_with_state(limiter, check)).layer(from_fn_with_state(refusals, render::<P>))
}

/// Returns the response to a request that is rejected; the outermost layer renders it.
pub(super) fn reject(error: IngestError) -> Response {
    let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
    response.extensions_mut().insert(Rejected(Arc::new(error)));
    response
}

/// The store behind the guard of the clock, and the numbers of what is not stored.
#[derive(Clone)]
pub(in crate::backend) struct GuardedStore {
    store: Arc<dyn Store>,
    guard: Arc<ClockGuard>,
    refusals: Arc<RefusalTally>,
}

impl GuardedStore {
    pub(in crate::backend) fn new(store: Arc<dyn Store>, guard: Arc<ClockGuard>) -> Self {
        let refusals = Arc::new(RefusalTally::new(Arc::clone(&guard)));
        Self { store, guard, refusals }
    }

    /// Returns the numbers of refused records.
    pub(in crate::backend) fn refusals(&self) -> &Arc<RefusalTally> {
        &self.refusals
    }

    /// Returns the time of receipt. Fails while the clock disagrees with the store: nothing can be stored then.
    pub(super) fn now(&self) -> Result<Timestamp, IngestError> {
        self.guard.now().map_err(|off| WriteError::Unavailable(off.to_string().into()).into())
    }
}

/// Charges for a request of `items` items that was received at `now`, and stores its accepted `records`. Returns after
/// the commit.
pub(super) async fn write(
    GuardedStore { store, guard, .. }: &GuardedStore,
    now: Timestamp,
    permit: Permit,
    items: usize,
    records: Batch,
) -> Result<(), IngestError> {
    let (snapshots, events) = (records.snapshots.len(), records.events.len());
    permit.charge(items);
    if records.is_empty() {
        return Ok(());
    }
    let installations = records.snapshots.iter().map(|snapshot| snapshot.installation);
    let allowance = permit.allowance(installations).map_err(RateLimitError::from)?;
    // Snapshots are stored under the hour of their receipt, and events under their own.
    let newest = if snapshots > 0 { Some(now) } else { records.events.iter().map(|event| event.record.time).max() };
    store.write_within(records, allowance).await.inspect_err(log_refusal)?;
    if let Some(newest) = newest {
        guard.received(newest);
    }
    metrics::records_accepted(snapshots, events);
    Ok(())
}

/// Logs once an hour that a bound of all senders is reached. A store that cannot write is logged where it writes.
fn log_refusal(error: &WriteError) {
    static THROTTLE: LogThrottle = LogThrottle::hourly();
    if matches!(error, WriteError::TooManyNew) {
        THROTTLE.failed(|count| {
            tracing::warn!(
                count,
                "refused new installations or events: as many were stored today as --max-new-installations, of which half is for \
                 those that count, or --max-bulk-events allows; see `kamaji-telemetry backend installations list` for what came"
            );
        });
    }
}

/// Decompresses gzip into at most `max` bytes. Nothing beyond is decompressed, so that a bomb costs no more than a message.
pub(super) fn gunzip(compressed: &[u8], max: usize) -> Decompressed<IngestError> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(compressed).take(max as u64 + 1).read_to_end(&mut plain);
    let bytes = plain.len();
    let body = match read {
        Err(_) => Err(IngestError::Encoding),
        Ok(_) if bytes > max => Err(IngestError::TooLargeDecompressed(max)),
        Ok(_) => Ok(plain.into()),
    };
    Decompressed { body, bytes }
}

/// Returns the media type of a body, without parameters; empty if there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split_once(';').map_or(content_type, |(media_type, _)| media_type).trim()
}

/// Returns whether a body is compressed with gzip, by the header `name`; fails if it has any other encoding.
///
/// Names of encodings are in any case, `x-gzip` is another name of gzip, and `identity` stands for none (RFC 9110,
/// section 8.4.1).
pub(super) fn is_gzip(headers: &HeaderMap, name: &str) -> Result<bool, IngestError> {
    let mut is_gzip = false;
    for line in headers.get_all(name) {
        for encoding in line.to_str().map_err(|_| IngestError::UnsupportedEncoding)?.split(',').map(str::trim) {
            if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
                continue;
            }
            let is_known = encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip");
            if !is_known || std::mem::replace(&mut is_gzip, true) {
                return Err(IngestError::UnsupportedEncoding);
            }
        }
    }
    Ok(is_gzip)
}

async fn render<P: Protocol>(State(refusals): State<Arc<RefusalTally>>, request: Request, next: Next) -> Response {
    let format = P::format(request.headers());
    let mut response = next.run(request).await;
    let rejected = response.extensions_mut().remove().and_then(|Rejected(error)| Arc::into_inner(error));
    if let Some(reason) = rejected.as_ref().and_then(IngestError::refusal) {
        refusals.count(reason, 1);
    }
    let response = rejected.map_or(response, |error| P::respond(error, format));
    metrics::requests(P::TRANSPORT, P::result(&response));
    response
}

async fn check(State(limiter): State<Arc<Limiter>>, mut request: Request, next: Next) -> Response {
    match limiter.check(&request, LimitScope::Items) {
        Ok(permit) => {
            request.extensions_mut().insert(permit);
            next.run(request).await
        }
        Err(error) => reject(error.into()),
    }
}

async fn read<P: Protocol>(request: Request, next: Next) -> Response {
    let response = within_deadline(async {
        let (mut head, body) = request.into_parts();
        P::check_head(&head)?;
        let permit: Permit = head.extensions.get().cloned().ok_or(RateLimitError::Broken)?;
        let body = permit.read_body(body, P::MAX_BODY, |body| P::decompress(&mut head, body)).await?;
        // The handler has the last permit, so that an undecodable body is charged before its response is sent.
        drop(permit);
        Ok(next.run(Request::from_parts(head, Body::from(body))).await)
    });
    response.await.unwrap_or_else(reject)
}
