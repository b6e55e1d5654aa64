//! Earlier first receipts of installations, from the history of another server.

use std::collections::BTreeMap;

use rusqlite::TransactionBehavior;
use uuid::Uuid;

use super::removal::RowRemoval;
use super::rollups;
use super::rows::{read_latest, write_day, write_latest};
use super::words::last_used;
use super::writer::RowWriter;
use crate::backend::store::deletion::MAX_STEP_INSTALLATIONS;
use crate::backend::store::hour::{Day, Hour};

/// Takes the installations of the next step.
pub(super) fn take_step(rest: &mut BTreeMap<Uuid, Hour>) -> BTreeMap<Uuid, Hour> {
    let after = rest.keys().nth(MAX_STEP_INSTALLATIONS).copied();
    let later = after.map_or_else(BTreeMap::new, |after| rest.split_off(&after));
    std::mem::replace(rest, later)
}

/// Moves the first receipt of installations to an earlier hour, in one transaction. Returns the number of those that were moved.
pub(super) fn move_first_seen(writer: &mut RowWriter, first_seen: &BTreeMap<Uuid, Hour>) -> rusqlite::Result<u64> {
    let (connection, words) = writer.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // An installation that is confirmed now is in sums in which it was not, whose words may be new.
    words.set_day(last_used(&transaction)?);
    let mut change = RowRemoval::new(&transaction, words);
    let mut moved = 0;
    for (installation, hour) in first_seen {
        let Some(before) = read_latest(&transaction, change.words, *installation)? else { continue };
        let Some(after) = before.first_seen_at(*hour) else { continue };
        let days = before.first_seen.day().number()..=before.last_seen.day().number();
        let days = change.read_days(*installation, days.map(Day::from_number))?;
        let (day, day_row) = change.changes.first_seen_moved(&before, &after, &days);
        write_latest(&transaction, change.words, *installation, &after)?;
        write_day(&transaction, change.words, day, *installation, &day_row)?;
        moved += 1;
    }
    let RowRemoval { changes, words, .. } = change;
    rollups::write(&transaction, words, &changes.without_zeros())?;
    transaction.commit()?;
    Ok(moved)
}
