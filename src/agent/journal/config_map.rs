//! The journal in the cluster: two ConfigMaps in the agent's own namespace, the head and its `base`, each
//! fenced by its resourceVersion.
//!
//! A term begins by writing a new epoch into the head. That makes a new resourceVersion, so the API server refuses every
//! write of an earlier term that is still in flight. Each further write names the resourceVersion that the one before
//! made. A conflict or a missing ConfigMap ends the term: nothing overwrites what somebody else has written, and a journal
//! is created only where a term begins. The UID in it tells a copy from the original.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{GetParams, PartialObjectMeta};

use super::adopt::{self, Adopted, KEY_UID, Origin};
use super::base::Base;
use super::budget::acknowledgement_delay;
use super::codec::{self, CorruptJournal, EncodedConfigMap};
use super::handle::JournalHandle;
use super::quarantine;
use super::rows::Delta;
use super::state::{JournalHead, JournalState};
use super::store::{JournalStore, RESOURCE, base64_size};
use crate::agent::kubernetes::api_error::ApiError;
use crate::agent::kubernetes::{resource_version, within_deadline};

pub use super::store::{BASE_NAME, NAME};

/// The key of the collector's address, which `status` shows. The agent itself never reads it back.
const KEY_ENDPOINT: &str = "endpoint";

/// The annotation of the head.
const DESCRIPTION: &str = "The journal of kamaji-telemetry's agent: the random UUID of this installation, which changes of tenant control \
     planes were reported, and the events that the collector has not acknowledged yet. Deleting it is safe: the agent \
     starts over with a new UUID, and what was not yet acknowledged is never sent. Where telemetry is off, the agent \
     deletes it.";

/// The reasons for which a term loses its journal.
pub(in crate::agent) const WRITTEN: &str = "the journal was written by another term, or by somebody else";
const DELETED: &str = "the journal was deleted";
const OLDER: &str = "the journal in the cluster is older than what was written, as after a restore of etcd";

/// The journal of one term.
pub struct FencedJournal {
    store: JournalStore,
    endpoint: String,
    /// The metadata of the head as last written: the UID that is part of the content, and the resourceVersion that fences
    /// the next write.
    metadata: Box<ObjectMeta>,
    base: Base,
    /// The delta of the head as last written. It is empty after the base was written, since the next head begins anew.
    delta: Delta,
    /// The size of the last head in bytes.
    size: usize,
    /// The bytes written since the last call of [`FencedJournal::take_written`].
    written: usize,
    /// True if the last check found an older journal.
    is_older: bool,
}

/// An error of opening or writing the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalWriteError {
    /// Somebody else has written or deleted the journal, so the term has ended.
    #[error("{0}")]
    Fenced(&'static str),
    /// The journal is unchanged, or it is unknown whether the write arrived.
    #[error("{0}")]
    Failed(ApiError),
}

/// An error of reading the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalReadError {
    /// The API server did not return it.
    #[error("{0}")]
    Failed(ApiError),
    /// The ConfigMap is not a journal of this program.
    #[error("the ConfigMap {NAME} is no journal of this program: {0}")]
    CorruptJournal(#[from] CorruptJournal),
}

/// The content of the journal, for `status`, `preview` and `forget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalView {
    /// The state, but for the rows.
    pub state: JournalHead,
    /// True if the state was written to another ConfigMap, so that the agent does not go on from it.
    pub is_copy: bool,
    /// The collector's address.
    pub endpoint: Option<String>,
    /// The name of the Deployment that owns the journal.
    pub owner: Option<String>,
    /// The maximum time after which an acknowledgement is written, so that fewer events may be pending.
    pub acknowledgement_delay: Duration,
}

impl JournalStore {
    /// Opens the journal for a new term. Creates it if there is none, and begins a new installation in place of a copy and
    /// of what can't be read.
    pub async fn open(&self, endpoint: &str) -> Result<(FencedJournal, JournalState), JournalWriteError> {
        let Adopted { state, head, metadata, base, replaced } =
            Adopted::find(self).await.map_err(|error| failed(&error))?;
        let metadata = Box::new(self.merge_metadata(NAME, DESCRIPTION, metadata));
        let (store, endpoint) = (self.clone(), endpoint.to_owned());
        let JournalHead { delta, .. } = head;
        let mut journal =
            FencedJournal { store, endpoint, metadata, base, delta, size: 0, written: 0, is_older: false };
        if journal.metadata.uid.is_none() {
            // The response to the creation has the UID, which the next write holds. Until then the journal is blank.
            journal.write_head(state.clone()).await?;
        }
        let state = JournalState { epoch: state.epoch.wrapping_add(1), ..state };
        journal.write_head(state.clone()).await?;
        if let Some(replaced) = replaced {
            replaced.log(&self.namespace, journal.metadata.uid.as_deref());
        }
        Ok((journal, state))
    }

    /// Reads the head of the journal, if there is one. One that was created and not written again has nothing to read yet.
    pub async fn read(&self) -> Result<Option<JournalView>, JournalReadError> {
        let found = self.get(NAME).await;
        let found = found.map_err(|error| JournalReadError::Failed(ApiError::from_kube(RESOURCE, &error)))?;
        let Some(config_map) = found else { return Ok(None) };
        let (state, origin) = adopt::decode(&config_map)?;
        if origin == Origin::New {
            return Ok(None);
        }
        let owners = config_map.metadata.owner_references.into_iter().flatten();
        let owner = owners.filter(|owner| owner.kind == "Deployment").map(|owner| owner.name).next();
        let endpoint = config_map.data.and_then(|mut data| data.remove(KEY_ENDPOINT));
        let size = config_map.binary_data.iter().flatten().map(|(_, bytes)| bytes.0.len()).sum();
        let acknowledgement_delay = acknowledgement_delay(base64_size(size));
        Ok(Some(JournalView { state, is_copy: origin == Origin::Copy, owner, endpoint, acknowledgement_delay }))
    }

    /// Deletes the journal, and the installation's identity with it, and the quarantine. Returns whether there was
    /// anything to delete.
    pub async fn erase(&self) -> Result<bool, ApiError> {
        let mut existed = false;
        // The head is first: a term that begins in between finds a base of nothing, and replaces it.
        for name in [NAME, BASE_NAME].map(str::to_owned).into_iter().chain([NAME, BASE_NAME].map(quarantine::name)) {
            existed |= self.delete(&name, None).await.map_err(|error| ApiError::from_kube(RESOURCE, &error))?;
        }
        Ok(existed)
    }
}

impl FencedJournal {
    /// Writes a state, all of it or nothing: the base if the delta as written has grown, and then the head.
    ///
    /// After [`JournalWriteError::Failed`] the same or a later state may be written again. If the first write has
    /// arrived after all, the second is a conflict and ends the term.
    pub async fn write(&mut self, state: JournalState) -> Result<(), JournalWriteError> {
        if self.delta.is_worth_a_base(&self.base.rows) {
            let rows = self.delta.apply(&self.base.rows);
            self.written += self.base.replace(&self.store, rows).await.map_err(|error| fenced_or_failed(&error))?;
            self.delta = Delta::default();
        }
        self.write_head(state).await
    }

    /// Writes a head with the difference of the state's rows to the base.
    async fn write_head(&mut self, mut state: JournalState) -> Result<(), JournalWriteError> {
        let rows = codec::pack_rows(std::mem::take(&mut state.rows));
        let delta = Delta::between(&self.base.rows, &rows, &self.delta);
        drop(rows);
        let head = state.into_head(self.base.generation, delta);
        let EncodedConfigMap { mut data, binary_data } = codec::encode_head(&head);
        data.insert(KEY_ENDPOINT.to_owned(), self.endpoint.clone());
        data.extend(self.metadata.uid.clone().map(|uid| (KEY_UID.to_owned(), uid)));
        let is_new = self.metadata.resource_version.is_none();
        match self.store.put(&self.metadata, EncodedConfigMap { data, binary_data }).await {
            Ok((ObjectMeta { uid, resource_version, .. }, size)) => {
                (self.metadata.uid, self.metadata.resource_version) = (uid, resource_version);
                (self.delta, self.size) = (head.delta, size);
                self.written += size;
                Ok(())
            }
            // The namespace is missing.
            Err(error) if is_new && is_not_found(&error) => Err(failed(&error)),
            Err(error) => Err(fenced_or_failed(&error)),
        }
    }

    /// Returns the number of bytes that were written since the last call.
    pub fn take_written(&mut self) -> usize {
        std::mem::take(&mut self.written)
    }

    /// Returns the size of the last head in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns a handle of the ConfigMap that does not depend on writes.
    pub fn handle(&self) -> JournalHandle {
        JournalHandle::new(self.store.client.clone(), self.store.request(), self.metadata.uid.clone())
    }

    /// Checks that the journal is as this term wrote it. An older one is no reason before it is found twice: the API
    /// server may have answered from behind, and nobody else has written.
    pub async fn check(&mut self) -> Result<(), JournalWriteError> {
        let request = self.store.request().get_metadata(NAME, &GetParams::default());
        let request = request.map_err(|error| failed(&kube::Error::BuildRequest(error)))?;
        match within_deadline(self.store.client.request::<PartialObjectMeta<ConfigMap>>(request)).await {
            Ok(found) if found.metadata.resource_version == self.metadata.resource_version => {
                self.is_older = false;
                Ok(())
            }
            Ok(found) if !is_earlier(&found.metadata, &self.metadata) => Err(JournalWriteError::Fenced(WRITTEN)),
            Ok(_) if std::mem::replace(&mut self.is_older, true) => Err(JournalWriteError::Fenced(OLDER)),
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Err(JournalWriteError::Fenced(DELETED)),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn is_earlier(found: &ObjectMeta, written: &ObjectMeta) -> bool {
    let versions = found.resource_version.as_deref().zip(written.resource_version.as_deref());
    versions.is_some_and(|(found, written)| resource_version::is_earlier(found, written))
}

/// Returns the error of a write of something that existed.
fn fenced_or_failed(error: &kube::Error) -> JournalWriteError {
    match error {
        kube::Error::Api(status) if status.code == 409 => JournalWriteError::Fenced(WRITTEN),
        error if is_not_found(error) => JournalWriteError::Fenced(DELETED),
        error => failed(error),
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn failed(error: &kube::Error) -> JournalWriteError {
    JournalWriteError::Failed(ApiError::from_kube(RESOURCE, error))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod model_tests;
