//! What is said of the way to the collector, which both signals share: one warning, whichever of them fails.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::metrics::Signal;
use crate::process::log_throttle::LogThrottle;

/// How much of a collector's own words is logged: a sentence or two, which nobody at its end can stretch.
const WORDS: usize = 200;

/// Says that the collector does not take something, and when it takes all again.
#[derive(Debug)]
pub struct ExportHealth {
    throttle: LogThrottle,
    metrics_fail: AtomicBool,
    logs_fail: AtomicBool,
}

impl Default for ExportHealth {
    fn default() -> Self {
        Self { throttle: LogThrottle::hourly(), metrics_fail: AtomicBool::default(), logs_fail: AtomicBool::default() }
    }
}

impl ExportHealth {
    /// A signal was not taken.
    pub fn failed(&self, signal: Signal, log: impl FnOnce(u64)) {
        self.of(signal).store(true, Ordering::Relaxed);
        self.throttle.failed(log);
    }

    /// A signal was taken. That one is says nothing of the other.
    pub fn recovered(&self, signal: Signal) {
        self.of(signal).store(false, Ordering::Relaxed);
        if ![Signal::Metrics, Signal::Logs].into_iter().any(|signal| self.of(signal).load(Ordering::Relaxed)) {
            self.throttle.recovered(|| tracing::info!("the collector takes signals again"));
        }
    }

    fn of(&self, signal: Signal) -> &AtomicBool {
        match signal {
            Signal::Metrics => &self.metrics_fail,
            Signal::Logs => &self.logs_fail,
        }
    }
}

/// A remote's words on one line of the log.
pub(super) fn words(text: &str) -> String {
    text.chars().take(WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_one_signal_is_taken_does_not_say_that_the_other_is() {
        let egress = ExportHealth::default();
        let mut said = 0;
        egress.failed(Signal::Logs, |_| said += 1);
        egress.recovered(Signal::Metrics);
        egress.failed(Signal::Logs, |_| said += 1);
        assert_eq!(said, 1);
        let still_failing = |egress: &ExportHealth| {
            let mut over = false;
            egress.throttle.recovered(|| over = true);
            over
        };
        assert!(still_failing(&egress), "nothing was said to be over");
        egress.recovered(Signal::Logs);
        assert!(!still_failing(&egress));
    }

    #[test]
    fn a_remotes_words_stay_on_one_line_and_end() {
        assert_eq!(words("no\nroom\u{1b}[31m"), "no room [31m");
        assert_eq!(words(&"ä".repeat(1_000)).chars().count(), WORDS);
    }
}
