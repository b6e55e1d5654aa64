//! The writer of the audit log. Entries of concurrent requests share one write.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::backend::store::{AuditLogEntry, AuthStore};
use crate::process::log_throttle::LogThrottle;

/// The maximum number of queued entries, and of those in one write. Writing that many takes about as long as rendering
/// a page. The queue is smaller than 64 kB.
const MAX_QUEUED: usize = 256;

/// A handle of the writer.
#[derive(Debug, Clone)]
pub(in crate::backend) struct AuditLogWriter(mpsc::Sender<PendingEntry>);

type PendingEntry = (AuditLogEntry, oneshot::Sender<()>);

/// The error of an entry that could not be stored. The response must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) struct AuditLogError;

impl AuditLogWriter {
    /// Creates a writer. The future writes until every clone of the handle is dropped.
    pub(in crate::backend) fn new(auth_store: Arc<dyn AuthStore>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        (Self(sender), write(auth_store, receiver))
    }

    /// Adds an entry to the audit log. Returns once it is stored.
    pub(super) async fn record(&self, entry: AuditLogEntry) -> Result<(), AuditLogError> {
        let (stored, is_stored) = oneshot::channel();
        self.0.try_send((entry, stored)).map_err(|_| AuditLogError)?;
        is_stored.await.map_err(|_| AuditLogError)
    }
}

async fn write(auth_store: Arc<dyn AuthStore>, mut receiver: mpsc::Receiver<PendingEntry>) {
    let (mut pending, throttle) = (Vec::new(), LogThrottle::per_minute());
    while receiver.recv_many(&mut pending, MAX_QUEUED).await > 0 {
        let (entries, requests): (Vec<_>, Vec<_>) = pending.drain(..).unzip();
        match auth_store.record(entries).await {
            Ok(()) => {
                for request in requests {
                    // A request that was dropped meanwhile needs no answer.
                    let _ = request.send(());
                }
            }
            // The requests fail as their channels are dropped.
            Err(error) => throttle.failed(|count| {
                tracing::error!(%error, count, "failed to write the audit log; readers are shown nothing meanwhile");
            }),
        }
    }
}
