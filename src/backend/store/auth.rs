//! The tokens and the sessions of readers, and the audit log.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use futures::future::BoxFuture;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use super::{ReadError, WriteError};

/// The audit log's entry for the creation of a token.
pub const CREATE_TOKEN: &str = "token create";

/// The audit log's entry for the revocation of a token.
pub const REVOKE_TOKEN: &str = "token revoke";

/// The audit log's entry for an erasure by the command line, which has no token.
pub const ERASE: &str = "backend erase";

/// The audit log's entry for an import by the command line, which has no token.
pub const IMPORT: &str = "backend import";

/// The audit log's entry for a move of rows into the store, which has no token. It is added when a backend serves the store first:
/// until then, each run of the move makes the store equal to its source.
pub(super) const MIGRATE: &str = "backend migrate";

/// The actions of commands.
const COMMANDS: [&str; 5] = [CREATE_TOKEN, REVOKE_TOKEN, ERASE, IMPORT, MIGRATE];

/// The maximum number of sessions of one token; a further one ends the oldest. A person has fewer browsers than this.
pub const MAX_SESSIONS: u32 = 32;

/// A store of tokens, of the sessions made from them, and of the audit log.
///
/// An embedder may keep it apart from the store of the rows. Every implementation passes the same conformance suite:
/// - A method that writes returns after the change is durable. Every later read sees it, also from another process.
/// - No two tokens that are not revoked have the same name.
/// - A revoked token has no sessions.
/// - The entries of one call of [`AuthStore::record`] are stored all or none.
///
/// The tokens of a file (`--reader-token-file`) are not stored; their sessions and their entries in the audit log are.
pub trait AuthStore: Send + Sync + 'static {
    /// Stores a new token with the digest of its whole text, and logs [`CREATE_TOKEN`].
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), StoreTokenError>>;

    /// Revokes the token with the prefix `name_or_prefix`, or the one with that name that is not revoked yet,
    /// ends its sessions, and logs [`REVOKE_TOKEN`].
    ///
    /// Returns the token as it was before, or `None` if there is no such token. A token that is revoked already stays
    /// as it is.
    fn revoke_token(&self, name_or_prefix: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>>;

    /// Returns whether any token is valid at `now`.
    fn has_valid_token(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// Returns all tokens, ordered by the time of their creation.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<UsedToken>, ReadError>>;

    /// Returns the token with this prefix, and the digest of its whole text.
    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>>;

    /// Stores a new session. Deletes expired sessions, and the oldest ones of the same token beyond [`MAX_SESSIONS`].
    ///
    /// Returns whether the session was stored. It is not if the store has a token with the session's prefix that is not
    /// valid at `now` or has another digest. A prefix that the store does not have is that of a file's token, which the
    /// caller has verified.
    fn open_session(&self, session: Session, now: Timestamp) -> BoxFuture<'_, Result<bool, WriteError>>;

    /// Returns the session with this digest, which may have expired, and its token.
    fn session(&self, digest: Digest) -> BoxFuture<'_, Result<Option<StoredSession>, ReadError>>;

    /// Deletes a session.
    fn close_session(&self, digest: Digest) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Adds entries to the audit log. Entries without a token are summed by command or route, status and hour.
    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Returns the newest entries of the audit log, newest first.
    fn audit_log(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, ReadError>>;

    /// Returns the entries of commands that no call has returned yet, oldest first: those that another process added, for
    /// the process that serves to log. A summed entry is returned again when its count has grown.
    fn take_commands(&self) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, WriteError>>;

    /// Deletes the entries of the audit log before `before`, the tokens that ended before it, and the sessions that
    /// expired before `now`. Tokens with a prefix in `listed` are retained: the row is what keeps a token that ended from
    /// being valid again through the file that lists it.
    fn prune_auth(
        &self,
        before: Timestamp,
        now: Timestamp,
        listed: Vec<String>,
    ) -> BoxFuture<'_, Result<PrunedAuth, WriteError>>;
}

/// The role of a token, which says what its holder may do. Each role includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read the insights.
    Viewer,
    /// Read the audit log and erase installations, too.
    Admin,
}

/// A text that is not a [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role: expected viewer or admin")]
pub struct UnknownRole;

/// A token of a reader, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The first twelve characters, which identify the token: `ktt_` and eight hexadecimal digits.
    pub prefix: String,
    /// The name of its holder.
    pub name: String,
    /// The role of its holder.
    pub role: Role,
    /// The time of its creation.
    pub created: Timestamp,
    /// The time of expiry.
    pub expires: Timestamp,
    /// The time of its revocation, if it was revoked.
    pub revoked: Option<Timestamp>,
}

/// A token, and its last use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedToken {
    /// The token.
    pub token: Token,
    /// The time of the last request with it, as far as the audit log goes back.
    pub last_used: Option<Timestamp>,
}

/// The SHA-256 of a secret.
///
/// Passwords need a slow hash. These secrets are 256 random bits, which cannot be found by trying.
#[derive(Debug, Clone, Copy)]
pub struct Digest([u8; 32]);

/// A session of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The digest of the secret in the browser's cookie.
    pub digest: Digest,
    /// The prefix of the token that it was made from.
    pub token: String,
    /// The digest of that token's whole text: a session ends when its token gets another secret.
    pub token_digest: Digest,
    /// The time at which it ends by itself.
    pub expires: Timestamp,
}

/// A session as it is stored, and the store's token with its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The session.
    pub session: Session,
    /// The token and its digest; `None` if the store has none of this prefix, as of a token from a file.
    pub token: Option<(Token, Digest)>,
}

/// An error that kept a token from being created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreTokenError {
    /// Another token has its name.
    #[error("a token of this name is there already")]
    NameTaken,
    /// The store cannot write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditLogEntry {
    /// The time of the request; of an entry without a token, the beginning of its hour.
    pub time: Timestamp,
    /// The token; `None` if there is none, such as for a failed login.
    pub actor: Option<TokenRef>,
    /// A method and a route, never with the values of its parameters; or a command.
    pub action: String,
    /// The HTTP status of the response; `None` for a command, and for a change that is recorded before it is applied.
    pub status: Option<u16>,
    /// The number of requests: 1, except for entries that are summed.
    pub count: u64,
}

/// A reference to a token as the audit log holds it, which outlives the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRef {
    /// The token's prefix.
    pub token: String,
    /// The token's name.
    pub name: String,
}

/// The rows that [`AuthStore::prune_auth`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedAuth {
    /// Entries of the audit log.
    pub entries: u64,
    /// Tokens.
    pub tokens: u64,
}

impl AuditLogEntry {
    /// Creates the entry of a command about a token.
    pub(super) fn of_command(token: &Token, command: &str, time: Timestamp) -> Self {
        Self { time, actor: Some(token.reference()), action: command.to_owned(), status: None, count: 1 }
    }

    /// Creates the entry of a command that is about no token. Those of an hour are summed.
    pub fn of_anonymous_command(command: &str, time: Timestamp) -> Self {
        Self { time, actor: None, action: command.to_owned(), status: None, count: 1 }
    }

    /// Returns whether the entry is of a command rather than of a request.
    pub fn is_command(&self) -> bool {
        COMMANDS.contains(&&*self.action)
    }
}

impl Role {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Viewer, Self::Admin].into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

impl Token {
    /// Returns whether the token is neither revoked nor expired at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }

    /// Returns the reference to it in the audit log.
    pub fn reference(&self) -> TokenRef {
        TokenRef { token: self.prefix.clone(), name: self.name.clone() }
    }
}

impl Digest {
    /// Returns the digest of `secret`.
    pub fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Returns whether both are equal, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Returns its bytes, as they are stored.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for Digest {}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}
