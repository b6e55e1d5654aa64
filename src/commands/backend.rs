//! What each command of the backend does with its arguments.

use std::sync::Arc;

use anyhow::Context;

use super::print;
use crate::backend::access::Entrance;
use crate::backend::{self, Files, Identity, Keeping, Limits, Protection, StoreLocation, maintain};
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
            print(&maintain::erase(location(&store)?, installation).await?)
        }
        BackendCommand::Backup(args) => print(&backup(args).await?),
        BackendCommand::Restore(RestoreArgs { file, store }) => {
            print(&maintain::restore(location(&store)?, file).await?)
        }
        BackendCommand::Token { command } => run_token(command).await,
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown_on_signals()?;
    let ServeArgs { grpc, http, health_addr: health, store, .. } = &args;
    let (grpc, http, health, store) = (*grpc, *http, *health, location(store)?);
    let ServeArgs { keep_events, keep_days, keep_access_log, keep_interval, tls, access, limits, .. } = args;
    let keeping = Keeping { events: keep_events, days: keep_days, access_log: keep_access_log, every: keep_interval };
    let AccessArgs { public_url, ingest_token_file, reader_token_file } = access;
    let entrance = Entrance { public_url, ingest_token_file, reader_token_file };
    let protection = Protection { limits: limits_of(limits), identity: identity(tls)?, entrance };
    backend::run(backend::Config { grpc, http, health, store, keeping, protection }, shutdown).await
}

async fn backup(args: BackupArgs) -> anyhow::Result<String> {
    let BackupArgs { file, directory, keep, store } = args;
    let store = location(&store)?;
    match (file, directory) {
        (Some(file), _) => maintain::backup(store, file).await,
        (None, Some(directory)) => maintain::backup_into(store, directory, keep).await,
        (None, None) => anyhow::bail!("there is nowhere to copy to: expected FILE, or --directory DIR"),
    }
}

async fn run_token(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(CreateTokenArgs { name, role, expires, store }) => {
            let created = maintain::token::create(location(&store)?, name, role, expires).await?;
            // Apart from each other, so that the token alone can be piped to where it is to be kept.
            eprint!("{}", created.said);
            print(&format!("{}\n", created.text))
        }
        TokenCommand::List(store) => print(&maintain::token::list(location(&store)?).await?),
        TokenCommand::Revoke(RevokeTokenArgs { token, store }) => {
            print(&maintain::token::revoke(location(&store)?, token).await?)
        }
    }
}

fn identity(args: TlsArgs) -> anyhow::Result<Option<Arc<Identity>>> {
    let TlsArgs { tls_cert, tls_key, tls_reload_interval: every } = args;
    let files = tls_cert.zip(tls_key).map(|(certificate, key)| Files { certificate, key, every });
    files.map(Identity::load).transpose()
}

fn limits_of(args: LimitArgs) -> Limits {
    let LimitArgs {
        limit_requests,
        limit_rows,
        limit_rows_per_day,
        limit_cycles,
        limit_connections,
        limit_source_connections,
        trusted_proxy,
    } = args;
    let or_none = |limit| if limit == 0 { usize::MAX } else { limit };
    Limits {
        requests: limit_requests,
        rows: limit_rows,
        rows_per_day: limit_rows_per_day,
        cycles: limit_cycles,
        connections: or_none(limit_connections),
        connections_each: or_none(limit_source_connections),
        proxies: trusted_proxy,
    }
}

fn location(args: &StoreArgs) -> anyhow::Result<StoreLocation> {
    args.store.parse().context("--store")
}
