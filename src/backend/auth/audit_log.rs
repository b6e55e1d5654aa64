//! The way into the audit log: what is read at once shares one write.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::backend::store::{AuditLogEntry, AuthStore};
use crate::process::log_throttle::LogThrottle;

/// The most that may wait to be logged, and that one write takes: a write takes milliseconds, so that waiting for this
/// many is no longer than a reader waits for a page anyway, and what waits is under 64 kB.
const WAITING: usize = 256;

/// Adds to the audit log.
#[derive(Debug, Clone)]
pub(in crate::backend) struct AuditLogWriter(mpsc::Sender<PendingEntry>);

type PendingEntry = (AuditLogEntry, oneshot::Sender<()>);

/// Something could not be logged, so it must not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) struct NotLogged;

impl AuditLogWriter {
    /// With what writes for it until every clone of it is gone.
    pub(in crate::backend) fn new(access: Arc<dyn AuthStore>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), write(access, receiver))
    }

    /// Returns once it is in the log.
    pub(super) async fn record(&self, entry: AuditLogEntry) -> Result<(), NotLogged> {
        let (logged, answer) = oneshot::channel();
        self.0.try_send((entry, logged)).map_err(|_| NotLogged)?;
        answer.await.map_err(|_| NotLogged)
    }
}

async fn write(access: Arc<dyn AuthStore>, mut receiver: mpsc::Receiver<PendingEntry>) {
    let (mut waiting, said) = (Vec::new(), LogThrottle::per_minute());
    while receiver.recv_many(&mut waiting, WAITING).await > 0 {
        let (entries, readers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        match access.record(entries).await {
            Ok(()) => {
                for reader in readers {
                    // Whoever no longer waits has given up on its answer.
                    let _ = reader.send(());
                }
            }
            // Those that wait hear of it by the end of their channels.
            Err(error) => said.failed(|count| {
                tracing::error!(%error, count, "the audit log can't be written: nothing is shown meanwhile");
            }),
        }
    }
}
