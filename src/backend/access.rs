//! Who is let in, and what of it is written down.
//!
//! ```text
//! request ──▶ limits ──▶ guard ──▶ handler ──▶ recorder ──▶ answer
//!                        │ the table of routes says what each needs; a route that is not in it is closed
//!                        ├ ingest: nothing, or a token of a file
//!                        └ reading: a token (Bearer), made by hand or listed in a file, or a session (cookie) made from
//!                          one on the sign-in page
//! ```
//!
//! Nothing that was read is answered before it is in the access log, and nothing is changed before that is.

mod attempts;
mod cookie;
mod followed;
pub(super) mod guard;
pub(super) mod ingest;
mod listed;
mod origin;
mod recorder;
mod refusal;
mod sign_in;
pub mod token;

use std::path::PathBuf;

use jiff::SignedDuration;

use super::store::{Digest, Token};

pub(super) use guard::Guard;
pub(super) use ingest::IngestTokens;
pub(super) use listed::ListedTokens;
pub use origin::{InvalidPublicUrl, PublicUrl};
pub(super) use recorder::Recorder;
pub(super) use refusal::Failed;
pub(super) use sign_in::Denied;

/// How long a session lasts, unless its token ends before: a working day.
const SESSION: SignedDuration = SignedDuration::from_hours(12);

/// What the operator says about the way in, beside the tokens in the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entrance {
    /// The URL that browsers know the page by, where it is told: a proxy may stand before it.
    pub public_url: Option<PublicUrl>,
    /// The file of the tokens that senders must have one of; ingest is open if `None`.
    pub ingest_token_file: Option<PathBuf>,
    /// The file of tokens that readers may have beside those made by hand; there are none such if `None`.
    pub reader_token_file: Option<PathBuf>,
}

/// Who reads.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    /// The token, used directly or through a session.
    pub(super) token: Token,
    /// The session, if there is one.
    pub(super) session: Option<Digest>,
}

impl Entrance {
    /// Reads the files of tokens, so that what is wrong with one is told before anything else begins. Blocks.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        IngestTokens::open(self.ingest_token_file.clone())?;
        Ok(ListedTokens::check(self.reader_token_file.as_deref())?)
    }

    /// Whether browsers reach the page over TLS, which the HTTP port itself may speak: then the cookie must not leave it.
    pub(super) fn is_secure(&self, has_tls: bool) -> bool {
        self.public_url.as_ref().map_or(has_tls, PublicUrl::is_secure)
    }
}
