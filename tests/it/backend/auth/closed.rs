//! Ingest that only those with a sender's token reach.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kamaji_telemetry::backend::auth::AuthConfig;
use kamaji_telemetry::backend::auth::routes::{ROUTES, RouteAccess};
use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{Limits, Retention, SecurityConfig};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message;
use tempfile::TempDir;
use tonic::{Code, Request};
use uuid::Uuid;

use super::super::harness::{Backend, JSON, PROTOBUF, connect_from, converse, request, unlimited};
use super::super::kamaji::stats;
use super::super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program::{self, AgentOptions, PROGRAM};
use crate::servers::{ApiServer, Collector, checkout, eventually, tcp};

const FIRST: &str = "0123456789abcdef0123456789abcdef";
const SECOND: &str = "fedcba9876543210fedcba9876543210";

fn file_of(tokens: &str) -> (TempDir, AuthConfig) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, tokens).unwrap();
    (folder, AuthConfig { ingest_token_file: Some(path), ..AuthConfig::default() })
}

fn event() -> ExportLogsServiceRequest {
    logs_request(vec![created(Uuid::new_v4(), now())])
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The code of an answer over gRPC.
async fn grpc(backend: &Backend, authorization: Option<&str>) -> Code {
    let mut request = Request::new(event());
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    backend.logs_client().await.export(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

async fn http(backend: &Backend, authorization: &str) -> u16 {
    let headers = [PROTOBUF, ("authorization", authorization)];
    backend.post("/v1/logs", &headers, &event().encode_to_vec()).await.status
}

#[tokio::test]
async fn every_ingest_route_needs_a_token() {
    let (_folder, auth_config) = file_of(&format!("# two relays\n{FIRST}\n{SECOND}\n"));
    let backend = Backend::with_auth(auth_config).await;
    let gauges = metrics_request(Uuid::new_v4(), state_gauges([1, 0, 0, 0], now()));
    let stats = stats(Uuid::new_v4());
    for (path, content_type, body) in [
        ("/v1/logs", PROTOBUF, event().encode_to_vec()),
        ("/v1/metrics", PROTOBUF, gauges.encode_to_vec()),
        ("/stats", JSON, stats.into_bytes()),
    ] {
        let reply = backend.post(path, &[content_type], &body).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        for wrong in [&bearer("wrong")[..], &bearer(&FIRST[1..]), &format!("Basic {FIRST}"), FIRST, ""] {
            assert_eq!(
                backend.post(path, &[content_type, ("authorization", wrong)], &body).await.status,
                401,
                "{path}"
            );
        }
        assert_eq!(backend.rows(), 0, "{path}");
        for right in [bearer(FIRST), bearer(SECOND)] {
            assert_eq!(
                backend.post(path, &[content_type, ("authorization", &right)], &body).await.status,
                200,
                "{path}"
            );
        }
        assert!(backend.rows() > 0, "{path}");
        for table in ["latest", "days", "events"] {
            rusqlite::Connection::open(backend.file()).unwrap().execute(&format!("DELETE FROM {table}"), []).unwrap();
        }
    }
    for wrong in [None, Some("Bearer wrong")] {
        assert_eq!(grpc(&backend, wrong).await, Code::Unauthenticated);
    }
    let refused = backend.metrics_client().await.export(gauges).await.unwrap_err();
    assert!(refused.code() == Code::Unauthenticated && refused.message().contains("Bearer TOKEN"), "{refused:?}");
    assert_eq!(backend.rows(), 0);
    assert_eq!(grpc(&backend, Some(&bearer(SECOND))).await, Code::Ok);
    assert_eq!(backend.rows(), 1);
}

#[tokio::test]
async fn no_route_of_senders_is_left_open_not_even_to_an_admin() {
    let (_folder, auth_config) = file_of(FIRST);
    let backend = Backend::with_auth(auth_config).await;
    for route in ROUTES.iter().filter(|route| route.access == RouteAccess::Sender) {
        let reply = backend.send(route.method.as_str(), route.path, &[]).await;
        assert_eq!(reply.status, 401, "{route:?}");
        let admin = backend.send_as_admin(route.method.as_str(), route.path).await;
        assert_eq!(admin.status, 401, "{route:?}");
    }
}

#[tokio::test]
async fn a_body_is_not_read_before_its_sender_is_known() {
    let (_folder, auth_config) = file_of(FIRST);
    let backend = Backend::with_auth(auth_config).await;
    for (path, content_type) in [("/v1/logs", PROTOBUF), ("/stats", JSON)] {
        // Of all that is promised nothing is sent, and still there is an answer.
        let reply = backend.post_head(path, &[content_type], 100_000).await;
        assert_eq!(reply.status, 401, "{path}");
    }
    let reply = backend.post("/v1/logs", &[PROTOBUF], b"no protobuf").await;
    assert_eq!(reply.status, 401);
    let status = tonic_types::pb::Status::decode(reply.body.as_slice()).unwrap();
    assert!(status.code == i32::from(Code::Unauthenticated) && status.message.contains("Bearer TOKEN"), "{status:?}");
}

#[tokio::test]
async fn who_has_no_token_is_limited_as_whoever_sends() {
    let (folder, auth_config) = file_of(FIRST);
    let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
    let limits = Limits { requests: 1, ..unlimited() };
    let security = SecurityConfig { limits, auth: auth_config, ..SecurityConfig::default() };
    let backend = Backend::serve(folder, store.into(), Retention::default(), security).await;
    let (one, other) = (Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2));
    for (path, content_type) in [("/v1/logs", PROTOBUF), ("/stats", JSON)] {
        let mut stream = connect_from(one, backend.http).await.unwrap();
        let limited = async || {
            let reply = converse(&mut stream, "POST", path, &[content_type], b"").await;
            (reply.status == 429).then_some(())
        };
        eventually("guesses to be limited", limited).await;
    }
    let mut client = backend.logs_client_from(other).await;
    let limited = async || {
        let code = client.export(event()).await.unwrap_err().code();
        (code == Code::ResourceExhausted).then_some(())
    };
    eventually("guesses over gRPC to be limited", limited).await;
}

#[tokio::test]
async fn the_file_is_read_again_and_one_that_is_broken_changes_nothing() {
    let (folder, auth_config) = file_of(FIRST);
    let path = folder.path().join("tokens");
    let backend = Backend::with_auth(auth_config).await;
    assert_eq!((http(&backend, &bearer(FIRST)).await, http(&backend, &bearer(SECOND)).await), (200, 401));
    // Put in its place as Kubernetes does with a Secret's.
    replace(&path, SECOND);
    eventually("the new token to be taken", async || (http(&backend, &bearer(SECOND)).await == 200).then_some(()))
        .await;
    assert_eq!(http(&backend, &bearer(FIRST)).await, 401);
    assert_eq!(grpc(&backend, Some(&bearer(SECOND))).await, Code::Ok);
}

#[tokio::test]
async fn a_file_that_breaks_is_logged_once_and_changes_nothing() {
    let (folder, auth_config) = file_of(FIRST);
    let path = auth_config.ingest_token_file.unwrap();
    let backend = program::Backend::start_with(&[&format!("--ingest-token-file={}", path.display())]).await;
    replace(&path, "short");
    backend.logged("line 1 is no token").await;
    backend.logged("stay as they were").await;
    let headers = [JSON, ("authorization", &bearer(FIRST))];
    let body = stats(Uuid::new_v4());
    assert_eq!(request(backend.http(), "POST", "/stats", &headers, body.as_bytes()).await.status, 200);
    replace(&path, SECOND);
    backend.logged("the token file can be used again").await;
    backend.logged("reloaded the senders' tokens").await;
    let metrics = backend.metrics().await;
    let failed = "kamaji_telemetry_backend_token_file_reloads_total{file=\"ingest\",result=\"failure\"} 1\n";
    assert!(metrics.contains(failed), "{metrics}");
    drop(folder);
}

fn replace(path: &Path, tokens: &str) {
    let new = path.with_file_name("new");
    std::fs::write(&new, tokens).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn a_file_without_tokens_is_named_with_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let [missing, empty, short] = ["missing", "empty", "short"].map(|name| folder.path().join(name));
    std::fs::write(&empty, "# nothing\n").unwrap();
    std::fs::write(&short, "acme\n").unwrap();
    let store = format!("--store=sqlite:{}", folder.path().join("telemetry.db").display());
    for path in [missing, empty, short] {
        let flag = format!("--ingest-token-file={}", path.display());
        let ports = ["--grpc-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"];
        let arguments = ["backend", "serve", ports[0], ports[1], &flag, &store];
        let output = std::process::Command::new(PROGRAM).args(arguments).env_clear().output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        let named = ["--ingest-token-file", path.to_str().unwrap(), "expected"].iter().all(|part| error.contains(part));
        assert!(!output.status.success() && named && !error.contains("acme"), "{error}");
        assert!(!folder.path().join("telemetry.db").exists(), "before the store is opened");
    }
}

#[tokio::test]
async fn a_file_of_secrets_that_anybody_may_write_is_refused_and_one_that_anybody_may_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let reader = format!("alice viewer ktt_00000001_{}", "0".repeat(64));
    for (flag, content) in [("--ingest-token-file", FIRST), ("--reader-token-file", &reader)] {
        std::fs::write(&path, content).unwrap();
        let flag = format!("{flag}={}", path.display());
        set_mode(0o666);
        let mut refused = std::process::Command::new(PROGRAM);
        refused.args(["backend", "serve", &flag]).env_clear().current_dir(folder.path());
        let refused = refused.output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && error.contains("any user may write it (its mode is 666)"), "{error}");

        set_mode(0o644);
        let backend = program::Backend::start_with(&[&flag]).await;
        backend.logged("any user of this system may read a file of secrets").await;
        set_mode(0o640);
        std::fs::write(&path, format!("{content}\n# changed\n")).unwrap();
        set_mode(0o606);
        backend.logged("any user may write it (its mode is 606)").await;
        let warnings = backend.log().matches("any user of this system may read").count();
        assert_eq!(warnings, 1, "{}", backend.log());
    }
}

/// The agent's headers reach the collector, and the collector's own reach the backend.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_agent_and_a_relay_send_their_token_and_what_is_refused_without_waits() {
    let (folder, auth_config) = file_of(FIRST);
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("one").status("Ready")).await;

    let direct = Backend::with_auth(auth_config.clone()).await;
    let endpoint = format!("http://{}", direct.grpc);
    let headers = format!("authorization=Bearer%20{FIRST}");
    let agent = AgentOptions::new(&cluster, &endpoint).argument("--export-interval=1s");
    let agent = agent.variable("OTEL_EXPORTER_OTLP_HEADERS", &headers).start().await;
    eventually("the agent's gauges", async || (direct.count("latest") == 1).then_some(())).await;
    drop(agent);

    let relayed = Backend::with_auth(auth_config).await;
    let url = format!("http://{}", relayed.http);
    let configurations = ["otel-collector/relay.yaml", "otel-collector/token.yaml"].map(checkout);
    let [relay, token] = configurations.each_ref().map(PathBuf::as_path);
    let token_file = folder.path().join("relay-token");
    std::fs::write(&token_file, SECOND).unwrap();
    let environment = [("RELAY_ENDPOINT", url.as_str()), ("RELAY_TOKEN_FILE", token_file.to_str().unwrap())];
    let relay = Collector::start_merged(&[relay, token], &environment, &[]).await;
    let endpoint = relay.endpoint();
    let agent =
        AgentOptions::new(&cluster, &endpoint).argument("--export-interval=1s").argument("--retry-max-interval=1s");
    let agent = agent.start().await;
    agent.ready().await;
    cluster.create(tcp("two").status("Ready")).await;
    agent.logged("Unauthenticated").await;
    eventually("the event to be refused", async || {
        let refused = "exports_total{signal=\"logs\",result=\"unauthenticated\"}";
        agent.metrics().await.contains(refused).then_some(())
    })
    .await;
    assert_eq!(relayed.rows(), 0);
    replace(&folder.path().join("tokens"), SECOND);
    let arrived = async || (relayed.count("latest") == 1 && relayed.count("events") == 1).then_some(());
    eventually("what the agent kept", arrived).await;
}
