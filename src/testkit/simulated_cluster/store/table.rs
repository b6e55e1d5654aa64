//! The objects of one kind and their latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use bytes::Bytes;

use crate::testkit::simulated_cluster::object::{EventType, Filter, Object};
use crate::testkit::simulated_cluster::status_error::StatusError;

/// Namespace and name.
pub(super) type Key = (String, String);

/// The objects and their bounded history.
#[derive(Debug, Default)]
pub(super) struct ObjectTable {
    objects: BTreeMap<Key, Object>,
    history: VecDeque<TableChange>,
    /// The version of the newest change that left the history.
    forgotten: u64,
}

#[derive(Debug)]
struct TableChange {
    version: u64,
    key: Key,
    before: Option<Object>,
    /// The object after the change; for a deletion, its last version.
    after: Object,
    deleted: bool,
    line: Bytes,
}

impl TableChange {
    fn event_type(&self) -> EventType {
        match (&self.before, self.deleted) {
            (_, true) => EventType::Deleted,
            (None, false) => EventType::Added,
            (Some(_), false) => EventType::Modified,
        }
    }

    /// Returns the line of the change for a watch with this filter. An object that begins to match is added, and one
    /// that ceases to match is deleted.
    fn line_for(&self, filter: &Filter) -> Option<Bytes> {
        let before = self.before.as_ref().is_some_and(|object| filter.matches(&self.key, object));
        let after = !self.deleted && filter.matches(&self.key, &self.after);
        let seen = match (before, after) {
            (false, false) => return None,
            (false, true) => EventType::Added,
            (true, true) => EventType::Modified,
            (true, false) => EventType::Deleted,
        };
        Some(if seen == self.event_type() { self.line.clone() } else { self.after.line(seen) })
    }
}

impl ObjectTable {
    pub(super) fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Inserts an object or replaces it.
    pub(super) fn put(&mut self, key: Key, object: Object, capacity: usize) {
        let before = self.objects.insert(key.clone(), object.clone());
        self.record(key, before, object, false, capacity);
    }

    /// Removes an object, whose last version the watches receive.
    pub(super) fn remove(&mut self, key: Key, last: Object, capacity: usize) {
        let before = self.objects.remove(&key);
        self.record(key, before, last, true, capacity);
    }

    fn record(&mut self, key: Key, before: Option<Object>, after: Object, deleted: bool, capacity: usize) {
        let mut change = TableChange { version: after.version, key, before, after, deleted, line: Bytes::new() };
        change.line = change.after.line(change.event_type());
        self.history.push_back(change);
        while self.history.len() > capacity {
            self.forgotten = self.history.pop_front().map_or(self.forgotten, |change| change.version);
        }
    }

    /// Returns the objects as of a version, by key, from the key after `after`.
    pub(super) fn at<'a>(
        &'a self,
        version: u64,
        filter: &'a Filter,
        after: Option<&'a Key>,
    ) -> Result<impl Iterator<Item = (&'a Key, &'a Object)> + 'a, StatusError> {
        let later = self.changes_since(version)?;
        // The first change after the version has the object as of the version.
        let mut then: BTreeMap<&Key, Option<&Object>> = BTreeMap::new();
        for change in later {
            then.entry(&change.key).or_insert(change.before.as_ref());
        }
        let unchanged = self.objects.range::<Key, _>((after.map_or(Unbounded, Excluded), Unbounded));
        let unchanged = unchanged.filter(|(key, _)| !then.contains_key(key));
        let mut all: Vec<_> = unchanged.collect();
        if !then.is_empty() {
            let restored = then.into_iter().filter_map(|(key, object)| Some((key, object?)));
            all.extend(restored.filter(|(key, _)| after.is_none_or(|after| *key > after)));
            all.sort_unstable_by_key(|(key, _)| *key);
        }
        Ok(all.into_iter().filter(|(key, object)| filter.matches(key, object)))
    }

    /// Returns the lines of the changes after a version for a watch with this filter.
    pub(super) fn lines_since<'a>(
        &'a self,
        version: u64,
        filter: &'a Filter,
    ) -> Result<impl Iterator<Item = (u64, Option<Bytes>)> + 'a, StatusError> {
        Ok(self.changes_since(version)?.map(|change| (change.version, change.line_for(filter))))
    }

    fn changes_since(&self, version: u64) -> Result<impl Iterator<Item = &TableChange>, StatusError> {
        if version < self.forgotten {
            return Err(StatusError::Expired { requested: version, oldest: self.forgotten });
        }
        let first = self.history.partition_point(|change| change.version <= version);
        Ok(self.history.range(first..))
    }
}
