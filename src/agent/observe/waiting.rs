//! What there was no room to report, in the order in which it began to wait.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::ControlPlane;

/// A queue of control planes as they were last seen (`None`: gone). Each is in it at most once, so it is bounded by
/// what is there and what was reported to be.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    objects: HashMap<Uuid, (u64, Option<ControlPlane>)>,
    order: BTreeMap<u64, Uuid>,
    next: u64,
}

impl Waiting {
    /// Puts one in the last place, or replaces it where it is.
    pub(super) fn put(&mut self, uid: Uuid, object: Option<ControlPlane>) {
        let (place, last) = self.objects.entry(uid).or_insert((self.next, None));
        *last = object;
        self.order.insert(*place, uid);
        self.next += 1;
    }

    pub(super) fn remove(&mut self, uid: &Uuid) {
        if let Some((place, _)) = self.objects.remove(uid) {
            self.order.remove(&place);
        }
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
