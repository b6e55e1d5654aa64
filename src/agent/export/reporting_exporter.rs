//! A metric exporter that can be cancelled and keeps its last error. A flush of the SDK blocks and reports only that it
//! failed.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{Either, select};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use tokio_util::sync::CancellationToken;

use crate::process::lock::lock;

/// The error of the last export, if it failed.
pub(super) type LastError = Arc<Mutex<Option<String>>>;

/// A wrapper around another exporter.
#[derive(Debug)]
pub(super) struct ReportingExporter<E> {
    pub(super) inner: E,
    pub(super) last_error: LastError,
    /// Stops a running export and all later ones.
    pub(super) cancellation: CancellationToken,
}

impl<E: PushMetricExporter> PushMetricExporter for ReportingExporter<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let cancelled = pin!(self.cancellation.cancelled());
        let export = pin!(self.inner.export(metrics));
        // Polls the cancellation first, so that nothing is sent once it is cancelled.
        let result = match select(cancelled, export).await {
            Either::Left(_) => Err(OTelSdkError::AlreadyShutdown),
            Either::Right((result, _)) => result,
        };
        *lock(&self.last_error) = result.as_ref().err().map(|error| match error {
            OTelSdkError::InternalFailure(reason) => reason.clone(),
            error => error.to_string(),
        });
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
