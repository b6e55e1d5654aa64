//! Tests of the egress: HTTP proxy, CA bundle, mTLS, bearer token, a second backend, and an own collector instead of the relay.

mod network;

use http::StatusCode;
use serde_json::{Value, json};

use kamaji_telemetry::backend::auth::AuthConfig;

use super::helm::{AGENT, Helm, NAMESPACE};
use super::pod::Pod;
use super::{code_blocks, merge};
use crate::backend::harness::Backend;
use crate::servers::{ApiServer, CapturingBackend, Collector, CountingProxy, checkout, eventually, tcp};
use network::{ConnectProxy, TlsTerminator};

async fn create_secret(cluster: &ApiServer, name: &str, data: Value) {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})).await;
}

async fn assert_receives(backend: &CapturingBackend, path: &str) {
    let received = async || backend.take().iter().any(|request| request.path == path).then_some(());
    eventually(&format!("a request for {path}"), received).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_proxy_a_ca_bundle_and_a_client_certificate_are_used() {
    let cluster = ApiServer::start_for_a_chart().await;
    let backend = CapturingBackend::start().await;
    let tls = TlsTerminator::start(backend.address()).await;
    let proxy = ConnectProxy::start(tls.address()).await;
    let metadata = json!({"name": "ca-bundle", "namespace": NAMESPACE});
    let data = json!({"ca.crt": tls.ca_certificate()});
    let ca_bundle = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    cluster.apply_one(&ca_bundle).await;
    let (certificate, key) = tls.issue_client_certificate();
    create_secret(&cluster, "relay-client", json!({"tls.crt": certificate, "tls.key": key})).await;

    let helm = Helm::of(&cluster);
    // Only the proxy can resolve this name.
    let values = json!({
        "telemetry": {"endpoint": "https://backend.test:8443", "exportInterval": "1s"},
        "relay": {
            "httpsProxy": proxy.url(),
            "caBundle": {"configMap": "ca-bundle"},
            "clientCertificateSecret": "relay-client",
        },
    });
    helm.upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    assert_receives(&backend, "/v1/metrics").await;
    drop(pod);
    assert!(proxy.targets().iter().all(|host| host == "backend.test:8443"), "{:?}", proxy.targets());

    for (change, error) in [
        (json!({"relay": {"caBundle": {"configMap": ""}}}), "certificate signed by unknown authority"),
        (json!({"relay": {"clientCertificateSecret": ""}}), "certificate required"),
    ] {
        let mut values = values.clone();
        merge(&mut values, change);
        helm.upgrade(&values).await;
        backend.take();
        let pod = Pod::start(&cluster).await;
        pod.agent.logged("failed to export gauges").await;
        let relay = pod.relay.as_ref().unwrap();
        assert!(relay.output().contains(error), "{}", relay.output());
        assert_eq!(backend.take().len(), 0, "no request without a verified peer: {error}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_secret_is_mounted_so_that_a_replaced_one_is_seen() {
    let helm = Helm::offline();
    for (name, values) in super::snapshots::all() {
        let rendered = helm.template(&values).await.unwrap();
        // Neither changes while a container runs.
        for fixed in ["secretKeyRef", "configMapKeyRef", "envFrom", "subPath"] {
            assert!(!rendered.contains(fixed), "{name}: {fixed}");
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_relay_presents_the_secrets_token_to_a_backend_that_requires_one() {
    let cluster = ApiServer::start_for_a_chart().await;
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens"), "0123456789abcdef".repeat(4));
    std::fs::write(&tokens, &token).unwrap();
    let backend = Backend::with_auth(AuthConfig { ingest_token_file: Some(tokens), ..AuthConfig::default() }).await;
    create_secret(&cluster, "relay-token", json!({"token": token})).await;
    let helm = Helm::of(&cluster);
    let mut values = json!({"telemetry": {"endpoint": format!("http://{}", backend.http), "exportInterval": "1s"}});
    helm.upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.logged("failed to export gauges").await;
    drop(pod);
    assert_eq!(backend.rows(), 0, "ingest is closed");

    merge(&mut values, json!({"relay": {"tokenSecret": {"name": "relay-token"}}}));
    helm.upgrade(&values).await;
    let _pod = Pod::start(&cluster).await;
    eventually("the gauges", async || (backend.count("latest") == 1).then_some(())).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_second_backend_receives_the_same_and_blocks_nothing_when_it_is_down() {
    let cluster = ApiServer::start_for_a_chart().await;
    let (maintainers, own) = (CapturingBackend::start().await, CapturingBackend::start().await);
    let readme = AGENT.file("README.md").replace("https://otel.example.org", &own.url());
    let mut values: Value = serde_yaml_ng::from_str(code_blocks(&readme, "yaml")[0]).unwrap();
    values["telemetry"] = json!({"endpoint": maintainers.url(), "exportInterval": "1s"});
    Helm::of(&cluster).upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.ready().await;
    for backend in [&maintainers, &own] {
        assert_receives(backend, "/v1/metrics").await;
    }
    own.respond_with(StatusCode::SERVICE_UNAVAILABLE);
    cluster.create(tcp("a")).await;
    assert_receives(&maintainers, "/v1/logs").await;
    own.respond_with(StatusCode::OK);
    assert_receives(&own, "/v1/logs").await;
    assert!(!pod.agent.log().contains("failed to export"), "{}", pod.agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_own_collector_receives_what_the_relay_would_receive() {
    let cluster = ApiServer::start_for_a_chart().await;
    let collector = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    let listener = CountingProxy::start(Some(collector.address())).await;
    create_secret(&cluster, "collector", json!({"headers": "authorization=Bearer%20abc"})).await;
    let otlp = json!({"endpoint": listener.url(), "headersSecret": {"name": "collector"}});
    Helm::of(&cluster).upgrade(&json!({"relay": {"enabled": false}, "otlp": otlp})).await;
    let pod = Pod::start(&cluster).await;
    assert!(pod.relay.is_none());
    let (_, file) = pod.environment.iter().find(|(name, _)| name == "KAMAJI_TELEMETRY_HEADERS_FILE").unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "authorization=Bearer%20abc");
    let received = async || collector.output().contains("Name: kamaji.tcp.running").then_some(());
    eventually("the gauges", received).await;
    assert!(listener.connections() > 0);
}
