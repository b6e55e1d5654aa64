//! From a token to a session, and back to nothing.

use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::{HeaderName, SET_COOKIE};
use jiff::Timestamp;

use super::{AuthLayer, AuthUnavailable, Principal, SESSION, cookie, token};
use crate::backend::rate_limit::ClientKey;
use crate::backend::store::{AuditLogEntry, Digest, Session};

/// How the log calls it.
const SIGN_IN: &str = "POST /sign-in";

/// The header that opens or ends a session in a browser.
pub(in crate::backend) type SignedIn = [(HeaderName, HeaderValue); 1];

/// Why there is no session.
#[derive(Debug)]
pub(in crate::backend) enum LoginError {
    /// There is no such token, or it has ended.
    Unknown,
    /// There is no such token, and there were too many attempts, or its token is used too often; the next may be made
    /// after this time.
    TooMany(Duration),
    /// It could not be looked up, opened or logged.
    AuthUnavailable(AuthUnavailable),
}

impl AuthLayer {
    /// Opens a session for who has a token.
    pub(in crate::backend) async fn sign_in(&self, from: ClientKey, text: &str) -> Result<SignedIn, LoginError> {
        let now = Timestamp::now();
        let text = text.trim();
        let Some(token) = self.token(text, now).await? else { return self.denied(from).await };
        self.pace(&token, 1).map_err(LoginError::TooMany)?;
        let longest = now + SESSION;
        let expires = token.expires.map_or(longest, |expires| expires.min(longest));
        let secret = token::session().map_err(AuthUnavailable::other)?;
        let session = Session { digest: Digest::of(&secret), token: token.prefix.clone(), expires };
        // The token may have got another secret since it was looked up, or have ended.
        if !self.access.open_session(session, Digest::of(text), now).await.map_err(AuthUnavailable::other)? {
            return self.denied(from).await;
        }
        self.log_attempt(Some(&Principal { token, session: None }), 303).await?;
        Ok(header(cookie::set(&secret, expires.duration_since(now).as_secs(), self.secure))?)
    }

    /// Those beyond the bound on attempts are not in the log: a flood of them must not cost a write each.
    async fn denied(&self, from: ClientKey) -> Result<SignedIn, LoginError> {
        self.attempts.failed(from, Instant::now()).map_err(LoginError::TooMany)?;
        self.log_attempt(None, 401).await?;
        Err(LoginError::Unknown)
    }

    /// Ends the session of a reader, if it reads through one.
    pub(in crate::backend) async fn sign_out(&self, reader: &Principal) -> Result<SignedIn, AuthUnavailable> {
        if let Some(session) = reader.session {
            self.access.close_session(session).await.map_err(AuthUnavailable::other)?;
        }
        header(cookie::clear(self.secure))
    }

    /// Nobody is known where it failed: neither what was typed nor from where is kept.
    async fn log_attempt(&self, reader: Option<&Principal>, status: u16) -> Result<(), AuthUnavailable> {
        let who = reader.map(|reader| reader.token.who());
        let entry =
            AuditLogEntry { time: Timestamp::now(), who, what: SIGN_IN.to_owned(), status: Some(status), count: 1 };
        self.recorder.record(entry).await.map_err(|_| AuthUnavailable::NotLogged)
    }
}

fn header(cookie: Option<HeaderValue>) -> Result<SignedIn, AuthUnavailable> {
    Ok([(SET_COOKIE, cookie.ok_or_else(|| AuthUnavailable::other("the cookie is no header"))?)])
}

impl From<AuthUnavailable> for LoginError {
    fn from(failed: AuthUnavailable) -> Self {
        Self::AuthUnavailable(failed)
    }
}
