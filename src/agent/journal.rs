//! The journal: what is to be delivered, from the moment it is known until it is acknowledged.
//!
//! A change becomes a record with its own `log.record.uid` when it is journalled, and keeps it however often it is
//! sent. Only what has been written to storage is sent.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;

use uuid::Uuid;

use super::observe::Change;
use crate::signals::{EventRecord, KamajiVersion, KubernetesVersion};

/// How many events wait for their acknowledgement at the most. A record takes about 60 bytes, so that a full outbox
/// is 300 kB; 5,000 is what a burst that makes or deletes every control plane of a large cluster needs.
pub const OUTBOX_LIMIT: usize = 5_000;

/// The versions that a record carries beside its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The version of Kamaji.
    pub kamaji: KamajiVersion,
    /// The version of the management cluster.
    pub kubernetes: KubernetesVersion,
}

/// Where the journal is kept.
pub trait Storage: Send {
    /// Why a write failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Writes the installation and its outbox, all or nothing.
    fn write(
        &mut self,
        installation: Uuid,
        outbox: &VecDeque<EventRecord>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A journal that lasts as long as the process.
#[derive(Debug, Default)]
pub struct Memory;

impl Storage for Memory {
    type Error = Infallible;

    async fn write(&mut self, _: Uuid, _: &VecDeque<EventRecord>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The installation's identity and the events that are not yet acknowledged, oldest first.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    installation: Uuid,
    outbox: VecDeque<EventRecord>,
    /// How many of the outbox, from its front, are written.
    written: usize,
}

impl<S: Storage> Journal<S> {
    /// A new journal: a new installation, and nothing to deliver.
    pub fn new(storage: S) -> Self {
        Self { storage, installation: Uuid::new_v4(), outbox: VecDeque::new(), written: 0 }
    }

    /// The installation's identity.
    pub fn installation(&self) -> Uuid {
        self.installation
    }

    /// How many more events there is room for.
    pub fn room(&self) -> usize {
        OUTBOX_LIMIT.saturating_sub(self.outbox.len())
    }

    /// How many events are not yet acknowledged.
    pub fn pending(&self) -> usize {
        self.outbox.len()
    }

    /// Gives each change its identity and puts it behind the others. It is not sent before [`Journal::write`].
    pub fn append(&mut self, changes: Vec<Change>, versions: Versions) {
        let Versions { kamaji, kubernetes } = versions;
        self.outbox.extend(changes.into_iter().map(|Change { time, event }| EventRecord {
            uid: Uuid::new_v4(),
            time,
            kamaji_version: kamaji,
            kubernetes_version: kubernetes,
            event,
        }));
    }

    /// Writes what was appended, and makes no write where nothing was.
    pub async fn write(&mut self) -> Result<(), S::Error> {
        if self.written < self.outbox.len() {
            self.storage.write(self.installation, &self.outbox).await?;
            self.written = self.outbox.len();
        }
        Ok(())
    }

    /// The oldest events that are written, at most `limit` of them.
    pub fn batch(&self, limit: usize) -> Vec<EventRecord> {
        self.outbox.iter().take(self.written.min(limit)).copied().collect()
    }

    /// Forgets the events with these identities: they are acknowledged, or refused for good.
    pub fn settle(&mut self, settled: &HashSet<Uuid>) {
        let before = self.outbox.len();
        self.outbox.retain(|record| !settled.contains(&record.uid));
        self.written -= before - self.outbox.len();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::signals::Event;

    const VERSIONS: Versions = Versions { kamaji: KamajiVersion::Unknown, kubernetes: KubernetesVersion::Unknown };

    fn change() -> Change {
        let event = Event::Created { tcp_version: KubernetesVersion::Unknown, with: None };
        Change { time: Timestamp::UNIX_EPOCH, event }
    }

    #[tokio::test]
    async fn nothing_is_sent_before_it_is_written() {
        let mut journal = Journal::new(Memory);
        journal.append(vec![change(), change()], VERSIONS);
        assert_eq!(journal.batch(10), []);
        journal.write().await.unwrap();
        journal.append(vec![change()], VERSIONS);
        assert_eq!(journal.batch(10).len(), 2);
        assert_eq!(journal.batch(1).len(), 1);
    }

    #[tokio::test]
    async fn an_event_keeps_its_identity_until_it_is_settled() {
        let mut journal = Journal::new(Memory);
        journal.append(vec![change(), change()], VERSIONS);
        journal.write().await.unwrap();
        let first = journal.batch(10);
        assert_eq!(journal.batch(10), first);
        journal.append(vec![change()], VERSIONS);
        journal.settle(&HashSet::from([first[0].uid]));
        assert_eq!(journal.batch(10), first[1..], "what was appended since is still not written");
        assert_eq!(journal.pending(), 2);
        assert_eq!(journal.room(), OUTBOX_LIMIT - 2);
    }
}
