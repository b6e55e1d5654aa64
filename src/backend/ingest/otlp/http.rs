//! OTLP over HTTP: binary protobuf, plain or gzip.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use prost::Message;
use tonic::Status;

use super::{Ingester, MALFORMED, MAX_MESSAGE, status};
use crate::backend::auth::{AuthError, AuthLayer};
use crate::backend::ingest::error::IngestError;
use crate::backend::ingest::stack::{self, Protocol, gunzip, media_type};
use crate::backend::metrics::Transport;
use crate::backend::rate_limit::{Limiter, Permit, RateLimitError};

/// The one media type of OTLP that is accepted, and the one of responses.
const PROTOBUF: &str = "application/x-protobuf";

/// OTLP over HTTP, for the ingest stack.
enum HttpProtocol {}

/// Returns the routes `POST /v1/metrics` and `POST /v1/logs`.
pub(in crate::backend) fn routes(ingester: Arc<Ingester>, auth: &Arc<AuthLayer>, limiter: Arc<Limiter>) -> Router {
    let routes = Router::new().route("/v1/metrics", post(metrics)).route("/v1/logs", post(logs)).with_state(ingester);
    stack::layers::<HttpProtocol>(routes, limiter, |routes, respond| auth.layer(routes, respond))
}

impl Protocol for HttpProtocol {
    const TRANSPORT: Transport = Transport::Http;
    const MAX_BODY: usize = MAX_MESSAGE;

    fn check_head(head: &Parts) -> Result<(), IngestError> {
        if !media_type(head).eq_ignore_ascii_case(PROTOBUF) {
            return Err(IngestError::Unsupported("unsupported content type: expected application/x-protobuf"));
        }
        match head.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "gzip" => {
                Err(IngestError::Unsupported("unsupported content encoding: expected gzip or none"))
            }
            _ => Ok(()),
        }
    }

    fn decompress(head: &mut Parts, body: Bytes) -> Result<Bytes, IngestError> {
        match head.headers.remove(CONTENT_ENCODING) {
            Some(_) => Ok(gunzip(&body, MAX_MESSAGE)?.into()),
            None => Ok(body),
        }
    }

    /// Renders an error as a status code and a `google.rpc.Status` in the body.
    fn respond(error: IngestError) -> Response {
        let error = match error {
            // A method that the path does not have, which is no matter of OTLP.
            IngestError::Auth(error) if !matches!(error, AuthError::SenderTokenRequired) => {
                return error.into_response();
            }
            error => error,
        };
        let code = match &error {
            IngestError::Auth(_) => StatusCode::UNAUTHORIZED,
            // Senders drop a request that gets a 408, and try again after 503.
            IngestError::RateLimit(RateLimitError::TooSlow) | IngestError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            IngestError::RateLimit(limit) => limit.code(),
            IngestError::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IngestError::TooLargeDecompressed(_) => StatusCode::PAYLOAD_TOO_LARGE,
            IngestError::Encoding | IngestError::Malformed(_) | IngestError::Rejected(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = protobuf(code, rpc_status(&status(&error)));
        if let Some(wait) = error.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        if code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    /// Returns the status code.
    fn result(response: &Response) -> String {
        response.status().as_str().to_owned()
    }
}

async fn metrics(State(ingester): State<Arc<Ingester>>, Extension(permit): Extension<Permit>, body: Bytes) -> Response {
    into_response(async { ingester.metrics(decode(body)?, permit).await }).await
}

async fn logs(State(ingester): State<Arc<Ingester>>, Extension(permit): Extension<Permit>, body: Bytes) -> Response {
    into_response(async { ingester.logs(decode(body)?, permit).await }).await
}

fn decode<M: Message + Default>(body: Bytes) -> Result<M, IngestError> {
    M::decode(body).map_err(|_| MALFORMED)
}

async fn into_response<M: Message>(result: impl Future<Output = Result<M, IngestError>>) -> Response {
    match result.await {
        Ok(message) => protobuf(StatusCode::OK, message.encode_to_vec()),
        Err(error) => HttpProtocol::respond(error),
    }
}

/// Returns the `google.rpc.Status` of a gRPC status, which carries one itself where it has details.
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
