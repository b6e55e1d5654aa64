//! The writer of the audit log. Entries of concurrent requests share one write.
//!
//! Each entry that was stored is a line of the process' log as well, for a system that collects logs, such as a SIEM.
//! The lines are bounded as the entries are: by the limit on a token's, and by the login throttle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::backend::store::{AuditLogEntry, AuthStore, Role};
use crate::process::log_throttle::LogThrottle;

/// The maximum number of queued entries, and of those in one write. Writing that many takes about as long as rendering
/// a page. The queue is smaller than 64 kB.
const MAX_QUEUED: usize = 256;

/// The interval in which entries of commands are looked for, which other processes add. A rule of a SIEM takes longer, and the
/// look is one read of an index.
const COMMANDS_INTERVAL: Duration = Duration::from_secs(5);

/// The target of the log lines, by which a filter selects them. It is below the crate's own, which the default filter
/// lets pass.
const TARGET: &str = "kamaji_telemetry::audit";

/// A handle of the writer.
#[derive(Debug, Clone)]
pub(in crate::backend) struct AuditLogWriter(mpsc::Sender<PendingEntry>);

/// An entry that is to be stored, with the role of its token.
#[derive(Debug)]
struct PendingEntry {
    entry: AuditLogEntry,
    role: Option<Role>,
    stored: oneshot::Sender<()>,
}

/// The error of an entry that could not be stored. The response must not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) struct AuditLogError;

impl AuditLogWriter {
    /// Creates a writer. The future writes until every clone of the handle is dropped.
    pub(in crate::backend) fn new(auth_store: Arc<dyn AuthStore>) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        (Self(sender), write(auth_store, receiver))
    }

    /// Adds an entry of a token with this role to the audit log. Returns once it is stored and logged.
    pub(super) async fn record(&self, entry: AuditLogEntry, role: Option<Role>) -> Result<(), AuditLogError> {
        let (stored, is_stored) = oneshot::channel();
        self.0.try_send(PendingEntry { entry, role, stored }).map_err(|_| AuditLogError)?;
        is_stored.await.map_err(|_| AuditLogError)
    }
}

async fn write(auth_store: Arc<dyn AuthStore>, mut receiver: mpsc::Receiver<PendingEntry>) {
    let (mut pending, throttle) = (Vec::new(), LogThrottle::per_minute());
    let (mut commands, commands_throttle) = (interval(COMMANDS_INTERVAL), LogThrottle::per_minute());
    commands.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut pending, MAX_QUEUED) => {
                if count == 0 {
                    return;
                }
                store(&*auth_store, &mut pending, &throttle).await;
            }
            _ = commands.tick() => log_commands(&*auth_store, &commands_throttle).await,
        }
    }
}

/// Stores and logs the entries, and empties `pending`.
async fn store(auth_store: &dyn AuthStore, pending: &mut Vec<PendingEntry>, throttle: &LogThrottle) {
    match auth_store.record(pending.iter().map(|pending| pending.entry.clone()).collect()).await {
        Ok(()) => pending.drain(..).for_each(|PendingEntry { entry, role, stored }| {
            log(&entry, role);
            // A request that was dropped meanwhile needs no answer.
            let _ = stored.send(());
        }),
        Err(error) => {
            // The requests fail as their channels are dropped.
            pending.clear();
            throttle.failed(|count| {
                tracing::error!(%error, count, "failed to write the audit log; readers are shown nothing meanwhile");
            });
        }
    }
}

/// Logs the entries that commands have added to the store.
async fn log_commands(auth_store: &dyn AuthStore, throttle: &LogThrottle) {
    match auth_store.take_commands().await {
        Ok(entries) => entries.iter().for_each(|entry| log(entry, None)),
        Err(error) => throttle.failed(|count| {
            tracing::warn!(%error, count, "failed to read the commands in the audit log; they are logged later");
        }),
    }
}

/// Logs an entry. The names of its fields are documented: a SIEM's rules depend on them.
fn log(entry: &AuditLogEntry, role: Option<Role>) {
    let AuditLogEntry { time, actor, action, status, count } = entry;
    let (token, name) = actor.as_ref().map(|actor| (&*actor.token, &*actor.name)).unzip();
    let (role, count) = (role.map(Role::as_str), (*count > 1).then_some(*count));
    tracing::info!(
        target: TARGET, log_type = "audit", %time, token, name, role, action, status, count, "audit log entry"
    );
}
