//! An exporter that can be told to stop, and remembers why it failed: a flush of the SDK's blocks, and only says that it
//! did.

use crate::process::lock::lock;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use tokio_util::sync::CancellationToken;

/// Why the last export failed, if it did.
pub(super) type Why = Arc<Mutex<Option<String>>>;

/// An exporter around another.
#[derive(Debug)]
pub(super) struct ReportingExporter<E> {
    pub(super) exporter: E,
    pub(super) why: Why,
    /// From here on nothing is sent, not even what is under way.
    pub(super) ended: CancellationToken,
}

impl<E: PushMetricExporter> PushMetricExporter for ReportingExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let ended = pin!(self.ended.cancelled());
        let export = pin!(self.exporter.export(metrics));
        let result = match select(ended, export).await {
            Either::Left(_) => Err(OTelSdkError::AlreadyShutdown),
            Either::Right((result, _)) => result,
        };
        *lock(&self.why) = result.as_ref().err().map(ToString::to_string);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
