//! The exporter of the SDK's metrics over the connection that both signals share. It does not retry, because a later attempt
//! has fresh counts.

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use tonic::codec::CompressionEncoding;

use super::connection::{CollectorChannel, CurrentConnection};
use crate::process::log_throttle::LogThrottle;

/// An exporter over OTLP/gRPC.
pub struct OtlpMetricExporter {
    connection: CurrentConnection,
    rejected_throttle: LogThrottle,
}

impl OtlpMetricExporter {
    /// Creates an exporter over `connection`, which sends nothing yet.
    pub fn new(connection: &CollectorChannel) -> Self {
        Self { connection: connection.current(), rejected_throttle: LogThrottle::hourly() }
    }
}

impl PushMetricExporter for OtlpMetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let connection = self.connection.get();
        let (gzip, diagnosis) = (connection.gzip, connection.diagnosis());
        let mut client = MetricsServiceClient::new(connection.into_service());
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        let answer = client.export(ExportMetricsServiceRequest::from(metrics)).await;
        let response = answer.map_err(|status| {
            OTelSdkError::InternalFailure(format!("{:?}: {}", status.code(), diagnosis.describe(&status)))
        })?;
        let partial = response.into_inner().partial_success;
        if let Some(partial) = partial.filter(|partial| partial.rejected_data_points > 0) {
            let (rejected, error) = (partial.rejected_data_points, diagnosis.message(&partial.error_message));
            self.rejected_throttle.failed(|_| {
                tracing::warn!(rejected, error, "the collector rejected some data points of the gauges");
            });
        }
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

impl fmt::Debug for OtlpMetricExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtlpMetricExporter")
    }
}
