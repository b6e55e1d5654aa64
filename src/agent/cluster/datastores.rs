//! Datastores by driver: asked for only where the operator turned the extended signals on.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use serde::Deserialize;

use super::failure::{Failure, Resource};
use super::within_deadline;
use crate::signals::DRIVERS;

const RESOURCE: Resource =
    Resource { plural: "datastores", group: "kamaji.clastix.io", verbs: "list", is_custom: true };
const PATH: &str = "/apis/kamaji.clastix.io/v1alpha1/datastores";
/// A cluster has a handful of datastores; what lies beyond the first page is not counted.
const LIMIT: u32 = 500;

/// How many datastores have a driver, and how many control planes use them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Datastores.
    pub count: u32,
    /// Control planes.
    pub used_by: u32,
}

#[derive(Debug, Clone, Deserialize)]
struct DataStore {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    driver: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    used_by: Vec<serde::de::IgnoredAny>,
}

/// Counts them. A driver that the catalog does not name is left out.
pub async fn count(client: &Client) -> Result<BTreeMap<&'static str, Usage>, Failure> {
    let request = Request::new(PATH).list(&ListParams::default().limit(LIMIT));
    let request = request.map_err(|error| Failure::of(RESOURCE, &kube::Error::BuildRequest(error)))?;
    let found = within_deadline(client.request::<ObjectList<DataStore>>(request)).await;
    Ok(by_driver(found.map_err(|error| Failure::of(RESOURCE, &error))?.items))
}

fn by_driver(datastores: Vec<DataStore>) -> BTreeMap<&'static str, Usage> {
    let mut usage: BTreeMap<&'static str, Usage> = BTreeMap::new();
    for DataStore { spec, status } in datastores {
        let Some(driver) = DRIVERS.iter().find(|driver| **driver == spec.driver) else { continue };
        let usage = usage.entry(driver).or_default();
        usage.count += 1;
        usage.used_by += u32::try_from(status.used_by.len()).unwrap_or(u32::MAX);
    }
    usage
}
