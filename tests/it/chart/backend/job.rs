//! End-to-end tests of the backend as Helm installs it: arguments, environment, and the files of Secrets and claims.

use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodSpec;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use serde_json::{Value, json};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use uuid::Uuid;

use super::of;
use super::pod::{NAME, Pod, backup_pod, run_to_completion};
use crate::backend::samples::{created, logs_request, now};
use crate::backend::tls::Authority;
use crate::chart::helm::{BACKEND, NAMESPACE};
use crate::chart::objects::pod_of;
use crate::chart::{code_blocks, read};
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

/// Returns the backups in their volume.
fn backups(claims: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(claims.join(format!("{NAME}-backup"))).unwrap();
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "db")).collect()
}

/// Returns the documented Job that restores a backup.
fn restore_job() -> Value {
    let text = read("docs/backend.md");
    let mut objects = code_blocks(&text, "yaml").into_iter().flat_map(documents);
    objects.find(|object| object["kind"] == "Job").expect("the documentation has a Job")
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
    pod.terminate().await;

    let job: Job = serde_json::from_value(restore_job()).unwrap();
    let mut spec: PodSpec = job.spec.unwrap().template.spec.unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let argument = spec.containers[0].args.as_mut().unwrap().last_mut().unwrap();
    *argument = argument.replace("telemetry-20261124T031700Z.db", name);
    run_to_completion(&cluster, &spec, claims.path()).await;
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

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_documented_restore_job_is_valid_restricted_and_has_the_charts_image() {
    let cluster = ApiServer::start_for_a_chart().await;
    let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let metadata = json!({"name": NAMESPACE, "labels": restricted});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await;
    // The tests' cluster has no controllers, one of which would create this ServiceAccount.
    let account = json!({"name": "default", "namespace": NAMESPACE});
    cluster.apply_one(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})).await;
    let mut job = restore_job();
    job["metadata"]["namespace"] = json!(NAMESPACE);
    cluster.dry_run(&job).await.unwrap();
    let template = &job["spec"]["template"];
    cluster.dry_run(&pod_of(template)).await.unwrap();
    let image = BACKEND.defaults()["image"]["repository"].as_str().unwrap().to_owned();
    assert_eq!(
        template["spec"]["securityContext"],
        BACKEND.defaults()["podSecurityContext"],
        "the chart's security context"
    );
    assert_eq!(template["spec"]["containers"][0]["image"], format!("{image}:{}", env!("CARGO_PKG_VERSION")));
}
