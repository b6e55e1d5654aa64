//! Telemetry comes in: OTLP over gRPC and over HTTP, both through [`Ingester`].

pub(in crate::backend) mod grpc;
pub(in crate::backend) mod http;
mod tally;

use std::sync::Arc;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::backend::ingest::validate::{
    Rejections, Validated, parts_of_logs, parts_of_metrics, validate_logs, validate_metrics,
};
use crate::backend::metrics;
use crate::backend::rate_limit::{Permit, RateLimitError};
use crate::backend::store::{Store, WriteError};
use tally::Tally;

/// The largest message after decompression: three times the largest that an agent sends, 500 events of 300 bytes.
/// Decoded, one that holds nothing but empty records takes a hundred times its size: a few kB of gzip are 50 MB of
/// memory here, and would be 400 MB with the 4 MiB that OTLP receivers usually take.
const MAX_MESSAGE: usize = 512 * 1024;

/// The most points or records of a request: four times what an agent sends at most, 500 events.
const MAX_ROWS: usize = 2_000;

/// Admits and stores. An answer follows the commit.
pub(in crate::backend) struct Ingester {
    store: Arc<dyn Store>,
    tally: Tally,
}

impl Ingester {
    pub(in crate::backend) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, tally: Tally::default() }
    }

    async fn metrics(
        &self,
        request: ExportMetricsServiceRequest,
        admission: Permit,
    ) -> Result<ExportMetricsServiceResponse, Status> {
        check_size(parts_of_metrics(&request), &admission)?;
        let admitted = validate_metrics(&request, Timestamp::now());
        // What was sent takes many times what is kept of it, which may have to wait for others.
        drop(request);
        let refused = self.keep(admitted, admission).await?;
        let partial_success = partial_success(&refused).map(|(rejected_data_points, error_message)| {
            ExportMetricsPartialSuccess { rejected_data_points, error_message }
        });
        Ok(ExportMetricsServiceResponse { partial_success })
    }

    async fn logs(
        &self,
        request: ExportLogsServiceRequest,
        admission: Permit,
    ) -> Result<ExportLogsServiceResponse, Status> {
        check_size(parts_of_logs(&request), &admission)?;
        let admitted = validate_logs(&request, Timestamp::now());
        drop(request);
        let refused = self.keep(admitted, admission).await?;
        let partial_success = partial_success(&refused).map(|(rejected_log_records, error_message)| {
            ExportLogsPartialSuccess { rejected_log_records, error_message }
        });
        Ok(ExportLogsServiceResponse { partial_success })
    }

    /// Stores what was admitted, and says what was not.
    async fn keep(&self, admitted: Validated, admission: Permit) -> Result<Rejections, Status> {
        let nothing_acceptable = admitted.nothing_acceptable();
        let Validated { rows, refused, late } = admitted;
        refused.iter().for_each(|(reason, count)| metrics::rejected(reason.label(), count));
        metrics::expired(late);
        self.tally.count(&refused, late);
        if nothing_acceptable {
            return Err(Status::invalid_argument(refused.to_string()));
        }
        admission.done(&rows).map_err(|too_much| refused_status(too_much.into()))?;
        let (snapshots, events) = (rows.snapshots.len(), rows.events.len());
        self.store.write(rows).await.map_err(|error| try_again(&error))?;
        metrics::admitted(snapshots, events);
        Ok(refused)
    }
}

/// Counts what was sent. What is too much for a request is so whenever it is sent: an agent divides it.
fn check_size(parts: usize, admission: &Permit) -> Result<(), Status> {
    admission.charge(parts);
    if parts > MAX_ROWS {
        let message = format!("too many points or records: expected at most {MAX_ROWS} in a request");
        return Err(Status::invalid_argument(message));
    }
    Ok(())
}

/// What OTLP's `partial_success` says; none where all was accepted.
fn partial_success(refused: &Rejections) -> Option<(i64, String)> {
    let rejected = i64::try_from(refused.total()).unwrap_or(i64::MAX);
    (rejected > 0).then(|| (rejected, refused.to_string()))
}

/// Of a body that is no message. What exactly is wrong with it would be told in the words of the sender.
const MALFORMED: &str = "the body is not the OTLP message of this path";

fn too_large() -> String {
    format!("the message is too large: expected at most {MAX_MESSAGE} bytes after decompression")
}

/// What a refusal is in gRPC, whose clients read when to try again from `RetryInfo` alone.
fn refused_status(refusal: RateLimitError) -> Status {
    let message = refusal.to_string();
    match refusal {
        RateLimitError::Limited(_) | RateLimitError::NoRoom => {
            let details = ErrorDetails::with_retry_info(refusal.retry_after());
            Status::with_error_details(Code::ResourceExhausted, message, details)
        }
        RateLimitError::TooLarge(_) => Status::invalid_argument(too_large()),
        // The connection broke: whether it was read to its end is the sender's question, and it may send it again.
        RateLimitError::Broken => Status::unavailable(message),
        RateLimitError::TooSlow => {
            let details = ErrorDetails::with_retry_info(refusal.retry_after());
            Status::with_error_details(Code::DeadlineExceeded, message, details)
        }
    }
}

/// Senders try again only where `RetryInfo` tells them to. What exactly fails is for our own log.
fn try_again(error: &WriteError) -> Status {
    let message = match error {
        WriteError::Overloaded { .. } => "overloaded: nothing of this request was stored, try again later",
        WriteError::Unavailable(_) => "nothing can be stored at the moment, try again later",
    };
    let details = ErrorDetails::with_retry_info(Some(error.retry_after()));
    Status::with_error_details(Code::Unavailable, message, details)
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
