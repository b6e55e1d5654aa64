//! An exporter that captures the request instead of sending it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use crate::process::lock::lock;

/// The last exported request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capture(Arc<Mutex<ExportMetricsServiceRequest>>);

impl Capture {
    /// Returns the last request, or an empty one if there was none.
    pub(crate) fn take(&self) -> ExportMetricsServiceRequest {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl PushMetricExporter for Capture {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        *lock(&self.0) = metrics.into();
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::default()
    }
}
