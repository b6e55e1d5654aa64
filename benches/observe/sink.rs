//! A collector that accepts everything and reports each request.

use std::sync::mpsc::{Receiver, Sender, channel};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use tokio::net::TcpListener;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// The kind of a received request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Gauges,
    Events,
}

/// Serves until the process ends. Returns the endpoint and the received requests.
pub(crate) fn start() -> anyhow::Result<(String, Receiver<Received>)> {
    let (sender, received) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let sink = Sink(sender);
    let gauges = MetricsServiceServer::new(sink.clone()).accept_compressed(CompressionEncoding::Gzip);
    let events = LogsServiceServer::new(sink).accept_compressed(CompressionEncoding::Gzip);
    let server = Server::builder().add_service(gauges).add_service(events);
    std::thread::spawn(move || runtime.block_on(server.serve_with_incoming(TcpIncoming::from(listener))));
    Ok((endpoint, received))
}

#[derive(Clone)]
struct Sink(Sender<Received>);

impl Sink {
    fn report(&self, received: Received) {
        // The receiver is dropped once the figures are complete.
        let _ = self.0.send(received);
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.report(Received::Gauges);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.report(Received::Events);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
