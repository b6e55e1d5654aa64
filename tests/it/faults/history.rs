//! The history of each control plane, as committed by etcd.

mod recorder;

use std::collections::BTreeMap;

use kamaji_telemetry::catalog::{KubernetesVersion, Status};
use serde_json::Value;
use uuid::Uuid;

pub(super) use recorder::Recorder;

/// A revision of etcd, which increases with each commit.
pub(super) type Revision = u64;

/// A commit to a control plane's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    /// The revision of the commit.
    pub(super) revision: Revision,
    /// The key of the object.
    pub(super) key: String,
    /// The stored object; `None` if the commit deletes it.
    pub(super) object: Option<Object>,
}

/// The parts of a stored control plane that the agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    /// The UID of the object.
    pub(super) uid: Uuid,
    /// The desired version as it may be sent; `None` if it is not text.
    pub(super) version: Option<KubernetesVersion>,
    /// The status as it may be sent.
    pub(super) status: Status,
    /// The deletion has begun.
    pub(super) terminating: bool,
}

/// The life of a control plane, from creation to removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// The UID, which another control plane of the same name does not share.
    pub(super) uid: Uuid,
    /// The revision and the object of each commit, in order.
    pub(super) states: Vec<(Revision, Object)>,
    /// The revision that removed it.
    pub(super) gone: Option<Revision>,
}

/// The lives of all control planes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// The lives, in the order of their creation.
    pub(super) lives: Vec<Life>,
    /// The last revision that was recorded.
    pub(super) last: Revision,
}

impl Object {
    /// Reads an object as kube-apiserver stores it: custom resources are JSON in etcd.
    fn read(stored: &[u8]) -> Self {
        let object: Value = serde_json::from_slice(stored).expect("a custom resource is stored as JSON");
        let metadata = &object["metadata"];
        let uid = metadata["uid"].as_str().and_then(|uid| uid.parse().ok()).expect("an object has a uid");
        let version = match object.pointer("/spec/kubernetes/version") {
            None => Some(KubernetesVersion::Unknown),
            Some(version) => version.as_str().map(KubernetesVersion::normalize),
        };
        let word = object.pointer("/status/kubernetesResources/version/status").and_then(Value::as_str);
        let terminating = metadata.get("deletionTimestamp").is_some();
        Self { uid, version, status: Status::normalize(word), terminating }
    }
}

impl History {
    /// Groups commits by control plane. One control plane after the other may have the same key.
    pub(super) fn of(commits: &[Commit]) -> Self {
        let mut history = Self::default();
        let mut at: BTreeMap<&str, usize> = BTreeMap::new();
        for Commit { revision, key, object } in commits {
            history.last = *revision;
            if let Some(object) = object {
                let life = *at.entry(key).or_insert_with(|| history.begin(object.uid));
                history.lives[life].states.push((*revision, *object));
            } else {
                let life = at.remove(&**key).expect("only what was created is deleted");
                history.lives[life].gone = Some(*revision);
            }
        }
        history
    }

    fn begin(&mut self, uid: Uuid) -> usize {
        self.lives.push(Life { uid, states: Vec::new(), gone: None });
        self.lives.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(revision: Revision, uid: u128, object: &Value) -> Commit {
        let mut object = object.clone();
        object["metadata"]["uid"] = Uuid::from_u128(uid).to_string().into();
        let object = Some(Object::read(object.to_string().as_bytes()));
        Commit { revision, key: "default/a".to_owned(), object }
    }

    #[test]
    fn a_name_that_is_used_again_is_another_life() {
        let of = |version: &str| json!({"spec": {"kubernetes": {"version": version}}});
        let gone = Commit { revision: 4, key: "default/a".to_owned(), object: None };
        let history =
            History::of(&[put(2, 1, &of("v1.1.0")), put(3, 1, &of("v1.1.1")), gone, put(7, 2, &of("v1.2.0"))]);
        let [first, second] = &history.lives[..] else { panic!("{history:?}") };
        let revisions = |life: &Life| life.states.iter().map(|(revision, _)| *revision).collect::<Vec<_>>();
        assert_eq!((first.uid, revisions(first), first.gone), (Uuid::from_u128(1), vec![2, 3], Some(4)));
        assert_eq!((second.uid, revisions(second), second.gone), (Uuid::from_u128(2), vec![7], None));
        assert_eq!(history.last, 7);
    }

    #[test]
    fn versions_are_normalised_as_for_sending() {
        let version = |object: &Value| put(1, 1, object).object.unwrap().version.map(|version| version.to_string());
        let of = |version: Value| json!({"spec": {"kubernetes": {"version": version}}});
        assert_eq!(version(&of("1.2.3-acme.1".into())).unwrap(), "v1.2.3");
        assert_eq!(version(&json!({})).unwrap(), "unknown");
        assert_eq!(version(&of(json!({"major": 1}))), None);
    }

    #[test]
    fn a_deletion_begins_with_its_timestamp() {
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-11-24T00:00:00Z"}});
        assert!(put(1, 1, &deleted).object.unwrap().terminating);
        assert!(!put(1, 1, &json!({})).object.unwrap().terminating);
    }
}
