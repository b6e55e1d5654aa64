//! Counts of DataStores by driver. They are requested only if the extended signals are on.

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
/// The limit on DataStores in one answer. A cluster has a handful of them; those beyond the first page are not counted.
const MAX_DATASTORES: u32 = 500;

/// The use of one driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DatastoreUsage {
    /// The number of DataStores with the driver.
    pub count: u32,
    /// The number of control planes that use these DataStores.
    pub used_by: u32,
}

/// The decoded part of a DataStore. It is decoded leniently, because one that fails to decode would fail the whole list.
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

/// A driver of the catalog, or `None` for any other.
#[derive(Debug, Clone, Copy)]
struct Driver(Option<&'static str>);

/// The length of the list of control planes in `status.usedBy`.
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

/// Counts the DataStores by driver. A DataStore whose driver is unreadable or not in the catalog is left out.
pub async fn count(client: &Client) -> Result<BTreeMap<&'static str, DatastoreUsage>, ApiError> {
    let request = Request::new(PATH).list(&ListParams::default().limit(MAX_DATASTORES));
    let request = request.map_err(|error| ApiError::from_kube(RESOURCE, &kube::Error::BuildRequest(error)))?;
    let list = within_deadline(client.request::<ObjectList<DataStore>>(request)).await;
    Ok(by_driver(list.map_err(|error| ApiError::from_kube(RESOURCE, &error))?.items))
}

fn by_driver(datastores: Vec<DataStore>) -> BTreeMap<&'static str, DatastoreUsage> {
    let mut usage: BTreeMap<&'static str, DatastoreUsage> = BTreeMap::new();
    for DataStore { spec, status } in datastores {
        let driver = spec.map(|spec| spec.driver).flatten().ok();
        let Some(Driver(Some(driver))) = driver else { continue };
        let used_by = status.map(|status| status.used_by).flatten().ok();
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

    fn count(datastores: &[Value]) -> BTreeMap<&'static str, DatastoreUsage> {
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
        let expected = [
            ("PostgreSQL", DatastoreUsage { count: 1, used_by: 0 }),
            ("etcd", DatastoreUsage { count: 2, used_by: 4 }),
        ];
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
            assert_eq!(counted, [("etcd", DatastoreUsage { count: 1, used_by: 0 })].into(), "{unreadable}");
        }
    }
}
