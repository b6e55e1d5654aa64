//! `kamaji-telemetry backend token`

use clap::{Args, Subcommand};

use super::{StoreArgs, days};
use crate::backend::admin;
use crate::backend::auth::token::TokenName;
use crate::backend::store::Role;
use crate::cli::print;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print it. It can't be shown again: only its hash is stored.
    Create(CreateTokenArgs),
    /// List all tokens.
    List(StoreArgs),
    /// Revoke a token and end its sessions.
    Revoke(RevokeTokenArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateTokenArgs {
    /// Name of the token, which the audit log shows.
    #[arg(long)]
    name: TokenName,
    /// Role of the token.
    #[arg(long, value_enum, default_value = "viewer")]
    role: Role,
    /// Days until the token expires, from 1d to 3650d.
    #[arg(long, default_value = "90d", value_name = "DAYS", value_parser = token_days)]
    expires: u16,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct RevokeTokenArgs {
    /// Name of the token, or its prefix.
    #[arg(value_name = "NAME|PREFIX")]
    token: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs a command for tokens.
pub(super) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create(CreateTokenArgs { name, role, expires, store }) => {
            let created = admin::token::create(store.location()?, name, role, expires).await?;
            // The description goes to standard error, so that the token alone can be piped into a file.
            eprint!("{}", created.message);
            print(&format!("{}\n", created.text))
        }
        TokenCommand::List(store) => print(&admin::token::list(store.location()?).await?),
        TokenCommand::Revoke(RevokeTokenArgs { token, store }) => {
            print(&admin::token::revoke(store.location()?, token).await?)
        }
    }
}

/// Parses the days of a token. Every token expires: one that does not would be forgotten when it leaks.
fn token_days(text: &str) -> Result<u16, String> {
    days(text).map_err(|_| "expected days from 1d to 3650d, such as 90d".into())
}
