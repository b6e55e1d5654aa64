//! A simulated cluster: the Kubernetes API over real HTTP/1.1, as far as the agent uses it. It serves Kamaji's objects,
//! Deployments, `ConfigMap`s and `Lease`s.
//!
//! The state is synchronous and does no I/O (`store`). Every object is serialized once, when it is written, and all
//! clients receive the same bytes. Watches pull from a bounded history, so that a slow one costs no memory.

mod kind;
mod object;
mod parameters;
mod status_error;
mod routes;
mod store;
mod watch;

use crate::process::lock::lock;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use kind::Kind;
pub use status_error::StatusError;
use store::ObjectStore;
pub use store::{Preconditions, WriteContext};

/// The options of a simulated cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The version that `/version` reports, `vX.Y.Z`.
    pub kubernetes_version: String,
    /// The number of changes of each kind that a watch can resume from.
    pub history: usize,
    /// The interval of the bookmarks of a watch that requests them.
    pub bookmark_interval: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            kubernetes_version: "v1.35.1".to_owned(),
            // A change holds two versions of an object of 9 kB, which makes 18 MB in all. A real API server forgets a
            // change after five minutes; this is half an hour of the demo's fleet.
            history: 1_000,
            bookmark_interval: Duration::from_mins(1),
        }
    }
}

/// A handle of a simulated cluster. Clones share the cluster.
#[derive(Debug, Clone)]
pub struct SimulatedCluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Mutex<ObjectStore>,
    version: tokio::sync::watch::Sender<u64>,
    options: ClusterOptions,
    shutdown: CancellationToken,
}

impl SimulatedCluster {
    /// Creates an empty cluster, whose watches end with `shutdown`.
    pub fn new(options: ClusterOptions, shutdown: CancellationToken) -> Self {
        let store = ObjectStore::new(options.history);
        let version = tokio::sync::watch::Sender::new(store.version());
        Self { shared: Arc::new(Shared { store: Mutex::new(store), version, options, shutdown }) }
    }

    /// Serves the cluster on a bound listener until its shutdown.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        // Otherwise the kernel delays small responses by 40 ms.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "failed to set TCP_NODELAY on a connection of the simulated API");
            }
        });
        let shutdown = self.shared.shutdown.clone();
        axum::serve(listener, self.router()).with_graceful_shutdown(shutdown.cancelled_owned()).await
    }

    /// Returns the routes that [`SimulatedCluster::serve`] serves, for a listener of another type.
    pub fn router(&self) -> Router {
        routes::router(self)
    }

    /// Creates an object, as `kubectl create` does.
    pub fn create(&self, kind: Kind, namespace: &str, body: Value) -> Result<(), StatusError> {
        self.write(|store, context| store.create(kind, namespace, body, context)).map(drop)
    }

    /// Returns the current version of an object.
    pub fn read(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value, StatusError> {
        Ok(self.store().get(kind, namespace, name)?.to_value())
    }

    /// Changes an object by reading and replacing it. The change must be quick, since it blocks every other request.
    pub fn change(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), StatusError> {
        self.write(|store, _| {
            let mut body = store.get(kind, namespace, name)?.to_value();
            let version = body["metadata"]["resourceVersion"].take();
            change(&mut body);
            body["metadata"]["resourceVersion"] = version;
            store.replace(kind, namespace, name, body)
        })
        .map(drop)
    }

    /// Deletes an object, as `kubectl delete` does. An object with finalizers is marked only.
    pub fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), StatusError> {
        self.write(|store, context| store.delete(kind, namespace, name, &Preconditions::default(), context)).map(drop)
    }

    /// Returns the version that `/version` reports.
    pub fn kubernetes_version(&self) -> &str {
        &self.shared.options.kubernetes_version
    }

    fn store(&self) -> MutexGuard<'_, ObjectStore> {
        lock(&self.shared.store)
    }

    /// Runs a write with the current time, and wakes the watches.
    fn write<T>(
        &self,
        write: impl FnOnce(&mut ObjectStore, WriteContext) -> Result<T, StatusError>,
    ) -> Result<T, StatusError> {
        let context = WriteContext { now: Timestamp::now(), uid: Uuid::new_v4() };
        let (written, version) = {
            let mut store = self.store();
            (write(&mut store, context), store.version())
        };
        self.shared.version.send_if_modified(|known| std::mem::replace(known, version.max(*known)) < version);
        written
    }

    fn changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    fn bookmark_interval(&self) -> Duration {
        self.shared.options.bookmark_interval
    }

    async fn stopped(&self) {
        self.shared.shutdown.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::{StreamExt, TryStreamExt};
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{
        Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions, WatchEvent, WatchParams,
    };
    use serde_json::json;
    use tokio_util::sync::DropGuard;

    use super::*;

    struct Running {
        cluster: SimulatedCluster,
        client: kube::Client,
        stop: DropGuard,
    }

    async fn running(options: ClusterOptions) -> Running {
        let shutdown = CancellationToken::new();
        let cluster = SimulatedCluster::new(options, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(cluster.clone().serve(listener));
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        Running { cluster, client, stop: shutdown.drop_guard() }
    }

    fn tenants(client: &kube::Client) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "kamaji.clastix.io".into(),
            version: "v1alpha1".into(),
            api_version: "kamaji.clastix.io/v1alpha1".into(),
            kind: "TenantControlPlane".into(),
            plural: "tenantcontrolplanes".into(),
        };
        Api::all_with(client.clone(), &resource)
    }

    fn tenant(name: &str) -> Value {
        json!({ "metadata": { "name": name }, "spec": { "kubernetes": { "version": "v1.35.1" } } })
    }

    fn describe(event: &WatchEvent<DynamicObject>) -> String {
        match event {
            WatchEvent::Added(object) => format!("added {}", object.metadata.name.as_deref().unwrap()),
            WatchEvent::Modified(object) => format!("modified {}", object.metadata.name.as_deref().unwrap()),
            WatchEvent::Deleted(object) => format!("deleted {}", object.metadata.name.as_deref().unwrap()),
            WatchEvent::Bookmark(bookmark) => {
                let end = bookmark.metadata.annotations.get("k8s.io/initial-events-end");
                if end.is_some_and(|end| end == "true") { "end of the state".into() } else { "bookmark".into() }
            }
            WatchEvent::Error(status) => format!("error {} {}", status.code, status.reason),
        }
    }

    async fn take(
        watch: impl futures::Stream<Item = kube::Result<WatchEvent<DynamicObject>>>,
        count: usize,
    ) -> Vec<String> {
        watch.take(count).map_ok(|event| describe(&event)).try_collect().await.unwrap()
    }

    #[tokio::test]
    async fn a_streamed_list_ends_with_its_bookmark_and_continues_with_changes() {
        let Running { cluster, client, stop: _stop } = running(ClusterOptions::default()).await;
        for name in ["tenant-01", "tenant-02"] {
            cluster.create(Kind::TenantControlPlane, "default", tenant(name)).unwrap();
        }
        let api = tenants(&client);
        let mut watch = api.watch(&WatchParams::default().initial_events(), "").await.unwrap().boxed();
        assert_eq!(take(&mut watch, 3).await, ["added tenant-01", "added tenant-02", "end of the state"]);
        cluster
            .change(Kind::TenantControlPlane, "default", "tenant-02", |tenant| {
                tenant["spec"]["kubernetes"]["version"] = "v1.36.0".into();
            })
            .unwrap();
        cluster.delete(Kind::TenantControlPlane, "default", "tenant-01").unwrap();
        assert_eq!(take(&mut watch, 2).await, ["modified tenant-02", "deleted tenant-01"]);
    }

    #[tokio::test]
    async fn a_watch_continues_after_a_list_and_sends_bookmarks() {
        let options = ClusterOptions { bookmark_interval: Duration::from_millis(1), ..ClusterOptions::default() };
        let Running { cluster, client, stop: _stop } = running(options).await;
        cluster.create(Kind::TenantControlPlane, "default", tenant("tenant-01")).unwrap();
        let api = tenants(&client);
        let list = api.list(&ListParams::default()).await.unwrap();
        assert_eq!(list.items.len(), 1);
        cluster.create(Kind::TenantControlPlane, "default", tenant("tenant-02")).unwrap();
        let from = list.metadata.resource_version.unwrap();
        let mut watch = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
        assert_eq!(take(&mut watch, 2).await, ["added tenant-02", "bookmark"]);
    }

    #[tokio::test]
    async fn a_watch_from_before_the_history_receives_an_expired_error_and_ends() {
        let Running { cluster, client, stop: _stop } =
            running(ClusterOptions { history: 1, ..ClusterOptions::default() }).await;
        for name in ["tenant-01", "tenant-02", "tenant-03"] {
            cluster.create(Kind::TenantControlPlane, "default", tenant(name)).unwrap();
        }
        let watch = tenants(&client).watch(&WatchParams::default(), "1").await.unwrap().boxed();
        assert_eq!(take(watch, 2).await, ["error 410 Expired"]);
    }

    #[tokio::test]
    async fn a_watch_ends_with_its_timeout_and_with_the_cluster() {
        let Running { client, stop, .. } = running(ClusterOptions::default()).await;
        let api = tenants(&client);
        let short = api.watch(&WatchParams::default().timeout(1), "").await.unwrap().boxed();
        assert_eq!(take(short, 2).await, ["bookmark"]);
        let long = api.watch(&WatchParams::default(), "").await.unwrap().boxed();
        drop(stop);
        assert_eq!(take(long, 2).await, ["bookmark"]);
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let Running { cluster, client, stop: _stop } = running(ClusterOptions::default()).await;
        let names: Vec<_> = (1..=5).map(|number| format!("tenant-{number:02}")).collect();
        for name in &names {
            cluster.create(Kind::TenantControlPlane, "default", tenant(name)).unwrap();
        }
        let mut params = ListParams::default().limit(2);
        let mut seen = Vec::new();
        loop {
            let page = tenants(&client).list(&params).await.unwrap();
            seen.extend(page.items.into_iter().filter_map(|object| object.metadata.name));
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = ListParams::default().limit(2).continue_token(&token),
                _ => break,
            }
        }
        assert_eq!(seen, names);
    }

    #[tokio::test]
    async fn a_config_map_is_created_replaced_and_deleted_as_on_a_real_cluster() {
        let Running { client, stop: _stop, .. } = running(ClusterOptions::default()).await;
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        let code = |error: kube::Error| match error {
            kube::Error::Api(status) => (status.code, status.reason),
            other => panic!("{other}"),
        };
        let mut map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "journal" } })).unwrap();
        assert_eq!(code(api.get("journal").await.unwrap_err()), (404, "NotFound".into()));
        let created = api.create(&PostParams::default(), &map).await.unwrap();
        assert_eq!(code(api.create(&PostParams::default(), &map).await.unwrap_err()), (409, "AlreadyExists".into()));
        map.metadata.resource_version.clone_from(&created.metadata.resource_version);
        map.data = Some(BTreeMap::from([("epoch".into(), "1".into())]));
        let replaced = api.replace("journal", &PostParams::default(), &map).await.unwrap();
        assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
        let stale = api.replace("journal", &PostParams::default(), &map).await.unwrap_err();
        assert_eq!(code(stale), (409, "Conflict".into()));
        let on = |resource_version| DeleteParams {
            preconditions: Some(Preconditions { resource_version, uid: created.metadata.uid.clone() }),
            ..DeleteParams::default()
        };
        let stale = api.delete("journal", &on(created.metadata.resource_version.clone())).await.unwrap_err();
        assert_eq!(code(stale), (409, "Conflict".into()));
        api.delete("journal", &on(replaced.metadata.resource_version)).await.unwrap();
        assert_eq!(code(api.get("journal").await.unwrap_err()), (404, "NotFound".into()));
    }

    #[tokio::test]
    async fn deployments_are_found_by_label_and_the_version_is_reported() {
        let Running { cluster, client, stop: _stop } = running(ClusterOptions::default()).await;
        for name in ["kamaji", "other"] {
            let labelled = json!({ "metadata": { "name": name, "labels": { "app.kubernetes.io/name": name } } });
            cluster.create(Kind::Deployment, "kamaji-system", labelled).unwrap();
        }
        let api: Api<Deployment> = Api::namespaced(client.clone(), "kamaji-system");
        let found = api.list(&ListParams::default().labels("app.kubernetes.io/name=kamaji")).await.unwrap();
        let names: Vec<_> = found.items.iter().filter_map(|found| found.metadata.name.as_deref()).collect();
        assert_eq!(names, ["kamaji"]);
        assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.35.1");
    }
}
