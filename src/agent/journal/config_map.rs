//! Where the journal is kept: one ConfigMap in the agent's own namespace, fenced by its resourceVersion.
//!
//! A term begins by writing a new epoch, which makes a new resourceVersion and so refuses every write of an earlier
//! term that is still under way. From there on each write names the resourceVersion that the one before made. A
//! conflict, or a ConfigMap that is gone, ends the term: nothing is ever written again over what somebody else has
//! written, and a state is made only where a term begins.

use std::collections::BTreeMap;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, GetParams, PartialObjectMeta, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Client};
use serde::{Serialize, Serializer};

use super::codec::{self, CorruptJournal, EncodedJournal};
use super::quarantine;
use super::state::JournalState;
use crate::agent::kubernetes::api_error::{ApiError, Resource};
use crate::agent::kubernetes::within_deadline;
use crate::catalog::SERVICE_NAME;

/// The name of the ConfigMap.
pub const NAME: &str = "kamaji-telemetry";

pub(super) const RESOURCE: Resource =
    Resource { plural: "configmaps", group: "", verbs: "create, get, update, delete", is_custom: false };

/// The collector's address, for whoever cluster_info; the agent reads it from nowhere but its flags.
const KEY_ENDPOINT: &str = "endpoint";

/// The well-known annotation for people.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "The journal of kamaji-telemetry's agent: the random UUID of this installation, which changes of tenant control \
     planes were reported, and the events that the collector has not acknowledged yet. Deleting it is safe: the agent \
     begins anew with another UUID, and what was not yet acknowledged is never sent. Where telemetry is off, the agent \
     deletes it.",
);

/// The answer to a write is its new resourceVersion; the content need not come back.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a term has lost its journal.
const WRITTEN: &str = "the journal was written by another term, or by somebody else";
const DELETED: &str = "the journal was deleted";

/// Room for what stands around the binary values: metadata with our own annotation and some of others'.
const FRAME: usize = 4 * 1024;

/// Where the agent keeps what it makes, and what that goes with.
#[derive(Clone)]
pub struct JournalStore {
    /// The API server.
    pub client: Client,
    /// The agent's own namespace.
    pub namespace: String,
    /// The agent's Deployment, where it runs in one.
    pub owner: Option<OwnerReference>,
}

/// The journal of one term.
pub struct FencedJournal {
    client: Client,
    request: Request,
    endpoint: String,
    metadata: ObjectMeta,
}

/// Why the journal was not opened or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalWriteError {
    /// Somebody else has written or deleted it: the term has ended.
    #[error("{0}")]
    Fenced(&'static str),
    /// It is as it was, or that is not known.
    #[error("{0}")]
    Failed(ApiError),
}

/// Why the journal was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalReadError {
    /// It was not given.
    #[error("{0}")]
    Failed(ApiError),
    /// It is none.
    #[error("the ConfigMap {NAME} is no journal of this program: {0}")]
    CorruptJournal(#[from] CorruptJournal),
}

/// A journal as it is kept, for whoever only cluster_info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalView {
    /// What is kept.
    pub state: JournalState,
    /// The collector that the agent sends to.
    pub endpoint: Option<String>,
    /// The Deployment that the journal goes with.
    pub owner: Option<String>,
}

impl JournalStore {
    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// What every object of the agent's says of itself.
    pub fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([
                ("app.kubernetes.io/name".to_owned(), SERVICE_NAME.to_owned()),
                ("app.kubernetes.io/managed-by".to_owned(), SERVICE_NAME.to_owned()),
            ])),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// Opens the journal for a new term, and makes it where there is none. What can't be read is set aside.
    pub async fn open(&self, endpoint: &str) -> Result<(FencedJournal, JournalState), JournalWriteError> {
        let found = within_deadline(self.api().get_opt(NAME)).await.map_err(|error| failed(&error))?;
        let (state, metadata) = match found {
            None => (JournalState::new(), ObjectMeta::default()),
            Some(config_map) => self.adopt(config_map).await?,
        };
        let state = JournalState { epoch: state.epoch + 1, ..state };
        let metadata = self.mark(metadata);
        let path = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        let (client, endpoint) = (self.client.clone(), endpoint.to_owned());
        let mut stored = FencedJournal { client, request: Request::new(path), endpoint, metadata };
        stored.write(state.clone()).await?;
        Ok((stored, state))
    }

    /// Ours on top of what others have put there, so that whoever labels ConfigMaps does not end every term.
    fn mark(&self, found: ObjectMeta) -> ObjectMeta {
        let ours = self.metadata(NAME);
        let (key, text) = DESCRIPTION;
        let mut metadata = ObjectMeta { name: ours.name, namespace: ours.namespace, managed_fields: None, ..found };
        metadata.labels.get_or_insert_default().extend(ours.labels.into_iter().flatten());
        metadata.annotations.get_or_insert_default().insert(key.to_owned(), text.to_owned());
        metadata.owner_references = ours.owner_references.or(metadata.owner_references);
        metadata
    }

    /// The state in what was found there. What is none is set aside and deleted, since it may be immutable.
    async fn adopt(&self, found: ConfigMap) -> Result<(JournalState, ObjectMeta), JournalWriteError> {
        match codec::read(&content(&found)) {
            Ok(state) => Ok((state, found.metadata)),
            Err(corrupt) => {
                let ObjectMeta { uid, resource_version, .. } = found.metadata.clone();
                quarantine::set_aside(self, found).await.map_err(|error| failed(&error))?;
                let preconditions = Some(Preconditions { uid, resource_version });
                self.delete(NAME, preconditions).await.map_err(|error| failed(&error))?;
                tracing::error!(
                    "the ConfigMap {NAME} in the namespace {:?} is no journal of this program: {corrupt}. It is kept \
                     as {} for you to look at, and a new installation begins: what was not yet reported is lost",
                    self.namespace,
                    quarantine::NAME,
                );
                Ok((JournalState::new(), ObjectMeta::default()))
            }
        }
    }

    /// Reads the journal, if there is one.
    pub async fn read(&self) -> Result<Option<JournalView>, JournalReadError> {
        let found = within_deadline(self.api().get_opt(NAME)).await;
        let found = found.map_err(|error| JournalReadError::Failed(ApiError::of(RESOURCE, &error)))?;
        let account = |config_map: ConfigMap| {
            let state = codec::read(&content(&config_map))?;
            let owners = config_map.metadata.owner_references.into_iter().flatten();
            let owner = owners.filter(|owner| owner.kind == "Deployment").map(|owner| owner.name).next();
            Ok(JournalView { state, owner, endpoint: config_map.data.and_then(|mut data| data.remove(KEY_ENDPOINT)) })
        };
        found.map(account).transpose()
    }

    /// Deletes the journal, with the installation's identity, and what was set aside. Says whether there was one.
    pub async fn erase(&self) -> Result<bool, ApiError> {
        let mut was_there = false;
        for name in [NAME, quarantine::NAME] {
            was_there |= self.delete(name, None).await.map_err(|error| ApiError::of(RESOURCE, &error))?;
        }
        Ok(was_there)
    }

    pub(super) async fn delete(&self, name: &str, preconditions: Option<Preconditions>) -> Result<bool, kube::Error> {
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match within_deadline(self.api().delete(name, &params)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn create(&self, config_map: &ConfigMap) -> Result<ConfigMap, kube::Error> {
        within_deadline(self.api().create(&PostParams::default(), config_map)).await
    }
}

impl FencedJournal {
    /// Writes a state, all of it or nothing. Where it failed, the same or a later state may be written again: if the
    /// first has come through after all, that is a conflict and ends the term. Gives the size of what was written, in
    /// bytes.
    pub async fn write(&mut self, state: JournalState) -> Result<usize, JournalWriteError> {
        let body = self.body(state).map_err(|error| failed(&kube::Error::SerdeError(error)))?;
        let size = body.len();
        match self.put(body).await {
            Ok(written) => {
                self.metadata.resource_version = written.metadata.resource_version;
                Ok(size)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Err(JournalWriteError::Fenced(WRITTEN)),
            Err(kube::Error::Api(status)) if status.code == 404 && self.metadata.resource_version.is_some() => {
                Err(JournalWriteError::Fenced(DELETED))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Checks that the journal is as this term has written it.
    pub async fn check(&self) -> Result<(), JournalWriteError> {
        let request = self.request.get_metadata(NAME, &GetParams::default());
        let request = request.map_err(|error| failed(&kube::Error::BuildRequest(error)))?;
        match within_deadline(self.client.request::<PartialObjectMeta<ConfigMap>>(request)).await {
            Ok(found) if found.metadata.resource_version == self.metadata.resource_version => Ok(()),
            Ok(_) => Err(JournalWriteError::Fenced(WRITTEN)),
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

    /// The ConfigMap as JSON. The rows of 10,000 control planes have a third of a megabyte, so they are copied no more
    /// often than it takes, and are gone before anything is sent.
    fn body(&self, state: JournalState) -> serde_json::Result<Vec<u8>> {
        let EncodedJournal { mut data, binary_data } = codec::write(&state);
        drop(state);
        data.insert(KEY_ENDPOINT.to_owned(), self.endpoint.clone());
        let size = binary_data.values().map(Vec::len).sum::<usize>() / 3 * 4;
        let mut body = Vec::with_capacity(size + FRAME);
        let binary_data = binary_data.iter().map(|(key, bytes)| (key.as_str(), Base64(bytes))).collect();
        let object = Body { api_version: "v1", kind: "ConfigMap", metadata: &self.metadata, data, binary_data };
        serde_json::to_writer(&mut body, &object)?;
        Ok(body)
    }
}

/// A ConfigMap to be written. That of `k8s_openapi` makes a string of each binary value first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: &'a ObjectMeta,
    data: BTreeMap<String, String>,
    binary_data: BTreeMap<&'a str, Base64<'a>>,
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

fn content(config_map: &ConfigMap) -> EncodedJournal {
    let ConfigMap { data, binary_data, .. } = config_map;
    let binary_data = binary_data.iter().flatten().map(|(key, ByteString(bytes))| (key.clone(), bytes.clone()));
    EncodedJournal { data: data.clone().unwrap_or_default(), binary_data: binary_data.collect() }
}

fn failed(error: &kube::Error) -> JournalWriteError {
    JournalWriteError::Failed(ApiError::of(RESOURCE, error))
}
