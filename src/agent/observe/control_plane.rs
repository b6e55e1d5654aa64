//! The input of the fold: control planes as the watch delivers them.

use jiff::Timestamp;
use uuid::Uuid;

use crate::catalog::{ExtendedAttributes, KubernetesVersion, Status};

/// The state of a control plane, as of the last watch event about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPlane {
    /// The UID of the object, which never leaves the cluster.
    pub uid: Uuid,
    /// `metadata.creationTimestamp`
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`
    pub deleted: Option<Timestamp>,
    /// The desired version; `None` if it could not be read.
    pub tcp_version: Option<KubernetesVersion>,
    /// The status; `None` if it could not be read.
    pub status: Option<Status>,
    /// The extended attributes of a creation, which are sent with the extended signals only.
    pub extended: ExtendedAttributes,
}

impl ControlPlane {
    /// Returns whether the version or the status could not be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.tcp_version.is_none() || self.status.is_none()
    }
}

/// An event of the watch, named as in `kube::runtime::watcher`. A relist is `Init`, an `Apply` for each object, and
/// `InitDone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatcherEvent {
    /// The start of a list of all objects.
    Init,
    /// The current state of an object.
    Apply(ControlPlane),
    /// The deletion of the object with this UID.
    Delete(Uuid),
    /// The end of a list. Objects that the list did not contain are gone.
    InitDone,
    /// The watch can't be continued for now, so that changes may be missing.
    Interrupted,
    /// The watch continues after [`WatcherEvent::Interrupted`]. Missing changes follow.
    Resumed,
}
