//! One row of the index, and the comparison with its object that yields the changes to report.

use jiff::Timestamp;
use uuid::Uuid;

use super::control_plane::ControlPlane;
use crate::catalog::{Event, KubernetesVersion, Status};

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The time of the event: the API server's for a creation or a deletion, that of the observation otherwise.
    pub time: Timestamp,
    /// The event.
    pub event: Event,
}

/// The part of a row that outlives the process: what was reported of a control plane, or recorded with the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistedRow {
    /// The UID of the object, which never leaves the cluster.
    pub uid: Uuid,
    /// The last reported version.
    pub reported: KubernetesVersion,
    /// The last status; for an object that is being deleted, the last one before its deletion.
    pub status: Status,
    /// True if the deletion was reported. Nothing is reported after it.
    pub deleted_reported: bool,
}

/// The state of a control plane in the index: about 30 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The last version that was reported or recorded with the baseline; `None` until the creation is reported.
    pub(super) reported: Option<KubernetesVersion>,
    /// The current status, which decides what the control plane counts as.
    pub(super) status: Status,
    /// The last status before the deletion, which the deletion is reported with.
    status_before_deletion: Status,
    deleted_reported: bool,
    /// False if the object is gone and only its deletion is still to be reported.
    pub(super) present: bool,
    /// True if the version or the status could not be read from the latest state of the object.
    pub(super) unreadable: bool,
    /// The number of the last list that contained the object.
    pub(super) list_generation: u32,
}

impl Row {
    /// Creates the row of a control plane that nothing was reported of.
    pub(super) fn unreported() -> Self {
        Self {
            reported: None,
            status: Status::Unknown,
            status_before_deletion: Status::Unknown,
            deleted_reported: false,
            present: true,
            unreadable: false,
            list_generation: 0,
        }
    }

    /// Creates the row of a control plane that belongs to the baseline. Its creation is never reported, nor its
    /// deletion if that has begun.
    pub(super) fn recorded(object: &ControlPlane) -> Self {
        Self {
            reported: Some(object.tcp_version.unwrap_or(KubernetesVersion::Unknown)),
            deleted_reported: object.deleted.is_some(),
            ..Self::unreported()
        }
    }

    /// Restores a row. The object counts as present until a complete list does not contain it.
    pub(super) fn from_persisted(row: PersistedRow) -> Self {
        let PersistedRow { uid: _, reported, status, deleted_reported } = row;
        let reported = Some(reported);
        Self { reported, status, status_before_deletion: status, deleted_reported, ..Self::unreported() }
    }

    /// Returns the part to persist. There is none before the creation was reported, so that a restarted process
    /// reports it.
    pub(super) fn to_persisted(self, uid: Uuid) -> Option<PersistedRow> {
        let Self { reported, status_before_deletion: status, deleted_reported, .. } = self;
        Some(PersistedRow { uid, reported: reported?, status, deleted_reported })
    }

    /// Returns the row with the object's current status. A status that could not be read leaves the last one in place.
    pub(super) fn with_status_of(self, object: &ControlPlane, list_generation: u32) -> Self {
        let status = object.status.unwrap_or(self.status);
        let status_before_deletion = if object.deleted.is_none() { status } else { self.status_before_deletion };
        Self {
            status,
            status_before_deletion,
            present: true,
            unreadable: object.is_unreadable(),
            list_generation,
            ..self
        }
    }

    /// Returns the changes from this row to the object, and the row after they are reported. An object or a row of
    /// `None` stands for a control plane that is gone.
    pub(super) fn compare(
        self,
        object: Option<&ControlPlane>,
        now: Timestamp,
        extended: bool,
    ) -> (Vec<Change>, Option<Self>) {
        let Some(object) = object else {
            return (self.deletion(now).into_iter().collect(), None);
        };
        let mut next = self;
        let mut changes = Vec::new();
        if let Some(change) = self.creation_or_update(object, now, extended) {
            next.reported = object.tcp_version;
            changes.push(change);
        }
        if let Some(change) = object.deleted.and_then(|deleted| next.deletion(deleted)) {
            next.deleted_reported = true;
            changes.push(change);
        }
        (changes, Some(next))
    }

    fn creation_or_update(self, object: &ControlPlane, now: Timestamp, extended: bool) -> Option<Change> {
        let new_tcp_version = object.tcp_version.filter(|_| !self.deleted_reported)?;
        match self.reported {
            None => Some(Change {
                time: object.created.unwrap_or(now),
                event: Event::Created { tcp_version: new_tcp_version, extended: extended.then_some(object.extended) },
            }),
            Some(old_tcp_version) if old_tcp_version != new_tcp_version => {
                Some(Change { time: now, event: Event::Updated { old_tcp_version, new_tcp_version } })
            }
            Some(_) => None,
        }
    }

    /// Returns the deletion, unless it was reported already or the creation never was.
    fn deletion(self, time: Timestamp) -> Option<Change> {
        let tcp_version = self.reported.filter(|_| !self.deleted_reported)?;
        Some(Change { time, event: Event::Deleted { status: self.status_before_deletion, tcp_version } })
    }
}
