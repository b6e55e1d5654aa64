//! The flags of the connection to the collector, with the variables that OpenTelemetry specifies for exporters.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use crate::agent::export::connection::ExporterConfig;
use crate::agent::export::headers::parse_headers;
use crate::process::redact::redacted;

#[derive(Debug, Args)]
#[command(next_help_heading = "OTLP")]
pub(super) struct OtlpArgs {
    /// PEM file of the CA bundle to trust instead of the system's.
    #[arg(long = "ca-file", env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the client's certificate, for mTLS.
    #[arg(
        long = "client-certificate-file",
        env = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        value_name = "FILE",
        requires = "client_key"
    )]
    client_certificate: Option<PathBuf>,
    /// PEM file of the key of the client's certificate, for mTLS.
    #[arg(
        long = "client-key-file",
        env = "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_certificate"
    )]
    client_key: Option<PathBuf>,
    /// Headers of each request, as KEY=VALUE,KEY=VALUE with percent-encoded values.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", default_value = "")]
    headers: String,
    /// File of such headers, instead of --headers. It is read again when it changes, like the PEM files.
    #[arg(long, env = "KAMAJI_TELEMETRY_HEADERS_FILE", value_name = "FILE", conflicts_with = "headers")]
    headers_file: Option<PathBuf>,
    /// Compression of each request.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", value_enum, default_value = "gzip")]
    compression: Compression,
    /// Timeout of a request, in milliseconds from 1 to 600000.
    #[arg(long = "timeout", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compression {
    /// gzip
    Gzip,
    /// No compression.
    None,
}

impl OtlpArgs {
    /// Returns the configuration of the exporters. Fails for settings of OpenTelemetry that the agent does not support.
    pub(super) fn into_config(
        self,
        endpoint: String,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<ExporterConfig> {
        reject_unsupported_variables(variable)?;
        let Self { ca, client_certificate, client_key, headers, headers_file, compression, timeout_ms } = self;
        Ok(ExporterConfig {
            endpoint,
            timeout: Duration::from_millis(timeout_ms),
            gzip: compression == Compression::Gzip,
            headers: parse_headers(&headers).context("--headers (OTEL_EXPORTER_OTLP_HEADERS)")?,
            headers_file,
            ca,
            identity: client_certificate.zip(client_key),
        })
    }
}

/// The settings of a connection that OpenTelemetry specifies for each signal, as the ends of their variables.
/// `…_INSECURE` is not among them: it applies to an endpoint without a scheme, which is refused anyway.
const CONNECTION_SETTINGS: [&str; 8] =
    ["ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"];

/// Fails if a variable asks for another protocol, or for a setting of one signal alone: to ignore it would send telemetry
/// somewhere else, or otherwise, than the operator has asked for.
///
/// Values are not repeated, because they may be secrets.
fn reject_unsupported_variables(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    let is_grpc = |protocol: &str| protocol.trim().eq_ignore_ascii_case("grpc");
    for setting in CONNECTION_SETTINGS {
        for signal in ["METRICS", "LOGS"] {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}_{setting}");
            let is_supported = |value: &String| setting == "PROTOCOL" && is_grpc(value);
            ensure!(
                variable(&name).as_ref().is_none_or(is_supported),
                "{name} is set, yet one connection serves both signals: set OTEL_EXPORTER_OTLP_{setting} instead"
            );
        }
    }
    let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|protocol| !is_grpc(protocol));
    if let Some(protocol) = protocol {
        let protocol = redacted(&protocol);
        bail!("OTEL_EXPORTER_OTLP_PROTOCOL is set to {protocol:?}, yet the agent supports only grpc");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(name: &str, value: &str) -> anyhow::Result<()> {
        reject_unsupported_variables(|read| (read == name).then(|| value.to_owned()))
    }

    #[test]
    fn a_variable_that_would_be_ignored_is_rejected() {
        for setting in CONNECTION_SETTINGS {
            for signal in ["METRICS", "LOGS"] {
                let name = format!("OTEL_EXPORTER_OTLP_{signal}_{setting}");
                let error = only(&name, "https://user:secret@other:4317").unwrap_err().to_string();
                assert!(error.contains(&name) && !error.contains("secret"), "{error}");
            }
        }
        assert!(
            only("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").unwrap_err().to_string().contains("http/protobuf")
        );
    }

    #[test]
    fn grpc_is_supported_in_any_case_and_for_each_signal() {
        for name in
            ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"]
        {
            assert!(only(name, "grpc").is_ok() && only(name, "GRPC").is_ok(), "{name}");
        }
    }
}
