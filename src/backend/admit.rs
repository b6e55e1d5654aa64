//! What may be stored: a request in, rows and reasons out. No I/O.
//!
//! A request is admitted point by point and record by record. What is admitted becomes a row of numbers, UUIDs and the
//! catalog's closed values; every text in the request is either compared with the catalog or makes its carrier refused.
//! Fields that the messages of this version do not have are lost in decoding.

mod cycle;
mod envelope;
mod logs;
mod metrics;
mod reason;
mod time;

use super::store::Batch;

pub use logs::{admit_logs, parts_of_logs, records_in};
pub use metrics::{admit_metrics, parts_of_metrics, points_in};
pub use reason::{Reason, Refused};

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// What is to be stored.
    pub rows: Batch,
    /// Points or records that are refused, by reason.
    pub refused: Refused,
    /// Points or records that are well formed and too old: acknowledged, and not stored.
    pub late: u64,
}

impl Admitted {
    /// Whether something was sent and all of it was refused.
    pub fn nothing_acceptable(&self) -> bool {
        self.rows.is_empty() && self.late == 0 && self.refused.total() > 0
    }
}
