//! What may be stored: a request in, rows and reasons out. No I/O.
//!
//! A request is admitted point by point and record by record. What is admitted becomes a row of numbers, UUIDs and the
//! catalog's closed values; every text in the request is either compared with the catalog or makes its carrier refused.
//! Fields that the messages of this version do not have are lost in decoding.

mod snapshot;
mod envelope;
mod logs;
mod metrics;
mod reason;
mod time;

use crate::backend::store::Batch;

pub use logs::{parts_of_logs, records_in, validate_logs};
pub use metrics::{parts_of_metrics, points_in, validate_metrics};
pub use reason::{RejectReason, Rejections};

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validated {
    /// What is to be stored.
    pub rows: Batch,
    /// Points or records that are refused, by reason.
    pub refused: Rejections,
    /// Points or records that are well formed and too old: acknowledged, and not stored.
    pub late: u64,
}

impl Validated {
    /// Whether something was sent and all of it was refused.
    pub fn nothing_acceptable(&self) -> bool {
        self.rows.is_empty() && self.late == 0 && self.refused.total() > 0
    }
}
