//! The accounts of the senders of a group.

use super::distinct::ValueBound;
use crate::backend::store::allowance::{Room, Spent};

/// The bytes of a word that is new: itself and its entry in an index, which are 60 at most, in pages that are two thirds full.
const WORD_BYTES: u32 = 192;

/// The accounts of the senders of a group, by their position.
#[derive(Debug, Default)]
pub struct Ledger(Vec<SenderAccount>);

#[derive(Debug, Clone, Copy)]
struct SenderAccount {
    /// The number of the sender.
    sender: u64,
    /// The room that is left.
    room: Room,
    spent: Spent,
}

impl Ledger {
    /// Creates a ledger of senders, by their numbers, with their room.
    pub fn new(senders: impl IntoIterator<Item = (u64, Room)>) -> Self {
        let account = |(sender, room)| SenderAccount { sender, room, spent: Spent::default() };
        Self(senders.into_iter().map(account).collect())
    }

    /// Returns the bound on the values that a sender may add.
    pub(super) fn value_bound(&self, sender: usize) -> ValueBound {
        let SenderAccount { sender, room, .. } = self.0[sender];
        ValueBound { sender, max: usize::try_from(room.values).unwrap_or(usize::MAX) }
    }

    /// Returns what each sender has spent.
    pub fn spent(&self) -> impl Iterator<Item = Spent> {
        self.0.iter().map(|account| account.spent)
    }

    /// Returns whether an installation in bulk of the sender may begin to count. It is as new to the figures as any other,
    /// so that the bound of all senders holds for it as well.
    pub(super) fn has_room(&self, sender: usize) -> bool {
        let Room { installations, new_installations, .. } = self.0[sender].room;
        installations > 0 && new_installations > 0
    }

    /// Returns whether the sender's rows are the history of another server.
    pub(in crate::backend::store) fn is_history(&self, sender: usize) -> bool {
        self.0[sender].room.is_history
    }

    /// Takes one installation of the sender's share. Returns false if there is none left.
    pub(super) fn take_installation(&mut self, sender: usize) -> bool {
        let SenderAccount { room, spent, .. } = &mut self.0[sender];
        take(&mut room.installations, &mut spent.installations)
    }

    /// Takes one event of the sender's share. Returns false if there is none left.
    pub(super) fn take_event(&mut self, sender: usize) -> bool {
        let SenderAccount { room, spent, .. } = &mut self.0[sender];
        let counts = take(&mut room.events, &mut spent.events);
        spent.bulk_events += u32::from(!counts);
        counts
    }

    /// Counts an installation that is new in the store, or new in the figures.
    pub(super) fn add_installation(&mut self, sender: usize) {
        let SenderAccount { room, spent, .. } = &mut self.0[sender];
        room.new_installations = room.new_installations.saturating_sub(1);
        spent.new_installations += 1;
    }

    /// Counts bytes and new words that are written.
    pub(super) fn write(&mut self, sender: usize, bytes: u32, words: u32) {
        let sum = &mut self.0[sender].spent.bytes;
        *sum = sum.saturating_add(bytes).saturating_add(words.saturating_mul(WORD_BYTES));
    }
}

fn take(left: &mut u32, taken: &mut u32) -> bool {
    let has_room = *left > 0;
    if has_room {
        *left -= 1;
        *taken += 1;
    }
    has_room
}
