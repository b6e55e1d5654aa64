//! `kamaji-telemetry backend serve`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use ipnet::IpNet;
use jiff::civil::Date;

use super::{StoreArgs, days};
use crate::backend::auth::{AuthConfig, PublicUrl};
use crate::backend::{
    self, Clock, Limits, Retention, SecurityConfig, ServeSettings, ShareLimits, StoreLocation, TlsFiles, TlsIdentity,
    TrustedHeader, TrustedProxies, parse_network,
};
use crate::cli::interval;
use crate::process;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address that serves OTLP/gRPC.
    #[arg(long, env = "KAMAJI_TELEMETRY_GRPC_ADDR", default_value = "127.0.0.1:4317")]
    grpc_addr: SocketAddr,
    /// Address that serves OTLP/HTTP, the web page and the API.
    #[arg(long, env = "KAMAJI_TELEMETRY_HTTP_ADDR", default_value = "127.0.0.1:4318")]
    http_addr: SocketAddr,
    /// Address that serves /livez, /readyz and /metrics, such as 0.0.0.0:8080 [default: they are not served].
    #[arg(long, env = "KAMAJI_TELEMETRY_HEALTH_ADDR")]
    health_addr: Option<SocketAddr>,
    #[command(flatten)]
    store: StoreArgs,
    /// Refuses a PostgreSQL without a synchronous standby, whose loss loses what was acknowledged last.
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE_REQUIRE_STANDBY", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    store_require_standby: bool,
    /// Retention of events, from 1d to 3650d.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_EVENTS", default_value = "400d", value_parser = days)]
    retention_events: u16,
    /// Retention of the daily counts of each installation, and of installations that no longer report, from 1d to
    /// 3650d.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_INSTALLATIONS", default_value = "400d", value_parser = days)]
    retention_installations: u16,
    /// Retention of the audit log, and of tokens that have expired or were revoked, from 1d to 3650d.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_AUDIT_LOG", default_value = "90d", value_parser = days)]
    retention_audit_log: u16,
    /// Time from the start to the first deletion of data that is past its retention, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_DELAY", default_value = "5m", value_parser = interval)]
    retention_delay: Duration,
    /// Interval between two deletions of data that is past its retention, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_INTERVAL", default_value = "24h", value_parser = interval)]
    retention_interval: Duration,
    /// UTC date of today, such as 2026-11-24: the clock is right although it disagrees with the store, and deletes as much as
    /// it makes stale. On any other day it has no effect.
    #[arg(long, env = "KAMAJI_TELEMETRY_TRUST_CLOCK", value_name = "DATE")]
    trust_clock: Option<Date>,
    /// UTC date of today: the records that are later than now are deleted at the start, since they are of a clock that was
    /// wrong. On any other day it has no effect.
    #[arg(long, env = "KAMAJI_TELEMETRY_DELETE_FUTURE_RECORDS", value_name = "DATE")]
    delete_future_records: Option<Date>,
    /// Longest time for which readers share an answer, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_INSIGHTS_MAX_AGE", default_value = "15s", value_parser = interval, hide = true)]
    insights_max_age: Duration,
    /// Fewest installations of which a version is shown by its name; the others are shown as other.
    #[arg(long, env = "KAMAJI_TELEMETRY_MIN_VERSION_INSTALLATIONS", default_value = "3", value_name = "NUMBER")]
    min_version_installations: u64,
    /// Publishes weekly figures at /public and /api/v1/public/weeks, which everybody may read without a token.
    #[arg(long, env = "KAMAJI_TELEMETRY_PUBLIC_PAGE", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    public_page: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

#[expect(clippy::struct_field_names, reason = "the fields are named after their flags")]
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
struct TlsArgs {
    /// PEM file of the server's certificate and its intermediates, for TLS on both ports. A replaced file is loaded
    /// while the backend serves.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's key.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Interval between two checks of the two files for a change, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_TLS_RELOAD_INTERVAL", default_value = "30s", value_parser = interval)]
    tls_reload_interval: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
struct AuthArgs {
    /// URL of the web page as browsers see it, with scheme and host, if a proxy is in front. Requests
    /// of readers for another host are rejected then; with https, the session's cookie is sent over TLS only.
    #[arg(long, env = "KAMAJI_TELEMETRY_PUBLIC_URL", value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// File of tokens, one a line, of which each sender needs one. It is read again when it changes [default: senders
    /// need no token].
    #[arg(long, env = "KAMAJI_TELEMETRY_INGEST_TOKEN_FILE", value_name = "FILE")]
    ingest_token_file: Option<PathBuf>,
    /// File of tokens of readers, one a line: NAME ROLE TOKEN. They are valid beside those of `backend token create`,
    /// as long as they are in the file, which is read again when it changes.
    #[arg(long, env = "KAMAJI_TELEMETRY_READER_TOKEN_FILE", value_name = "FILE")]
    reader_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits (0 turns one off; each rate allows a burst of 20 seconds' worth)")]
struct LimitArgs {
    /// Requests per second and client. A client is one IPv4 address, or the first 56 bits of an IPv6 address.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_REQUESTS", default_value = "100", value_name = "PER_SECOND")]
    rate_limit_requests: u32,
    /// Items per second and client: data points of gauges, and events.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_ITEMS", default_value = "1000", value_name = "PER_SECOND")]
    rate_limit_items: u32,
    /// Bytes per day and client that are written into the store. A whole day's may arrive at once.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_BYTES_PER_DAY", default_value = "50000000", value_name = "PER_DAY")]
    rate_limit_bytes_per_day: u32,
    /// Snapshots of gauges per second and installation.
    #[arg(long, env = "KAMAJI_TELEMETRY_RATE_LIMIT_SNAPSHOTS", default_value = "1", value_name = "PER_SECOND")]
    rate_limit_snapshots: u32,
    /// New installations per day and client that count. Further ones are stored in bulk, which is in no figure.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_COUNTED_INSTALLATIONS", default_value = "20", value_name = "PER_DAY")]
    max_counted_installations: u32,
    /// Events per day and client that count. Further ones are stored in bulk, which is in no figure.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_COUNTED_EVENTS", default_value = "1000", value_name = "PER_DAY")]
    max_counted_events: u32,
    /// New installations per day of all clients together. Further ones are refused.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_NEW_INSTALLATIONS", default_value = "5000", value_name = "PER_DAY")]
    max_new_installations: u32,
    /// Events per day in bulk, of all clients together. Further ones are refused.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_BULK_EVENTS", default_value = "200000", value_name = "PER_DAY")]
    max_bulk_events: u32,
    /// Values of a column, such as versions of Kamaji, that an hour keeps apart. Further ones are stored as other.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_VALUES", default_value = "256", value_name = "PER_HOUR")]
    max_values: u32,
    /// Size of the store in bytes, such as 800Mi or 8Gi, from which on new installations and events are refused.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_STORE_SIZE", default_value = "0", value_name = "BYTES", value_parser = bytes)]
    max_store_size: u64,
    /// Open connections on both ports together.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_CONNECTIONS", default_value = "900", value_name = "NUMBER")]
    max_connections: usize,
    /// Open connections per client.
    #[arg(long, env = "KAMAJI_TELEMETRY_MAX_CONNECTIONS_PER_CLIENT", default_value = "128", value_name = "NUMBER")]
    max_connections_per_client: usize,
    /// Proxy, or network of proxies, whose --trusted-header names the client. Repeatable.
    #[arg(long, env = "KAMAJI_TELEMETRY_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',',
          value_parser = parse_network)]
    trusted_proxy: Vec<IpNet>,
    /// The one header that trusted proxies write: X-Forwarded-For, Forwarded (RFC 7239), or any that holds one address,
    /// such as X-Real-IP.
    #[arg(
        long,
        env = "KAMAJI_TELEMETRY_TRUSTED_HEADER",
        default_value = "X-Forwarded-For",
        value_name = "NAME",
        requires = "trusted_proxy"
    )]
    trusted_header: TrustedHeader,
}

/// Parses a number of bytes with a suffix of Kubernetes' quantities, such as `8Gi`, or without one.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" => Some(1),
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        "T" => Some(1_000_000_000_000),
        "Ki" => Some(1 << 10),
        "Mi" => Some(1 << 20),
        "Gi" => Some(1 << 30),
        "Ti" => Some(1 << 40),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let bytes = number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.ok_or_else(|| "expected a number of bytes, such as 800Mi, 8Gi or 8000000000; 0 for no limit".into())
}

/// Runs the backend until a signal ends it.
pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    backend::run(args.into_config()?, shutdown).await
}

impl ServeArgs {
    fn into_config(self) -> anyhow::Result<backend::Config> {
        let Self {
            grpc_addr: grpc,
            http_addr: http,
            health_addr: health,
            store,
            store_require_standby,
            retention_events: events,
            retention_installations: installations,
            retention_audit_log: audit_log,
            retention_delay: delay,
            retention_interval: interval,
            trust_clock,
            delete_future_records,
            insights_max_age,
            min_version_installations,
            public_page,
            tls,
            auth,
            limits,
        } = self;
        let mut store = store.location()?;
        match &mut store {
            StoreLocation::Postgres(address) => address.require_standby = store_require_standby,
            StoreLocation::Sqlite(_) => anyhow::ensure!(
                !store_require_standby,
                "--store-require-standby is for postgres://; the --store is a file of SQLite, which has no standby"
            ),
        }
        let retention = Retention { events, installations, audit_log, interval, delay };
        let AuthArgs { public_url, ingest_token_file, reader_token_file } = auth;
        let auth = AuthConfig { public_url, ingest_token_file, reader_token_file, login_code: None };
        let max_store_size = Some(limits.max_store_size).filter(|bytes| *bytes > 0);
        let security = SecurityConfig { limits: limits.into_limits(), tls: tls.load()?, auth };
        let clock = Clock::default();
        let settings = ServeSettings {
            retention,
            security,
            clock,
            trust_clock,
            delete_future_records,
            max_store_size,
            insights_max_age,
            min_version_installations,
            public_page,
        };
        Ok(backend::Config { grpc, http, health, store, settings })
    }
}

impl TlsArgs {
    fn load(self) -> anyhow::Result<Option<Arc<TlsIdentity>>> {
        let Self { tls_cert, tls_key, tls_reload_interval: reload_interval } = self;
        let files = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key, reload_interval });
        files.map(TlsIdentity::load).transpose()
    }
}

impl LimitArgs {
    fn into_limits(self) -> Limits {
        let Self {
            rate_limit_requests,
            rate_limit_items,
            rate_limit_bytes_per_day: bytes_per_day,
            rate_limit_snapshots,
            max_counted_installations,
            max_counted_events,
            max_new_installations,
            max_bulk_events,
            max_values,
            max_store_size: _,
            max_connections,
            max_connections_per_client,
            trusted_proxy,
            trusted_header,
        } = self;
        let unlimited_if_zero = |limit| if limit == 0 { usize::MAX } else { limit };
        Limits {
            requests: rate_limit_requests,
            items: rate_limit_items,
            bytes_per_day,
            snapshots: rate_limit_snapshots,
            shares: ShareLimits {
                installations: max_counted_installations,
                events: max_counted_events,
                new_installations: max_new_installations,
                bulk_events: max_bulk_events,
                values: max_values,
            },
            max_connections: unlimited_if_zero(max_connections),
            max_connections_per_client: unlimited_if_zero(max_connections_per_client),
            trusted_proxies: TrustedProxies { networks: trusted_proxy, header: trusted_header },
        }
    }
}
