//! What the backend's commands are told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, value_parser};
use uuid::Uuid;

use super::{LimitArgs, TlsArgs, interval};
use crate::backend::auth::PublicUrl;
use crate::backend::auth::token::Name;
use crate::backend::store::Role;

/// What the backend is to do.
#[derive(Debug, Subcommand)]
pub enum BackendCommand {
    /// Serve until a signal ends it.
    Serve(Box<ServeArgs>),
    /// Delete all that is stored of one installation; the backend may be serving.
    Erase(EraseArgs),
    /// Copy the store into a new file, or into a folder of such; the backend may be serving.
    Backup(BackupArgs),
    /// Check a copy, and put it in the place of the store; the backend may not be serving.
    Restore(RestoreArgs),
    /// Say who may read; the backend may be serving.
    Token {
        /// What is to be done with tokens.
        #[command(subcommand)]
        command: TokenCommand,
    },
}

/// What is to be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print it: this once, since only its hash is kept.
    Create(CreateTokenArgs),
    /// List all tokens.
    List(StoreArgs),
    /// End a token, and the sessions made from it.
    Revoke(RevokeTokenArgs),
}

/// What the creation of a token is told.
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// Whose it is: what the audit log shows.
    #[arg(long)]
    pub name: Name,
    /// What may be done with it.
    #[arg(long, value_enum, default_value = "viewer")]
    pub role: Role,
    /// For how long, in days.
    #[arg(long, default_value = "90d", value_name = "DAYS", value_parser = token_days)]
    pub expires: u16,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What the end of a token is told.
#[derive(Debug, Args)]
pub struct RevokeTokenArgs {
    /// Its name, or its prefix.
    #[arg(value_name = "NAME|PREFIX")]
    pub token: String,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What the backend is told.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where OTLP/gRPC is served.
    #[arg(long, env = "KAMAJI_TELEMETRY_GRPC_ADDR", default_value = "127.0.0.1:24317")]
    pub grpc: SocketAddr,
    /// Where OTLP/HTTP, the page and the API are served.
    #[arg(long, env = "KAMAJI_TELEMETRY_HTTP_ADDR", default_value = "127.0.0.1:24318")]
    pub http: SocketAddr,
    /// Where /livez, /readyz and /metrics are served, such as 0.0.0.0:8080; nowhere if not given.
    #[arg(long, env = "KAMAJI_TELEMETRY_HEALTH_ADDR")]
    pub health_addr: Option<SocketAddr>,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How long events are kept, in days.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_EVENTS", default_value = "400d", value_parser = days)]
    pub retention_events: u16,
    /// How long the days of installations are kept, and installations that are not seen any more, in days.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_INSTALLATIONS", default_value = "400d", value_parser = days)]
    pub retention_installations: u16,
    /// How long the audit log is kept, and tokens that ended, in days.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_AUDIT_LOG", default_value = "90d", value_parser = days)]
    pub retention_audit_log: u16,
    /// How often what is older is deleted.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETENTION_INTERVAL", default_value = "24h", value_parser = interval)]
    pub retention_interval: Duration,
    /// TLS on both ports.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// How the access is guarded.
    #[command(flatten)]
    pub access: AccessArgs,
    /// What senders may do.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// How the access is guarded, beside the tokens in the store.
#[derive(Debug, Args)]
#[command(next_help_heading = "AuthStore")]
pub struct AccessArgs {
    /// The URL that browsers know the page by, <https://HOST>, where a proxy is before it: readers are answered under no
    /// other name then, and over https the session's cookie never leaves TLS.
    #[arg(long, env = "KAMAJI_TELEMETRY_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,
    /// File of the tokens that senders need one of, one a line, read again when it changes; all may send if not given.
    #[arg(long, env = "KAMAJI_TELEMETRY_INGEST_TOKEN_FILE", value_name = "FILE")]
    pub ingest_token_file: Option<PathBuf>,
    /// File of tokens that readers may have beside those made by hand, one a line: NAME ROLE TOKEN. It is read again when
    /// it changes; each is valid as long as it is in it.
    #[arg(long, env = "KAMAJI_TELEMETRY_READER_TOKEN_FILE", value_name = "FILE")]
    pub reader_token_file: Option<PathBuf>,
}

/// Where rows are kept.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// Where it is stored: sqlite:PATH.
    #[arg(long, env = "KAMAJI_TELEMETRY_STORE", default_value = "sqlite:kamaji-telemetry.db")]
    pub store: String,
}

/// What the erasure is told.
#[derive(Debug, Args)]
pub struct EraseArgs {
    /// The installation's UUID; of one that today's Kamaji reports, the UID of its Service default/kubernetes.
    #[arg(value_name = "UUID")]
    pub installation: Uuid,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What a backup is told.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The copy: a new file.
    #[arg(required_unless_present = "directory", conflicts_with = "directory")]
    pub file: Option<PathBuf>,
    /// Folder of copies: the new one is named after the time, telemetry-20261124T031500Z.db.
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// How many copies of such a name are kept in the folder: the oldest beyond are deleted once the new one is complete.
    #[arg(
        long,
        value_name = "N",
        default_value = "7",
        requires = "directory",
        conflicts_with = "file",
        value_parser = value_parser!(u16).range(1..=1_000)
    )]
    pub keep: u16,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What the return of a backup is told.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The copy.
    pub file: PathBuf,
    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// A token that never ends is one that nobody thinks of when it leaks.
fn token_days(text: &str) -> Result<u16, String> {
    days(text).map_err(|_| "expected days from 1d to 3650d, such as 90d".into())
}

/// Less than a day can't be told from a day, and more than ten years answers no question.
fn days(text: &str) -> Result<u16, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    days.filter(|days| (1..=3_650).contains(days)).ok_or_else(|| "expected days from 1d to 3650d, such as 400d".into())
}
