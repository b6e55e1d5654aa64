//! OTLP over gRPC.

use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt;
use futures::future::MapOk;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Context, Poll, Service};
use tonic::server::NamedService;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{MAX_MESSAGE, Receiver};
use crate::backend::access::IngestTokens;
use crate::backend::accounts::{self, Transport};

/// An agent has one call a signal under way; this is room for a gateway in front of many, and bounds the messages that
/// one connection can have under way to 16 MiB.
const MAX_STREAMS: u32 = 32;

/// How often a silent connection is asked whether it is still there, so that peers that vanished are let go.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// What gRPC health calls the two services.
pub(crate) const METRICS: &str = <MetricsServiceServer<Services> as NamedService>::NAME;
pub(crate) const LOGS: &str = <LogsServiceServer<Services> as NamedService>::NAME;

/// The services of both signals.
#[derive(Clone)]
pub(crate) struct Services(Arc<Receiver>);

/// A service whose answers are counted, those that its handler never sees included.
#[derive(Clone)]
struct Counted<S>(S);

/// Serves until `shutdown`, and finishes what is under way. Who has none of `tokens` is refused before a message is
/// decoded.
pub(crate) async fn serve(
    listener: TcpListener,
    receiver: Arc<Receiver>,
    tokens: IngestTokens,
    health: HealthServer<impl Health>,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let services = Services(receiver);
    let metrics = MetricsServiceServer::new(services.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let logs = LogsServiceServer::new(services)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    // Without TCP_NODELAY an answer waits up to 40 ms for the peer's delayed acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(Counted(InterceptedService::new(metrics, tokens.clone())))
        .add_service(Counted(InterceptedService::new(logs, tokens)))
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
}

impl<S: NamedService> NamedService for Counted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B, R> Service<http::Request<B>> for Counted<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(S::Response) -> S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.0.call(request).map_ok(count)
    }
}

/// A call that failed has its code in the head; one that succeeded, in the trailers.
fn count<R>(response: http::Response<R>) -> http::Response<R> {
    let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    accounts::answered(Transport::Grpc, format!("{code:?}"));
    response
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.0.metrics(request.get_ref()).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.0.logs(request.get_ref()).await.map(Response::new)
    }
}
