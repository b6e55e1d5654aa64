//! The JSON that Kamaji's built-in telemetry posts, until every installation has an agent.
//!
//! Its records are stored under a source of their own ([`Source::Kamaji`](crate::backend::store::Source::Kamaji)), and
//! an installation under its pseudonym. Kamaji's client reads nothing but the status, and never tries again.

#[cfg(test)]
mod fuzz;
mod payload;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use uuid::Uuid;

use super::error::IngestError;
use super::stack::{self, GuardedStore, OuterLayers, Protocol, media_type};
use crate::backend::auth::AuthLayer;
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{Decompressed, Limiter, Permit, RateLimitError};
use crate::backend::store::{Batch, PseudonymKey, WriteError};
pub(in crate::backend) use payload::ReceiveContext;
use payload::{Create, Delete, Payload, Stats, Update};

/// The largest body in bytes. The largest that Kamaji sends, `/stats` with the longest numbers and a version of 63
/// characters, which is the most that a label holds, has 700.
pub(in crate::backend) const MAX_BODY: usize = 4 * 1024;

/// A kind of payload, by the path that Kamaji posts it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum PayloadKind {
    Stats,
    Create,
    Update,
    Delete,
}

impl PayloadKind {
    /// Every kind.
    pub(in crate::backend) const ALL: [Self; 4] = [Self::Stats, Self::Create, Self::Update, Self::Delete];

    /// Returns the name of the path.
    pub(in crate::backend) const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Returns the records of a body, which are none if nothing changed; `None` if it is not one that the path takes.
    pub(in crate::backend) fn records(self, body: &[u8], context: &ReceiveContext<'_>) -> Option<Batch> {
        match self {
            Self::Stats => records::<Stats>(body, context),
            Self::Create => records::<Create>(body, context),
            Self::Update => records::<Update>(body, context),
            Self::Delete => records::<Delete>(body, context),
        }
    }
}

fn records<P: Payload>(body: &[u8], context: &ReceiveContext<'_>) -> Option<Batch> {
    // serde's own error would repeat what was sent.
    let payload: Option<P> = serde_json::from_slice(body).ok();
    payload.and_then(|payload| payload.into_records(context))
}

/// The JSON of Kamaji, for the ingest stack.
enum KamajiProtocol {}

/// The state of the handlers.
#[derive(Clone)]
struct KamajiReceiver {
    store: GuardedStore,
    key: PseudonymKey,
}

/// Returns the routes `POST /stats`, `/create`, `/update` and `/delete`. `key` makes the pseudonyms.
pub(in crate::backend) fn routes(
    store: GuardedStore,
    key: PseudonymKey,
    auth: &Arc<AuthLayer>,
    limiter: Arc<Limiter>,
) -> Router {
    let outer = OuterLayers { limiter, refusals: Arc::clone(store.refusals()) };
    let routes = Router::new()
        .route("/stats", post(receive::<Stats>))
        .route("/create", post(receive::<Create>))
        .route("/update", post(receive::<Update>))
        .route("/delete", post(receive::<Delete>))
        .with_state(KamajiReceiver { store, key });
    stack::layers::<KamajiProtocol>(routes, outer, |routes, respond| auth.layer(routes, respond))
}

impl Protocol for KamajiProtocol {
    const TRANSPORT: Transport = Transport::Kamaji;
    const MAX_BODY: usize = MAX_BODY;

    type Format = ();

    fn format(_: &HeaderMap) {}

    fn check_head(head: &Parts) -> Result<(), IngestError> {
        if media_type(&head.headers).eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(IngestError::UnsupportedType("application/json"))
    }

    /// Returns the body as it is: Kamaji's client sends plain bodies only.
    fn decompress(_: &mut Parts, body: Bytes) -> Decompressed<IngestError> {
        Decompressed::plain(body)
    }

    /// Renders an error in plain text.
    fn respond(error: IngestError, (): ()) -> Response {
        if let Some(reason) = reject_reason(&error) {
            metrics::records_rejected(reason, 1);
        }
        let retry_after = error.retry_after();
        let text = |code| (code, format!("{error}\n")).into_response();
        let mut response = match error {
            IngestError::Auth(error) => return error.into_response(),
            IngestError::RateLimit(RateLimitError::TooLarge(max)) => {
                let text = format!("the body is too large: expected at most {max} bytes\n");
                (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
            }
            IngestError::RateLimit(limit) => text(limit.code()),
            IngestError::Store(WriteError::Full | WriteError::TooManyNew) => text(StatusCode::TOO_MANY_REQUESTS),
            IngestError::Store(_) => text(StatusCode::SERVICE_UNAVAILABLE),
            IngestError::TooLargeDecompressed(_) => text(StatusCode::PAYLOAD_TOO_LARGE),
            IngestError::Unrouted
            | IngestError::UnsupportedType(_)
            | IngestError::UnsupportedEncoding
            | IngestError::Encoding
            | IngestError::Malformed(_)
            | IngestError::TooManyItems(_)
            | IngestError::Rejected(_) => text(StatusCode::BAD_REQUEST),
        };
        if let Some(wait) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }

    /// Returns the status code.
    fn result(response: &Response) -> String {
        response.status().as_str().to_owned()
    }
}

/// Returns the label under which a body is counted as rejected; `None` if the sender is not to blame.
const fn reject_reason(error: &IngestError) -> Option<&'static str> {
    match error {
        IngestError::UnsupportedType(_) => Some("content_type"),
        IngestError::RateLimit(RateLimitError::TooLarge(_)) | IngestError::TooLargeDecompressed(_) => Some("too_large"),
        IngestError::RateLimit(RateLimitError::Broken) | IngestError::UnsupportedEncoding | IngestError::Encoding => {
            Some("broken")
        }
        IngestError::Malformed(_) | IngestError::TooManyItems(_) | IngestError::Rejected(_) => Some("malformed"),
        IngestError::Unrouted | IngestError::RateLimit(_) | IngestError::Auth(_) | IngestError::Store(_) => None,
    }
}

/// Stores the records of a body, and responds after the commit.
async fn receive<P: Payload>(
    State(receiver): State<KamajiReceiver>,
    Extension(permit): Extension<Permit>,
    body: Bytes,
) -> Response {
    match store::<P>(&receiver, permit, &body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => stack::reject(error),
    }
}

async fn store<P: Payload>(receiver: &KamajiReceiver, permit: Permit, body: &[u8]) -> Result<(), IngestError> {
    let KamajiReceiver { store, key } = receiver;
    let now = store.now()?;
    let context = ReceiveContext { now, uid: Uuid::new_v4(), key };
    let records = records::<P>(body, &context).ok_or(IngestError::Malformed(P::EXPECTED))?;
    stack::write(store, now, permit, 1, records).await
}
