//! The state of the simulated API: one version counter, and a table for each kind. It does no I/O: a request comes in
//! with the time and the identity it may use, and a new version or a refusal comes out.

mod metadata;
mod table;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::kind::Kind;
use super::object::{EventType, Filter, Object};
use super::status_error::StatusError;
use metadata::{complete, has_finalizers, is_terminating, same, seconds, text};
use table::{Key, Table};

/// What a write may take from the world outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The time of the write.
    pub now: Timestamp,
    /// The identity of the object, if the write makes one.
    pub uid: Uuid,
}

/// What must hold for a deletion to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The object has this identity.
    pub uid: Option<String>,
    /// The object is in this version.
    pub resource_version: Option<String>,
}

/// Some objects of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) version: u64,
    pub(super) items: Vec<Bytes>,
    /// Where the next page begins, behind this key, and how many objects follow.
    pub(super) rest: Option<(Key, usize)>,
}

/// Which page of which state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// The newest state where there is none.
    pub(super) version: Option<u64>,
    pub(super) after: Option<Key>,
    /// Unlimited where there is none.
    pub(super) limit: Option<usize>,
}

/// What a deletion has come to.
#[derive(Debug, Clone)]
pub(super) enum Deletion {
    /// The object is gone.
    Done,
    /// The object waits for its finalizers.
    Awaited(Object),
}

/// Every object of the simulated cluster.
#[derive(Debug)]
pub(super) struct ObjectStore {
    version: u64,
    capacity: usize,
    tables: BTreeMap<Kind, Table>,
}

impl ObjectStore {
    /// An empty store that remembers `capacity` changes of each kind.
    pub(super) fn new(capacity: usize) -> Self {
        let tables = Kind::ALL.into_iter().map(|kind| (kind, Table::default())).collect();
        Self { version: 1, capacity, tables }
    }

    /// The version of the newest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Object, StatusError> {
        let key = (namespace.to_owned(), name.to_owned());
        self.table(kind).get(&key).cloned().ok_or(StatusError::NotFound { kind, name: key.1 })
    }

    /// Some objects of one state, in the order of their keys.
    pub(super) fn list(&self, kind: Kind, filter: &Filter, request: &PageRequest) -> Result<Page, StatusError> {
        let PageRequest { version, after, limit } = request;
        let version = version.unwrap_or(self.version);
        self.reached(Some(version))?;
        let mut objects = self.table(kind).at(version, filter, after.as_ref())?;
        let mut last = None;
        let page = objects.by_ref().take(limit.unwrap_or(usize::MAX));
        let items = page.inspect(|(key, _)| last = Some(*key)).map(|(_, object)| object.json()).collect();
        let remaining = objects.count();
        Ok(Page { version, items, rest: last.filter(|_| remaining > 0).map(|key| (key.clone(), remaining)) })
    }

    /// The lines with which a watch of the newest state begins, and the version of that state.
    pub(super) fn initial_lines(&self, kind: Kind, filter: &Filter) -> (Vec<Bytes>, u64) {
        let objects = self.table(kind).at(self.version, filter, None).into_iter().flatten();
        (objects.map(|(_, object)| object.line(EventType::Added)).collect(), self.version)
    }

    /// What a watch sees of at most `limit` changes after a version, and the version it has come to.
    pub(super) fn lines_since(
        &self,
        kind: Kind,
        filter: &Filter,
        version: u64,
        limit: usize,
    ) -> Result<(Vec<Bytes>, u64), StatusError> {
        self.reached(Some(version))?;
        let mut changes = self.table(kind).lines_since(version, filter)?;
        let mut reached = version;
        let taken = changes.by_ref().take(limit).inspect(|(version, _)| reached = *version);
        let lines = taken.filter_map(|(_, line)| line).collect();
        Ok((lines, if changes.next().is_some() { reached } else { self.version }))
    }

    /// Makes an object.
    pub(super) fn create(
        &mut self,
        kind: Kind,
        namespace: &str,
        mut body: Value,
        stamp: Stamp,
    ) -> Result<Object, StatusError> {
        let metadata = complete(kind, namespace, &mut body)?;
        let name = text(metadata, "name").unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(StatusError::Invalid(format!("{} \"\" is invalid: metadata.name is required", kind.name())));
        }
        if text(metadata, "resourceVersion").is_some_and(|version| !version.is_empty()) {
            return Err(StatusError::BadRequest(
                "resourceVersion should not be set on objects to be created".to_owned(),
            ));
        }
        metadata.insert("uid".to_owned(), stamp.uid.to_string().into());
        metadata.insert("creationTimestamp".to_owned(), seconds(stamp.now).into());
        if kind.counts_generations() {
            metadata.insert("generation".to_owned(), 1.into());
        }
        let key = (namespace.to_owned(), name);
        if self.table(kind).get(&key).is_some() {
            return Err(StatusError::AlreadyExists { kind, name: key.1 });
        }
        Ok(self.write(kind, key, body))
    }

    /// Replaces an object. What the API server owns is kept; an object that is being deleted goes with its last
    /// finalizer; a replacement that changes nothing makes no new version.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        mut body: Value,
    ) -> Result<Object, StatusError> {
        let current = self.get(kind, namespace, name)?;
        let before = current.to_value();
        let metadata = complete(kind, namespace, &mut body)?;
        if text(metadata, "name").is_some_and(|given| given != name) {
            return Err(StatusError::BadRequest(format!(
                "the name of the object does not match the name on the URL ({name})"
            )));
        }
        Self::check_replacement(kind, name, metadata, &before)?;
        for owned in ["name", "uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "generation"] {
            match before["metadata"].get(owned) {
                Some(value) => metadata.insert(owned.to_owned(), value.clone()),
                None => metadata.remove(owned),
            };
        }
        if kind.counts_generations() && body["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(0);
            body["metadata"]["generation"] = (generation + 1).into();
        }
        let key = (namespace.to_owned(), name.to_owned());
        if is_terminating(&body) && !has_finalizers(&body) {
            Ok(self.remove(kind, key, body))
        } else if body == before {
            Ok(current)
        } else {
            Ok(self.write(kind, key, body))
        }
    }

    /// Deletes an object, or, where it has finalizers, marks it as being deleted.
    pub(super) fn delete(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
        stamp: Stamp,
    ) -> Result<Deletion, StatusError> {
        let current = self.get(kind, namespace, name)?;
        let mut body = current.to_value();
        let Preconditions { uid, resource_version } = preconditions;
        for (field, wanted) in [("uid", uid), ("resourceVersion", resource_version)] {
            same(kind, name, &body, field, wanted.as_deref())?;
        }
        let key = (namespace.to_owned(), name.to_owned());
        if !has_finalizers(&body) {
            self.remove(kind, key, body);
            return Ok(Deletion::Done);
        }
        if is_terminating(&body) {
            return Ok(Deletion::Awaited(current));
        }
        body["metadata"]["deletionTimestamp"] = seconds(stamp.now).into();
        body["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        Ok(Deletion::Awaited(self.write(kind, key, body)))
    }

    fn check_replacement(
        kind: Kind,
        name: &str,
        metadata: &Map<String, Value>,
        before: &Value,
    ) -> Result<(), StatusError> {
        same(kind, name, before, "uid", text(metadata, "uid"))?;
        match text(metadata, "resourceVersion").filter(|version| !version.is_empty()) {
            None if !kind.replaces_unconditionally() => Err(StatusError::Invalid(format!(
                "{} \"{name}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
                kind.qualified()
            ))),
            version => same(kind, name, before, "resourceVersion", version),
        }
    }

    fn table(&self, kind: Kind) -> &Table {
        self.tables.get(&kind).expect("every kind has its table from the start")
    }

    fn write(&mut self, kind: Kind, key: Key, body: Value) -> Object {
        self.version += 1;
        let object = Object::new(body, self.version);
        self.tables.entry(kind).or_default().put(key, object.clone(), self.capacity);
        object
    }

    fn remove(&mut self, kind: Kind, key: Key, body: Value) -> Object {
        self.version += 1;
        let last = Object::new(body, self.version);
        self.tables.entry(kind).or_default().remove(key, last.clone(), self.capacity);
        last
    }

    /// Refuses a version of the future.
    pub(super) fn reached(&self, asked: Option<u64>) -> Result<(), StatusError> {
        match asked.filter(|asked| *asked > self.version) {
            Some(asked) => Err(StatusError::NotYet { asked, current: self.version }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KIND: Kind = Kind::ConfigMap;

    fn stamp() -> Stamp {
        Stamp { now: Timestamp::UNIX_EPOCH, uid: Uuid::new_v4() }
    }

    fn named(name: &str) -> Value {
        json!({ "metadata": { "name": name } })
    }

    fn store_with(names: &[&str]) -> ObjectStore {
        let mut store = ObjectStore::new(100);
        for name in names {
            store.create(KIND, "default", named(name), stamp()).unwrap();
        }
        store
    }

    fn types_and_names(lines: &[Bytes]) -> Vec<(String, String)> {
        let parsed = lines.iter().map(|line| serde_json::from_slice::<Value>(line).unwrap());
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        parsed.map(|event| (word(&event["type"]), word(&event["object"]["metadata"]["name"]))).collect()
    }

    fn names(page: &Page) -> Vec<String> {
        let parsed = page.items.iter().map(|item| serde_json::from_slice::<Value>(item).unwrap());
        parsed.map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_write_makes_a_newer_version_and_one_that_changes_nothing_makes_none() {
        let mut store = store_with(&["a"]);
        let made = store.get(KIND, "default", "a").unwrap();
        let same = store.replace(KIND, "default", "a", named("a")).unwrap();
        assert_eq!(same.version, made.version);
        let mut changed = named("a");
        changed["data"] = json!({ "key": "value" });
        let replaced = store.replace(KIND, "default", "a", changed).unwrap();
        assert!(replaced.version > made.version);
        assert_eq!(replaced.to_value()["metadata"]["resourceVersion"], replaced.version.to_string());
        assert_eq!(replaced.to_value()["metadata"]["uid"], made.to_value()["metadata"]["uid"]);
        assert_eq!(store.version(), replaced.version);
    }

    #[test]
    fn a_replacement_of_an_older_version_is_a_conflict() {
        let mut store = store_with(&["a"]);
        let mut first = store.get(KIND, "default", "a").unwrap().to_value();
        first["data"] = json!({ "by": "first" });
        let mut second = first.clone();
        second["data"] = json!({ "by": "second" });
        store.replace(KIND, "default", "a", first).unwrap();
        let refusal = store.replace(KIND, "default", "a", second).unwrap_err();
        assert_eq!(refusal.code(), http::StatusCode::CONFLICT);
    }

    #[test]
    fn a_kind_that_needs_a_version_for_its_replacement_is_refused_without_one() {
        let mut store = ObjectStore::new(10);
        store.create(Kind::Lease, "default", named("a"), stamp()).unwrap();
        let refusal = store.replace(Kind::Lease, "default", "a", named("a")).unwrap_err();
        assert!(matches!(refusal, StatusError::Invalid(_)), "{refusal}");
    }

    #[test]
    fn a_deletion_whose_preconditions_do_not_hold_deletes_nothing() {
        let mut store = store_with(&["a"]);
        let wrong = Preconditions { uid: Some(Uuid::nil().to_string()), resource_version: None };
        let refusal = store.delete(KIND, "default", "a", &wrong, stamp()).unwrap_err();
        assert!(matches!(refusal, StatusError::Conflict { .. }), "{refusal}");
        let right = store.get(KIND, "default", "a").unwrap();
        let right = Preconditions { uid: None, resource_version: Some(right.version.to_string()) };
        store.delete(KIND, "default", "a", &right, stamp()).unwrap();
        assert!(matches!(store.get(KIND, "default", "a"), Err(StatusError::NotFound { .. })));
    }

    #[test]
    fn an_object_with_a_finalizer_is_marked_and_goes_with_the_finalizer() {
        let mut store = ObjectStore::new(10);
        let kind = Kind::TenantControlPlane;
        let body = json!({ "metadata": { "name": "a", "finalizers": ["finalizer.kamaji.clastix.io"] } });
        let made = store.create(kind, "default", body, stamp()).unwrap().version;
        store.delete(kind, "default", "a", &Preconditions::default(), stamp()).unwrap();
        let mut marked = store.get(kind, "default", "a").unwrap().to_value();
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        marked["metadata"]["finalizers"] = json!([]);
        store.replace(kind, "default", "a", marked).unwrap();
        let (lines, _) = store.lines_since(kind, &Filter::default(), made, 10).unwrap();
        let seen: Vec<_> = types_and_names(&lines).into_iter().map(|(seen, _)| seen).collect();
        assert_eq!(seen, ["MODIFIED", "DELETED"]);
    }

    #[test]
    fn a_version_older_than_the_history_is_expired_and_the_oldest_kept_one_is_not() {
        let mut store = ObjectStore::new(2);
        let versions: Vec<_> =
            ["a", "b", "c"].map(|name| store.create(KIND, "default", named(name), stamp()).unwrap().version).into();
        let all = Filter::default();
        let refusal = store.lines_since(KIND, &all, versions[0] - 1, 10).unwrap_err();
        assert_eq!(refusal.code(), http::StatusCode::GONE);
        let (lines, reached) = store.lines_since(KIND, &all, versions[0], 10).unwrap();
        assert_eq!(types_and_names(&lines), [("ADDED".into(), "b".into()), ("ADDED".into(), "c".into())]);
        assert_eq!(reached, store.version());
    }

    #[test]
    fn a_version_of_the_future_is_refused() {
        let store = store_with(&["a"]);
        let refusal = store.lines_since(KIND, &Filter::default(), store.version() + 1, 10).unwrap_err();
        assert!(matches!(refusal, StatusError::NotYet { .. }), "{refusal}");
    }

    #[test]
    fn a_watch_by_label_sees_an_object_come_and_go_as_its_label_does() {
        let mut store = ObjectStore::new(10);
        let labelled = |value: &str| json!({ "metadata": { "name": "a", "labels": { "app": value } } });
        let start = store.version();
        store.create(KIND, "default", labelled("other"), stamp()).unwrap();
        for value in ["kamaji", "other"] {
            store.replace(KIND, "default", "a", labelled(value)).unwrap();
        }
        let filter = Filter { labels: vec![("app".into(), "kamaji".into())], ..Filter::default() };
        let (lines, _) = store.lines_since(KIND, &filter, start, 10).unwrap();
        assert_eq!(types_and_names(&lines), [("ADDED".into(), "a".into()), ("DELETED".into(), "a".into())]);
    }

    /// One write by number: 0 makes, 1 changes, 2 deletes the object of this name, where that can be done.
    fn scribble(store: &mut ObjectStore, (what, name): (u8, u8), count: usize) {
        let name = format!("object-{name:02}");
        let mut body = named(&name);
        body["data"] = json!({ "count": count.to_string() });
        // A refusal is as good as a write here: the store is to stay consistent under both.
        let _ = match what {
            0 => store.create(KIND, "default", body, stamp()).map(drop),
            1 => store.replace(KIND, "default", &name, body).map(drop),
            _ => store.delete(KIND, "default", &name, &Preconditions::default(), stamp()).map(drop),
        };
    }

    proptest! {
        #[test]
        fn pages_show_one_state_whatever_is_written_between_them(
            before in prop::collection::vec((0u8..3, 0u8..12), 1..40),
            between in prop::collection::vec((0u8..3, 0u8..12), 0..40),
            limit in 1usize..5,
        ) {
            let mut store = ObjectStore::new(1_000);
            for (count, write) in before.into_iter().enumerate() {
                scribble(&mut store, write, count);
            }
            let filter = Filter::default();
            let whole = store.list(KIND, &filter, &PageRequest::default()).unwrap();
            let mut writes = between.into_iter().enumerate();
            let mut request = PageRequest { limit: Some(limit), ..PageRequest::default() };
            let mut items = Vec::new();
            loop {
                let page = store.list(KIND, &filter, &request).unwrap();
                prop_assert_eq!(page.version, whole.version);
                items.extend(page.items);
                let Some((after, _)) = page.rest else { break };
                request = PageRequest { version: Some(page.version), after: Some(after), limit: Some(limit) };
                writes.by_ref().take(7).for_each(|(count, write)| scribble(&mut store, write, count + 100));
            }
            prop_assert_eq!(items, whole.items);
        }

        #[test]
        fn a_state_and_the_changes_behind_it_make_the_next_state(
            writes in prop::collection::vec((0u8..3, 0u8..6), 1..60),
            split in 0usize..60,
        ) {
            let mut store = ObjectStore::new(1_000);
            let filter = Filter::default();
            let mut start = None;
            for (count, write) in writes.into_iter().enumerate() {
                if count == split {
                    start = Some(store.initial_lines(KIND, &filter));
                }
                scribble(&mut store, write, count);
            }
            let (mut lines, version) = start.unwrap_or_else(|| store.initial_lines(KIND, &filter));
            lines.extend(store.lines_since(KIND, &filter, version, usize::MAX).unwrap().0);
            let mut seen = std::collections::BTreeSet::new();
            for (event, name) in types_and_names(&lines) {
                let held = match event.as_str() {
                    "ADDED" => seen.insert(name),
                    "DELETED" => seen.remove(&name),
                    _ => seen.contains(&name),
                };
                prop_assert!(held, "{event} of an object that was there or was not");
            }
            let now = store.list(KIND, &filter, &PageRequest::default()).unwrap();
            prop_assert_eq!(seen.into_iter().collect::<Vec<_>>(), names(&now));
        }
    }
}
