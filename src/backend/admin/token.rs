//! Creation, list and revocation of readers' tokens. A backend that serves the store applies them at once.

use anyhow::{Context, bail};
use jiff::Timestamp;

use super::{open, open_to_change, table};
use crate::backend::auth::token::{self, CreateTokenError, TokenName};
use crate::backend::store::{Role, StoreLocation, StoreTokenError, Token, UsedToken};
use crate::process::redact::redacted;

/// A new token.
#[derive(Debug)]
pub struct CreatedToken {
    /// Its whole text, which is not stored.
    pub text: String,
    /// A line about it for people.
    pub message: String,
}

/// Creates a token that is valid for `days`.
///
/// Fails if there is no store, or if another token has the name.
pub async fn create(store: StoreLocation, name: TokenName, role: Role, days: u16) -> anyhow::Result<CreatedToken> {
    let store = open_to_change(store).await?.auth;
    let (token, text) = match token::create(store.as_ref(), name.clone(), role, days).await {
        Err(CreateTokenError::Store(StoreTokenError::NameTaken)) => bail!(
            "--name {name}: there is a token of this name: expected another name, or revoke that one first: \
             kamaji-telemetry backend token revoke {name}"
        ),
        created => created?,
    };
    let Token { prefix, expires, .. } = token;
    let expires = day(expires);
    let message =
        format!("Created {prefix} for {name} with the role {role}; it expires on {expires}. It is not shown again.\n");
    Ok(CreatedToken { text, message })
}

/// Returns a table of all tokens.
pub async fn list(store: StoreLocation) -> anyhow::Result<String> {
    let now = Timestamp::now();
    let tokens = open(store).await?.auth.tokens().await?;
    if tokens.is_empty() {
        return Ok("There is no token yet: kamaji-telemetry backend token create --name NAME --role admin\n".into());
    }
    let headings = ["PREFIX", "NAME", "ROLE", "CREATED", "EXPIRES", "STATE", "LAST USED"].map(str::to_owned);
    let rows = tokens.into_iter().map(|used| row(used, now));
    Ok(table(&std::iter::once(headings).chain(rows).collect::<Vec<_>>()))
}

/// Revokes a token, by its name or its prefix, and ends its sessions.
///
/// Fails if the store has no such token. Those of `--reader-token-file` are not in it.
pub async fn revoke(store: StoreLocation, name_or_prefix: String) -> anyhow::Result<String> {
    let store = open_to_change(store).await?.auth;
    let revoked = store.revoke_token(name_or_prefix.clone(), Timestamp::now()).await?;
    let Token { prefix, name, revoked, .. } = revoked.with_context(|| {
        // Somebody may have passed the whole token.
        let name_or_prefix = redacted(&name_or_prefix);
        format!("{name_or_prefix:?} is no token that can be revoked: expected a NAME or a PREFIX of `kamaji-telemetry backend token list`")
    })?;
    Ok(match revoked {
        None => format!("Revoked {prefix} of {name}, and ended its sessions.\n"),
        Some(when) => format!("{prefix} of {name} was revoked on {} already.\n", day(when)),
    })
}

fn row(used: UsedToken, now: Timestamp) -> [String; 7] {
    let UsedToken { token, last_used } = used;
    let state = match token.revoked {
        Some(_) => "revoked",
        None if token.is_valid(now) => "valid",
        None => "expired",
    };
    let Token { prefix, name, role, created, expires, revoked: _ } = token;
    let last_used = last_used.map_or_else(|| "never".to_owned(), day);
    [prefix, name, role.to_string(), day(created), day(expires), state.to_owned(), last_used]
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}
