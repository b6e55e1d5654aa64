//! The health of the export, which both signals share: one warning, whichever of them fails.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::metrics::Signal;
use crate::process::log_throttle::LogThrottle;

/// The state of both signals. It logs that the export of one fails, and that both succeed again.
#[derive(Debug)]
pub struct ExportHealth {
    throttle: LogThrottle,
    metrics_failing: AtomicBool,
    logs_failing: AtomicBool,
}

impl Default for ExportHealth {
    fn default() -> Self {
        Self {
            throttle: LogThrottle::hourly(),
            metrics_failing: AtomicBool::default(),
            logs_failing: AtomicBool::default(),
        }
    }
}

impl ExportHealth {
    /// Records that the export of `signal` failed. Calls `log` unless a failure was logged within the hour.
    pub fn failed(&self, signal: Signal, log: impl FnOnce(u64)) {
        self.failing(signal).store(true, Ordering::Relaxed);
        self.throttle.failed(log);
    }

    /// Records that the export of `signal` succeeded. Logs the recovery once neither signal is failing.
    pub fn recovered(&self, signal: Signal) {
        self.failing(signal).store(false, Ordering::Relaxed);
        if ![Signal::Metrics, Signal::Logs].into_iter().any(|signal| self.failing(signal).load(Ordering::Relaxed)) {
            self.throttle.recovered(|| tracing::info!(signal = signal.as_str(), "exports succeed again"));
        }
    }

    fn failing(&self, signal: Signal) -> &AtomicBool {
        match signal {
            Signal::Metrics => &self.metrics_failing,
            Signal::Logs => &self.logs_failing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_of_one_signal_is_no_recovery_of_the_other() {
        let health = ExportHealth::default();
        let mut lines = 0;
        health.failed(Signal::Logs, |_| lines += 1);
        health.recovered(Signal::Metrics);
        health.failed(Signal::Logs, |_| lines += 1);
        assert_eq!(lines, 1);
        let was_failing = |health: &ExportHealth| {
            let mut recovered = false;
            health.throttle.recovered(|| recovered = true);
            recovered
        };
        assert!(was_failing(&health), "no recovery was logged");
        health.recovered(Signal::Logs);
        assert!(!was_failing(&health));
    }
}
