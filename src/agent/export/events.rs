//! EventExporter as `OTel` log records, delivered with acknowledgement.
//!
//! The records are made with the Logs API. The SDK's own processors drop a batch that can't be exported, and its
//! exporter tells no gRPC code, so a processor here hands the records over and the generated client sends them.

use crate::process::lock::lock;
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
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};
use uuid::Uuid;

use super::connection::{CollectorChannel, Headers};
use super::health::{ExportHealth, words};
use super::resource;
use super::retry::{RetryDecision, after, name};
use crate::agent::backoff::Backoff;
use crate::agent::metrics::{self, Signal};
use crate::catalog::{AttributeValue, EventRecord, SERVICE_NAME};
use crate::process::log_throttle::LogThrottle;

/// How many records a request holds at the most: about 150 kB, a third of what the backend takes.
pub const BATCH_LIMIT: usize = 500;
/// The wait before the first retry.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// A server may ask for a longer wait than ours, but not keep us away: an hour is what a maintenance takes.
const RETRY_INFO_MAX: Duration = Duration::from_hours(1);

/// Makes requests of events.
pub struct RecordEncoder {
    logger: SdkLogger,
    resource: ResourceAttributesWithSchema,
    made: CaptureProcessor,
    // The logger stops when its provider goes.
    _provider: SdkLoggerProvider,
}

/// Delivers batches of events, one at a time.
pub struct EventExporter {
    records: RecordEncoder,
    client: LogsServiceClient<InterceptedService<Channel, Headers>>,
    /// Begins anew with a success alone.
    backoff: Backoff,
    retry_max_interval: Duration,
    export_health: Arc<ExportHealth>,
    refusals: LogThrottle,
}

/// What became of a batch: every event of it is in one of the two.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DeliveryOutcome {
    /// The collector's answer was OK.
    pub acknowledged: HashSet<Uuid>,
    /// Refused alone, for good.
    pub refused: HashSet<Uuid>,
}

impl DeliveryOutcome {
    /// Every event of the batch.
    pub fn uids(&self) -> HashSet<Uuid> {
        &self.acknowledged | &self.refused
    }
}

/// A processor that keeps the records for who made them.
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
    /// Prepares the logger. The resource says nothing of the installation.
    pub fn new() -> Self {
        let made = CaptureProcessor::default();
        let resource = resource(None);
        let provider =
            SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(made.clone()).build();
        Self { logger: provider.logger(SERVICE_NAME), resource: (&resource).into(), made, _provider: provider }
    }

    /// The request that delivers these events.
    pub fn request(&self, events: &[EventRecord]) -> ExportLogsServiceRequest {
        for event in events {
            self.emit(event);
        }
        let made = std::mem::take(&mut *lock(&self.made.0));
        let made: Vec<_> = made.iter().map(|(record, scope)| (record, scope)).collect();
        let resource_logs = group_logs_by_resource_and_scope(&LogBatch::new(&made), &self.resource);
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
                AttributeValue::Bool(truth) => AnyValue::from(truth),
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
    /// Prepares the delivery over `connection`, with waits of `retry_max_interval` at the most unless the collector asks for
    /// longer ones. What fails is said through `export_health`.
    pub fn new(connection: &CollectorChannel, retry_max_interval: Duration, export_health: Arc<ExportHealth>) -> Self {
        let service = InterceptedService::new(connection.channel.clone(), connection.headers.clone());
        let mut client = LogsServiceClient::new(service);
        if connection.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
        }
        let backoff = Backoff::new(BACKOFF_MIN, retry_max_interval);
        Self {
            records: RecordEncoder::new(),
            client,
            backoff,
            retry_max_interval,
            export_health,
            refusals: LogThrottle::hourly(),
        }
    }

    /// Sends a batch until all of it is settled, however long that takes: a refused one is split until the refused
    /// record is alone. Dropping the future stops it; what is not settled then is to be delivered again.
    pub async fn deliver(&mut self, batch: &[EventRecord]) -> DeliveryOutcome {
        let mut settled = DeliveryOutcome::default();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match self.deliver_whole(part).await {
                Ok(()) => {
                    metrics::events_acknowledged(part.len());
                    settled.acknowledged.extend(part.iter().map(|event| event.uid));
                }
                Err(refusal) => match part {
                    [] => {}
                    [event] => {
                        self.refuse(event, &refusal);
                        settled.refused.insert(event.uid);
                    }
                    part => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        settled
    }

    /// Sends a part until it is acknowledged, or refused.
    async fn deliver_whole(&mut self, part: &[EventRecord]) -> Result<(), Status> {
        loop {
            let Err(status) = self.send(part).await else {
                self.backoff = Backoff::new(BACKOFF_MIN, self.retry_max_interval);
                return Ok(());
            };
            let wait = match after(&status) {
                RetryDecision::Bisect => return Err(status),
                RetryDecision::Backoff(asked) => self.backoff.wait().max(asked.unwrap_or_default().min(RETRY_INFO_MAX)),
                RetryDecision::MaxBackoff => self.backoff.longest(),
            };
            self.export_health.failed(Signal::Logs, |_| {
                let (code, message) = (status.code(), words(status.message()));
                tracing::warn!("the collector does not take events: {code:?}: {message}; they are kept");
            });
            tokio::time::sleep(wait).await;
        }
    }

    async fn send(&mut self, part: &[EventRecord]) -> Result<(), Status> {
        let answer = self.client.export(self.records.request(part)).await;
        metrics::events_sent(part.len(), name(answer.as_ref().map_or_else(Status::code, |_| Code::Ok)));
        let response = answer?.into_inner();
        self.export_health.recovered(Signal::Logs);
        if let Some(partial) = response.partial_success.filter(|partial| partial.rejected_log_records > 0) {
            let (rejected, message) = (partial.rejected_log_records, words(&partial.error_message));
            metrics::events_rejected(rejected.unsigned_abs());
            let say = |_| tracing::warn!(rejected, "the collector refused some events for good: {message}");
            self.refusals.failed(say);
        }
        Ok(())
    }

    fn refuse(&self, event: &EventRecord, refusal: &Status) {
        metrics::events_rejected(1);
        let name = event.event.kind().name;
        self.refusals.failed(|_| {
            let why = words(refusal.message());
            tracing::warn!("the collector refused an event {name} for good; it is dropped: {why}");
        });
    }
}

#[cfg(test)]
mod tests;
