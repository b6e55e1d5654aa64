//! The row that is kept of a control plane, and what lies between it and the object.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Change, ControlPlane};
use crate::catalog::{Event, KubernetesVersion, Status};

/// What outlives the process of a control plane: what was reported of it, or recorded with the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistedRow {
    /// The object's UID, which never leaves the cluster.
    pub uid: Uuid,
    /// The version that was last reported.
    pub reported: KubernetesVersion,
    /// The last status, of one that is being deleted the last before that.
    pub status: Status,
    /// Its deletion was reported, and nothing more is.
    pub deleted_reported: bool,
}

/// What is known of a control plane: about 30 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The version that was last reported, or recorded at the baseline; `None` as long as the creation has not been.
    pub(super) reported: Option<KubernetesVersion>,
    /// The status now: what it counts as.
    pub(super) status: Status,
    /// The status before the deletion: what its deletion is reported with.
    status_before_deletion: Status,
    deleted_reported: bool,
    /// False where it is gone and only its report is waiting.
    pub(super) present: bool,
    /// Something of it could not be read when it was last seen.
    pub(super) unreadable: bool,
    /// The last list that named it.
    pub(super) list: u32,
}

impl Row {
    /// The row of a control plane that nothing has been reported of.
    pub(super) fn unreported() -> Self {
        Self {
            reported: None,
            status: Status::Unknown,
            status_before_deletion: Status::Unknown,
            deleted_reported: false,
            present: true,
            unreadable: false,
            list: 0,
        }
    }

    /// The row of a control plane that was there before: its creation is never reported, nor its deletion if that
    /// has begun.
    pub(super) fn recorded(object: &ControlPlane) -> Self {
        Self {
            reported: Some(object.tcp_version.unwrap_or(KubernetesVersion::Unknown)),
            deleted_reported: object.deleted.is_some(),
            ..Self::unreported()
        }
    }

    /// The row of a control plane that was kept. Until a list has named it, it is taken to be there.
    pub(super) fn restored(kept: PersistedRow) -> Self {
        let PersistedRow { uid: _, reported, status, deleted_reported } = kept;
        let reported = Some(reported);
        Self { reported, status, status_before_deletion: status, deleted_reported, ..Self::unreported() }
    }

    /// What is kept of it: nothing where nothing was reported, so that it is reported as created if it is there then.
    pub(super) fn kept(&self, uid: Uuid) -> Option<PersistedRow> {
        let Self { reported, status_before_deletion: status, deleted_reported, .. } = *self;
        Some(PersistedRow { uid, reported: reported?, status, deleted_reported })
    }

    /// The row after its object was seen; what could not be read stays as it was.
    pub(super) fn seen(self, object: &ControlPlane, list: u32) -> Self {
        let status = object.status.unwrap_or(self.status);
        let status_before_deletion = if object.deleted.is_none() { status } else { self.status_before_deletion };
        Self { status, status_before_deletion, present: true, unreadable: object.is_unreadable(), list, ..self }
    }

    /// What is to be reported of the object (`None`: it is gone), and the row once that is done.
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
        if let Some(change) = self.change_of_version(object, now, extended) {
            next.reported = object.tcp_version;
            changes.push(change);
        }
        if let Some(change) = object.deleted.and_then(|deleted| next.deletion(deleted)) {
            next.deleted_reported = true;
            changes.push(change);
        }
        (changes, Some(next))
    }

    /// The creation, or a new version. After the deletion nothing more is reported.
    fn change_of_version(self, object: &ControlPlane, now: Timestamp, extended: bool) -> Option<Change> {
        let new_tcp_version = object.tcp_version.filter(|_| !self.deleted_reported)?;
        match self.reported {
            None => Some(Change {
                time: object.created.unwrap_or(now),
                event: Event::Created { tcp_version: new_tcp_version, with: extended.then_some(object.with) },
            }),
            Some(old_tcp_version) if old_tcp_version != new_tcp_version => {
                Some(Change { time: now, event: Event::Updated { old_tcp_version, new_tcp_version } })
            }
            Some(_) => None,
        }
    }

    /// The deletion, once, of what was reported to be there.
    fn deletion(self, time: Timestamp) -> Option<Change> {
        let tcp_version = self.reported.filter(|_| !self.deleted_reported)?;
        Some(Change { time, event: Event::Deleted { status: self.status_before_deletion, tcp_version } })
    }
}
