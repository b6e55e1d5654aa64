//! What the backend is told about the network.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::interval;
use crate::backend::Network;

/// TLS on both ports.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file of the server's certificate, followed by those between it and the authority: both ports speak TLS. It
    /// may be replaced while the backend serves.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's key.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// How often the two files are looked at.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_RELOAD_INTERVAL", default_value = "30s", value_parser = interval)]
    pub tls_reload_interval: Duration,
}

/// What senders may do. A source is one IPv4 address, or the first 56 bits of an IPv6 address.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (0 for none; 20 seconds of a rate may come at once)")]
pub struct LimitArgs {
    /// Requests a second of one source.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_REQUESTS", default_value = "100", value_name = "PER_SECOND")]
    pub rate_limit_requests: u32,
    /// Gauge points and events a second of one source.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS", default_value = "1000", value_name = "PER_SECOND")]
    pub rate_limit_items: u32,
    /// Gauge snapshots and events a day of one source that are stored; a day's may come at once.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS_PER_DAY", default_value = "500000", value_name = "PER_DAY")]
    pub rate_limit_items_per_day: u32,
    /// Gauge snapshots a second of one installation.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_SNAPSHOTS", default_value = "1", value_name = "PER_SECOND")]
    pub rate_limit_snapshots: u32,
    /// Connections at once, on both ports together.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_CONNECTIONS", default_value = "900", value_name = "NUMBER")]
    pub max_connections: usize,
    /// Connections at once of one source.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_CONNECTIONS_PER_CLIENT", default_value = "128", value_name = "NUMBER")]
    pub max_connections_per_client: usize,
    /// A proxy, or a network of proxies, whose X-Forwarded-For or Forwarded says where a request comes from; repeatable.
    #[arg(long, env = "KAMAJI_TELEMETRY_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Vec<Network>,
}
