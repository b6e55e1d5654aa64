//! A merge of the inbox that goes on in the commits, so that none of them waits for all of it.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::inbox::InboxMerge;
use super::uids::KnownUids;
use super::words::Words;

/// The fewest events in the inbox with which a merge begins that goes on in the commits.
const MIN_MERGED: usize = 16_384;

/// The most of them: 17 MB in memory. As many again come meanwhile at most. A start after a crash merges all of them at once, in about
/// a second: 282,500 took 0.6 s.
const MAX_MERGED: usize = 262_144;

/// The events of the last month for each in the inbox. The more of them there are, the more pages the events of a merge are spread
/// over: with half as many as the table, some fifteen share a page, of which a commit writes all.
const KNOWN_TO_MERGED: usize = 2;

/// The number of events that a commit merges at once: a step writes each changed sum of the rollups, and takes 10 ms at most.
const STEP: usize = 2_048;

/// The number of events that are merged for each that is added, so that a merge ends before the next is due.
const PACE: usize = 2;

/// The number of events that are merged at once without a commit that adds any.
const PART: usize = 8_192;

/// A merge that goes on in the commits.
pub(super) struct PacedMerge {
    merge: InboxMerge,
    /// The number of events that were added since the last step.
    added: usize,
    /// True if the transaction that is not committed yet has a step.
    has_stepped: bool,
}

impl PacedMerge {
    /// Merges events in a transaction that adds so many to the inbox, if enough have come for a step. Begins if no merge is under way
    /// and the inbox has enough. Returns the merge that is under way.
    pub(super) fn step(
        merge: Option<Self>,
        transaction: &Transaction<'_>,
        words: &mut Words,
        uids: &mut KnownUids,
        added: usize,
    ) -> rusqlite::Result<Option<Self>> {
        let mut paced = match merge {
            Some(paced) => paced,
            None if uids.waiting() < Self::events_to_begin(uids) => return Ok(None),
            None => Self::begin(transaction, words, uids)?,
        };
        paced.added += added;
        if PACE * paced.added < STEP {
            return Ok(Some(paced));
        }
        let events = PACE * std::mem::take(&mut paced.added);
        paced.run_step(transaction, words, uids, events).map(Some)
    }

    /// Merges [`PART`] events in a transaction of their own. Begins if no merge is under way. Returns the merge if it has more.
    pub(super) fn run_part(
        merge: Option<Self>,
        connection: &mut Connection,
        words: &mut Words,
        uids: &mut KnownUids,
    ) -> rusqlite::Result<Option<Self>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let paced = match merge {
            Some(paced) => paced,
            None => Self::begin(&transaction, words, uids)?,
        };
        let paced = paced.run_step(&transaction, words, uids, PART)?;
        transaction.commit()?;
        Ok(paced.committed(uids))
    }

    fn run_step(
        self,
        transaction: &Transaction<'_>,
        words: &mut Words,
        uids: &mut KnownUids,
        events: usize,
    ) -> rusqlite::Result<Self> {
        let is_current = self.merge.is_current(transaction)?;
        let mut paced = if is_current { self } else { Self::begin(transaction, words, uids)? };
        paced.merge.step(transaction, words, events)?;
        paced.has_stepped = true;
        Ok(paced)
    }

    /// Returns the number of events in the inbox with which a merge begins.
    fn events_to_begin(uids: &KnownUids) -> usize {
        (uids.len() / KNOWN_TO_MERGED).clamp(MIN_MERGED, MAX_MERGED)
    }

    fn begin(transaction: &Transaction<'_>, words: &mut Words, uids: &mut KnownUids) -> rusqlite::Result<Self> {
        let merge = InboxMerge::begin(transaction, words)?;
        uids.begin_merge();
        Ok(Self { merge, added: 0, has_stepped: false })
    }

    /// Records that the transaction is committed. Returns the merge if it has more.
    pub(super) fn committed(mut self, uids: &mut KnownUids) -> Option<Self> {
        if std::mem::take(&mut self.has_stepped) {
            self.merge.committed();
        }
        if self.merge.is_done() {
            uids.end_merge();
            return None;
        }
        Some(self)
    }
}
