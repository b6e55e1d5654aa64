//! The ways out that the chart can be told: a proxy, private authorities, a certificate to show, a backend of one's own
//! beside the maintainers', and a collector of one's own instead of the relay.

mod network;

use http::StatusCode;
use serde_json::{Value, json};

use kamaji_telemetry::backend::auth::AuthConfig;

use super::helm::{AGENT, Helm, NAMESPACE};
use super::merge;
use super::pod::Pod;
use crate::backend::harness::Backend;
use crate::servers::{ApiServer, CapturingBackend, Collector, CountingProxy, checkout, eventually, tcp};
use network::{ConnectProxy, Tls};

async fn secret(cluster: &ApiServer, name: &str, data: Value) {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})).await;
}

async fn arrives(backend: &CapturingBackend, path: &str) {
    let arrived = async || backend.take().iter().any(|request| request.path == path).then_some(());
    eventually(&format!("a request for {path}"), arrived).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_proxy_private_authorities_and_a_client_certificate_are_honoured() {
    let cluster = ApiServer::start_for_a_chart().await;
    let backend = CapturingBackend::start().await;
    let tls = Tls::start(backend.address()).await;
    let proxy = ConnectProxy::start(tls.address()).await;
    let metadata = json!({"name": "authorities", "namespace": NAMESPACE});
    let data = json!({"ca.crt": tls.authority()});
    let authorities = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    cluster.apply_one(&authorities).await;
    let (certificate, key) = tls.client();
    secret(&cluster, "relay-client", json!({"tls.crt": certificate, "tls.key": key})).await;

    let helm = Helm::of(&cluster);
    // Only the proxy knows where that is.
    let values = json!({
        "telemetry": {"endpoint": "https://backend.test:8443", "interval": "1s"},
        "relay": {
            "httpsProxy": proxy.url(),
            "caBundle": {"configMap": "authorities"},
            "clientCertificateSecret": "relay-client",
        },
    });
    helm.upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    arrives(&backend, "/v1/metrics").await;
    drop(pod);
    assert!(proxy.asked().iter().all(|host| host == "backend.test:8443"), "{:?}", proxy.asked());

    for (without, said) in [
        (json!({"relay": {"caBundle": {"configMap": ""}}}), "certificate signed by unknown authority"),
        (json!({"relay": {"clientCertificateSecret": ""}}), "certificate required"),
    ] {
        let mut values = values.clone();
        merge(&mut values, without);
        helm.upgrade(&values).await;
        backend.take();
        let pod = Pod::start(&cluster).await;
        pod.agent.logged("the collector does not take gauges").await;
        let relay = pod.relay.as_ref().unwrap();
        assert!(relay.output().contains(said), "{}", relay.output());
        assert_eq!(backend.take().len(), 0, "nothing goes to whom it is not verified: {said}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_backend_that_wants_a_token_is_shown_the_one_of_the_secret() {
    let cluster = ApiServer::start_for_a_chart().await;
    let folder = tempfile::tempdir().unwrap();
    let (tokens, token) = (folder.path().join("tokens"), "0123456789abcdef".repeat(4));
    std::fs::write(&tokens, &token).unwrap();
    let backend = Backend::enter(AuthConfig { ingest_token_file: Some(tokens), ..AuthConfig::default() }).await;
    secret(&cluster, "relay-token", json!({"token": token})).await;
    let helm = Helm::of(&cluster);
    let mut values = json!({"telemetry": {"endpoint": format!("http://{}", backend.http), "interval": "1s"}});
    helm.upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.logged("the collector does not take gauges").await;
    drop(pod);
    assert_eq!(backend.rows(), 0, "it is closed");

    merge(&mut values, json!({"relay": {"tokenSecret": {"name": "relay-token"}}}));
    helm.upgrade(&values).await;
    let _pod = Pod::start(&cluster).await;
    eventually("the counts", async || (backend.count("latest") == 1).then_some(())).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_leaves_can_go_to_a_backend_of_ones_own_too_which_holds_nothing_up() {
    let cluster = ApiServer::start_for_a_chart().await;
    let (theirs, own) = (CapturingBackend::start().await, CapturingBackend::start().await);
    let readme = AGENT.file("README.md").replace("https://otel.example.org", &own.url());
    let (example, _) = readme.split_once("```yaml\n").and_then(|(_, rest)| rest.split_once("```")).unwrap();
    let mut values: Value = serde_yaml_ng::from_str(example).unwrap();
    values["telemetry"] = json!({"endpoint": theirs.url(), "interval": "1s"});
    Helm::of(&cluster).upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.ready().await;
    for backend in [&theirs, &own] {
        arrives(backend, "/v1/metrics").await;
    }
    own.answer(StatusCode::SERVICE_UNAVAILABLE);
    cluster.create(tcp("a")).await;
    arrives(&theirs, "/v1/logs").await;
    own.answer(StatusCode::OK);
    arrives(&own, "/v1/logs").await;
    assert!(!pod.agent.log().contains("does not take"), "{}", pod.agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_collector_of_ones_own_gets_what_the_relay_would_have_got() {
    let cluster = ApiServer::start_for_a_chart().await;
    let collector = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    let listener = CountingProxy::start(Some(collector.address())).await;
    secret(&cluster, "collector", json!({"headers": "authorization=Bearer%20abc"})).await;
    let otlp = json!({"endpoint": listener.url(), "headersSecret": {"name": "collector"}});
    Helm::of(&cluster).upgrade(&json!({"relay": {"enabled": false}, "otlp": otlp})).await;
    let pod = Pod::start(&cluster).await;
    assert!(pod.relay.is_none());
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "authorization=Bearer%20abc".to_owned());
    assert!(pod.environment.contains(&headers), "{:?}", pod.environment);
    let shown = async || collector.output().contains("Name: kamaji.tcp.running").then_some(());
    eventually("the counts", shown).await;
    assert!(listener.connections() > 0);
}
