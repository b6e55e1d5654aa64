//! Refusals in the log, without a flood of it.

use crate::process::lock::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::backend::ingest::validate::Rejections;

/// How often refusals are told at most: soon enough to see while trying, and no more than 1,440 lines a day for each
/// reason whatever is sent.
const QUIET: Duration = Duration::from_mins(1);

/// Counts what was refused and late, and logs the sums now and then: reasons and counts, never content.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    refused: Rejections,
    late: u64,
    told: Option<Instant>,
}

impl Tally {
    pub(super) fn count(&self, refused: &Rejections, late: u64) {
        if refused.total() == 0 && late == 0 {
            return;
        }
        // Counts are whole whatever happened to another holder.
        let mut untold = lock(&self.0);
        untold.refused.merge(refused);
        untold.late += late;
        if untold.told.is_none_or(|told| told.elapsed() >= QUIET) {
            untold.tell();
        }
    }
}

impl Untold {
    fn tell(&mut self) {
        for (reason, count) in self.refused.iter() {
            tracing::warn!(reason = reason.label(), count, "refused: {reason}");
        }
        if self.late > 0 {
            tracing::warn!(count = self.late, "acknowledged and dropped: more than 30 days old");
        }
        *self = Self { told: Some(Instant::now()), ..Self::default() };
    }
}
