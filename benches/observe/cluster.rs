//! The process that creates and changes the objects of a real API server.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kamaji_telemetry::agent::journal::JournalStore;
use kamaji_telemetry::agent::kubernetes::connect;
use kamaji_telemetry::testkit::simulated_cluster::Kind;
use kamaji_telemetry::testkit::tenant::NAMESPACE;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::access::{AGENT_NAMESPACE, Access};
use crate::observed::{LAST, Observed, name, run_commands, tenant};

/// A captured control plane of a real Kamaji, if the file is beside the checkout.
const CAPTURED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/kamaji/tenantcontrolplane.json");

/// The number of concurrent writes: enough to keep two cores of a server busy, and below its limit of requests in
/// flight.
const CONCURRENCY: usize = 32;

/// A cluster, and the template of its control planes.
struct Real {
    runtime: Runtime,
    tenants: Api<DynamicObject>,
    template: Value,
}

/// Creates the missing ones of `objects` control planes, and runs the commands from standard input.
pub(crate) fn run(objects: usize, folder: &Path, kubeconfig: &str) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let access = runtime.block_on(Access::of_kubeconfig(kubeconfig))?;
    let file = access.write(folder)?;
    let tenants = runtime.block_on(open(access))?;
    let real = Real { runtime, tenants, template: template()? };
    real.runtime.block_on(real.fill(objects))?;
    run_commands(&real, &file, objects)
}

/// Creates the namespace if it is missing, and returns the API of its control planes.
async fn open(access: Access) -> anyhow::Result<Api<DynamicObject>> {
    let client = connect(Some(access.config()?)).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    namespaces.patch(NAMESPACE, &PatchParams::apply("benchmark"), &Patch::Apply(namespace)).await?;
    let gvk = GroupVersionKind::gvk("kamaji.clastix.io", "v1alpha1", Kind::TenantControlPlane.name());
    Ok(Api::namespaced_with(client, NAMESPACE, &ApiResource::from_gvk(&gvk)))
}

/// Returns the template, without the metadata that the API server sets.
fn template() -> anyhow::Result<Value> {
    let mut object = match fs::read_to_string(CAPTURED) {
        Ok(captured) => serde_json::from_str(&captured).context(CAPTURED)?,
        Err(_) => tenant(LAST),
    };
    let metadata = object["metadata"].as_object_mut().context("an object without metadata")?;
    metadata.retain(|key, _| matches!(&**key, "labels" | "annotations" | "finalizers"));
    Ok(object)
}

impl Real {
    async fn fill(&self, objects: usize) -> anyhow::Result<()> {
        if self.count().await? == objects + 1 {
            return Ok(());
        }
        let names = (0..objects).map(name).chain([LAST.to_owned()]);
        let created = stream::iter(names).map(|name| self.create(name)).buffer_unordered(CONCURRENCY);
        created.try_collect::<()>().await?;
        let count = self.count().await?;
        ensure!(count == objects + 1, "there are {count} control planes, not {objects} and one: use a new cluster");
        Ok(())
    }

    async fn count(&self) -> anyhow::Result<usize> {
        let list = self.tenants.list_metadata(&ListParams::default().limit(1)).await?;
        Ok(list.items.len() + usize::try_from(list.metadata.remaining_item_count.unwrap_or(0))?)
    }

    /// Creates the object and then its status, as a person and the operator do, so that both have their managed fields.
    async fn create(&self, name: String) -> anyhow::Result<()> {
        let mut object = self.template.clone();
        object["metadata"]["name"] = name.clone().into();
        if name == LAST {
            object["metadata"]["finalizers"] = json!([]);
        }
        let status = Patch::Merge(json!({"status": object["status"]}));
        match self.tenants.create(&PostParams::default(), &serde_json::from_value(object)?).await {
            Err(kube::Error::Api(error)) if error.code == 409 => return Ok(()),
            created => created.with_context(|| format!("{name} can't be created"))?,
        };
        self.tenants.patch_status(&name, &PatchParams::default(), &status).await.context("no status")?;
        Ok(())
    }
}

impl Observed for Real {
    fn relabel(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let edit = Patch::Merge(json!({"metadata": {"labels": {"change": value}}}));
        self.runtime.block_on(self.tenants.patch(name, &PatchParams::default(), &edit))?;
        Ok(())
    }

    fn delete_last(&self) -> anyhow::Result<()> {
        self.runtime.block_on(self.tenants.delete(LAST, &DeleteParams::default())).context("the last object")?;
        Ok(())
    }

    fn restore(&self) -> anyhow::Result<()> {
        let client = self.tenants.clone().into_client();
        let place = JournalStore { client, namespace: AGENT_NAMESPACE.to_owned(), owner: None };
        self.runtime.block_on(place.erase()).map_err(|failure| anyhow::anyhow!("{failure}"))?;
        self.runtime.block_on(self.create(LAST.to_owned()))
    }

    fn read(&self, name: &str) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self.runtime.block_on(self.tenants.get(name))?)?)
    }
}
