//! An endpoint that is wrong: refused in the same words by every command, or told once it is tried.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::program::command::{run, text, variables};
use crate::program::{AgentOptions, Backend, NAMESPACE};
use crate::servers::{ApiServer, Authority, Collector, RefusedCertificate, TlsServer, User, checkout};

/// Told of each port of another protocol, whether the agent reads the server's answer or the end of the connection first.
const WHICH_PORT: &str =
    ": --endpoint takes OTLP/gRPC, such as port 4317 of a collector; port 4318, and the URL of a backend";

/// Starts an agent and returns its first warning about the export.
async fn warning(cluster: &ApiServer, endpoint: &str, arguments: &[&str]) -> String {
    let options = AgentOptions::new(cluster, endpoint);
    let mut agent = arguments.iter().fold(options, |options, argument| options.argument(argument)).start().await;
    let log = agent.logged("failed to export").await;
    agent.terminate().await;
    log.lines().find(|line| line.contains("failed to export")).unwrap().to_owned()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_port_of_another_protocol_is_told() {
    let cluster = ApiServer::start_with_kamaji().await;
    let collector = Collector::start(&checkout("tests/fixtures/collector-http.yaml"), &[], &[]).await;
    let warned = warning(&cluster, &collector.endpoint(), &[]).await;
    assert!(warned.contains(WHICH_PORT), "a collector's HTTP port: {warned}");

    // The backend's port speaks HTTP/2, and answers a path that it does not have.
    let backend = Backend::start().await;
    let warned = warning(&cluster, backend.url(), &[]).await;
    assert!(warned.contains("404") && warned.contains(WHICH_PORT), "the backend's HTTP port: {warned}");

    let (certificate, key) = cluster.certificate();
    let ca = format!("--ca-file={}", certificate.display());
    let plain = format!("https://{}", backend.grpc());
    let warned = warning(&cluster, &plain, &[&ca]).await;
    assert!(warned.contains("does not answer in TLS: is it an http:// URL"), "https to a plain port: {warned}");
    let tls = Backend::start_with(&[
        &format!("--tls-cert={}", certificate.display()),
        &format!("--tls-key={}", key.display()),
    ])
    .await;
    let warned = warning(&cluster, &format!("http://{}", tls.grpc()), &[]).await;
    assert!(warned.contains("the endpoint has to begin with https://"), "http to a TLS port: {warned}");
    // The API server speaks HTTP/2 over TLS, but not gRPC; the other one does not offer HTTP/2.
    let api_server = cluster.kubeconfig(User::Agent);
    let api_server: Value = serde_json::from_str(&std::fs::read_to_string(api_server).unwrap()).unwrap();
    let api_server = api_server["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
    let http1 = TlsServer::start(&certificate, &key).await;
    for endpoint in [api_server, format!("https://{}", http1.address())] {
        let warned = warning(&cluster, &endpoint, &[&ca]).await;
        assert!(warned.contains(WHICH_PORT) && !warned.contains("has to begin with"), "{endpoint}: {warned}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_collectors_certificate_that_is_refused_is_told_in_one_sentence() {
    let cluster = ApiServer::start_with_kamaji().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    for RefusedCertificate { certificate, key, trusted, expected } in authority.refused_certificates() {
        let server = TlsServer::start(&certificate, &key).await;
        let trusted = format!("--ca-file={}", trusted.display());
        let warned = warning(&cluster, &format!("https://{}", server.address()), &[&trusted]).await;
        let expected = expected.replace("TRUSTED", "--ca-file (OTEL_EXPORTER_OTLP_CERTIFICATE)");
        assert!(warned.contains(&expected), "{warned}");
    }
}

/// Returns the error of a command, without the word before it.
async fn error(words: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(words, variables).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{words:?}: {}", text(&output));
    let error = String::from_utf8(output.stderr).unwrap();
    let error = error.strip_prefix("error: ").unwrap_or_else(|| panic!("{error}"));
    error.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn what_the_agent_refuses_preview_and_status_say_in_the_same_words() {
    let cluster = ApiServer::start_with_kamaji().await;
    let kubeconfig = cluster.kubeconfig(User::Admin);
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let agent = json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "agent", "image": "agent", "args": ["agent"]}]},
        }},
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(agent).unwrap()).await.unwrap();
    for (argument, variable) in [
        ("--endpoint=collector:4317", ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")),
        ("--endpoint=unix:///run/a", ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/a")),
        ("--endpoint=http://a:4318/v1/metrics", ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/v1/metrics")),
        ("--endpoint=http://user:password@a", ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:password@a")),
        ("--ca-file=/nowhere", ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")),
        ("--headers=password", ("OTEL_EXPORTER_OTLP_HEADERS", "password")),
        ("--kamaji-namespace=A", ("KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", "A")),
        ("--kamaji-version=soon", ("KAMAJI_TELEMETRY_KAMAJI_VERSION", "soon")),
        ("--lease-duration=1ms", ("KAMAJI_TELEMETRY_LEASE_DURATION", "1ms")),
        ("--client-key-file=/nowhere", ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/nowhere")),
        ("--timeout=0", ("OTEL_EXPORTER_OTLP_TIMEOUT", "0")),
        ("--compression=zstd", ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")),
    ] {
        let environment = variables(&kubeconfig);
        let by_variable: Vec<_> = environment.into_iter().chain([variable]).collect();
        let refused = error(&["agent", argument], &environment).await;
        assert_eq!(error(&["preview", argument], &environment).await, refused);
        assert_eq!(error(&["agent"], &by_variable).await, refused);
        assert_eq!(error(&["preview"], &by_variable).await, refused);
        let of_arguments = json!({"args": ["agent", argument], "env": null});
        let of_variables = json!({"args": ["agent"], "env": [{"name": variable.0, "value": variable.1}]});
        for container in [of_arguments, of_variables] {
            let mut container = container;
            container["name"] = "agent".into();
            let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
            deployments.patch("agent", &PatchParams::default(), &Patch::Merge(with_image(change))).await.unwrap();
            let status = run(&["status", "--owner-deployment=agent"], &environment).await;
            let status = text(&status);
            let expected =
                format!("Telemetry is off: the agent of the Deployment \"agent\" does not start: {refused}.");
            assert!(status.starts_with(&expected), "{argument}: {status}");
        }
    }
    // An agent that is off needs no collector.
    let off = run(&["preview", "--endpoint=collector:4317", "--disable-telemetry"], &variables(&kubeconfig)).await;
    let off = text(&off);
    let expected = "Telemetry is off: --disable-telemetry is set. If it were on, the agent would not start: --endpoint";
    assert!(off.starts_with(expected) && off.contains("kamaji.tcp.running"), "{off}");
}

/// Adds the image, which a merge patch of a list has to repeat.
fn with_image(mut change: Value) -> Value {
    change["spec"]["template"]["spec"]["containers"][0]["image"] = "agent".into();
    change
}
