//! What each command of the backend does with its arguments.

use std::sync::Arc;

use anyhow::Context;

use super::print;
use crate::backend::auth::AuthConfig;
use crate::backend::{self, Limits, Retention, SecurityConfig, StoreLocation, TlsFiles, TlsIdentity, admin};
use crate::cli::{
    AccessArgs, BackendCommand, BackupArgs, CreateTokenArgs, EraseArgs, LimitArgs, RestoreArgs, RevokeTokenArgs,
    ServeArgs, StoreArgs, TlsArgs, TokenCommand,
};
use crate::process;

/// Runs one of them.
pub(super) async fn run(command: BackendCommand) -> anyhow::Result<()> {
    match command {
        BackendCommand::Serve(args) => serve(*args).await,
        BackendCommand::Erase(EraseArgs { installation, store }) => {
            print(&admin::erase(location(&store)?, installation).await?)
        }
        BackendCommand::Backup(args) => print(&backup(args).await?),
        BackendCommand::Restore(RestoreArgs { file, store }) => print(&admin::restore(location(&store)?, file).await?),
        BackendCommand::Token { command } => run_token(command).await,
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    let ServeArgs { grpc, http, health_addr: health, store, .. } = &args;
    let (grpc, http, health, store) = (*grpc, *http, *health, location(store)?);
    let ServeArgs {
        retention_events,
        retention_installations,
        retention_audit_log,
        retention_interval,
        tls,
        access,
        limits,
        ..
    } = args;
    let keeping = Retention {
        events: retention_events,
        days: retention_installations,
        audit_log: retention_audit_log,
        every: retention_interval,
    };
    let AccessArgs { public_url, ingest_token_file, reader_token_file } = access;
    let entrance = AuthConfig { public_url, ingest_token_file, reader_token_file };
    let protection = SecurityConfig { limits: limits_of(limits), identity: identity(tls)?, entrance };
    backend::run(backend::Config { grpc, http, health, store, keeping, protection }, shutdown).await
}

async fn backup(args: BackupArgs) -> anyhow::Result<String> {
    let BackupArgs { file, directory, keep, store } = args;
    let store = location(&store)?;
    match (file, directory) {
        (Some(file), _) => admin::backup(store, file).await,
        (None, Some(directory)) => admin::backup_into(store, directory, keep).await,
        (None, None) => anyhow::bail!("there is nowhere to copy to: expected FILE, or --directory DIR"),
    }
}

async fn run_token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(CreateTokenArgs { name, role, expires, store }) => {
            let created = admin::token::create(location(&store)?, name, role, expires).await?;
            // Apart from each other, so that the token alone can be piped to where it is to be kept.
            eprint!("{}", created.said);
            print(&format!("{}\n", created.text))
        }
        TokenCommand::List(store) => print(&admin::token::list(location(&store)?).await?),
        TokenCommand::Revoke(RevokeTokenArgs { token, store }) => {
            print(&admin::token::revoke(location(&store)?, token).await?)
        }
    }
}

fn identity(args: TlsArgs) -> anyhow::Result<Option<Arc<TlsIdentity>>> {
    let TlsArgs { tls_cert, tls_key, tls_reload_interval: every } = args;
    let files = tls_cert.zip(tls_key).map(|(certificate, key)| TlsFiles { certificate, key, every });
    files.map(TlsIdentity::load).transpose()
}

fn limits_of(args: LimitArgs) -> Limits {
    let LimitArgs {
        rate_limit_requests,
        rate_limit_items,
        rate_limit_items_per_day,
        rate_limit_snapshots,
        max_connections,
        max_connections_per_client,
        trusted_proxy,
    } = args;
    let or_none = |limit| if limit == 0 { usize::MAX } else { limit };
    Limits {
        requests: rate_limit_requests,
        rows: rate_limit_items,
        items_per_day: rate_limit_items_per_day,
        snapshots: rate_limit_snapshots,
        connections: or_none(max_connections),
        max_connections_per_client: or_none(max_connections_per_client),
        proxies: trusted_proxy,
    }
}

fn location(args: &StoreArgs) -> anyhow::Result<StoreLocation> {
    args.store.parse().context("--store")
}
