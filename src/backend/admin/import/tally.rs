//! The numbers of an import, and the share of the store that it takes.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::reading::LeftOut;
use crate::backend::admin::{plural, table};
use crate::backend::ingest::kamaji::PayloadKind;
use crate::backend::store::{Allowance, Room, Spent, Unlimited};

/// The number of values of a column that an hour keeps apart, of which one sender may add an eighth: 2,048, several times the
/// releases of Kubernetes and Kamaji that there are. Whoever filled the table of the v1 server with versions fills no more than that.
const MAX_VALUES: u32 = 16_384;

/// The allowance of an import, which takes no sender's room. Its numbers are those of rows that are new in the store.
#[derive(Debug)]
pub(super) struct ImportShare {
    sender: u64,
    added: AtomicU64,
}

/// The numbers of the rows of one kind.
#[derive(Debug, Default)]
pub(super) struct KindTally {
    pub(super) share: Arc<ImportShare>,
    /// The rows with records to store.
    valid: u64,
    left_out: u64,
    /// The installations whose first receipt is earlier.
    moved: u64,
}

/// The numbers of the rows.
#[derive(Debug, Default)]
pub(super) struct ImportTally {
    kinds: [KindTally; PayloadKind::ALL.len()],
    reasons: [u64; LeftOut::ALL.len()],
    /// The rows of unknown kinds.
    unknown: u64,
}

impl Default for ImportShare {
    fn default() -> Self {
        // Random, and so no other sender's.
        Self { sender: Uuid::new_v4().as_u64_pair().0, added: AtomicU64::new(0) }
    }
}

impl Allowance for ImportShare {
    fn sender(&self) -> u64 {
        self.sender
    }

    fn room(&self) -> Room {
        Room { values: MAX_VALUES, is_history: true, ..Unlimited.room() }
    }

    fn spend(&self, spent: Spent) {
        let Spent { installations: _, events, new_installations, bulk_events: _, bytes: _ } = spent;
        self.added.fetch_add(u64::from(events) + u64::from(new_installations), Ordering::Relaxed);
    }
}

impl KindTally {
    fn imported(&self) -> u64 {
        self.share.added.load(Ordering::Relaxed)
    }

    fn row(&self, kind: PayloadKind) -> [String; 5] {
        let (imported, valid) = (self.imported(), self.valid);
        // An installation that was erased and imported again by two writes would be new twice.
        let known = valid.saturating_sub(imported);
        let numbers = [valid + self.left_out, imported, known, self.left_out].map(|number| number.to_string());
        let [read, imported, known, left_out] = numbers;
        [kind.name().to_owned(), read, imported, known, left_out]
    }
}

impl ImportTally {
    /// Counts a row whose records are to be stored.
    pub(super) fn read(&mut self, kind: PayloadKind) {
        self.kinds[kind as usize].valid += 1;
    }

    /// Counts a row that is left out.
    pub(super) fn leave_out(&mut self, kind: Option<PayloadKind>, reason: LeftOut) {
        match kind {
            Some(kind) => self.kinds[kind as usize].left_out += 1,
            None => self.unknown += 1,
        }
        self.reasons[reason as usize] += 1;
    }

    /// Counts installations whose first receipt is earlier.
    pub(super) fn moved(&mut self, kind: PayloadKind, installations: u64) {
        self.kinds[kind as usize].moved += installations;
    }

    /// Returns the numbers of a kind.
    pub(super) fn of(&self, kind: PayloadKind) -> &KindTally {
        &self.kinds[kind as usize]
    }

    /// Returns the number of rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.unknown + self.kinds.iter().map(|kind| kind.valid + kind.left_out).sum::<u64>()
    }

    /// Returns the numbers for people.
    pub(super) fn report(&self) -> String {
        let headings = ["KIND", "READ", "IMPORTED", "STORED BEFORE", "LEFT OUT"].map(str::to_owned);
        let unknown = ["other", &self.unknown.to_string(), "0", "0", &self.unknown.to_string()].map(str::to_owned);
        let kinds = PayloadKind::ALL.map(|kind| self.of(kind).row(kind));
        let rows: Vec<_> =
            std::iter::once(headings).chain(kinds).chain((self.unknown > 0).then_some(unknown)).collect();
        let mut report = table(&rows);
        let moved: u64 = self.kinds.iter().map(|kind| kind.moved).sum();
        if moved > 0 {
            let moved = plural(moved, "installation");
            let _ = writeln!(report, "\nOf {moved} that the store knew, the first receipt is earlier.");
        }
        let reasons: Vec<_> = LeftOut::ALL.into_iter().filter(|reason| self.reasons[*reason as usize] > 0).collect();
        if !reasons.is_empty() {
            report.push_str("\nLeft out:\n");
            let row = |reason: LeftOut| [self.reasons[reason as usize].to_string(), reason.description().to_owned()];
            report.push_str(&table(&reasons.into_iter().map(row).collect::<Vec<_>>()));
        }
        report
    }
}
