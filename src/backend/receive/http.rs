//! OTLP over HTTP: binary protobuf, plain or gzip.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower_http::decompression::RequestDecompressionLayer;

use super::{MALFORMED, MAX_MESSAGE, Receiver, refused_status, too_large};
use crate::backend::access;
use crate::backend::accounts::{self, Transport};
use crate::backend::limit::{Admission, Asks, Bounds, Limiter, Refusal};

/// The one encoding of OTLP that is accepted, and answered in.
const PROTOBUF: &str = "application/x-protobuf";

/// An error of OTLP over HTTP: a status code, and a `google.rpc.Status` as the body.
struct Failure {
    code: StatusCode,
    status: Status,
}

/// `POST /v1/metrics` and `POST /v1/logs`. Who may not send is refused before anything is read.
pub(crate) fn routes(receiver: Arc<Receiver>, guard: &Arc<access::Guard>, limiter: Arc<Limiter>) -> Router {
    // The limit is on what comes out of the decompression, which reads no further: a bomb costs what it may hold.
    // Other encodings pass through it, so that the handler can answer as OTLP wants.
    let routes = Router::new()
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .with_state(receiver);
    let bounds = Bounds { limiter, most: MAX_MESSAGE, asks: Asks::Rows, answer: refused };
    bounds.clone().count(guard.before(bounds.read(routes))).layer(map_response(count))
}

fn refused(refusal: Refusal) -> Response {
    let code = match refusal {
        // Senders drop what is answered 408, and try again after this.
        Refusal::TooSlow => StatusCode::SERVICE_UNAVAILABLE,
        refusal => refusal.code(),
    };
    Failure { code, status: refused_status(refusal) }.into_response()
}

/// The answer to who may not send, for which nothing was read.
pub(crate) fn unauthenticated(message: &str) -> Response {
    Failure { code: StatusCode::UNAUTHORIZED, status: Status::unauthenticated(message) }.into_response()
}

async fn count(response: Response) -> Response {
    accounts::answered(Transport::Http, response.status().as_str().to_owned());
    response
}

async fn metrics(
    State(receiver): State<Arc<Receiver>>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Response, Failure> {
    let request = read(request, &admission).await?;
    Ok(protobuf(StatusCode::OK, receiver.metrics(request, admission).await?.encode_to_vec()))
}

async fn logs(
    State(receiver): State<Arc<Receiver>>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Response, Failure> {
    let request = read(request, &admission).await?;
    Ok(protobuf(StatusCode::OK, receiver.logs(request, admission).await?.encode_to_vec()))
}

/// Reads a message whose headers are right.
async fn read<M: Message + Default>(request: Request, admission: &Admission) -> Result<M, Failure> {
    check_headers(request.headers())?;
    let body = Bytes::from_request(request, &()).await.map_err(|rejection| {
        // How far it was unpacked is not known.
        admission.weigh(MAX_MESSAGE);
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, too_large()),
            _ => Failure::new(
                StatusCode::BAD_REQUEST,
                "the body cannot be read: expected it whole, and its encoding sound",
            ),
        }
    })?;
    admission.weigh(body.len());
    let malformed = |_| Failure::new(StatusCode::BAD_REQUEST, MALFORMED);
    M::decode(body).map_err(malformed)
}

fn check_headers(headers: &HeaderMap) -> Result<(), Failure> {
    let unsupported = |expected: &str| Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, expected));
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

impl Failure {
    /// A request that can't be read; sending it again would not help.
    fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, status: Status::invalid_argument(message) }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { code, status }
    }
}

impl IntoResponse for Failure {
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
