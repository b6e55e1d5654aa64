//! OTLP over gRPC and over HTTP: messages in, records to the store.

pub(in crate::backend) mod grpc;
pub(in crate::backend) mod http;
mod rejection_log;

use std::sync::Arc;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::error::IngestError;
use super::refusals::RefusalTally;
use super::stack::{self, GuardedStore};
use super::validate::{Rejections, Validated, items_in_logs, items_in_metrics, validate_logs, validate_metrics};
use crate::backend::auth::AuthError;
use crate::backend::metrics;
use crate::backend::rate_limit::{Permit, RateLimitError};
use crate::backend::store::WriteError;
use rejection_log::RejectionLog;

/// The largest message in bytes, after decompression: three times the largest that an agent sends, 500 events of 300
/// bytes. A message of nothing but empty records takes a hundred times its size once it is decoded: a few kB of gzip are
/// 50 MB of memory here, and would be 400 MB with the 4 MiB that OTLP receivers usually take.
const MAX_MESSAGE: usize = 512 * 1024;

/// The most points or records of a request: four times what an agent sends at most, 500 events.
const MAX_ITEMS: usize = 2_000;

/// The reason under which a record that is too old counts as refused.
const EXPIRED: &str = "expired";

/// The error of a body that cannot be decoded.
const MALFORMED: IngestError = IngestError::Malformed("its OTLP message");

/// The messages of a signal.
trait OtlpSignal {
    type Request: Message + Default + DeserializeOwned + Send;
    type Response: Message;

    /// The member of the response in JSON that counts what was rejected.
    const REJECTED: &'static str;

    fn items(request: &Self::Request) -> usize;

    fn validate(request: &Self::Request, now: Timestamp) -> Validated;

    /// Returns the response where records were rejected, with their number and a message, or none.
    fn response(partial_success: Option<(i64, String)>) -> Self::Response;
}

enum Metrics {}

enum Logs {}

/// Validates and stores messages. The response to each is sent after its commit.
pub(in crate::backend) struct Ingester {
    store: GuardedStore,
    rejection_log: RejectionLog,
}

impl OtlpSignal for Metrics {
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;

    const REJECTED: &'static str = "rejectedDataPoints";

    fn items(request: &Self::Request) -> usize {
        items_in_metrics(request)
    }

    fn validate(request: &Self::Request, now: Timestamp) -> Validated {
        validate_metrics(request, now)
    }

    fn response(partial_success: Option<(i64, String)>) -> Self::Response {
        let partial_success = partial_success.map(|(rejected_data_points, error_message)| {
            ExportMetricsPartialSuccess { rejected_data_points, error_message }
        });
        ExportMetricsServiceResponse { partial_success }
    }
}

impl OtlpSignal for Logs {
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;

    const REJECTED: &'static str = "rejectedLogRecords";

    fn items(request: &Self::Request) -> usize {
        items_in_logs(request)
    }

    fn validate(request: &Self::Request, now: Timestamp) -> Validated {
        validate_logs(request, now)
    }

    fn response(partial_success: Option<(i64, String)>) -> Self::Response {
        let partial_success = partial_success.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message,
        });
        ExportLogsServiceResponse { partial_success }
    }
}

impl Ingester {
    pub(in crate::backend) fn new(store: GuardedStore) -> Self {
        Self { store, rejection_log: RejectionLog::new() }
    }

    /// Returns the numbers of refused records.
    fn refusals(&self) -> Arc<RefusalTally> {
        Arc::clone(self.store.refusals())
    }

    /// Validates a message and stores its records. Returns the count and the message of OTLP's `partial_success`; `None`
    /// if all was accepted.
    async fn ingest<S: OtlpSignal>(
        &self,
        request: S::Request,
        permit: Permit,
    ) -> Result<Option<(i64, String)>, IngestError> {
        let now = self.store.now()?;
        let items = S::items(&request);
        let validated = (items <= MAX_ITEMS).then(|| S::validate(&request, now));
        // A message takes many times the memory of its records, which may have to wait for a commit.
        drop(request);
        let rejections = self.store(now, items, validated, permit).await?;
        let rejected = i64::try_from(rejections.total()).unwrap_or(i64::MAX);
        Ok((rejected > 0).then(|| (rejected, rejections.to_string())))
    }

    /// Charges for a message of `items` items, and stores its valid records. `validated` is `None` if there are too many
    /// items. A retry can't succeed; an agent splits the batch.
    async fn store(
        &self,
        now: Timestamp,
        items: usize,
        validated: Option<Validated>,
        permit: Permit,
    ) -> Result<Rejections, IngestError> {
        let Some(validated) = validated else {
            permit.charge(items);
            return Err(IngestError::TooManyItems(MAX_ITEMS));
        };
        let is_fully_rejected = validated.is_fully_rejected();
        let Validated { records, rejections, expired } = validated;
        rejections.iter().for_each(|(reason, count)| {
            metrics::records_rejected(reason.label(), count);
            self.store.refusals().count(reason.label(), count);
        });
        metrics::records_expired(expired);
        self.store.refusals().count(EXPIRED, expired);
        self.rejection_log.log(&rejections, expired);
        stack::write(&self.store, now, permit, items, records).await?;
        if is_fully_rejected { Err(IngestError::Rejected(rejections.to_string())) } else { Ok(rejections) }
    }
}

/// Returns the gRPC status of an error, which OTLP over HTTP has as its body. Senders try again only if `RetryInfo` says
/// so. The cause of an error of the store is for our own log.
fn status(error: &IngestError) -> Status {
    let (code, message) = match error {
        IngestError::Auth(AuthError::MethodNotAllowed(_))
        | IngestError::Unrouted
        | IngestError::UnsupportedEncoding => (Code::Unimplemented, error.to_string()),
        IngestError::Auth(_) => (Code::Unauthenticated, error.to_string()),
        IngestError::RateLimit(limit) => match limit {
            RateLimitError::Limited(_) | RateLimitError::NoRoom => (Code::ResourceExhausted, error.to_string()),
            RateLimitError::TooLarge(_) => {
                (Code::InvalidArgument, IngestError::TooLargeDecompressed(MAX_MESSAGE).to_string())
            }
            // The connection broke. The sender may send the request again.
            RateLimitError::Broken => (Code::Unavailable, error.to_string()),
            RateLimitError::TooSlow => (Code::DeadlineExceeded, error.to_string()),
        },
        IngestError::TooLargeDecompressed(_) => (Code::ResourceExhausted, error.to_string()),
        IngestError::UnsupportedType(_)
        | IngestError::Encoding
        | IngestError::Malformed(_)
        | IngestError::TooManyItems(_)
        | IngestError::Rejected(_) => (Code::InvalidArgument, error.to_string()),
        IngestError::Store(WriteError::Overloaded { .. }) => {
            (Code::Unavailable, "overloaded: nothing of this request was stored, try again later".to_owned())
        }
        IngestError::Store(WriteError::Unavailable(_) | WriteError::Unconfirmed(_)) => {
            (Code::Unavailable, error.to_string())
        }
        IngestError::Store(full @ (WriteError::Full | WriteError::TooManyNew)) => {
            (Code::ResourceExhausted, full.to_string())
        }
    };
    match details(error) {
        Some(details) => Status::with_error_details(code, message, details),
        None => Status::new(code, message),
    }
}

/// Returns the time after which to try again, or what is wrong with a body that is rejected whenever it is sent.
fn details(error: &IngestError) -> Option<ErrorDetails> {
    match error {
        IngestError::Encoding | IngestError::Malformed(_) | IngestError::TooManyItems(_) | IngestError::Rejected(_) => {
            // The message as a whole: a path to a field would repeat what was sent.
            Some(ErrorDetails::with_bad_request_violation("", error.to_string()))
        }
        _ => Some(ErrorDetails::with_retry_info(Some(error.retry_after()?))),
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        SummaryDataPoint,
    };

    use super::*;

    /// The tag and the length, zero, of a field.
    const EMPTY_FIELD: usize = 2;

    #[test]
    fn a_message_of_empty_records_takes_no_more_than_64_mib_when_it_is_decoded() {
        let sizes = [
            size_of::<LogRecord>(),
            size_of::<ResourceLogs>(),
            size_of::<ScopeLogs>(),
            size_of::<KeyValue>(),
            size_of::<Metric>(),
            size_of::<NumberDataPoint>(),
            size_of::<HistogramDataPoint>(),
            size_of::<ExponentialHistogramDataPoint>(),
            size_of::<SummaryDataPoint>(),
            size_of::<ResourceMetrics>(),
            size_of::<ScopeMetrics>(),
        ];
        for size in sizes {
            assert!(MAX_MESSAGE / EMPTY_FIELD * size <= 64 * 1024 * 1024, "{sizes:?}");
        }
    }
}
