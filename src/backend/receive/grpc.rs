//! OTLP over gRPC.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
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

use super::{MALFORMED, MAX_MESSAGE, Receiver, refused_status};
use crate::backend::access::IngestTokens;
use crate::backend::accounts::{self, Transport};
use crate::backend::limit::{Admission, Bounds, Limiter, Refusal};

/// What precedes a message in a body: whether it is compressed, and its length.
const FRAME: usize = 5;

/// The name of a service.
const MAX_HEALTH: usize = 1024;

/// What gRPC health calls the two services.
pub(crate) const METRICS: &str = <MetricsServiceServer<Services> as NamedService>::NAME;
pub(crate) const LOGS: &str = <LogsServiceServer<Services> as NamedService>::NAME;

/// The services of both signals.
#[derive(Clone)]
pub(crate) struct Services(Arc<Receiver>);

/// The routes of the services and of health. Who has none of `tokens` is refused before a message is decoded.
pub(crate) fn routes(
    receiver: Arc<Receiver>,
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
    let ingest = Bounds { limiter, most: FRAME + MAX_MESSAGE, reads: true, answer: refused };
    let health_bounds = Bounds { most: MAX_HEALTH, reads: false, ..ingest.clone() };
    let services = Routes::new(metrics).add_service(logs).into_axum_router();
    let health = Routes::new(health).into_axum_router().reset_fallback();
    let services = services.layer(map_response(blame_the_sender));
    tokens.before(ingest.before(services)).layer(map_response(count)).merge(health_bounds.before(health))
}

fn refused(refusal: Refusal) -> Response {
    refused_status(refusal).into_http()
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
    accounts::answered(Transport::Grpc, format!("{:?}", code(&response)));
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
fn open<M>(mut request: Request<M>) -> Result<(Admission, M), Status> {
    let admission = request.extensions_mut().remove();
    let admission = admission.ok_or_else(|| Status::internal("the request was not let in"))?;
    Ok((admission, request.into_inner()))
}
