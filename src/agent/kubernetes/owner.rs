//! The Deployment that the agent runs in: whatever the agent makes goes with it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource as _};

use super::api_error::{ApiError, Resource};
use super::within_deadline;

const RESOURCE: Resource = Resource { plural: "deployments", group: "apps", verbs: "get", is_custom: false };

/// A reference to the Deployment `name` of `namespace`, by which the garbage collector knows it as an owner.
pub async fn find(client: &Client, namespace: &str, name: &str) -> Result<OwnerReference, ApiError> {
    let deployment = get(client, namespace, name).await?;
    let nameless = || ApiError::Refused { resource: RESOURCE, code: 200, message: "it has no uid".to_owned() };
    deployment.owner_ref(&()).ok_or_else(nameless)
}

/// The Deployment `name` of `namespace`.
pub async fn get(client: &Client, namespace: &str, name: &str) -> Result<Deployment, ApiError> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    within_deadline(deployments.get(name)).await.map_err(|error| ApiError::of(RESOURCE, &error))
}
