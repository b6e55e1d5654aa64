//! Validation of OTLP messages against the catalog: a message in, records and reasons out. No I/O.
//!
//! A message is validated point by point and record by record. An accepted record consists of numbers, UUIDs and the
//! catalog's closed values. Every text in a message is either equal to one of the catalog's or makes the point or record
//! that carries it rejected. Fields that this version of the messages does not have are lost in decoding.

mod envelope;
mod logs;
mod metrics;
mod reason;
mod snapshot;
mod time;

use crate::backend::store::Batch;

pub use logs::{items_in_logs, records_in, validate_logs};
pub use metrics::{items_in_metrics, points_in, validate_metrics};
pub use reason::{RejectReason, Rejections};

/// The result of validating a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validated {
    /// The records to store.
    pub records: Batch,
    /// The number of rejected points or records, by reason.
    pub rejections: Rejections,
    /// The number of points or records that are well formed and too old: they are acknowledged, and not stored.
    pub expired: u64,
}

impl Validated {
    /// Returns whether there was a point or a record, and all were rejected.
    pub fn is_fully_rejected(&self) -> bool {
        self.records.is_empty() && self.expired == 0 && self.rejections.total() > 0
    }
}
