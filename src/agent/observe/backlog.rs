//! Control planes whose changes the outbox has no room for, oldest first.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::control_plane::ControlPlane;

/// A queue of control planes in their latest state; `None` stands for one that is gone.
///
/// Each control plane is queued at most once, so the length is bounded by the number of control planes that exist or
/// were reported to exist.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The position in `order` and the latest state.
    objects: HashMap<Uuid, (u64, Option<ControlPlane>)>,
    order: BTreeMap<u64, Uuid>,
    next_position: u64,
}

/// The state of a control plane that was replaced or removed; `None` stands for one that is gone.
pub(super) struct BacklogEntry(pub(super) Option<ControlPlane>);

impl Backlog {
    /// Appends a control plane, or replaces its state without moving it. Returns the replaced state.
    pub(super) fn upsert(&mut self, uid: Uuid, object: Option<ControlPlane>) -> Option<BacklogEntry> {
        if let Some((_, queued)) = self.objects.get_mut(&uid) {
            return Some(BacklogEntry(std::mem::replace(queued, object)));
        }
        self.objects.insert(uid, (self.next_position, object));
        self.order.insert(self.next_position, uid);
        self.next_position += 1;
        None
    }

    pub(super) fn remove(&mut self, uid: &Uuid) -> Option<BacklogEntry> {
        let (position, object) = self.objects.remove(uid)?;
        self.order.remove(&position);
        Some(BacklogEntry(object))
    }

    pub(super) fn oldest(&self) -> Option<(Uuid, Option<ControlPlane>)> {
        let (_, uid) = self.order.first_key_value()?;
        self.objects.get(uid).map(|(_, object)| (*uid, *object))
    }

    pub(super) fn contains(&self, uid: &Uuid) -> bool {
        self.objects.contains_key(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }
}
