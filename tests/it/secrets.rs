//! No password and no token is printed: a marker is planted in every place that may hold one, and looked for in all that the
//! program prints.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use clap::{Command, CommandFactory};
use http::StatusCode;
use kamaji_telemetry::cli::Cli;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::marker::{MARKER, holds_marker};
use crate::program::command::{kubeconfig, output_of, variables, write_kubeconfig};
use crate::program::{AgentOptions, Backend};
use crate::servers::{ApiServer, ForwardProxy, tcp};

/// Base64 of user:LEAKLEAK and of LEAKLEAK.
const ENCODED: [&str; 2] = ["dXNlcjpMRUFLTEVBS", "TEVBS0xFQU"];

/// The commands that read a kubeconfig. An agent that is off does so as well, and runs on.
const COMMANDS: [&[&str]; 5] = [&["agent"], &["agent", "--disable-telemetry"], &["preview"], &["status"], &["forget"]];

/// Asserts that the marker is not in `printed`. An empty text would prove nothing.
fn assert_no_marker(printed: &str, place: &str) {
    assert!(!printed.trim().is_empty(), "{place}: nothing was printed");
    let leaks = holds_marker(printed.as_bytes()) || ENCODED.iter().any(|encoded| printed.contains(encoded));
    assert!(!leaks, "{place}: {printed}");
}

/// Runs each command with a kubeconfig and looks for the marker.
async fn try_kubeconfig(path: &Path, environment: &[(&str, &str)], place: &str) {
    let environment: Vec<_> = variables(path).into_iter().chain(environment.iter().copied()).collect();
    for words in COMMANDS {
        assert_no_marker(&output_of(words, &environment).await, &format!("{place} {words:?}"));
    }
}

/// Returns values of an endpoint with a password or a token.
fn endpoints() -> Vec<String> {
    [
        "https://user:MARKER@127.0.0.1:4317",
        "http://MARKER@127.0.0.1:4317",
        "https://user:MARKER%20@127.0.0.1:4317",
        "https://user:MARKER @127.0.0.1:4317",
        "https://user:MARKER@127.0.0.1:99999",
        "user:MARKER@127.0.0.1:4317",
        "user:MARKER",
        "https:user:MARKER@127.0.0.1",
        "//user:MARKER@127.0.0.1",
        "unix://user:MARKER@socket",
        "grpc://user:MARKER@127.0.0.1:4317",
        "http://127.0.0.1:4317/user:MARKER@host",
        "http://127.0.0.1:4317/MARKER",
        "http://127.0.0.1:4317?token=MARKER",
        "http://127.0.0.1:4317#MARKER",
        "http://127.0.0.1:MARKER",
        "token=MARKER",
    ]
    .map(|endpoint| endpoint.replace("MARKER", MARKER))
    .to_vec()
}

#[tokio::test]
async fn of_an_endpoint_and_of_headers_nothing_is_printed() {
    let kubeconfig = ("KUBECONFIG", "/dev/null");
    let home = ("HOME", "/nowhere");
    let off = ("DO_NOT_TRACK", "1");
    let headers = ["authorization: Bearer LEAKLEAK", "a=LEAKLEAK%0a", "authorization: Bearer LEAKLEAK=", "LEAKLEAK"];
    let of_headers = headers.map(|headers| ("--headers", "OTEL_EXPORTER_OTLP_HEADERS", headers.to_owned()));
    let of_endpoint = endpoints().into_iter().flat_map(|endpoint| {
        let signal = ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"];
        let variables = std::iter::once("OTEL_EXPORTER_OTLP_ENDPOINT").chain(signal);
        variables.map(move |variable| ("--endpoint", variable, endpoint.clone())).collect::<Vec<_>>()
    });
    for (flag, variable, value) in of_headers.into_iter().chain(of_endpoint) {
        let argument = format!("{flag}={value}");
        for command in ["agent", "preview"] {
            for words in [&[command, &argument][..], &[command, flag, &value], &[command, &value]] {
                assert_no_marker(&output_of(words, &[home, kubeconfig]).await, &format!("{words:?}"));
                assert_no_marker(&output_of(words, &[home, kubeconfig, off]).await, &format!("off: {words:?}"));
            }
            let with = [home, kubeconfig, (variable, &value), off];
            assert_no_marker(&output_of(&[command], &with[..3]).await, &format!("{variable}={value}"));
            assert_no_marker(&output_of(&[command], &with).await, &format!("off: {variable}={value}"));
        }
    }
}

/// Calls `visit` with the words of each command.
fn each_command(command: &Command, words: &[String], visit: &mut dyn FnMut(&Command, &[String])) {
    visit(command, words);
    for subcommand in command.get_subcommands() {
        let words: Vec<_> = words.iter().cloned().chain([subcommand.get_name().to_owned()]).collect();
        each_command(subcommand, &words, visit);
    }
}

#[tokio::test]
async fn the_help_prints_no_value_of_a_variable() {
    let mut commands = Vec::new();
    each_command(&Cli::command(), &[], &mut |command, words| {
        let names = command.get_arguments().filter_map(|argument| argument.get_env());
        commands.push((words.to_vec(), names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()));
    });
    assert!(commands.len() > 10, "{commands:?}");
    for (words, names) in commands {
        for help in ["--help", "-h"] {
            let words: Vec<_> = words.iter().map(String::as_str).chain([help]).collect();
            let variables: Vec<_> = names.iter().map(|name| (name.as_str(), MARKER)).collect();
            assert_no_marker(&output_of(&words, &variables).await, &format!("{words:?}"));
        }
    }
}

/// Returns a kubeconfig for `server` with `user`.
fn kubeconfig_of(server: &str, user: &Value) -> Value {
    json!({
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": user}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    })
}

/// Returns users of a kubeconfig with a credential, most of which can't be used.
fn users() -> Vec<Value> {
    let plugin = |script: &str| {
        json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh", "args": ["-c", script, MARKER],
            "env": [{"name": "TOKEN", "value": MARKER}],
        }})
    };
    let credential =
        |status: &Value| plugin(&format!("echo '{}'", json!({"kind": "ExecCredential", "status": status})));
    vec![
        json!({"token": MARKER}),
        json!({"token": [MARKER]}),
        json!({"token": format!("{MARKER}\n{MARKER}")}),
        json!({"username": "user", "password": MARKER}),
        json!({"username": "user", "password": {"a": MARKER}}),
        json!({"tokenFile": "/nowhere", "token": MARKER}),
        json!({"client-certificate-data": MARKER, "client-key-data": format!("{MARKER}!")}),
        json!({"client-certificate-data": "TEVBS0xFQUs=", "client-key-data": "TEVBS0xFQUs="}),
        // -----BEGIN LEAKLEAK without an end.
        json!({"client-certificate-data": "LS0tLS1CRUdJTiBMRUFLTEVBSw==", "client-key-data": "LS0tLS1CRUdJTiBMRUFLTEVBSw=="}),
        plugin("echo LEAKLEAK; exit 1"),
        plugin("echo LEAKLEAK"),
        plugin("echo '{\"status\": {\"token\": [\"LEAKLEAK\"]}}'"),
        plugin("echo 'status: {token: LEAKLEAK'"),
        credential(&json!({"token": format!("{MARKER}\n")})),
        credential(&json!({"token": MARKER, "expirationTimestamp": MARKER})),
        credential(&json!({"clientCertificateData": MARKER, "clientKeyData": MARKER})),
        json!({"exec": {"command": "/nowhere/plugin", "args": [MARKER]}}),
        json!({"exec": {"args": [MARKER]}}),
        json!({"auth-provider": {"name": "gcp", "config": {
            "access-token": MARKER, "cmd-path": "/bin/sh", "cmd-args": "-c echo${IFS}LEAKLEAK;exit${IFS}1",
        }}}),
        json!({"auth-provider": {"name": "oidc", "config": {"client-secret": MARKER}}}),
    ]
}

#[tokio::test]
async fn of_a_kubeconfig_no_credential_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    for user in users() {
        let path = write_kubeconfig(folder.path(), &kubeconfig_of("https://127.0.0.1:1", &user));
        try_kubeconfig(&path, &[], &user.to_string()).await;
    }
    for text in [
        "users: [{name: a, user: {token: LEAKLEAK",
        "users:\n- name: a\n  user:\n    token: LEAKLEAK\n   bad: 1\n",
        "users: LEAKLEAK",
        "LEAKLEAK",
        "\ttoken: LEAKLEAK",
        "users: &LEAKLEAK [*other]",
        "users: [{name: a, name: LEAKLEAK}]",
    ] {
        let path = folder.path().join("malformed.kubeconfig");
        std::fs::write(&path, text).unwrap();
        try_kubeconfig(&path, &[], text).await;
    }
    for server in ["https://user:LEAKLEAK@127.0.0.1:1", "https://user:LEAK LEAK@a", "LEAKLEAK", "ftp://user:LEAKLEAK@a"]
    {
        let path = write_kubeconfig(folder.path(), &kubeconfig_of(server, &json!({})));
        try_kubeconfig(&path, &[], server).await;
    }
}

#[tokio::test]
async fn of_a_proxy_no_password_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    // Closes every connection, as a proxy that refuses does.
    let refusing = crate::servers::CountingProxy::start(None).await;
    let refusing = format!("http://user:{MARKER}@{}", refusing.address());
    let mut kubeconfig = kubeconfig_of("https://api.test:6443", &json!({"token": MARKER}));
    for proxy in [
        &refusing,
        "http://user:LEAKLEAK@127.0.0.1:1",
        "https://user:LEAKLEAK@127.0.0.1:1",
        "socks5://user:LEAKLEAK@127.0.0.1:1",
        "socks4://user:LEAKLEAK@127.0.0.1:1",
        "ftp://user:LEAKLEAK@127.0.0.1:1",
        "http://user:LEAKLEAK@127.0.0.1:99999",
        "http://user:LEAKLEAK #@127.0.0.1",
        "http://user:LEAKLEAK@",
        "user:LEAKLEAK@127.0.0.1:1",
        "LEAKLEAK",
    ] {
        let path = write_kubeconfig(folder.path(), &kubeconfig);
        try_kubeconfig(&path, &[("HTTPS_PROXY", proxy)], &format!("HTTPS_PROXY={proxy}")).await;
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = proxy.into();
        let path = write_kubeconfig(folder.path(), &kubeconfig);
        try_kubeconfig(&path, &[], &format!("proxy-url: {proxy}")).await;
        kubeconfig["clusters"][0]["cluster"].as_object_mut().unwrap().remove("proxy-url");
    }
}

/// Answers every request with its headers, as text and as JSON.
fn echo() -> Router {
    let text = async |headers: http::HeaderMap| (StatusCode::BAD_REQUEST, format!("the headers: {headers:?}"));
    let json = async |headers: http::HeaderMap| (StatusCode::BAD_REQUEST, format!("{headers:?}"));
    Router::new().nest("/json", Router::new().fallback(json)).fallback(text)
}

#[tokio::test]
async fn of_an_answer_that_repeats_the_request_no_token_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, echo()).await });
    for path in ["", "/json"] {
        let server = format!("http://{address}{path}");
        let kubeconfig = write_kubeconfig(folder.path(), &kubeconfig_of(&server, &json!({"token": MARKER})));
        try_kubeconfig(&kubeconfig, &[], &server).await;
        let printed = output_of(&["status"], &variables(&kubeconfig)).await;
        assert!(printed.contains("the answer is no Status"), "{printed}");
    }
    server.abort();
}

/// A collector that rejects every request with its headers.
#[derive(Clone)]
struct Rejecting(Arc<dyn Fn(String) -> Status + Send + Sync>);

impl Rejecting {
    fn reject<T>(&self, request: &Request<T>) -> Status {
        let token = request.metadata().get("authorization").unwrap().to_str().unwrap();
        self.0(format!("the token is {token}"))
    }
}

#[tonic::async_trait]
impl LogsService for Rejecting {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        Err(self.reject(&request))
    }
}

#[tonic::async_trait]
impl MetricsService for Rejecting {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        Err(self.reject(&request))
    }
}

async fn rejecting_collector(status: fn(String) -> Status) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = Rejecting(Arc::new(status));
    let (logs, metrics) = (LogsServiceServer::new(service.clone()), MetricsServiceServer::new(service));
    let server = tonic::transport::Server::builder().add_service(logs).add_service(metrics);
    let task = tokio::spawn(async move { server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap() });
    (endpoint, task)
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn of_an_agent_at_work_no_token_is_printed() {
    let cluster = ApiServer::start_with_kamaji().await;
    cluster.create(tcp("a").status("Ready")).await;
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(cluster.kubeconfig(crate::servers::User::Agent)).unwrap();
    let server: Value = serde_json::from_str(&text).unwrap();
    let server = server["clusters"][0]["cluster"]["server"].as_str().unwrap().strip_prefix("https://").unwrap();
    let proxy = ForwardProxy::start(server.parse().unwrap()).await;
    let path = kubeconfig(&cluster, folder.path(), |kubeconfig| {
        kubeconfig["clusters"][0]["cluster"]["proxy-url"] = format!("http://user:{MARKER}@{}", proxy.address()).into();
    });
    let token = cluster_token(&text);
    for (status, filter) in [
        (Status::unauthenticated as fn(String) -> Status, "kamaji_telemetry=trace"),
        (Status::invalid_argument, "kamaji_telemetry=info"),
    ] {
        let (endpoint, collector) = rejecting_collector(status).await;
        let headers = format!("authorization=Bearer%20{MARKER},x-token={MARKER}");
        let mut agent = AgentOptions::with_kubeconfig(&path, &endpoint)
            .argument("--compression=none")
            .variable("OTEL_EXPORTER_OTLP_HEADERS", &headers)
            .variable("RUST_LOG", filter)
            .start()
            .await;
        agent.ready().await;
        let log = agent.logged("failed to export gauges").await;
        assert!(log.contains("the token is …"), "the collector's message is told without the token: {log}");
        let printed = agent.metrics().await;
        agent.terminate().await;
        for text in [printed, agent.log()] {
            assert_no_marker(&text, "an agent at work");
            assert!(!text.contains(&token), "{text}");
        }
        collector.abort();
    }
    try_kubeconfig(&path, &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20LEAKLEAK")], "a proxy in use").await;
}

fn cluster_token(kubeconfig: &str) -> String {
    let kubeconfig: Value = serde_json::from_str(kubeconfig).unwrap();
    kubeconfig["users"][0]["user"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_the_backends_tokens_nothing_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let store = format!("--store=sqlite:{}", folder.path().join("a.db").display());
    let long = MARKER.repeat(4);
    let token = format!("ktt_5f0c9a1e_{}", "4c45414b4c45414b".repeat(4));
    let ingest = format!("--ingest-token-file={}", file("ingest", &format!("{long}\n{MARKER} {MARKER}\n")));
    let repeated = format!("--ingest-token-file={}", file("repeated", &format!("{long}\n{long}\n")));
    let readers = [
        format!("a viewer {MARKER}"),
        format!("{MARKER}@{MARKER} admin"),
        format!("a {MARKER} {token}"),
        format!("{token} viewer a"),
        format!("a viewer {token}\na viewer {token}"),
    ];
    let readers: Vec<_> = readers
        .iter()
        .enumerate()
        .map(|(number, content)| format!("--reader-token-file={}", file(&format!("readers-{number}"), content)))
        .collect();
    let url = format!("--public-url=https://user:{MARKER}@host");
    let database = format!("--store=postgres://user:{MARKER}@host/a");
    let mut command_lines = vec![
        vec!["backend", "serve", &store, &ingest],
        vec!["backend", "serve", &store, &repeated],
        vec!["backend", "serve", &url],
        vec!["backend", "serve", &database],
        vec!["backend", "token", "list", &database],
        vec!["backend", "erase", "00000000-0000-4000-8000-000000000000", &database],
        vec!["backend", "backup", "/nowhere/file", &database],
        vec!["backend", "restore", "/nowhere", &database],
        vec!["backend", "token", "revoke", &token, &store],
        vec!["backend", "token", "create", "--name", &token, &store],
        vec!["backend", "serve", "--trusted-proxy=user:LEAKLEAK@a"],
        vec!["backend", "serve", "--http-addr=http://user:LEAKLEAK@a"],
    ];
    command_lines.extend(readers.iter().map(|file| vec!["backend", "serve", &store, file]));
    for words in command_lines {
        assert_no_marker(&output_of(&words, &[]).await, &format!("{words:?}"));
    }
    let backend = Backend::start_with(&[
        &format!("--ingest-token-file={}", file("good", &long)),
        &format!("--reader-token-file={}", file("good-readers", &format!("a viewer {token}"))),
    ])
    .await;
    let printed = backend.metrics().await + &backend.log();
    assert_no_marker(&printed, "a backend at work");
}
