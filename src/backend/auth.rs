//! TokenRef is let in, and what of it is written down.
//!
//! ```text
//! request ──▶ limits ──▶ guard ──▶ handler ──▶ recorder ──▶ answer
//!                        │ the table of routes says what each needs; a route that is not in it is closed
//!                        ├ ingest: nothing, or a token of a file
//!                        └ reading: a token (Bearer), made by hand or listed in a file, or a session (cookie) made from
//!                          one on the sign-in page
//! ```
//!
//! Nothing that was read is answered before it is in the audit log, and nothing is changed before that is.

mod audit_log;
mod cookie;
mod csrf;
mod error;
mod followed;
pub(super) mod ingest_tokens;
pub(super) mod layer;
mod login_throttle;
pub mod routes;
mod session;
pub mod token;
mod token_file;

use std::path::PathBuf;

use jiff::SignedDuration;

use super::store::{Digest, Token};

pub(super) use audit_log::AuditLogWriter;
pub use csrf::{InvalidPublicUrl, PublicUrl};
pub(super) use error::{AuthError, AuthUnavailable};
pub(super) use ingest_tokens::IngestTokens;
pub(super) use layer::AuthLayer;
pub(super) use session::LoginError;
pub(super) use token_file::ReaderTokens;

/// How long a session lasts, unless its token ends before: a working day.
const SESSION: SignedDuration = SignedDuration::from_hours(12);

/// What the operator says about the way in, beside the tokens in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// The URL that browsers know the page by, where it is told: a proxy may stand before it.
    pub public_url: Option<PublicUrl>,
    /// The file of the tokens that senders must have one of; ingest is open if `None`.
    pub ingest_token_file: Option<PathBuf>,
    /// The file of tokens that readers may have beside those made by hand; there are none such if `None`.
    pub reader_token_file: Option<PathBuf>,
}

/// TokenRef reads.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    /// The token, used directly or through a session.
    pub(super) token: Token,
    /// The session, if there is one.
    pub(super) session: Option<Digest>,
}

impl AuthConfig {
    /// Reads the files of tokens, so that what is wrong with one is told before anything else begins. Blocks.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        IngestTokens::open(self.ingest_token_file.clone())?;
        Ok(ReaderTokens::check(self.reader_token_file.as_deref())?)
    }

    /// Whether browsers reach the page over TLS, which the HTTP port itself may speak: then the cookie must not leave it.
    pub(super) fn is_secure(&self, has_tls: bool) -> bool {
        self.public_url.as_ref().map_or(has_tls, PublicUrl::is_secure)
    }
}
