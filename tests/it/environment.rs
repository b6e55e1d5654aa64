//! Variables that are set and empty: they are unset, for every command.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use kamaji_telemetry::cli::Cli;

use crate::program::command::{run, run_in, text};

/// The variables that no flag stands for: of OpenTelemetry, of consent, of the log and the runtime, and of the API server's client.
const OTHERS: [&str; 23] = [
    "DO_NOT_TRACK",
    "KAMAJI_TELEMETRY_DISABLE_TELEMETRY",
    "OTEL_SDK_DISABLED",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE",
    "RUST_LOG",
    "TOKIO_WORKER_THREADS",
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "HTTPS_PROXY",
    "NO_PROXY",
    "https_proxy",
    "no_proxy",
];

/// Command lines that parse everything and then end with an error. Each variable of a command stands alone in one of them.
const COMMAND_LINES: &[&[&str]] = &[
    &["agent"],
    &["preview"],
    &["status"],
    &["forget"],
    &["backend", "serve", "--store=none"],
    &["backend", "serve", "--tls-cert=nowhere", "--tls-key=nowhere"],
    &["backend", "erase", "00000000-0000-4000-8000-000000000000"],
    &["backend", "backup", "nowhere/file"],
    &["backend", "restore", "nowhere"],
    &["backend", "token", "list"],
    &["backend", "token", "revoke", "nobody"],
    &["backend", "token", "create", "--name=somebody", "--store=none"],
    &["catalog"],
];

/// Returns the variables of all flags.
fn flags(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

#[tokio::test]
async fn an_empty_variable_changes_nothing() {
    let flags = flags(&Cli::command());
    assert!(flags.len() > 40, "{flags:?}");
    let folder = tempfile::tempdir().unwrap();
    let home = [("HOME", folder.path().to_str().unwrap())];
    for words in COMMAND_LINES {
        let empty = flags.iter().map(String::as_str).chain(OTHERS).map(|name| (name, ""));
        let with_empty: Vec<_> = home.into_iter().chain(empty).collect();
        // A store is created in the working directory.
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let unset = run_in(one.path(), words, &home).await;
        let empty = run_in(other.path(), words, &with_empty).await;
        assert_eq!(text(&empty), text(&unset), "{words:?}");
        assert_eq!(empty.status.code(), unset.status.code(), "{words:?}");
    }
}

#[tokio::test]
async fn the_words_of_a_variable_are_read_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let home = ("HOME", folder.path().to_str().unwrap());
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "None"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "HTTP://LOCALHOST:4317"),
        ("KAMAJI_TELEMETRY_LOG_FORMAT", "TEXT"),
        ("KAMAJI_TELEMETRY_EXTENDED", "TRUE"),
        ("KAMAJI_TELEMETRY_LEADER_ELECT", "On"),
        ("RUST_LOG", "INFO"),
    ] {
        let output = text(&run(&["agent"], &[home, (name, value)]).await);
        assert!(output.starts_with("error: no cluster is configured"), "{name}={value}: {output}");
    }
}
