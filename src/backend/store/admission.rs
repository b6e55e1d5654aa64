//! The admission of the batches of a group: what may be stored now.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::WriteError;
use super::allowance::Room;
use super::fold::{LatestRow, Standing};
use super::rows::Batch;

/// Decides whether a batch may be stored now. `before` has the latest rows of its installations; `new_installations` is the
/// number of new installations of all senders that the batches before it in the group have added, and is increased.
///
/// A batch is stored as a whole, or not at all.
pub(super) fn admit(
    batch: &Batch,
    before: &BTreeMap<Uuid, LatestRow>,
    room: Room,
    new_installations: &mut u32,
) -> Result<(), WriteError> {
    if room.is_full && !is_of_confirmed(batch, before) {
        return Err(WriteError::Full);
    }
    let is_new = |installation: &Uuid| !before.contains_key(installation);
    let mut new: Vec<_> = batch.snapshots.iter().map(|snapshot| snapshot.installation).filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    new.sort_unstable();
    new.dedup();
    let new = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let wanted = new_installations.saturating_add(new);
    let bound = if new > room.installations { room.new_bulk_installations } else { room.new_installations };
    if wanted > bound {
        return Err(WriteError::TooManyInstallations);
    }
    *new_installations = wanted;
    Ok(())
}

/// Returns whether a batch has nothing but snapshots of installations that are in the figures.
fn is_of_confirmed(batch: &Batch, before: &BTreeMap<Uuid, LatestRow>) -> bool {
    let is_confirmed = |row: &LatestRow| row.standing() == Standing::Confirmed;
    batch.events.is_empty()
        && batch.snapshots.iter().all(|snapshot| before.get(&snapshot.installation).is_some_and(is_confirmed))
}
