//! OTLP over HTTP: binary protobuf, plain or gzip.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_http::decompression::RequestDecompressionLayer;

use super::{Ingester, MALFORMED, MAX_MESSAGE, refused_status, too_large};
use crate::backend::auth::{AuthError, AuthLayer};
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{LimitScope, Limiter, Permit, RateLimitError, RateLimitLayer};

/// The one encoding of OTLP that is accepted, and answered in.
const PROTOBUF: &str = "application/x-protobuf";

/// An error of OTLP over HTTP: a status code, and a `google.rpc.Status` as the body.
struct OtlpHttpError {
    code: StatusCode,
    status: Status,
}

/// `POST /v1/metrics` and `POST /v1/logs`. TokenRef may not send is refused before anything is read.
pub(crate) fn routes(receiver: Arc<Ingester>, guard: &Arc<AuthLayer>, limiter: Arc<Limiter>) -> Router {
    // The limit is on what comes out of the decompression, which reads no further: a bomb costs what it may hold.
    // Other encodings pass through it, so that the handler can answer as OTLP wants.
    let routes = Router::new()
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .with_state(receiver);
    let bounds = RateLimitLayer { limiter, most: MAX_MESSAGE, asks: LimitScope::Rows, answer: refused };
    bounds.clone().count(guard.layer(bounds.read(routes), unauthenticated)).layer(map_response(count))
}

fn refused(refusal: RateLimitError) -> Response {
    let code = match refusal {
        // Senders drop what is answered 408, and try again after this.
        RateLimitError::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
        refusal => refusal.code(),
    };
    OtlpHttpError { code, status: refused_status(refusal) }.into_response()
}

/// Returns the answer to a sender without a valid token, of whose request nothing was read.
fn unauthenticated(error: AuthError) -> Response {
    if !matches!(error, AuthError::SenderTokenRequired) {
        return error.into_response();
    }
    let status = Status::unauthenticated(error.to_string());
    let mut response = OtlpHttpError { code: StatusCode::UNAUTHORIZED, status }.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

async fn count(response: Response) -> Response {
    metrics::answered(Transport::Http, response.status().as_str().to_owned());
    response
}

async fn metrics(
    State(receiver): State<Arc<Ingester>>,
    Extension(admission): Extension<Permit>,
    request: Request,
) -> Result<Response, OtlpHttpError> {
    let request = read(request, &admission).await?;
    Ok(protobuf(StatusCode::OK, receiver.metrics(request, admission).await?.encode_to_vec()))
}

async fn logs(
    State(receiver): State<Arc<Ingester>>,
    Extension(admission): Extension<Permit>,
    request: Request,
) -> Result<Response, OtlpHttpError> {
    let request = read(request, &admission).await?;
    Ok(protobuf(StatusCode::OK, receiver.logs(request, admission).await?.encode_to_vec()))
}

/// Reads a message whose headers are right.
async fn read<M: Message + Default>(request: Request, admission: &Permit) -> Result<M, OtlpHttpError> {
    check_headers(request.headers())?;
    let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
        // How far it was unpacked is not known.
        admission.weigh(MAX_MESSAGE);
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => OtlpHttpError::new(StatusCode::PAYLOAD_TOO_LARGE, too_large()),
            _ => OtlpHttpError::new(
                StatusCode::BAD_REQUEST,
                "the body cannot be read: expected it whole, and its encoding sound",
            ),
        }
    })?;
    admission.weigh(body.len());
    let malformed = |_| OtlpHttpError::new(StatusCode::BAD_REQUEST, MALFORMED);
    M::decode(body).map_err(malformed)
}

fn check_headers(headers: &HeaderMap) -> Result<(), OtlpHttpError> {
    let unsupported = |expected: &str| Err(OtlpHttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected));
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, _) = sent.split_once(';').unwrap_or((sent, ""));
    if !media_type.trim().eq_ignore_ascii_case(PROTOBUF) {
        return unsupported("unsupported content type: expected application/x-protobuf");
    }
    // What was decompressed no longer says that it was compressed.
    if headers.contains_key(CONTENT_ENCODING) {
        return unsupported("unsupported content encoding: expected gzip or none");
    }
    Ok(())
}

impl OtlpHttpError {
    /// A request that can't be read; sending it again would not help.
    fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, status: Status::invalid_argument(message) }
    }
}

impl From<Status> for OtlpHttpError {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { code, status }
    }
}

impl IntoResponse for OtlpHttpError {
    fn into_response(self) -> Response {
        let Self { code, status } = self;
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let mut response = protobuf(code, rpc_status(&status));
        if let Some(delay) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, delay.as_secs().into());
        }
        response
    }
}

/// The `google.rpc.Status` of a gRPC status, which carries one itself where it has details.
fn rpc_status(status: &Status) -> Vec<u8> {
    if !status.details().is_empty() {
        return status.details().to_vec();
    }
    let message = status.message().to_owned();
    tonic_types::pb::Status { code: status.code().into(), message, details: Vec::new() }.encode_to_vec()
}

fn protobuf(code: StatusCode, body: Vec<u8>) -> Response {
    (code, [(CONTENT_TYPE, PROTOBUF)], body).into_response()
}
