//! The real API server of these tests, and the agent's permissions in it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::servers::{ApiServer, Tcp, User, eventually, fixture, tcp, upstream};

/// Returns the API of the TenantControlPlanes of all namespaces, as the agent uses it.
fn all_tcps(client: kube::Client) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("kamaji.clastix.io", "v1alpha1", "TenantControlPlane");
    Api::all_with(client, &ApiResource::from_gvk(&gvk))
}

/// Returns the status code of an error of the API server.
fn error_code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected an error of the API server, got {other:?}"),
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_agent_has_the_permissions_that_it_needs_and_no_more() {
    let cluster = ApiServer::start_with_kamaji().await;
    let all = ListParams::default();
    let agent = cluster.client(User::Agent);
    all_tcps(agent.clone()).list(&all).await.unwrap();
    Api::<Deployment>::namespaced(agent.clone(), "kamaji-system").list(&all).await.unwrap();
    assert_eq!(error_code(Api::<Deployment>::all(agent.clone()).list(&all).await), 403);
    assert_eq!(error_code(Api::<Secret>::namespaced(agent, "kamaji-telemetry").list(&all).await), 403);
    assert_eq!(error_code(all_tcps(cluster.client(User::Stranger)).list(&all).await), 403);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_audit_log_shows_the_requests_of_each_user() {
    let mut cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a").version("v1.34.0").status("Sleeping").label("tenant", "a").held()).await;
    cluster.create_dry_run(tcp("b")).await;
    cluster.upgrade("a", "v1.35.1").await;
    cluster.report("a", "Upgrading").await;
    cluster.relabel("a", "tenant", "b").await;
    cluster.stop();
    cluster.resume().await;
    assert_eq!(cluster.requests_of(User::Agent), []);
    let listed = all_tcps(cluster.client(User::Agent)).list(&ListParams::default()).await.unwrap();
    let [only] = &listed.items[..] else { panic!("one control plane was created: {listed:?}") };
    assert_eq!(only.data["spec"]["kubernetes"]["version"], "v1.35.1");
    assert_eq!(only.data["status"]["kubernetesResources"]["version"]["status"], "Upgrading");
    let requests = cluster.requests_of(User::Agent);
    let [request] = &requests[..] else { panic!("one request was made: {requests:?}") };
    assert_eq!((&*request.verb, &*request.resource, request.code), ("list", "tenantcontrolplanes", 200));
    cluster.delete("a").await;
    assert!(cluster.tcps().get("a").await.unwrap().metadata.deletion_timestamp.is_some());
    cluster.release("a").await;
    assert_eq!(error_code(cluster.tcps().get("a").await), 404);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_kubeconfig_is_for_its_user() {
    let cluster = ApiServer::start().await;
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig(User::Agent)).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.36.3");
    eventually("the request in the audit log", async || {
        cluster.requests_of(User::Agent).iter().any(|request| request.uri == "/version").then_some(())
    })
    .await;
}

/// Kamaji's own files are no part of this project. If they are missing, the definitions of the fixtures replace them.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_captured_control_plane_can_be_cloned() {
    let cluster = ApiServer::start().await;
    for (ours, upstreams) in [
        ("tenantcontrolplanes.yaml", "crds/kamaji.clastix.io_tenantcontrolplanes.yaml"),
        ("datastores.yaml", "crds/kamaji.clastix.io_datastores.yaml"),
    ] {
        cluster.apply(&upstream(upstreams).unwrap_or_else(|| fixture(ours))).await;
    }
    let captured: Option<Value> = upstream("tenantcontrolplane.json").map(|text| serde_json::from_str(&text).unwrap());
    let clone = |name: &str| captured.as_ref().map_or_else(|| tcp(name), |object| Tcp::clone_of(object, name));
    for (name, status) in [("a", "Ready"), ("b", "Sleeping")] {
        cluster.create(clone(name).version("v1.34.2").status(status)).await;
    }
    let listed = cluster.tcps().list(&ListParams::default()).await.unwrap();
    let status = |object: &DynamicObject| object.data["status"]["kubernetesResources"]["version"]["status"].clone();
    assert_eq!(listed.items.iter().map(status).collect::<Vec<_>>(), ["Ready", "Sleeping"]);
}
