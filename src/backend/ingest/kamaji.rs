//! Today's Kamaji comes in: the JSON that its built-in telemetry posts, until every installation has an agent.
//!
//! It is kept under a source of its own ([`Source::Kamaji`](crate::backend::store::Source::Kamaji)), and an installation by its
//! pseudonym. Its client reads nothing but the status, and never tries again.

#[cfg(test)]
mod fuzz;
mod payload;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use jiff::Timestamp;
use uuid::Uuid;

use crate::backend::auth;
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{LimitScope, Limiter, Permit, RateLimitError, RateLimitLayer};
use crate::backend::store::{PseudonymKey, Store, WriteError};
use payload::{Create, Delete, Payload, Received, Stats, Update};

/// The largest body. The largest that Kamaji sends, `/stats` with the longest numbers and a version of 63 characters,
/// which is the most that a label holds, has 700 bytes.
const MAX_BODY: usize = 4 * 1024;

/// What the handlers share.
#[derive(Clone)]
struct Legacy {
    store: Arc<dyn Store>,
    key: PseudonymKey,
}

/// Why a request was not kept. The texts say what was expected, and never what was sent.
#[derive(Debug, thiserror::Error)]
enum KamajiError {
    #[error("unsupported content type: expected application/json")]
    ContentType,
    #[error("the body is too large: expected at most {MAX_BODY} bytes")]
    TooLarge,
    #[error("the body cannot be read: expected it whole")]
    Broken,
    #[error("the body is not what is sent to this path: expected {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Limited(RateLimitError),
    #[error("nothing can be stored at the moment, try again later")]
    Store(#[from] WriteError),
}

/// `POST /stats`, `/create`, `/update` and `/delete`. `key` makes the pseudonyms. TokenRef may not send is refused before
/// anything is read.
pub(in crate::backend) fn routes(
    store: Arc<dyn Store>,
    key: PseudonymKey,
    guard: &Arc<auth::AuthLayer>,
    limiter: Arc<Limiter>,
) -> Router {
    let routes = Router::new()
        .route("/stats", post(receive::<Stats>))
        .route("/create", post(receive::<Create>))
        .route("/update", post(receive::<Update>))
        .route("/delete", post(receive::<Delete>))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Legacy { store, key });
    let bounds = RateLimitLayer { limiter, most: MAX_BODY, asks: LimitScope::Rows, answer: refused };
    bounds.clone().count(guard.layer(bounds.read(routes), IntoResponse::into_response)).layer(map_response(count))
}

fn refused(refusal: RateLimitError) -> Response {
    match refusal {
        RateLimitError::TooLarge(_) => KamajiError::TooLarge,
        RateLimitError::Broken => KamajiError::Broken,
        refusal => KamajiError::Limited(refusal),
    }
    .into_response()
}

async fn count(response: Response) -> Response {
    metrics::answered(Transport::Kamaji, response.status().as_str().to_owned());
    response
}

/// Answers after the commit.
async fn receive<P: Payload>(
    State(Legacy { store, key }): State<Legacy>,
    Extension(admission): Extension<Permit>,
    request: Request,
) -> Result<StatusCode, KamajiError> {
    let payload: P = read(request).await?;
    let received = Received { now: Timestamp::now(), uid: Uuid::new_v4(), key: &key };
    let batch = payload.admit(&received).ok_or(KamajiError::Malformed(P::EXPECTED))?;
    admission.charge(1);
    admission.done(&batch).map_err(|too_much| KamajiError::Limited(too_much.into()))?;
    let (snapshots, events) = (batch.snapshots.len(), batch.events.len());
    store.write(batch).await?;
    metrics::admitted(snapshots, events);
    Ok(StatusCode::OK)
}

async fn read<P: Payload>(request: Request) -> Result<P, KamajiError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(KamajiError::ContentType);
    }
    let body = Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => KamajiError::TooLarge,
        _ => KamajiError::Broken,
    })?;
    // What exactly is wrong would be told in the words of the sender.
    serde_json::from_slice(&body).map_err(|_| KamajiError::Malformed(P::EXPECTED))
}

impl KamajiError {
    /// A name for the metrics; `None` where the sender is not to blame.
    const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::ContentType => Some("content_type"),
            Self::TooLarge => Some("too_large"),
            Self::Broken => Some("broken"),
            Self::Malformed(_) => Some("malformed"),
            Self::Limited(_) | Self::Store(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited(refusal) => refusal.retry_after(),
            Self::Store(error) => Some(error.retry_after()),
            _ => None,
        }
    }
}

impl IntoResponse for KamajiError {
    fn into_response(self) -> Response {
        let code = match &self {
            Self::ContentType | Self::Broken | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Limited(refusal) => refusal.code(),
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        if let Some(reason) = self.reason() {
            metrics::rejected(reason, 1);
        }
        let mut response = (code, format!("{self}\n")).into_response();
        if let Some(wait) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}
