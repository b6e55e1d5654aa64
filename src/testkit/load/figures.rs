//! The figures of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attempt::{AttemptContent, SendFailure};

/// The figures of a run. Times are by the fleet's clock.
#[derive(Debug, Default)]
pub(super) struct LoadFigures {
    /// Requests with gauges.
    pub(super) snapshots_sent: u64,
    pub(super) snapshots_acknowledged: u64,
    /// Requests with events.
    pub(super) event_requests_sent: u64,
    /// Events that happened, each counted once.
    pub(super) events_made: u64,
    pub(super) events_acknowledged: u64,
    pub(super) failures: BTreeMap<SendFailure, u64>,
    /// The time from when an attempt was due to its acknowledgement, of each.
    pub(super) latencies: Vec<Duration>,
    /// The attempts that were due in each second.
    pub(super) due_by_second: Vec<u64>,
}

impl LoadFigures {
    pub(super) fn count_sent(&mut self, content: &AttemptContent) {
        match content {
            AttemptContent::Snapshot { .. } => self.snapshots_sent += 1,
            AttemptContent::Events(_) => self.event_requests_sent += 1,
        }
    }

    pub(super) fn count_acknowledged(&mut self, content: &AttemptContent, latency: Duration) {
        match content {
            AttemptContent::Snapshot { .. } => self.snapshots_acknowledged += 1,
            AttemptContent::Events(events) => self.events_acknowledged += events.len() as u64,
        }
        self.latencies.push(latency);
    }

    pub(super) fn count_failed(&mut self, failure: SendFailure) {
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(super) fn count_due(&mut self, time: Duration) {
        let second = usize::try_from(time.as_secs()).unwrap_or(usize::MAX);
        if self.due_by_second.len() <= second {
            self.due_by_second.resize(second + 1, 0);
        }
        self.due_by_second[second] += 1;
    }

    /// Returns the number of acknowledged requests.
    pub(super) fn acknowledged_requests(&self) -> usize {
        self.latencies.len()
    }

    /// Returns the number of attempts that failed.
    pub(super) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns percentiles of the latencies, in the order of `percents`.
    pub(super) fn percentiles<const N: usize>(&mut self, percents: [usize; N]) -> [Duration; N] {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        percents.map(|percent| self.latencies.get(last * percent / 100).copied().unwrap_or_default())
    }
}
