//! OTLP over gRPC.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
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

use super::{Ingester, MALFORMED, MAX_MESSAGE, status};
use crate::backend::auth::IngestTokens;
use crate::backend::ingest::error::IngestError;
use crate::backend::ingest::stack::{self, Protocol, gunzip};
use crate::backend::metrics::Transport;
use crate::backend::rate_limit::{LimitScope, Limiter, Permit, RateLimitLayer};
use crate::process::grpc_code::result_label;

/// The bytes before a message: a flag for compression, and the length in four bytes.
const FRAME: usize = 5;

/// The largest body of a health check in bytes: the name of a service.
const MAX_HEALTH_BODY: usize = 1024;

const GRPC_ENCODING: &str = "grpc-encoding";

/// The names of the two services in gRPC health.
pub(in crate::backend) const METRICS: &str = <MetricsServiceServer<Services> as NamedService>::NAME;
pub(in crate::backend) const LOGS: &str = <LogsServiceServer<Services> as NamedService>::NAME;

/// The services of both signals.
#[derive(Clone)]
pub(in crate::backend) struct Services(Arc<Ingester>);

/// OTLP over gRPC, for the ingest stack.
enum GrpcProtocol {}

/// Returns the routes of the services and of health.
pub(in crate::backend) fn routes(
    ingester: Arc<Ingester>,
    health: HealthServer<impl Health>,
    tokens: IngestTokens,
    limiter: Arc<Limiter>,
) -> Router {
    let services = Services(ingester);
    // Bodies are plain by then. Gzip is accepted here so that the response to any other encoding names it.
    let metrics = MetricsServiceServer::new(services.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let logs = LogsServiceServer::new(services)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    let services = Routes::new(metrics).add_service(logs).into_axum_router();
    let services = services.layer(map_response(replace_internal));
    let services =
        stack::layers::<GrpcProtocol>(services, Arc::clone(&limiter), |routes, respond| tokens.layer(routes, respond));
    let health = Routes::new(health).into_axum_router().reset_fallback();
    let health_limits = RateLimitLayer {
        limiter,
        scope: LimitScope::Nothing,
        max_body: MAX_HEALTH_BODY,
        respond: |error| GrpcProtocol::respond(error.into()),
    };
    services.merge(health_limits.layer(health))
}

impl Protocol for GrpcProtocol {
    const TRANSPORT: Transport = Transport::Grpc;
    const MAX_BODY: usize = FRAME + MAX_MESSAGE;

    /// Accepts every head: tonic rejects those that are not gRPC, or whose encoding it does not know.
    fn check_head(_: &Parts) -> Result<(), IngestError> {
        Ok(())
    }

    /// Decompresses the one message of a call. tonic would decode further messages too, each of which may be as large.
    fn decompress(head: &mut Parts, body: Bytes) -> Result<Bytes, IngestError> {
        let Some(([flag, length @ ..], message)) = body.split_first_chunk::<FRAME>() else { return Ok(body) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if message.len() > length {
            return Err(MALFORMED);
        }
        let is_gzip = head.headers.get(GRPC_ENCODING).is_some_and(|encoding| encoding == "gzip");
        if *flag != 1 || !is_gzip {
            return Ok(body);
        }
        // A frame that was cut is not repaired by decompressing what is there.
        if message.len() != length {
            return Err(MALFORMED);
        }
        let plain = gunzip(message, MAX_MESSAGE)?;
        head.headers.remove(GRPC_ENCODING);
        let mut frame = BytesMut::with_capacity(FRAME + plain.len());
        frame.put_u8(0);
        frame.put_u32(u32::try_from(plain.len()).unwrap_or(u32::MAX));
        frame.put_slice(&plain);
        Ok(frame.freeze())
    }

    fn respond(error: IngestError) -> Response {
        status(&error).into_http()
    }

    /// Returns `success`, or the code in lower snake case.
    fn result(response: &Response) -> String {
        result_label(code(response)).to_owned()
    }
}

/// Replaces tonic's `INTERNAL` for an undecodable message with `INVALID_ARGUMENT` and a short text, as over HTTP. tonic's
/// text is as long as the message is deep. Nothing else of these services is `INTERNAL`.
async fn replace_internal(response: Response) -> Response {
    match code(&response) {
        Code::Internal => GrpcProtocol::respond(MALFORMED),
        _ => response,
    }
}

/// Returns the code of a response. A call that failed has it in the head; one that succeeded, in the trailers.
fn code(response: &Response) -> Code {
    response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

#[tonic::async_trait]
impl MetricsService for Services {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        let (permit, request) = split(request)?;
        self.0.metrics(request, permit).await.map(tonic::Response::new).map_err(|error| status(&error))
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        let (permit, request) = split(request)?;
        self.0.logs(request, permit).await.map(tonic::Response::new).map_err(|error| status(&error))
    }
}

/// Splits a request into its permit and its message.
fn split<M>(mut request: Request<M>) -> Result<(Permit, M), Status> {
    let permit = request.extensions_mut().remove();
    let permit = permit.ok_or_else(|| Status::internal("the request has no permit of the rate limit"))?;
    Ok((permit, request.into_inner()))
}
