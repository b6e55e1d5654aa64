//! The export of events: OpenTelemetry log records, delivered with acknowledgement.
//!
//! The records are made with the Logs API. The SDK's own processors drop a batch that can't be exported, and its
//! exporter hides the gRPC code. So a processor of our own captures the records, and the generated client sends them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::{InstrumentationScope, Key};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use uuid::Uuid;

use super::connection::{CollectorChannel, CurrentConnection};
use super::diagnosis::Diagnosis;
use super::health::ExportHealth;
use super::resource;
use super::retry::{RetryDecision, decide};
use crate::agent::backoff::Backoff;
use crate::agent::metrics::{self, Signal};
use crate::catalog::{AttributeValue, EventRecord, SERVICE_NAME};
use crate::process::grpc_code::result_label;
use crate::process::lock::lock;
use crate::process::log_throttle::LogThrottle;

/// The maximum number of records in a request. They take about 150 kB, a third of what the backend accepts.
pub const EXPORT_BATCH_LIMIT: usize = 500;
/// The wait before the first retry.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The maximum delay that a server may ask for with `RetryInfo`: an hour, which is what a maintenance takes.
pub(crate) const MAX_SERVER_DELAY: Duration = Duration::from_hours(1);

/// An encoder of events into OTLP requests.
pub struct RecordEncoder {
    logger: SdkLogger,
    resource: ResourceAttributesWithSchema,
    captured: CaptureProcessor,
    // Kept because the logger stops when its provider is dropped.
    _provider: SdkLoggerProvider,
}

/// An exporter that delivers batches of events, one at a time.
pub struct EventExporter {
    encoder: RecordEncoder,
    connection: CurrentConnection,
    /// Reset only by a success.
    backoff: Backoff,
    retry_max_interval: Duration,
    /// That of the connection of the last request.
    diagnosis: Diagnosis,
    export_health: Arc<ExportHealth>,
    rejected_throttle: LogThrottle,
}

/// The outcome of a delivery. Each event of the batch is in one of the two sets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// Events that the collector answered with OK.
    pub acknowledged: HashSet<Uuid>,
    /// Events that the collector rejected and that are dropped.
    pub rejected: HashSet<Uuid>,
}

impl DeliveryOutcome {
    /// Returns the uids of all events of the batch.
    pub fn uids(&self) -> HashSet<Uuid> {
        &self.acknowledged | &self.rejected
    }
}

/// A log processor that captures the records for the encoder.
#[derive(Debug, Clone, Default)]
struct CaptureProcessor(Arc<Mutex<Vec<(SdkLogRecord, InstrumentationScope)>>>);

impl LogProcessor for CaptureProcessor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        lock(&self.0).push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl RecordEncoder {
    /// Creates an encoder. Its resource does not identify the installation.
    pub fn new() -> Self {
        let captured = CaptureProcessor::default();
        let resource = resource(None);
        let provider =
            SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(captured.clone()).build();
        Self { logger: provider.logger(SERVICE_NAME), resource: (&resource).into(), captured, _provider: provider }
    }

    /// Encodes `events` into a request.
    pub fn request(&self, events: &[EventRecord]) -> ExportLogsServiceRequest {
        for event in events {
            self.emit(event);
        }
        let captured = std::mem::take(&mut *lock(&self.captured.0));
        let records: Vec<_> = captured.iter().map(|(record, scope)| (record, scope)).collect();
        let resource_logs = group_logs_by_resource_and_scope(&LogBatch::new(&records), &self.resource);
        ExportLogsServiceRequest { resource_logs }
    }

    fn emit(&self, event: &EventRecord) {
        let mut record = self.logger.create_log_record();
        record.set_event_name(event.event.kind().name);
        record.set_severity_number(Severity::Info);
        record.set_timestamp(SystemTime::from(event.time));
        for (attribute, value) in event.attributes() {
            let value = match value {
                AttributeValue::Text(text) => AnyValue::from(text),
                AttributeValue::Bool(value) => AnyValue::from(value),
            };
            record.add_attribute(Key::from_static_str(attribute.key), value);
        }
        self.logger.emit(record);
    }
}

impl Default for RecordEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl EventExporter {
    /// Creates an exporter over `connection`. It waits at most `retry_max_interval` between retries, unless the collector
    /// asks for more, and logs failures through `export_health`.
    pub fn new(connection: &CollectorChannel, retry_max_interval: Duration, export_health: Arc<ExportHealth>) -> Self {
        let connection = connection.current();
        Self {
            encoder: RecordEncoder::new(),
            diagnosis: connection.get().diagnosis(),
            connection,
            backoff: Backoff::new(BACKOFF_MIN, retry_max_interval),
            retry_max_interval,
            export_health,
            rejected_throttle: LogThrottle::hourly(),
        }
    }

    /// Sends a batch until each event is acknowledged or rejected, however long that takes. A rejected batch is bisected
    /// until the rejected record is alone.
    ///
    /// Dropping the future stops the delivery. Events without an outcome have to be delivered again.
    #[tracing::instrument(name = "export", skip_all, fields(signal = Signal::Logs.as_str(), records = batch.len()))]
    pub async fn deliver(&mut self, batch: &[EventRecord]) -> DeliveryOutcome {
        let mut outcome = DeliveryOutcome::default();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.deliver_part(part).await {
                Ok(()) => {
                    metrics::events_acknowledged(part.len());
                    outcome.acknowledged.extend(part.iter().map(|event| event.uid));
                }
                Err(status) => match part {
                    [] => {}
                    [event] => {
                        self.reject(event, &status);
                        outcome.rejected.insert(event.uid);
                    }
                    part => {
                        // The first half is on top, so that events stay in order.
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        outcome
    }

    /// Sends a part until it is acknowledged. Returns the status if it is rejected.
    async fn deliver_part(&mut self, part: &[EventRecord]) -> Result<(), Status> {
        loop {
            let Err(status) = self.send(part).await else {
                self.backoff = Backoff::new(BACKOFF_MIN, self.retry_max_interval);
                return Ok(());
            };
            let (wait, may_end_early) = match decide(&status) {
                RetryDecision::Bisect => return Err(status),
                RetryDecision::Backoff(Some(delay)) => (self.backoff.wait().max(delay.min(MAX_SERVER_DELAY)), false),
                RetryDecision::Backoff(None) => (self.backoff.wait(), true),
                RetryDecision::MaxBackoff => (self.backoff.max_wait(), true),
            };
            self.export_health.failed(Signal::Logs, |_| {
                let (code, error) = (status.code(), self.diagnosis.describe(&status));
                tracing::warn!(?code, error, "failed to export events; retrying, and keeping them in the journal");
            });
            // With another token or certificate the collector may accept at once what it refused. A delay that it asked for
            // is kept.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.connection.replaced(), if may_end_early => {}
            }
        }
    }

    async fn send(&mut self, part: &[EventRecord]) -> Result<(), Status> {
        let connection = self.connection.get_and_mark_seen();
        self.diagnosis = connection.diagnosis();
        let gzip = connection.gzip;
        let mut client = LogsServiceClient::new(connection.into_service());
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        let answer = client.export(self.encoder.request(part)).await;
        metrics::events_sent(part.len(), result_label(answer.as_ref().map_or_else(Status::code, |_| Code::Ok)));
        let response = answer?.into_inner();
        self.export_health.recovered(Signal::Logs);
        if let Some(partial) = response.partial_success.filter(|partial| partial.rejected_log_records > 0) {
            let (rejected, error) = (partial.rejected_log_records, self.diagnosis.message(&partial.error_message));
            metrics::events_rejected(rejected.unsigned_abs());
            self.rejected_throttle.failed(|_| {
                tracing::warn!(rejected, error, "the collector rejected some events of a request; they are dropped");
            });
        }
        Ok(())
    }

    fn reject(&self, event: &EventRecord, status: &Status) {
        metrics::events_rejected(1);
        let (event_name, error) = (event.event.kind().name, self.diagnosis.describe(status));
        self.rejected_throttle.failed(|_| {
            tracing::warn!(event_name, error, "the collector rejected an event; it is dropped");
        });
    }
}

#[cfg(test)]
mod tests;
