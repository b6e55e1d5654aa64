//! The journal in the cluster: one ConfigMap in the agent's own namespace, fenced by its resourceVersion.
//!
//! A term begins by writing a new epoch. That makes a new resourceVersion, so the API server refuses every write of an
//! earlier term that is still in flight. Each further write names the resourceVersion that the one before made. A
//! conflict or a missing ConfigMap ends the term: nothing overwrites what somebody else has written, and a journal is
//! created only where a term begins. The UID in it tells a copy from the original.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{GetParams, PartialObjectMeta, PostParams};
use kube::core::Request;
use serde::{Serialize, Serializer};

use super::adopt::{self, Adopted, KEY_UID, Origin};
use super::budget::acknowledgement_delay;
use super::codec::{self, CorruptJournal, EncodedJournal};
use super::handle::JournalHandle;
use super::quarantine;
use super::state::JournalState;
use super::store::{JournalStore, RESOURCE};
use crate::agent::kubernetes::api_error::ApiError;
use crate::agent::kubernetes::{resource_version, within_deadline};

pub use super::store::NAME;

/// The key of the collector's address, which `status` shows. The agent itself never reads it back.
const KEY_ENDPOINT: &str = "endpoint";

/// The well-known annotation that describes an object to people.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "The journal of kamaji-telemetry's agent: the random UUID of this installation, which changes of tenant control \
     planes were reported, and the events that the collector has not acknowledged yet. Deleting it is safe: the agent \
     starts over with a new UUID, and what was not yet acknowledged is never sent. Where telemetry is off, the agent \
     deletes it.",
);

/// The media type of answers to a write. Only the new resourceVersion is needed, not the content.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The reasons for which a term loses its journal.
pub(in crate::agent) const WRITTEN: &str = "the journal was written by another term, or by somebody else";
const DELETED: &str = "the journal was deleted";
const OLDER: &str = "the journal in the cluster is older than what was written, as after a restore of etcd";

/// The capacity in bytes for what surrounds the binary values: metadata with our own annotation and some of others.
const FRAME_BYTES: usize = 4 * 1024;

/// The journal of one term.
pub struct FencedJournal {
    client: Client,
    request: Request,
    endpoint: String,
    /// The metadata as last written: the UID that is part of the content, and the resourceVersion that fences the next
    /// write.
    metadata: ObjectMeta,
    /// The size of the last write in bytes.
    size: usize,
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
    /// The state.
    pub state: JournalState,
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
        let found = self.get(NAME).await.map_err(|error| failed(&error))?;
        let Adopted { state, metadata, copied_from } = match found {
            None => Adopted::nothing(),
            Some(config_map) => Adopted::from(self, config_map).await.map_err(|error| failed(&error))?,
        };
        let metadata = self.merge_metadata(metadata);
        let (client, endpoint, request) = (self.client.clone(), endpoint.to_owned(), self.request());
        let mut journal = FencedJournal { client, request, endpoint, metadata, size: 0, is_older: false };
        if journal.metadata.uid.is_none() {
            // The response to the creation has the UID, which the next write holds. Until then the journal is blank.
            journal.write(state.clone()).await?;
        }
        let state = JournalState { epoch: state.epoch + 1, ..state };
        journal.write(state.clone()).await?;
        if let Some(copied_from) = copied_from {
            tracing::warn!(
                name = NAME,
                namespace = self.namespace,
                uid = journal.metadata.uid,
                copied_from,
                "the journal was copied or restored from a backup: its ConfigMap has another UID than the one that it \
                 was written to; beginning a new installation"
            );
        }
        Ok((journal, state))
    }

    /// Adds the agent's own metadata to what was found. The rest is left to others, so that a controller that labels
    /// ConfigMaps does not end every term.
    fn merge_metadata(&self, found: ObjectMeta) -> ObjectMeta {
        let own = self.metadata(NAME);
        let (key, text) = DESCRIPTION;
        let mut metadata = ObjectMeta { name: own.name, namespace: own.namespace, managed_fields: None, ..found };
        metadata.labels.get_or_insert_default().extend(own.labels.into_iter().flatten());
        metadata.annotations.get_or_insert_default().insert(key.to_owned(), text.to_owned());
        metadata.owner_references = own.owner_references.or(metadata.owner_references);
        metadata
    }

    /// Reads the journal, if there is one. One that was created and not written again has nothing to read yet.
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
        for name in [NAME, quarantine::NAME] {
            existed |= self.delete(name, None).await.map_err(|error| ApiError::from_kube(RESOURCE, &error))?;
        }
        Ok(existed)
    }
}

impl FencedJournal {
    /// Writes a state, all of it or nothing.
    ///
    /// After [`JournalWriteError::Failed`] the same or a later state may be written again. If the first write has
    /// arrived after all, the second is a conflict and ends the term.
    pub async fn write(&mut self, state: JournalState) -> Result<(), JournalWriteError> {
        let body = self.body(state).map_err(|error| failed(&kube::Error::SerdeError(error)))?;
        let size = body.len();
        match self.put(body).await {
            Ok(written) => {
                let ObjectMeta { uid, resource_version, .. } = written.metadata;
                (self.metadata.uid, self.metadata.resource_version, self.size) = (uid, resource_version, size);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Err(JournalWriteError::Fenced(WRITTEN)),
            Err(kube::Error::Api(status)) if status.code == 404 && self.metadata.resource_version.is_some() => {
                Err(JournalWriteError::Fenced(DELETED))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Returns the size of the last write in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns a handle of the ConfigMap that does not depend on writes.
    pub fn handle(&self) -> JournalHandle {
        JournalHandle::new(self.client.clone(), self.request.clone(), self.metadata.uid.clone())
    }

    /// Checks that the journal is as this term wrote it. An older one is no reason before it is found twice: the API
    /// server may have answered from behind, and nobody else has written.
    pub async fn check(&mut self) -> Result<(), JournalWriteError> {
        let request = self.request.get_metadata(NAME, &GetParams::default());
        let request = request.map_err(|error| failed(&kube::Error::BuildRequest(error)))?;
        match within_deadline(self.client.request::<PartialObjectMeta<ConfigMap>>(request)).await {
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

    async fn put(&self, body: Vec<u8>) -> Result<PartialObjectMeta<ConfigMap>, kube::Error> {
        let request = match self.metadata.resource_version {
            None => self.request.create(&PostParams::default(), body),
            Some(_) => self.request.replace(NAME, &PostParams::default(), body),
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(METADATA_ONLY));
        within_deadline(self.client.request(request)).await
    }

    /// Serializes the ConfigMap. The rows of 10,000 control planes take a third of a megabyte, so they are copied as
    /// little as possible, and the state is dropped before anything is sent.
    fn body(&self, state: JournalState) -> serde_json::Result<Vec<u8>> {
        let EncodedJournal { mut data, binary_data } = codec::encode(&state);
        drop(state);
        data.insert(KEY_ENDPOINT.to_owned(), self.endpoint.clone());
        data.extend(self.metadata.uid.clone().map(|uid| (KEY_UID.to_owned(), uid)));
        let size = base64_size(binary_data.values().map(Vec::len).sum());
        let mut body = Vec::with_capacity(size + FRAME_BYTES);
        let binary_data = binary_data.iter().map(|(key, bytes)| (key.as_str(), Base64(bytes))).collect();
        let object =
            ConfigMapBody { api_version: "v1", kind: "ConfigMap", metadata: &self.metadata, data, binary_data };
        serde_json::to_writer(&mut body, &object)?;
        Ok(body)
    }
}

/// The body of a write. `ConfigMap` of `k8s_openapi` would copy each binary value into a string first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMapBody<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a ObjectMeta,
    data: BTreeMap<String, String>,
    binary_data: BTreeMap<&'a str, Base64<'a>>,
}

struct Base64<'a>(&'a [u8]);

/// Returns the approximate size of the base64 of this number of bytes.
const fn base64_size(bytes: usize) -> usize {
    bytes / 3 * 4
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

fn is_earlier(found: &ObjectMeta, written: &ObjectMeta) -> bool {
    let versions = found.resource_version.as_deref().zip(written.resource_version.as_deref());
    versions.is_some_and(|(found, written)| resource_version::is_earlier(found, written))
}

fn failed(error: &kube::Error) -> JournalWriteError {
    JournalWriteError::Failed(ApiError::from_kube(RESOURCE, error))
}

#[cfg(test)]
mod tests;
