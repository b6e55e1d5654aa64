//! The layers in front of every ingest route, the same for each protocol.
//!
//! ```text
//! request ──▶ count responses ──▶ check limits ──▶ check the ingest token ──▶ read and decompress the body ──▶ handler
//! ```
//!
//! A rejected request counts as one, so the limits come before the token. A body is read only if the sender may
//! send. Behind the stack, a body is complete, plain, and no longer than its protocol allows.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::error::IngestError;
use crate::backend::auth::AuthError;
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{LimitScope, Limiter, Permit, RateLimitError, within_deadline};
use crate::backend::store::{Batch, Store};

/// The protocol-specific parts of the ingest stack.
pub(super) trait Protocol: 'static {
    /// The label of its metrics.
    const TRANSPORT: Transport;

    /// The largest body in bytes, before decompression.
    const MAX_BODY: usize;

    /// Checks the head of a request, before its body is decompressed.
    fn check_head(head: &Parts) -> Result<(), IngestError>;

    /// Decompresses a body, and removes its encoding from the head.
    fn decompress(head: &mut Parts, body: Bytes) -> Result<Bytes, IngestError>;

    /// Renders an error.
    fn respond(error: IngestError) -> Response;

    /// Returns the result of a request for the metrics: one of a few status codes.
    fn result(response: &Response) -> String;
}

/// Returns `routes` behind the layers. `auth` adds the one that checks the ingest token.
pub(super) fn layers<P: Protocol>(
    routes: Router,
    limiter: Arc<Limiter>,
    auth: impl FnOnce(Router, fn(AuthError) -> Response) -> Router,
) -> Router {
    let routes = routes.layer(from_fn(read::<P>));
    auth(routes, |error| P::respond(error.into()))
        .layer(from_fn_with_state(limiter, check::<P>))
        .layer(map_response(count::<P>))
}

/// Charges for a request of `items` items, and stores its accepted `records`. Returns after the commit.
pub(super) async fn write(store: &dyn Store, permit: Permit, items: usize, records: Batch) -> Result<(), IngestError> {
    let (snapshots, events) = (records.snapshots.len(), records.events.len());
    let installations = records.snapshots.iter().map(|snapshot| snapshot.installation);
    permit.charge(items, snapshots + events, installations).map_err(RateLimitError::from)?;
    if records.is_empty() {
        return Ok(());
    }
    store.write(records).await?;
    metrics::records_accepted(snapshots, events);
    Ok(())
}

/// Decompresses gzip into at most `max` bytes. Nothing beyond is decompressed, so that a bomb costs no more than a message.
pub(super) fn gunzip(compressed: &[u8], max: usize) -> Result<Vec<u8>, IngestError> {
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(compressed).take(max as u64 + 1);
    decoder.read_to_end(&mut plain).map_err(|_| IngestError::Encoding)?;
    if plain.len() > max { Err(IngestError::TooLargeDecompressed(max)) } else { Ok(plain) }
}

/// Returns the media type of a body, without parameters; empty if there is none.
pub(super) fn media_type(head: &Parts) -> &str {
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split_once(';').map_or(content_type, |(media_type, _)| media_type).trim()
}

async fn count<P: Protocol>(response: Response) -> Response {
    metrics::requests(P::TRANSPORT, P::result(&response));
    response
}

async fn check<P: Protocol>(State(limiter): State<Arc<Limiter>>, mut request: Request, next: Next) -> Response {
    match limiter.check(&request, LimitScope::Items) {
        Ok(permit) => {
            request.extensions_mut().insert(permit);
            next.run(request).await
        }
        Err(error) => P::respond(error.into()),
    }
}

async fn read<P: Protocol>(request: Request, next: Next) -> Response {
    let response = within_deadline(async {
        let (mut head, body) = request.into_parts();
        let head_check = P::check_head(&head);
        let permit: Permit = head.extensions.get().cloned().ok_or(RateLimitError::Broken)?;
        let decompress = |body| if head_check.is_ok() { P::decompress(&mut head, body) } else { Ok(body) };
        let body = permit.read_body(body, P::MAX_BODY, decompress).await?;
        // The body is read first, so that the sender gets the response rather than a reset connection.
        head_check?;
        // The handler has the last permit, so that an undecodable body is charged before its response is sent.
        drop(permit);
        Ok(next.run(Request::from_parts(head, Body::from(body))).await)
    });
    response.await.unwrap_or_else(P::respond)
}
