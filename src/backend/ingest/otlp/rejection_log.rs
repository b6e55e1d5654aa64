//! Log lines about rejected and expired records: reasons and counts, never content.

use crate::backend::ingest::validate::{RejectReason, Rejections};
use crate::process::log_throttle::LogThrottle;

/// Logs each reason once a minute at most, whatever is sent.
#[derive(Debug)]
pub(super) struct RejectionLog {
    reasons: [LogThrottle; RejectReason::ALL.len()],
    expired: LogThrottle,
}

impl RejectionLog {
    pub(super) const fn new() -> Self {
        Self {
            reasons: [const { LogThrottle::per_minute() }; RejectReason::ALL.len()],
            expired: LogThrottle::per_minute(),
        }
    }

    /// Logs the rejections of one request, and how many of its records are too old.
    pub(super) fn log(&self, rejections: &Rejections, expired: u64) {
        for (reason, records) in rejections.iter() {
            self.reasons[reason as usize].failed(|requests| {
                tracing::warn!(reason = reason.label(), problem = %reason, records, requests, "rejected records");
            });
        }
        if expired > 0 {
            self.expired.failed(|requests| {
                tracing::warn!(records = expired, requests, "acknowledged and dropped records older than 30 days");
            });
        }
    }
}
