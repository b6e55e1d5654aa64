//! An attempt of an installation to deliver something, and its outcome.

use std::fmt;
use std::time::Duration;

use crate::catalog::EventRecord;

/// An attempt that is in flight.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) installation: u32,
    pub(super) url: usize,
    /// The time at which it was due.
    pub(super) due: Duration,
    pub(super) content: AttemptContent,
}

/// The content of a request.
#[derive(Debug, Clone)]
pub(super) enum AttemptContent {
    /// The gauges after so many changes.
    Snapshot { changes: u32 },
    /// Events, which keep their uids when they are sent again.
    Events(Vec<EventRecord>),
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    Acknowledged,
    /// Not acknowledged, with the delay that the backend asks for.
    Failed(SendFailure, Option<Duration>),
}

/// The cause for which an attempt was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SendFailure {
    /// The HTTP status of the answer.
    Status(u16),
    /// An answer that acknowledges a part of the records.
    Partial,
    /// No connection.
    Unreachable,
    /// The connection broke before an answer.
    Broken,
    /// No answer in time.
    TimedOut,
    /// No place in time to send it.
    TimedOutInQueue,
}

impl SendFailure {
    /// Returns whether the backend may have stored the records all the same.
    pub(super) fn is_uncertain(self) -> bool {
        matches!(self, Self::Broken | Self::TimedOut | Self::Partial)
    }

    /// Returns whether an agent tries again after its backoff, and not after the longest.
    ///
    /// The relay turns these statuses into codes that OTLP calls retryable.
    pub(super) fn is_transient(self) -> bool {
        !matches!(self, Self::Partial | Self::Status(_)) || matches!(self, Self::Status(429 | 502..=504))
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Partial => f.write_str("rejected in part"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Broken => f.write_str("connection broken"),
            Self::TimedOut => f.write_str("timed out"),
            Self::TimedOutInQueue => f.write_str("timed out before it was sent"),
        }
    }
}
