//! OTLP over HTTP: binary protobuf or JSON, plain or gzip.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt;

use super::{Ingester, Logs, MALFORMED, MAX_MESSAGE, Metrics, OtlpSignal, status};
use crate::backend::auth::{AuthError, AuthLayer};
use crate::backend::ingest::error::IngestError;
use crate::backend::ingest::json;
use crate::backend::ingest::stack::{self, OuterLayers, Protocol, gunzip, is_gzip, media_type};
use crate::backend::metrics::Transport;
use crate::backend::rate_limit::{Decompressed, Limiter, Permit, RateLimitError};
use crate::backend::store::WriteError;

/// OTLP over HTTP, for the ingest stack.
enum HttpProtocol {}

/// The format of a request's body, and of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

/// Returns the routes `POST /v1/metrics` and `POST /v1/logs`. Every other path below `/v1` is answered with what is taken.
pub(in crate::backend) fn routes(ingester: Arc<Ingester>, auth: &Arc<AuthLayer>, limiter: Arc<Limiter>) -> Router {
    let refusals = ingester.refusals();
    let routes = Router::new()
        .route("/v1/metrics", post(export::<Metrics>))
        .route("/v1/logs", post(export::<Logs>))
        .with_state(ingester);
    let outer = OuterLayers { limiter, refusals };
    let routes = stack::layers::<HttpProtocol>(routes, outer.clone(), |routes, respond| auth.layer(routes, respond));
    let unrouted = Router::new().route("/v1/{*path}", any(async || stack::reject(IngestError::Unrouted)));
    routes.merge(stack::outer_layers::<HttpProtocol>(unrouted, outer))
}

impl Protocol for HttpProtocol {
    const TRANSPORT: Transport = Transport::Http;
    const MAX_BODY: usize = MAX_MESSAGE;

    type Format = Format;

    /// Returns the format, which is protobuf unless the media type is that of JSON.
    fn format(headers: &HeaderMap) -> Format {
        let is_json = media_type(headers).eq_ignore_ascii_case(Format::Json.media_type());
        if is_json { Format::Json } else { Format::Protobuf }
    }

    fn check_head(head: &Parts) -> Result<(), IngestError> {
        if !media_type(&head.headers).eq_ignore_ascii_case(Self::format(&head.headers).media_type()) {
            return Err(IngestError::UnsupportedType("application/x-protobuf or application/json"));
        }
        is_gzip(&head.headers, CONTENT_ENCODING.as_str()).map(drop)
    }

    fn decompress(head: &mut Parts, body: Bytes) -> Decompressed<IngestError> {
        match is_gzip(&head.headers, CONTENT_ENCODING.as_str()) {
            Ok(false) => Decompressed::plain(body),
            Ok(true) => gunzip(&body, MAX_MESSAGE),
            Err(error) => Decompressed::failed(error),
        }
    }

    /// Renders an error as a status code and a `google.rpc.Status` in the body.
    fn respond(error: IngestError, format: Format) -> Response {
        let code = match &error {
            IngestError::Unrouted => StatusCode::NOT_FOUND,
            IngestError::Auth(error) => error.status(),
            // Senders drop a request that gets a 408, and try again after 503.
            IngestError::Store(WriteError::Full | WriteError::TooManyNew) => StatusCode::TOO_MANY_REQUESTS,
            IngestError::RateLimit(RateLimitError::TooSlow) | IngestError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            IngestError::RateLimit(limit) => limit.code(),
            IngestError::UnsupportedType(_) | IngestError::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IngestError::TooLargeDecompressed(_) => StatusCode::PAYLOAD_TOO_LARGE,
            IngestError::Encoding
            | IngestError::Malformed(_)
            | IngestError::TooManyItems(_)
            | IngestError::Rejected(_) => StatusCode::BAD_REQUEST,
        };
        let status = status(&error);
        let mut response = format.response(code, || rpc_status(&status), || rpc_status_json(&status));
        let retry_after = error.retry_after().map(|wait| (RETRY_AFTER, HeaderValue::from(wait.as_secs())));
        let other = match error {
            IngestError::Auth(AuthError::SenderTokenRequired) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            IngestError::Auth(AuthError::MethodNotAllowed(allowed)) => {
                HeaderValue::try_from(allowed).ok().map(|allowed| (ALLOW, allowed))
            }
            IngestError::UnsupportedEncoding => Some((ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"))),
            _ => None,
        };
        response.headers_mut().extend(retry_after.into_iter().chain(other));
        response
    }

    /// Returns the status code.
    fn result(response: &Response) -> String {
        response.status().as_str().to_owned()
    }
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    fn decode<S: OtlpSignal>(self, body: &Bytes) -> Result<S::Request, IngestError> {
        match self {
            Self::Protobuf => S::Request::decode(body.as_ref()).map_err(|_| MALFORMED),
            Self::Json => json::decode(body).map_err(|_| MALFORMED),
        }
    }

    fn response(self, code: StatusCode, protobuf: impl FnOnce() -> Vec<u8>, json: impl FnOnce() -> Value) -> Response {
        let body = match self {
            Self::Protobuf => protobuf(),
            Self::Json => json().to_string().into_bytes(),
        };
        (code, [(CONTENT_TYPE, self.media_type())], body).into_response()
    }
}

async fn export<S: OtlpSignal + 'static>(
    State(ingester): State<Arc<Ingester>>,
    Extension(permit): Extension<Permit>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let format = HttpProtocol::format(&headers);
    let result = async { ingester.ingest::<S>(format.decode::<S>(&body)?, permit).await };
    match result.await {
        Ok(partial_success) => {
            let json = response_json::<S>(partial_success.as_ref());
            format.response(StatusCode::OK, || S::response(partial_success).encode_to_vec(), || json)
        }
        Err(error) => stack::reject(error),
    }
}

/// Returns the response to an export as JSON, in which integers of 64 bits are text.
fn response_json<S: OtlpSignal>(partial_success: Option<&(i64, String)>) -> Value {
    partial_success.map_or_else(
        || json!({}),
        |(rejected, message)| json!({"partialSuccess": {S::REJECTED: rejected.to_string(), "errorMessage": message}}),
    )
}

/// Returns the `google.rpc.Status` of a gRPC status, which carries one itself where it has details.
fn rpc_status(status: &Status) -> Vec<u8> {
    if !status.details().is_empty() {
        return status.details().to_vec();
    }
    let message = status.message().to_owned();
    tonic_types::pb::Status { code: status.code().into(), message, details: Vec::new() }.encode_to_vec()
}

/// Returns the `google.rpc.Status` of a gRPC status as JSON.
fn rpc_status_json(status: &Status) -> Value {
    let retry_info = status.get_details_retry_info().and_then(|info| info.retry_delay).map(|delay| {
        let delay = format!("{}s", delay.as_secs());
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    });
    let bad_request = status.get_details_bad_request().map(|details| {
        let violation = |violation: tonic_types::FieldViolation| json!({"description": violation.description});
        let violations: Vec<_> = details.field_violations.into_iter().map(violation).collect();
        json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    });
    let details: Vec<_> = retry_info.into_iter().chain(bad_request).collect();
    json!({"code": i32::from(status.code()), "message": status.message(), "details": details})
}
