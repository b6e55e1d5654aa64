//! The Deployment that the agent runs in. It owns every object that the agent creates, so that deleting it deletes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;

use super::api_error::{ApiError, Resource};
use super::client::within_deadline;
use super::deployment::{self, Deployment};

const RESOURCE: Resource = Resource { plural: "deployments", group: "apps", verbs: "get", is_custom: false };

/// Returns an owner reference to the Deployment `name` in `namespace`, as the garbage collector needs it.
pub async fn find(client: &Client, namespace: &str, name: &str) -> Result<OwnerReference, ApiError> {
    let deployment = get(client, namespace, name).await?;
    let without_uid =
        || ApiError::UnexpectedStatus { resource: RESOURCE, code: 200, message: "it has no uid".to_owned() };
    deployment.owner_reference().ok_or_else(without_uid)
}

/// Reads the Deployment `name` in `namespace`.
pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Deployment, ApiError> {
    within_deadline(deployment::get(client, namespace, name))
        .await
        .map_err(|error| ApiError::from_kube(RESOURCE, &error))
}
