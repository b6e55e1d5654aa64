//! The objects in the agent's own namespace: their metadata, and plain operations on its ConfigMaps.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PartialObjectMeta, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Client, Resource as _};
use serde::{Serialize, Serializer};

use super::codec::EncodedConfigMap;
use crate::agent::kubernetes::api_error::Resource;
use crate::agent::kubernetes::within_deadline;
use crate::catalog::SERVICE_NAME;

/// The name of the journal's ConfigMap.
pub const NAME: &str = "kamaji-telemetry";

/// The name of the ConfigMap with the journal's base.
pub const BASE_NAME: &str = "kamaji-telemetry-base";

/// The well-known annotation that describes an object to people.
pub(super) const DESCRIPTION: &str = "kubernetes.io/description";

/// The media type of answers to a write. Only the new resourceVersion is needed, not the content.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The capacity in bytes for what surrounds the binary values: metadata with our own annotation and some of others.
const FRAME_BYTES: usize = 4 * 1024;

pub(super) const RESOURCE: Resource =
    Resource { plural: "configmaps", group: "", verbs: "create, get, watch, update, delete", is_custom: false };

/// The namespace that holds the journal, and the owner of what the agent creates there.
#[derive(Clone)]
pub struct JournalStore {
    /// The client for the API server.
    pub client: Client,
    /// The agent's own namespace.
    pub namespace: String,
    /// The agent's Deployment, if it is known. The garbage collector deletes the agent's objects with it.
    pub owner: Option<OwnerReference>,
}

impl JournalStore {
    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the builder of requests that `Api` can't make.
    pub(super) fn request(&self) -> Request {
        Request::new(ConfigMap::url_path(&(), Some(&self.namespace)))
    }

    /// Returns the metadata of an object that the agent creates: its name, namespace, labels and owner.
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

    /// Adds the agent's own metadata and a description to what was found. The rest is left to others, so that a
    /// controller that labels ConfigMaps does not end every term.
    pub(super) fn merge_metadata(&self, name: &str, description: &str, found: ObjectMeta) -> ObjectMeta {
        let own = self.metadata(name);
        let mut metadata = ObjectMeta { name: own.name, namespace: own.namespace, managed_fields: None, ..found };
        metadata.labels.get_or_insert_default().extend(own.labels.into_iter().flatten());
        metadata.annotations.get_or_insert_default().insert(DESCRIPTION.to_owned(), description.to_owned());
        metadata.owner_references = own.owner_references.or(metadata.owner_references);
        metadata
    }

    /// Replaces the ConfigMap with this resourceVersion, or creates it if there is none. Returns its new metadata, and the
    /// size of the write in bytes.
    pub(super) async fn put(
        &self,
        metadata: &ObjectMeta,
        content: EncodedConfigMap<'_>,
    ) -> Result<(ObjectMeta, usize), kube::Error> {
        let body = body(metadata, content).map_err(kube::Error::SerdeError)?;
        let size = body.len();
        let request = match (&metadata.resource_version, &metadata.name) {
            (Some(_), Some(name)) => self.request().replace(name, &PostParams::default(), body),
            _ => self.request().create(&PostParams::default(), body),
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static(METADATA_ONLY));
        let written: PartialObjectMeta<ConfigMap> = within_deadline(self.client.request(request)).await?;
        Ok((written.metadata, size))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<ConfigMap>, kube::Error> {
        within_deadline(self.api().get_opt(name)).await
    }

    pub(super) async fn create(&self, config_map: &ConfigMap) -> Result<ConfigMap, kube::Error> {
        within_deadline(self.api().create(&PostParams::default(), config_map)).await
    }

    /// Deletes a ConfigMap. Returns whether it existed.
    pub(super) async fn delete(&self, name: &str, preconditions: Option<Preconditions>) -> Result<bool, kube::Error> {
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match within_deadline(self.api().delete(name, &params)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Serializes a ConfigMap. The rows of 10,000 control planes take a third of a megabyte, so they are copied as little as
/// possible.
fn body(metadata: &ObjectMeta, content: EncodedConfigMap<'_>) -> serde_json::Result<Vec<u8>> {
    let EncodedConfigMap { data, binary_data } = content;
    let size = base64_size(binary_data.values().map(|bytes| bytes.len()).sum());
    let mut body = Vec::with_capacity(size + FRAME_BYTES);
    let binary_data = binary_data.iter().map(|(key, bytes)| (key.as_str(), Base64(bytes))).collect();
    let object = ConfigMapBody { api_version: "v1", kind: "ConfigMap", metadata, data, binary_data };
    serde_json::to_writer(&mut body, &object)?;
    Ok(body)
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

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// Returns the approximate size of the base64 of this number of bytes.
pub(super) const fn base64_size(bytes: usize) -> usize {
    bytes / 3 * 4
}

/// Returns the content of a ConfigMap.
pub(super) fn content(found: &ConfigMap) -> EncodedConfigMap<'_> {
    let binary_data = found.binary_data.iter().flatten();
    let binary_data = binary_data.map(|(key, ByteString(bytes))| (key.clone(), Cow::Borrowed(&bytes[..])));
    EncodedConfigMap { data: found.data.clone().unwrap_or_default(), binary_data: binary_data.collect() }
}
