//! Datastores by driver: asked for only where the operator turned the extended signals on.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::ListParams;
use kube::core::{ObjectList, Request};
use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess};

use super::api_error::{ApiError, Resource};
use super::client::within_deadline;
use super::lenient::{Lenient, Readable, readable_objects};
use crate::catalog::DRIVERS;

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

/// A `DataStore` as it is decoded: leniently, since one that fails to decode would fail the whole list.
#[derive(Debug, Clone, Deserialize)]
struct DataStore {
    #[serde(default)]
    spec: Lenient<DataStoreSpec>,
    #[serde(default)]
    status: Lenient<DataStoreStatus>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct DataStoreSpec {
    driver: Lenient<Driver>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DataStoreStatus {
    used_by: Lenient<UsedBy>,
}

/// A driver, where it is one that the catalog names.
#[derive(Debug, Clone, Copy)]
struct Driver(Option<&'static str>);

/// How many control planes are in the list.
#[derive(Debug, Clone, Copy)]
struct UsedBy(u32);

impl Readable<'_> for Driver {
    fn from_text(text: &str) -> Lenient<Self> {
        Lenient::Read(Self(DRIVERS.iter().find(|driver| **driver == text).copied()))
    }
}

impl<'de> Readable<'de> for UsedBy {
    fn from_array<A: SeqAccess<'de>>(mut array: A) -> Result<Lenient<Self>, A::Error> {
        let mut count = 0;
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Lenient::Read(Self(count)))
    }
}

readable_objects!(DataStoreSpec, DataStoreStatus);

/// Counts them. One whose driver can't be read, or is none that the catalog names, is left out.
pub async fn count(client: &Client) -> Result<BTreeMap<&'static str, Usage>, ApiError> {
    let request = Request::new(PATH).list(&ListParams::default().limit(LIMIT));
    let request = request.map_err(|error| ApiError::from_kube(RESOURCE, &kube::Error::BuildRequest(error)))?;
    let found = within_deadline(client.request::<ObjectList<DataStore>>(request)).await;
    Ok(by_driver(found.map_err(|error| ApiError::from_kube(RESOURCE, &error))?.items))
}

fn by_driver(datastores: Vec<DataStore>) -> BTreeMap<&'static str, Usage> {
    let mut usage: BTreeMap<&'static str, Usage> = BTreeMap::new();
    for DataStore { spec, status } in datastores {
        let driver = spec.map(|spec| spec.driver).flatten().read();
        let Some(Driver(Some(driver))) = driver else { continue };
        let used_by = status.map(|status| status.used_by).flatten().read();
        let usage = usage.entry(driver).or_default();
        usage.count += 1;
        usage.used_by += used_by.map_or(0, |UsedBy(count)| count);
    }
    usage
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn count(datastores: &[Value]) -> BTreeMap<&'static str, Usage> {
        let read = |datastore: &Value| serde_json::from_str(&datastore.to_string()).unwrap();
        by_driver(datastores.iter().map(read).collect())
    }

    #[test]
    fn datastores_are_counted_by_driver_with_the_control_planes_that_use_them() {
        let used_by = json!(["tenants/a", "tenants/b"]);
        let counted = count(&[
            json!({"spec": {"driver": "etcd", "endpoints": ["a"]}, "status": {"usedBy": used_by}}),
            json!({"spec": {"driver": "etcd"}, "status": {"usedBy": used_by}}),
            json!({"spec": {"driver": "PostgreSQL"}}),
            json!({"spec": {"driver": "AcmeDB"}}),
        ]);
        let expected = [("PostgreSQL", Usage { count: 1, used_by: 0 }), ("etcd", Usage { count: 2, used_by: 4 })];
        assert_eq!(counted, expected.into());
    }

    #[test]
    fn a_datastore_that_cannot_be_read_does_not_hide_the_others() {
        for unreadable in [json!(1), json!(true), json!(null), json!([1]), json!({"a": [1]})] {
            let counted = count(&[
                json!({"spec": {"driver": unreadable}}),
                json!({"spec": unreadable, "status": unreadable}),
                json!({"spec": {"driver": "etcd"}, "status": {"usedBy": {"a": unreadable}}}),
            ]);
            assert_eq!(counted, [("etcd", Usage { count: 1, used_by: 0 })].into(), "{unreadable}");
        }
    }
}
