//! Authentication, authorization, and the audit log.
//!
//! ```text
//! request ──▶ rate_limit ──▶ layer ──▶ handler ──▶ audit_log ──▶ response
//!                            │ the route table says what each route requires; a route that is not in it is rejected
//!                            ├ ingest: nothing, or a token of a file
//!                            └ reading: a token (Bearer) of the store or of a file, or a session (cookie) made from one
//!                              on the login page, or by a login code
//! ```
//!
//! A read is recorded before the response is sent, and a change before it is applied.

mod audit_log;
mod cookie;
mod csrf;
mod error;
pub(super) mod ingest_tokens;
pub(super) mod layer;
mod login_code;
mod login_throttle;
mod principal;
mod reader_tokens;
pub mod routes;
mod session;
pub mod token;
mod token_file;

use std::path::PathBuf;

pub(super) use audit_log::AuditLogWriter;
pub use csrf::{InvalidPublicUrl, PublicUrl};
pub(super) use error::{AuthError, AuthUnavailable};
pub(super) use ingest_tokens::IngestTokens;
pub(super) use layer::AuthLayer;
pub use login_code::LoginCode;
pub(super) use principal::Principal;
pub(super) use reader_tokens::ReaderTokens;
pub(super) use session::{LoginError, SetCookie};

/// The settings of authentication, beside the tokens in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// The URL of the page as browsers see it, if it is known: a proxy may stand before the backend.
    pub public_url: Option<PublicUrl>,
    /// The file of the senders' tokens; senders need no token if `None`.
    pub ingest_token_file: Option<PathBuf>,
    /// The file of readers' tokens, beside those in the store.
    pub reader_token_file: Option<PathBuf>,
    /// The code that signs in once, from the machine of the backend. No flag sets it: the demo does.
    pub login_code: Option<LoginCode>,
}

impl AuthConfig {
    /// Reads the token files, so that an error in one is reported before anything else starts. Blocks.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        IngestTokens::open(self.ingest_token_file.clone())?;
        ReaderTokens::open(self.reader_token_file.clone())?;
        Ok(())
    }

    /// Returns whether browsers reach the page over TLS, which the HTTP port itself may speak: then the session's
    /// cookie must not be sent without.
    pub(super) fn is_secure(&self, has_tls: bool) -> bool {
        self.public_url.as_ref().map_or(has_tls, PublicUrl::is_secure)
    }
}
