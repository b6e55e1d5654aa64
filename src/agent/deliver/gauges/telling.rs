//! An exporter that can be told to stop, and remembers why it failed: a flush of the SDK's blocks, and only says that it
//! did.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
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
pub(super) struct Telling<E> {
    pub(super) exporter: E,
    pub(super) why: Why,
    /// From here on nothing is sent, not even what is under way.
    pub(super) ended: CancellationToken,
}

impl<E: PushMetricExporter> PushMetricExporter for Telling<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let ended = pin!(self.ended.cancelled());
        let export = pin!(self.exporter.export(metrics));
        let result = match select(ended, export).await {
            Either::Left(_) => Err(OTelSdkError::AlreadyShutdown),
            Either::Right((result, _)) => result,
        };
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = result.as_ref().err().map(ToString::to_string);
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
