//! The admission of the batches of a group: what may be stored now.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::WriteError;
use super::allowance::Room;
use super::fold::{LatestRow, Standing};
use super::rows::{Batch, GaugeSnapshot};

/// The room that is left to the batches of a group that are not admitted yet.
#[derive(Debug)]
pub(super) struct Admission {
    /// The room of each sender, by its position.
    rooms: Vec<Room>,
    /// The new installations that were admitted, of all senders.
    new_installations: u32,
    /// The events that were admitted and may be in bulk, of all senders.
    bulk_events: u32,
}

impl Admission {
    /// Creates the admission to a group of senders with this room.
    pub(super) fn new(rooms: Vec<Room>) -> Self {
        Self { rooms, new_installations: 0, bulk_events: 0 }
    }

    /// Decides whether all of a batch may be stored now. `before` has the latest rows of its installations.
    pub(super) fn admit(
        &mut self,
        sender: usize,
        batch: &Batch,
        before: &BTreeMap<Uuid, LatestRow>,
    ) -> Result<(), WriteError> {
        let room = &mut self.rooms[sender];
        if room.is_full && !(batch.events.is_empty() && batch.snapshots.iter().all(|row| is_confirmed(row, before))) {
            return Err(WriteError::Full);
        }
        let (new, events) = (new_installations(batch, before), count(batch.events.len()));
        let bound = if new > room.installations { room.new_bulk_installations } else { room.new_installations };
        let bulk_events = events.saturating_sub(room.events);
        if new > 0 && self.new_installations.saturating_add(new) > bound
            || bulk_events > 0 && self.bulk_events.saturating_add(bulk_events) > room.bulk_events
        {
            return Err(WriteError::TooManyNew);
        }
        // Each of a sender's batches in a group leaves less to the next one.
        room.installations = room.installations.saturating_sub(new);
        room.events = room.events.saturating_sub(events);
        self.new_installations += new;
        self.bulk_events += bulk_events;
        Ok(())
    }
}

/// Returns whether a snapshot is stored even though its batch was not admitted.
pub(super) fn is_stored_despite(error: &WriteError, row: &GaugeSnapshot, before: &BTreeMap<Uuid, LatestRow>) -> bool {
    match error {
        WriteError::Full => is_confirmed(row, before),
        _ => before.contains_key(&row.installation),
    }
}

fn is_confirmed(row: &GaugeSnapshot, before: &BTreeMap<Uuid, LatestRow>) -> bool {
    before.get(&row.installation).is_some_and(|known| known.standing() == Standing::Confirmed)
}

fn new_installations(batch: &Batch, before: &BTreeMap<Uuid, LatestRow>) -> u32 {
    let is_new = |installation: &Uuid| !before.contains_key(installation);
    let mut new: Vec<_> = batch.snapshots.iter().map(|snapshot| snapshot.installation).filter(is_new).collect();
    new.sort_unstable();
    new.dedup();
    count(new.len())
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::store::{Allowance, EventRow, Hour, Report, Source, StateCounts, Unlimited};
    use crate::catalog::{Event, EventRecord, KamajiVersion, KubernetesVersion};

    fn new(installations: usize) -> Batch {
        let report = Report {
            counts: StateCounts::default(),
            source: Source::Kamaji,
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
            dimensions: vec![],
        };
        let snapshot =
            |_| GaugeSnapshot { installation: Uuid::new_v4(), received: Hour::default(), report: report.clone() };
        Batch { snapshots: (0..installations).map(snapshot).collect(), ..Batch::default() }
    }

    fn events(count: usize) -> Batch {
        let event = |_| EventRow {
            record: EventRecord {
                uid: Uuid::new_v4(),
                time: Hour::default().start(),
                kamaji_version: KamajiVersion::Unknown,
                kubernetes_version: KubernetesVersion::Unknown,
                event: Event::Created { tcp_version: KubernetesVersion::Unknown, extended: None },
            },
            source: Source::Kamaji,
            bulk: false,
        };
        Batch { events: (0..count).map(event).collect(), ..Batch::default() }
    }

    /// A sender that splits what it sends into many small batches gets no further than with one.
    #[test]
    fn each_batch_of_a_group_leaves_less_to_the_next_ones_of_its_sender_and_of_all() {
        let room = Room { installations: 20, new_installations: 50, new_bulk_installations: 25, ..Unlimited.room() };
        let (mut admission, before) = (Admission::new(vec![room; 3]), BTreeMap::new());
        let mut admitted = |sender| (0..100).filter(|_| admission.admit(sender, &new(1), &before).is_ok()).count();
        assert_eq!(admitted(0), 25, "20 that count, and 5 in bulk");
        assert_eq!([admitted(1), admitted(2)], [20, 5], "no sender keeps others out, until all have taken the day's");
    }

    #[test]
    fn events_beyond_a_senders_room_are_bounded_for_all_together() {
        let room = Room { events: 10, bulk_events: 5, ..Unlimited.room() };
        let (mut admission, before) = (Admission::new(vec![room; 2]), BTreeMap::new());
        let mut admit = |sender, count| admission.admit(sender, &events(count), &before).is_ok();
        assert!(admit(0, 12) && admit(0, 3) && !admit(0, 1));
        assert!(admit(1, 10) && !admit(1, 1));
    }
}
