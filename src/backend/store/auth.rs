//! TokenRef may read, and who has read: what is kept of tokens, of sessions, and in the audit log.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use futures::future::BoxFuture;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{ReadError, WriteError};

/// What the log calls the creation of a token.
pub const CREATE_TOKEN: &str = "token create";

/// What the log calls the end of a token before its time.
pub const REVOKE_TOKEN: &str = "token revoke";

/// What the log calls an erasure by the program: of nobody, who has no token.
pub const ERASE: &str = "backend erase";

/// The most sessions of one token; a further one ends the oldest. As many as a person has browsers, and then some.
pub const MAX_SESSIONS: u32 = 32;

/// Tokens, the sessions made from them, and the log of what was read with them.
///
/// It may be kept apart from the rows: a cluster that holds those need not hold this. Every implementation passes the
/// same conformance suite:
/// - What is done returns after it is durable, and is seen by every later question, of other processes too.
/// - Of two tokens that are not revoked no two have the same name.
/// - A token that is revoked has no session.
/// - The entries that are recorded at once are kept all or not at all.
pub trait AuthStore: Send + Sync + 'static {
    /// Keeps a new token and the digest of its secret, and logs [`CREATE_TOKEN`].
    fn create_token(&self, token: Token, digest: Digest) -> BoxFuture<'_, Result<(), CreateError>>;

    /// Revokes the token with this prefix, or the one with this name that is not revoked yet, ends its sessions, and logs
    /// [`REVOKE_TOKEN`]. Gives it as it was before; `None` where there is none. One that is revoked already stays so, also
    /// if it is listed again, for as long as it is kept: [`AuthStore::prune_auth`] forgets one that is not listed, from the
    /// first revocation by hand on.
    fn revoke_token(&self, which: String, now: Timestamp) -> BoxFuture<'_, Result<Option<Token>, WriteError>>;

    /// Makes the listed tokens, those that never expire, what `listed` says: all of it or nothing. What is new in it is
    /// kept and logged as [`CREATE_TOKEN`]; what is not in it any more is revoked with its sessions and logged as
    /// [`REVOKE_TOKEN`], and is valid again if it comes back; what is in it otherwise than before is both.
    ///
    /// A token that was revoked with [`AuthStore::revoke_token`] stays so, and one that was made otherwise is left alone:
    /// [`Listing::refused`] says of which. No two of `listed` may have the same name or prefix.
    fn set_listed_tokens(&self, listed: Vec<FileToken>, now: Timestamp) -> BoxFuture<'_, Result<Listing, WriteError>>;

    /// Whether any token is valid at `now`.
    fn has_valid_token(&self, now: Timestamp) -> BoxFuture<'_, Result<bool, ReadError>>;

    /// All tokens by the time of their creation.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<UsedToken>, ReadError>>;

    /// The token with this prefix, and the digest of its secret.
    fn token(&self, prefix: String) -> BoxFuture<'_, Result<Option<(Token, Digest)>, ReadError>>;

    /// Keeps a new session of who has shown the secret of its token, whose digest is `verified`; deletes those that have
    /// expired, and the oldest of its token beyond [`MAX_SESSIONS`].
    ///
    /// Says whether there is one: not where the token has ended, or has another secret by now.
    fn open_session(
        &self,
        session: Session,
        verified: Digest,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, WriteError>>;

    /// When the session of this digest expires, and its token, which may have expired meanwhile.
    fn session(&self, digest: Digest) -> BoxFuture<'_, Result<Option<(Timestamp, Token)>, ReadError>>;

    /// Ends a session.
    fn close_session(&self, digest: Digest) -> BoxFuture<'_, Result<(), WriteError>>;

    /// Adds to the log. Entries of nobody are summed by what was tried, its status and the hour.
    fn record(&self, entries: Vec<AuditLogEntry>) -> BoxFuture<'_, Result<(), WriteError>>;

    /// The log's newest entries, newest first.
    fn audit_log(&self, limit: u32) -> BoxFuture<'_, Result<Vec<AuditLogEntry>, ReadError>>;

    /// Deletes the log's entries before `before`, the tokens that ended before it and are not listed, and the sessions
    /// that ended.
    fn prune_auth(&self, before: Timestamp, now: Timestamp) -> BoxFuture<'_, Result<PrunedAuth, WriteError>>;
}

/// What a reader may do. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read the insights.
    Viewer,
    /// Read the audit log and erase installations, too.
    Admin,
}

/// Text that is no [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a role: expected viewer or admin")]
pub struct UnknownRole;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// How it begins, by which it is known: `ktt_` and eight hexadecimal digits.
    pub prefix: String,
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is worth nothing; `None` where a file lists it, as long as it does.
    pub expires: Option<Timestamp>,
    /// When somebody ended it, or the file listed it no longer.
    pub revoked: Option<Timestamp>,
}

/// A token as a file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileToken {
    /// How it begins, as of [`Token::prefix`].
    pub prefix: String,
    /// Whose it is.
    pub name: String,
    /// What may be done with it.
    pub role: Role,
    /// Of its whole text.
    pub digest: Digest,
}

/// What [`AuthStore::set_listed_tokens`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Tokens that are valid from now on.
    pub created: u64,
    /// Tokens that no longer are.
    pub revoked: u64,
    /// Tokens that are not valid though they are listed.
    pub refused: Vec<RefusedToken>,
}

/// A token that is not valid though it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusedToken {
    /// It was revoked by hand.
    #[error("{prefix} of {name} was revoked and stays so: take it out of the file")]
    Revoked {
        /// The token.
        prefix: String,
        /// Whose it would be.
        name: String,
    },
    /// A token that was made by hand has its name.
    #[error(
        "{prefix} of {name} is not taken: {by} of this name was made by hand; revoke that one, or list another name"
    )]
    NameTaken {
        /// The token.
        prefix: String,
        /// Whose it would be.
        name: String,
        /// The prefix of the one that was made by hand.
        by: String,
    },
    /// A token that was made by hand begins as it does.
    #[error("{prefix} of {name} is not taken: a token that was made by hand begins as it does; list another token")]
    PrefixTaken {
        /// The token.
        prefix: String,
        /// Whose it would be.
        name: String,
    },
}

/// A token, and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedToken {
    /// The token.
    pub token: Token,
    /// When it was last read with, as far as the log goes back.
    pub last_used: Option<Timestamp>,
}

/// SHA-256 of a secret. A password would want a slow hash; these secrets are 256 random bits, which nobody can try out.
#[derive(Debug, Clone, Copy)]
pub struct Digest([u8; 32]);

/// TokenRef signed in on the page.
#[derive(Debug, Clone)]
pub struct Session {
    /// Of what the browser keeps.
    pub digest: Digest,
    /// The prefix of the token that it was made from.
    pub token: String,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// Why a token was not kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// Another one has its name.
    #[error("a token of this name is there already")]
    NameTaken,
    /// The store could not write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLogEntry {
    /// When; where it is of nobody, the beginning of the hour.
    pub time: Timestamp,
    /// TokenRef; `None` where nobody is known, such as a sign-in that failed.
    pub who: Option<TokenRef>,
    /// What: a method and a route, never what is in the place of its parameters; or a command.
    pub what: String,
    /// How it was answered, as a status of HTTP; `None` for a command, and for what changes something before it is done.
    pub status: Option<u16>,
    /// How often: once, but for what is summed.
    pub count: u64,
}

/// A token in the log, which outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRef {
    /// Its prefix.
    pub token: String,
    /// Its name.
    pub name: String,
}

/// How much [`AuthStore::prune_auth`] deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrunedAuth {
    /// Entries of the log.
    pub entries: u64,
    /// Tokens.
    pub tokens: u64,
}

impl Role {
    /// Its name.
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
    /// Whether it opens anything at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// How the log names it.
    pub fn who(&self) -> TokenRef {
        TokenRef { token: self.prefix.clone(), name: self.name.clone() }
    }
}

impl Digest {
    /// The digest of `secret`.
    pub fn of(secret: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Whether both are the same, in a time that does not tell where they differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// As it is stored.
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
