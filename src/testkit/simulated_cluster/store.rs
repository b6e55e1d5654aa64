//! The state of the simulated API: a version counter, and a table for each kind. It does no I/O: the caller supplies
//! the time and the UID of a write.

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
use metadata::{complete, has_finalizers, is_terminating, require_equal, seconds, text};
use table::{Key, ObjectTable};

/// The inputs of a write that differ from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteContext {
    /// The time of the write.
    pub now: Timestamp,
    /// The UID of the object, if the write creates one.
    pub uid: Uuid,
}

/// The preconditions of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The UID that the object must have.
    pub uid: Option<String>,
    /// The version that the object must have.
    pub resource_version: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) version: u64,
    pub(super) items: Vec<Bytes>,
    /// The last key of this page and the number of objects after it, if there is another page.
    pub(super) rest: Option<(Key, usize)>,
}

/// The request for a page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// The version of the state to list; `None` for the newest.
    pub(super) version: Option<u64>,
    /// The last key of the page before.
    pub(super) after: Option<Key>,
    /// The largest number of objects; `None` for all.
    pub(super) limit: Option<usize>,
}

/// The outcome of a deletion.
#[derive(Debug, Clone)]
pub(super) enum Deletion {
    /// The object is gone.
    Done,
    /// The object still has finalizers.
    Pending(Object),
}

/// Every object of the simulated cluster.
#[derive(Debug)]
pub(super) struct ObjectStore {
    version: u64,
    capacity: usize,
    tables: BTreeMap<Kind, ObjectTable>,
}

impl ObjectStore {
    /// Creates an empty store that remembers `capacity` changes of each kind.
    pub(super) fn new(capacity: usize) -> Self {
        let tables = Kind::ALL.into_iter().map(|kind| (kind, ObjectTable::default())).collect();
        Self { version: 1, capacity, tables }
    }

    /// Returns the version of the newest change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the current version of an object.
    pub(super) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Object, StatusError> {
        let key = (namespace.to_owned(), name.to_owned());
        self.table(kind).get(&key).cloned().ok_or(StatusError::NotFound { kind, name: key.1 })
    }

    /// Returns a page of the objects of one state, in the order of their keys.
    pub(super) fn list(&self, kind: Kind, filter: &Filter, request: &PageRequest) -> Result<Page, StatusError> {
        let PageRequest { version, after, limit } = request;
        let version = version.unwrap_or(self.version);
        self.check_reached(Some(version))?;
        let mut objects = self.table(kind).at(version, filter, after.as_ref())?;
        let mut last = None;
        let page = objects.by_ref().take(limit.unwrap_or(usize::MAX));
        let items = page.inspect(|(key, _)| last = Some(*key)).map(|(_, object)| object.json()).collect();
        let remaining = objects.count();
        Ok(Page { version, items, rest: last.filter(|_| remaining > 0).map(|key| (key.clone(), remaining)) })
    }

    /// Returns the first lines of a watch of the newest state, and the version of that state.
    pub(super) fn initial_lines(&self, kind: Kind, filter: &Filter) -> (Vec<Bytes>, u64) {
        let objects = self.table(kind).at(self.version, filter, None).into_iter().flatten();
        (objects.map(|(_, object)| object.line(EventType::Added)).collect(), self.version)
    }

    /// Returns the lines of at most `limit` changes after a version, and the version that they reach.
    pub(super) fn lines_since(
        &self,
        kind: Kind,
        filter: &Filter,
        version: u64,
        limit: usize,
    ) -> Result<(Vec<Bytes>, u64), StatusError> {
        self.check_reached(Some(version))?;
        let mut changes = self.table(kind).lines_since(version, filter)?;
        let mut reached = version;
        let taken = changes.by_ref().take(limit).inspect(|(version, _)| reached = *version);
        let lines = taken.filter_map(|(_, line)| line).collect();
        Ok((lines, if changes.next().is_some() { reached } else { self.version }))
    }

    /// Creates an object.
    pub(super) fn create(
        &mut self,
        kind: Kind,
        namespace: &str,
        mut body: Value,
        context: WriteContext,
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
        metadata.insert("uid".to_owned(), context.uid.to_string().into());
        metadata.insert("creationTimestamp".to_owned(), seconds(context.now).into());
        if kind.has_generation() {
            metadata.insert("generation".to_owned(), 1.into());
        }
        let key = (namespace.to_owned(), name);
        if self.table(kind).get(&key).is_some() {
            return Err(StatusError::AlreadyExists { kind, name: key.1 });
        }
        Ok(self.write(kind, key, body))
    }

    /// Replaces an object, but not the fields that the API server owns. An object that is being deleted is removed with
    /// its last finalizer. A replacement that changes nothing creates no new version.
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
        if text(metadata, "name").is_some_and(|sent| sent != name) {
            return Err(StatusError::BadRequest(format!(
                "the name of the object does not match the name on the URL ({name})"
            )));
        }
        Self::check_replacement(kind, name, metadata, &before)?;
        for server_field in ["name", "uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "generation"] {
            match before["metadata"].get(server_field) {
                Some(value) => metadata.insert(server_field.to_owned(), value.clone()),
                None => metadata.remove(server_field),
            };
        }
        if kind.has_generation() && body["spec"] != before["spec"] {
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

    /// Deletes an object, or marks it as being deleted if it has finalizers.
    pub(super) fn delete(
        &mut self,
        kind: Kind,
        namespace: &str,
        name: &str,
        preconditions: &Preconditions,
        context: WriteContext,
    ) -> Result<Deletion, StatusError> {
        let current = self.get(kind, namespace, name)?;
        let mut body = current.to_value();
        let Preconditions { uid, resource_version } = preconditions;
        for (field, expected) in [("uid", uid), ("resourceVersion", resource_version)] {
            require_equal(kind, name, &body, field, expected.as_deref())?;
        }
        let key = (namespace.to_owned(), name.to_owned());
        if !has_finalizers(&body) {
            self.remove(kind, key, body);
            return Ok(Deletion::Done);
        }
        if is_terminating(&body) {
            return Ok(Deletion::Pending(current));
        }
        body["metadata"]["deletionTimestamp"] = seconds(context.now).into();
        body["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        Ok(Deletion::Pending(self.write(kind, key, body)))
    }

    fn check_replacement(
        kind: Kind,
        name: &str,
        metadata: &Map<String, Value>,
        before: &Value,
    ) -> Result<(), StatusError> {
        require_equal(kind, name, before, "uid", text(metadata, "uid"))?;
        match text(metadata, "resourceVersion").filter(|version| !version.is_empty()) {
            None if !kind.allows_unconditional_update() => Err(StatusError::Invalid(format!(
                "{} \"{name}\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
                kind.qualified()
            ))),
            version => require_equal(kind, name, before, "resourceVersion", version),
        }
    }

    fn table(&self, kind: Kind) -> &ObjectTable {
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

    /// Fails for a version that does not exist yet.
    pub(super) fn check_reached(&self, requested: Option<u64>) -> Result<(), StatusError> {
        match requested.filter(|requested| *requested > self.version) {
            Some(requested) => Err(StatusError::TooLargeResourceVersion { requested, current: self.version }),
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

    fn context() -> WriteContext {
        WriteContext { now: Timestamp::UNIX_EPOCH, uid: Uuid::new_v4() }
    }

    fn named(name: &str) -> Value {
        json!({ "metadata": { "name": name } })
    }

    fn store_with(names: &[&str]) -> ObjectStore {
        let mut store = ObjectStore::new(100);
        for name in names {
            store.create(KIND, "default", named(name), context()).unwrap();
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
    fn every_write_creates_a_newer_version_unless_it_changes_nothing() {
        let mut store = store_with(&["a"]);
        let created = store.get(KIND, "default", "a").unwrap();
        let same = store.replace(KIND, "default", "a", named("a")).unwrap();
        assert_eq!(same.version, created.version);
        let mut changed = named("a");
        changed["data"] = json!({ "key": "value" });
        let replaced = store.replace(KIND, "default", "a", changed).unwrap();
        assert!(replaced.version > created.version);
        assert_eq!(replaced.to_value()["metadata"]["resourceVersion"], replaced.version.to_string());
        assert_eq!(replaced.to_value()["metadata"]["uid"], created.to_value()["metadata"]["uid"]);
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
        let error = store.replace(KIND, "default", "a", second).unwrap_err();
        assert_eq!(error.code(), http::StatusCode::CONFLICT);
    }

    #[test]
    fn a_replacement_without_a_version_is_rejected_for_a_kind_that_requires_one() {
        let mut store = ObjectStore::new(10);
        store.create(Kind::Lease, "default", named("a"), context()).unwrap();
        let error = store.replace(Kind::Lease, "default", "a", named("a")).unwrap_err();
        assert!(matches!(error, StatusError::Invalid(_)), "{error}");
    }

    #[test]
    fn a_deletion_with_failed_preconditions_deletes_nothing() {
        let mut store = store_with(&["a"]);
        let wrong = Preconditions { uid: Some(Uuid::nil().to_string()), resource_version: None };
        let error = store.delete(KIND, "default", "a", &wrong, context()).unwrap_err();
        assert!(matches!(error, StatusError::Conflict { .. }), "{error}");
        let right = store.get(KIND, "default", "a").unwrap();
        let right = Preconditions { uid: None, resource_version: Some(right.version.to_string()) };
        store.delete(KIND, "default", "a", &right, context()).unwrap();
        assert!(matches!(store.get(KIND, "default", "a"), Err(StatusError::NotFound { .. })));
    }

    #[test]
    fn an_object_with_a_finalizer_is_marked_and_removed_with_the_finalizer() {
        let mut store = ObjectStore::new(10);
        let kind = Kind::TenantControlPlane;
        let body = json!({ "metadata": { "name": "a", "finalizers": ["finalizer.kamaji.clastix.io"] } });
        let created = store.create(kind, "default", body, context()).unwrap().version;
        store.delete(kind, "default", "a", &Preconditions::default(), context()).unwrap();
        let mut marked = store.get(kind, "default", "a").unwrap().to_value();
        assert_eq!(marked["metadata"]["deletionTimestamp"], "1970-01-01T00:00:00Z");
        marked["metadata"]["finalizers"] = json!([]);
        store.replace(kind, "default", "a", marked).unwrap();
        let (lines, _) = store.lines_since(kind, &Filter::default(), created, 10).unwrap();
        let seen: Vec<_> = types_and_names(&lines).into_iter().map(|(seen, _)| seen).collect();
        assert_eq!(seen, ["MODIFIED", "DELETED"]);
    }

    #[test]
    fn a_version_older_than_the_history_is_expired() {
        let mut store = ObjectStore::new(2);
        let versions: Vec<_> =
            ["a", "b", "c"].map(|name| store.create(KIND, "default", named(name), context()).unwrap().version).into();
        let all = Filter::default();
        let error = store.lines_since(KIND, &all, versions[0] - 1, 10).unwrap_err();
        assert_eq!(error.code(), http::StatusCode::GONE);
        let (lines, reached) = store.lines_since(KIND, &all, versions[0], 10).unwrap();
        assert_eq!(types_and_names(&lines), [("ADDED".into(), "b".into()), ("ADDED".into(), "c".into())]);
        assert_eq!(reached, store.version());
    }

    #[test]
    fn a_version_that_does_not_exist_yet_is_rejected() {
        let store = store_with(&["a"]);
        let error = store.lines_since(KIND, &Filter::default(), store.version() + 1, 10).unwrap_err();
        assert!(matches!(error, StatusError::TooLargeResourceVersion { .. }), "{error}");
    }

    #[test]
    fn a_watch_by_label_sees_an_object_added_and_deleted_as_its_label_changes() {
        let mut store = ObjectStore::new(10);
        let labelled = |value: &str| json!({ "metadata": { "name": "a", "labels": { "app": value } } });
        let start = store.version();
        store.create(KIND, "default", labelled("other"), context()).unwrap();
        for value in ["kamaji", "other"] {
            store.replace(KIND, "default", "a", labelled(value)).unwrap();
        }
        let filter = Filter { labels: vec![("app".into(), "kamaji".into())], ..Filter::default() };
        let (lines, _) = store.lines_since(KIND, &filter, start, 10).unwrap();
        assert_eq!(types_and_names(&lines), [("ADDED".into(), "a".into()), ("DELETED".into(), "a".into())]);
    }

    /// Runs a write by number: 0 creates, 1 changes and 2 deletes the object of this name.
    fn write_at_random(store: &mut ObjectStore, (what, name): (u8, u8), count: usize) {
        let name = format!("object-{name:02}");
        let mut body = named(&name);
        body["data"] = json!({ "count": count.to_string() });
        // A rejected write is part of the test: the store must stay consistent.
        let _ = match what {
            0 => store.create(KIND, "default", body, context()).map(drop),
            1 => store.replace(KIND, "default", &name, body).map(drop),
            _ => store.delete(KIND, "default", &name, &Preconditions::default(), context()).map(drop),
        };
    }

    proptest! {
        #[test]
        fn pages_show_one_state_despite_writes_between_them(
            before in prop::collection::vec((0u8..3, 0u8..12), 1..40),
            between in prop::collection::vec((0u8..3, 0u8..12), 0..40),
            limit in 1usize..5,
        ) {
            let mut store = ObjectStore::new(1_000);
            for (count, write) in before.into_iter().enumerate() {
                write_at_random(&mut store, write, count);
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
                writes.by_ref().take(7).for_each(|(count, write)| write_at_random(&mut store, write, count + 100));
            }
            prop_assert_eq!(items, whole.items);
        }

        #[test]
        fn a_state_and_the_changes_after_it_result_in_the_next_state(
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
                write_at_random(&mut store, write, count);
            }
            let (mut lines, version) = start.unwrap_or_else(|| store.initial_lines(KIND, &filter));
            lines.extend(store.lines_since(KIND, &filter, version, usize::MAX).unwrap().0);
            let mut seen = std::collections::BTreeSet::new();
            for (event, name) in types_and_names(&lines) {
                let is_consistent = match event.as_str() {
                    "ADDED" => seen.insert(name),
                    "DELETED" => seen.remove(&name),
                    _ => seen.contains(&name),
                };
                prop_assert!(is_consistent, "{event} does not fit the objects so far");
            }
            let now = store.list(KIND, &filter, &PageRequest::default()).unwrap();
            prop_assert_eq!(seen.into_iter().collect::<Vec<_>>(), names(&now));
        }
    }
}
