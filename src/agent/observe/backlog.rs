//! What there was no room to report, in the order in which it began to wait.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::ControlPlane;

/// A queue of control planes as they were last seen (`None`: gone). Each is in it at most once, so it is bounded by
/// what is there and what was reported to be.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    objects: HashMap<Uuid, (u64, Option<ControlPlane>)>,
    order: BTreeMap<u64, Uuid>,
    next: u64,
}

/// One that waited, as it was last seen (`None`: gone).
pub(super) struct BacklogEntry(pub(super) Option<ControlPlane>);

impl Backlog {
    /// Puts one in the last place, or replaces it where it is, and gives what it replaced.
    pub(super) fn put(&mut self, uid: Uuid, object: Option<ControlPlane>) -> Option<BacklogEntry> {
        if let Some((_, waiting)) = self.objects.get_mut(&uid) {
            return Some(BacklogEntry(std::mem::replace(waiting, object)));
        }
        self.objects.insert(uid, (self.next, object));
        self.order.insert(self.next, uid);
        self.next += 1;
        None
    }

    /// Takes one out, and gives it.
    pub(super) fn remove(&mut self, uid: &Uuid) -> Option<BacklogEntry> {
        let (place, object) = self.objects.remove(uid)?;
        self.order.remove(&place);
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
