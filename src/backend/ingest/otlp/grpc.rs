//! OTLP over gRPC.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{Ingester, Logs, MALFORMED, MAX_MESSAGE, Metrics, OtlpSignal, status};
use crate::backend::auth::IngestTokens;
use crate::backend::ingest::error::IngestError;
use crate::backend::ingest::stack::{self, OuterLayers, Protocol, gunzip, is_gzip, media_type};
use crate::backend::metrics::Transport;
use crate::backend::rate_limit::{Decompressed, LimitScope, Limiter, RateLimitLayer};
use crate::process::grpc_code::result_label;

/// The bytes before a message: a flag for compression, and the length in four bytes.
const FRAME: usize = 5;

/// The largest body of a health check in bytes: the name of a service.
const MAX_HEALTH_BODY: usize = 1024;

const GRPC_ENCODING: &str = "grpc-encoding";
const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";

/// The media types of gRPC with messages in protobuf.
const MEDIA_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

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
    let outer = OuterLayers { limiter: Arc::clone(&limiter), refusals: ingester.refusals() };
    let services = Services(ingester);
    // Bodies are plain by then.
    let metrics = MetricsServiceServer::new(services.clone()).max_decoding_message_size(MAX_MESSAGE);
    let logs = LogsServiceServer::new(services).max_decoding_message_size(MAX_MESSAGE);
    let services = Routes::new(metrics).add_service(logs).into_axum_router().reset_fallback();
    let services = services.layer(map_response(replace_internal));
    let services =
        stack::layers::<GrpcProtocol>(services, outer.clone(), |routes, respond| tokens.layer(routes, respond));
    let unrouted = Router::new().fallback(async || stack::reject(IngestError::Unrouted));
    let unrouted = stack::outer_layers::<GrpcProtocol>(unrouted, outer);
    let health = Routes::new(health).into_axum_router().reset_fallback();
    let health_limits = RateLimitLayer {
        limiter,
        scope: LimitScope::Nothing,
        max_body: MAX_HEALTH_BODY,
        respond: |error| GrpcProtocol::respond(error.into(), ()),
    };
    services.merge(health_limits.layer(health)).merge(unrouted)
}

impl Protocol for GrpcProtocol {
    const TRANSPORT: Transport = Transport::Grpc;
    const MAX_BODY: usize = FRAME + MAX_MESSAGE;

    type Format = ();

    fn format(_: &HeaderMap) {}

    fn check_head(head: &Parts) -> Result<(), IngestError> {
        if !MEDIA_TYPES.iter().any(|expected| media_type(&head.headers).eq_ignore_ascii_case(expected)) {
            return Err(IngestError::UnsupportedType(MEDIA_TYPES[0]));
        }
        let service = head.uri.path().strip_prefix('/').and_then(|path| path.strip_suffix("/Export"));
        if head.method != Method::POST || ![Some(METRICS), Some(LOGS)].contains(&service) {
            return Err(IngestError::Unrouted);
        }
        is_gzip(&head.headers, GRPC_ENCODING).map(drop)
    }

    /// Decompresses the one message of a call. tonic would decode further messages too, each of which may be as large.
    fn decompress(head: &mut Parts, body: Bytes) -> Decompressed<IngestError> {
        let is_gzip = match is_gzip(&head.headers, GRPC_ENCODING) {
            Ok(is_gzip) => is_gzip,
            Err(error) => return Decompressed::failed(error),
        };
        head.headers.remove(GRPC_ENCODING);
        let Some(([flag, length @ ..], message)) = body.split_first_chunk::<FRAME>() else {
            return Decompressed::plain(body);
        };
        // One message, and all of it: one that was cut is not repaired by decompressing what is there.
        if usize::try_from(u32::from_be_bytes(*length)) != Ok(message.len()) {
            return Decompressed::failed(MALFORMED);
        }
        match flag {
            0 => Decompressed::plain(body),
            1 if is_gzip => {
                let Decompressed { body, bytes } = gunzip(message, MAX_MESSAGE);
                Decompressed { body: body.map(|plain| frame(&plain)), bytes }
            }
            _ => Decompressed::failed(MALFORMED),
        }
    }

    fn respond(error: IngestError, (): ()) -> Response {
        let mut response = status(&error).into_http();
        match error {
            // The status that gRPC's specification gives to a client that does not speak gRPC.
            IngestError::UnsupportedType(_) => *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE,
            IngestError::UnsupportedEncoding => {
                response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("gzip,identity"));
            }
            _ => {}
        }
        response
    }

    /// Returns `success`, or the code in lower snake case.
    fn result(response: &Response) -> String {
        result_label(code(response)).to_owned()
    }
}

/// Returns the frame of a plain message.
fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Replaces tonic's `INTERNAL` for an undecodable message with `INVALID_ARGUMENT` and a short text, as over HTTP. tonic's
/// text is as long as the message is deep. Nothing else of these services is `INTERNAL`.
async fn replace_internal(response: Response) -> Response {
    match code(&response) {
        Code::Internal => stack::reject(MALFORMED),
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
        self.ingest::<Metrics>(request).await
    }
}

#[tonic::async_trait]
impl LogsService for Services {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.ingest::<Logs>(request).await
    }
}

impl Services {
    async fn ingest<S: OtlpSignal>(
        &self,
        mut request: Request<S::Request>,
    ) -> Result<tonic::Response<S::Response>, Status> {
        let permit = request.extensions_mut().remove();
        let permit = permit.ok_or_else(|| Status::internal("the request has no permit of the rate limit"))?;
        let result = self.0.ingest::<S>(request.into_inner(), permit).await;
        result.map(|rejected| tonic::Response::new(S::response(rejected))).map_err(|error| status(&error))
    }
}
