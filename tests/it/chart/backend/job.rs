//! End-to-end tests of the backend as Helm installs it: arguments, environment, and the files of Secrets and claims.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PodSpec;
use kube::Api;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use uuid::Uuid;

use super::pod::{NAME, Pod, backup_pod, job_pod, run_to_completion, try_to_completion};
use super::{of, offline};
use crate::backend::samples::{created, logs_request, now};
use crate::backend::tls::Authority;
use crate::chart::helm::NAMESPACE;
use crate::chart::merge;
use crate::servers::{ApiServer, documents};

const INGEST_TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OVERVIEW: &str = "/api/v1/insights/overview";

/// Returns a reader token in the format of the Secret.
fn reader_token() -> String {
    format!("ktt_00000001_{}", "5ec4e7a0".repeat(8))
}

async fn create_secret(cluster: &ApiServer, name: &str, data: Value) {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})).await;
}

/// Sends an event, and returns the status code of the response.
async fn send(authority: &Authority, pod: &Pod, token: Option<&str>) -> Code {
    let mut request = Request::new(logs_request(vec![created(Uuid::new_v4(), now())]));
    if let Some(token) = token {
        let bearer: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let mut client = authority.logs_client(pod.grpc()).await;
    client.export(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// Returns the number of events that an admin sees.
async fn events(authority: &Authority, pod: &Pod, token: &str) -> usize {
    let response = authority.get(pod.http(), "/api/v1/events", token).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str::<Value>(body).unwrap()["events"].as_array().unwrap().len()
}

/// Returns the number of replicas of the backend.
async fn replicas(cluster: &ApiServer) -> Option<i32> {
    let sets: Api<StatefulSet> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    sets.get(NAME).await.unwrap().spec.replicas
}

/// Returns the backups in their volume.
fn backups(claims: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(claims.join(format!("{NAME}-backup"))).unwrap();
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "db")).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_installed_backend_ingests_shows_backs_up_and_restores() {
    let cluster = ApiServer::start_for_a_chart().await;
    let authority = Authority::new();
    let (certificate, key) = authority.issue(2100);
    create_secret(&cluster, "certificate", json!({"tls.crt": certificate, "tls.key": key})).await;
    create_secret(&cluster, "senders", json!({"tokens": format!("# a relay\n{INGEST_TOKEN}\n")})).await;
    create_secret(&cluster, "readers", json!({"list": format!("alice@example.org viewer {}\n", reader_token())})).await;
    let values = json!({
        "tls": {"existingSecret": "certificate"},
        "auth": {
            "ingestTokensSecret": {"name": "senders"},
            "readerTokensSecret": {"name": "readers", "key": "list"},
        },
        "rateLimit": {"bytesPerDay": 4_000_000},
        "trustedProxies": ["10.244.0.0/16", "2001:db8::/32"],
        "backup": {"enabled": true, "retain": 2},
    });
    of(&cluster).upgrade(&values).await;
    let claims = tempfile::tempdir().unwrap();
    let pod = Pod::start(&cluster, claims.path()).await;

    assert_eq!(send(&authority, &pod, None).await, Code::Unauthenticated);
    assert_eq!(send(&authority, &pod, Some(INGEST_TOKEN)).await, Code::Ok);
    let response = authority.get(pod.http(), OVERVIEW, &reader_token().replace('7', "8")).await;
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
    // The command in the notes.
    let admin = pod.exec(&["backend", "token", "create", "--name", "you@example.org", "--role", "admin"]).await;
    assert!(authority.get(pod.http(), "/api/v1/audit-log", &admin).await.starts_with("HTTP/1.1 200 "));

    let spec = backup_pod(&cluster).await;
    run_to_completion(&cluster, &spec, claims.path()).await;
    let [file] = &backups(claims.path())[..] else { panic!("not one backup: {:?}", backups(claims.path())) };
    assert_eq!(send(&authority, &pod, Some(INGEST_TOKEN)).await, Code::Ok);
    assert!(authority.get(pod.http(), OVERVIEW, &reader_token()).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(events(&authority, &pod, &admin).await, 2);

    // As documented: maintenance, then the restore, then both off.
    let mut restoring = values.clone();
    let name = file.file_name().unwrap().to_str().unwrap();
    merge(&mut restoring, json!({"maintenance": true, "restore": {"backup": name}}));
    of(&cluster).upgrade(&restoring).await;
    assert_eq!(replicas(&cluster).await, Some(0));
    let spec = job_pod(&cluster, "restore").await;
    let error = try_to_completion(&cluster, &spec, claims.path(), str::to_owned).await.unwrap_err();
    assert!(error.contains("the store is in use: stop the backend before the restore"), "{error}");
    pod.terminate().await;
    run_to_completion(&cluster, &spec, claims.path()).await;
    of(&cluster).upgrade(&values).await;
    assert_eq!(replicas(&cluster).await, Some(1));
    let pod = Pod::start(&cluster, claims.path()).await;
    assert_eq!(events(&authority, &pod, &admin).await, 1, "events after the backup are gone");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn default_values_accept_every_sender_without_tls() {
    let cluster = ApiServer::start_for_a_chart().await;
    of(&cluster).upgrade(&json!({})).await;
    let claims = tempfile::tempdir().unwrap();
    let pod = Pod::start(&cluster, claims.path()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", pod.grpc())).unwrap();
    let mut client = LogsServiceClient::new(endpoint.connect().await.unwrap());
    client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
}

/// `helm test` runs its pod in the cluster. Here it asks for the local address instead of that of the Service.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_pod_of_helm_test_asks_for_the_readiness_and_checks_the_certificate() {
    let cluster = ApiServer::start_for_a_chart().await;
    let authority = Authority::new();
    let [issued, other] = [authority.issue(2100), authority.issue(2100)];
    for (name, (certificate, key)) in [("issued", &issued), ("other", &other)] {
        create_secret(&cluster, name, json!({"tls.crt": certificate, "tls.key": key})).await;
    }
    let claims = tempfile::tempdir().unwrap();
    for (values, service) in [
        (json!({}), "http://kamaji-telemetry-backend.kamaji-system.svc:4318"),
        (json!({"tls": {"existingSecret": "issued"}}), "https://kamaji-telemetry-backend.kamaji-system.svc:4318"),
    ] {
        of(&cluster).upgrade(&values).await;
        let pod = Pod::start(&cluster, claims.path()).await;
        let scheme = service.split_once("://").unwrap().0;
        let local = format!("{scheme}://{}", pod.http());
        let change = |argument: &str| argument.replace(service, &local);
        let test = test_pod(&values).await;
        let printed = try_to_completion(&cluster, &test, claims.path(), change).await;
        assert_eq!(printed, Ok(format!("{local} is ready.\n")));
        pod.terminate().await;
    }

    // The Service of a pod that has not taken up a renewed certificate.
    let pod = Pod::start(&cluster, claims.path()).await;
    let mut test = test_pod(&json!({"tls": {"existingSecret": "other"}})).await;
    test.containers[0].args.as_mut().unwrap().push("--timeout=1s".to_owned());
    let change =
        |argument: &str| argument.replace("kamaji-telemetry-backend.kamaji-system.svc:4318", &pod.http().to_string());
    let error = try_to_completion(&cluster, &test, claims.path(), change).await.unwrap_err();
    assert!(error.contains("presents another certificate than that of --certificate"), "{error}");
}

/// Returns the pod of `helm test`.
async fn test_pod(values: &Value) -> PodSpec {
    let objects = documents(&offline().template(values).await.unwrap());
    let test = objects.iter().find(|object| object["kind"] == "Pod").expect("a pod of the test");
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    serde_json::from_value(test["spec"].clone()).unwrap()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_job_that_binds_the_claim_of_the_backups_ends() {
    let cluster = ApiServer::start_for_a_chart().await;
    of(&cluster).upgrade(&json!({"backup": {"enabled": true}})).await;
    let claims = tempfile::tempdir().unwrap();
    let printed = run_to_completion(&cluster, &job_pod(&cluster, "volume").await, claims.path()).await;
    assert!(printed.contains(env!("CARGO_PKG_VERSION")), "{printed}");
}
