//! A collector that takes everything, and says that it came.

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

/// A request that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Gauges,
    Events,
}

/// Serves for as long as this process lives; gives the endpoint, and what comes.
pub(crate) fn start() -> anyhow::Result<(String, Receiver<Came>)> {
    let (sender, came) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let sink = Sink(sender);
    let gauges = MetricsServiceServer::new(sink.clone()).accept_compressed(CompressionEncoding::Gzip);
    let events = LogsServiceServer::new(sink).accept_compressed(CompressionEncoding::Gzip);
    let server = Server::builder().add_service(gauges).add_service(events);
    std::thread::spawn(move || runtime.block_on(server.serve_with_incoming(TcpIncoming::from(listener))));
    Ok((endpoint, came))
}

#[derive(Clone)]
struct Sink(Sender<Came>);

impl Sink {
    fn tell(&self, came: Came) {
        // Nobody listens any more when the figures are there.
        let _ = self.0.send(came);
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.tell(Came::Gauges);
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        _: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.tell(Came::Events);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
