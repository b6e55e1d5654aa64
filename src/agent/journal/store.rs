//! The objects in the agent's own namespace: their metadata, and plain operations on its ConfigMaps.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Client, Resource as _};

use crate::agent::kubernetes::api_error::Resource;
use crate::agent::kubernetes::within_deadline;
use crate::catalog::SERVICE_NAME;

/// The name of the journal's ConfigMap.
pub const NAME: &str = "kamaji-telemetry";

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
