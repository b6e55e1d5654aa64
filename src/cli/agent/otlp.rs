//! The flags of the connection to the collector, with the variables that OpenTelemetry specifies for exporters.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::agent::export::connection::{ExporterConfig, parse_headers};

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
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, default_value = "")]
    headers: String,
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
    pub(super) fn into_config(self, endpoint: String) -> anyhow::Result<ExporterConfig> {
        reject_unsupported_variables(|name| std::env::var(name).ok())?;
        let Self { ca, client_certificate, client_key, headers, compression, timeout_ms } = self;
        Ok(ExporterConfig {
            endpoint,
            timeout: Duration::from_millis(timeout_ms),
            gzip: compression == Compression::Gzip,
            headers: parse_headers(&headers).context("--headers (OTEL_EXPORTER_OTLP_HEADERS)")?,
            ca,
            identity: client_certificate.zip(client_key),
        })
    }
}

/// Fails if a variable asks for more than one gRPC connection for both signals: to ignore it would send telemetry
/// somewhere else than the operator has asked for.
fn reject_unsupported_variables(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<()> {
    for signal in ["METRICS", "LOGS"] {
        let name = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
        if let Some(value) = variable(&name) {
            anyhow::bail!(
                "{name} is set to {value:?}, yet one connection serves both signals: set OTEL_EXPORTER_OTLP_ENDPOINT"
            );
        }
    }
    let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL").filter(|protocol| protocol != "grpc");
    if let Some(protocol) = protocol {
        anyhow::bail!("OTEL_EXPORTER_OTLP_PROTOCOL is set to {protocol:?}, yet the agent supports only grpc");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_would_be_ignored_is_rejected() {
        let only = |name: &'static str, value: &'static str| {
            reject_unsupported_variables(move |read| (read == name).then(|| value.to_owned()))
        };
        for name in ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] {
            let error = only(name, "http://other:4317").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("http://other:4317"), "{error}");
        }
        assert!(only("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").is_err());
        assert!(only("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").is_ok());
    }
}
