//! OTLP over gRPC.

use std::io::{self, Read};
use std::sync::Arc;

use axum::body::Body;
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use axum::{Extension, Router};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{Ingester, MALFORMED, MAX_MESSAGE, refused_status};
use crate::backend::auth::{AuthError, IngestTokens};
use crate::backend::metrics::{self, Transport};
use crate::backend::rate_limit::{LimitScope, Limiter, Permit, RateLimitError, RateLimitLayer};

/// What precedes a message in a body: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The name of a service.
const MAX_HEALTH: usize = 1024;

/// What gRPC health calls the two services.
pub(crate) const METRICS: &str = <MetricsServiceServer<Services> as NamedService>::NAME;
pub(crate) const LOGS: &str = <LogsServiceServer<Services> as NamedService>::NAME;

/// The services of both signals.
#[derive(Clone)]
pub(crate) struct Services(Arc<Ingester>);

/// The routes of the services and of health. TokenRef has none of `tokens` is refused before a message is decoded.
pub(crate) fn routes(
    receiver: Arc<Ingester>,
    health: HealthServer<impl Health>,
    tokens: IngestTokens,
    limiter: Arc<Limiter>,
) -> Router {
    let services = Services(receiver);
    let metrics = MetricsServiceServer::new(services.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let logs = LogsServiceServer::new(services)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let ingest = RateLimitLayer { limiter, most: FRAME + MAX_MESSAGE, asks: LimitScope::Rows, answer: refused };
    let health_bounds = RateLimitLayer { most: MAX_HEALTH, asks: LimitScope::Nothing, ..ingest.clone() };
    let services = Routes::new(metrics).add_service(logs).into_axum_router();
    let health = Routes::new(health).into_axum_router().reset_fallback();
    let services = services.layer(map_response(blame_the_sender)).layer(from_fn(weigh));
    let services = ingest.clone().count(tokens.layer(ingest.read(services), unauthenticated));
    services.layer(map_response(count)).merge(health_bounds.before(health))
}

fn refused(refusal: RateLimitError) -> Response {
    refused_status(refusal).into_http()
}

fn unauthenticated(error: AuthError) -> Response {
    Status::unauthenticated(error.to_string()).into_http()
}

/// Tells how long the message is once unpacked, which nobody can tell of one that is decoded. A call has one message;
/// others after it would be decoded as well, each of them as long as one may be.
async fn weigh(Extension(admission): Extension<Permit>, request: axum::extract::Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, FRAME + MAX_MESSAGE).await else {
        return Status::invalid_argument(MALFORMED).into_http();
    };
    if has_more_than_one(&body) {
        return Status::invalid_argument(MALFORMED).into_http();
    }
    admission.weigh(unpacked(&body));
    let mut request = axum::extract::Request::from_parts(head, Body::from(body));
    // The one that the service finds is to be the last.
    request.extensions_mut().insert(admission);
    next.run(request).await
}

fn has_more_than_one(body: &[u8]) -> bool {
    let Some(([_, length @ ..], message)) = body.split_first_chunk::<FRAME>() else { return false };
    usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|length| message.len() > length)
}

/// The length of the message in a body, as far as it may be unpacked.
fn unpacked(body: &[u8]) -> usize {
    let Some(([1, ..], message)) = body.split_first_chunk::<FRAME>() else { return body.len() };
    let mut unpacked = GzDecoder::new(message).take(MAX_MESSAGE as u64);
    let length = io::copy(&mut unpacked, &mut io::sink()).ok().and_then(|length| usize::try_from(length).ok());
    length.unwrap_or(MAX_MESSAGE)
}

/// A message that can't be unpacked or decoded is INTERNAL to tonic, with a text as long as the message is deep. It is
/// the sender's, and the same as over HTTP; nothing else of these services is INTERNAL.
async fn blame_the_sender(response: Response) -> Response {
    match code(&response) {
        Code::Internal => Status::invalid_argument(MALFORMED).into_http(),
        _ => response,
    }
}

/// A call that failed has its code in the head; one that succeeded, in the trailers.
async fn count(response: Response) -> Response {
    metrics::answered(Transport::Grpc, format!("{:?}", code(&response)));
    response
}

fn code(response: &Response) -> Code {
    response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let (admission, request) = open(request)?;
        self.0.metrics(request, admission).await.map(tonic::Response::new)
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let (admission, request) = open(request)?;
        self.0.logs(request, admission).await.map(tonic::Response::new)
    }
}

/// The message, and that it was let in.
fn open<M>(mut request: Request<M>) -> Result<(Permit, M), Status> {
    let admission = request.extensions_mut().remove();
    let admission = admission.ok_or_else(|| Status::internal("the request was not let in"))?;
    Ok((admission, request.into_inner()))
}
