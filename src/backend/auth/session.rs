//! Login and logout: the way from a token to a session and back.

use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::{HeaderName, SET_COOKIE};
use jiff::{SignedDuration, Timestamp};

use super::cookie;
use super::error::AuthUnavailable;
use super::layer::AuthLayer;
use super::principal::Principal;
use super::token;
use crate::backend::rate_limit::ClientKey;
use crate::backend::store::{AuditLogEntry, Digest, Session, TokenRef};

/// The maximum length of a session, which ends earlier if its token does: a working day.
const MAX_SESSION: SignedDuration = SignedDuration::from_hours(12);

/// The audit log's entry for a login.
const LOGIN: &str = "POST /sign-in";

/// The header that sets or clears the cookie of a session.
pub(in crate::backend) type SetCookie = [(HeaderName, HeaderValue); 1];

/// An error that kept a session from being opened.
#[derive(Debug)]
pub(in crate::backend) enum LoginError {
    /// The token is unknown, expired or revoked.
    InvalidToken,
    /// The source had too many failed attempts, or the token is used too often; the next attempt is possible after this
    /// time.
    TooManyAttempts(Duration),
    /// The token cannot be looked up, or the session cannot be stored or logged.
    Unavailable(AuthUnavailable),
}

impl AuthLayer {
    /// Opens a session for the holder of the token `text`.
    pub(in crate::backend) async fn log_in(&self, source: ClientKey, text: &str) -> Result<SetCookie, LoginError> {
        let now = Timestamp::now();
        let text = text.trim();
        let Some(holder) = self.token_holder(text, now).await? else { return self.deny_login(source).await };
        self.check_rate(&holder, 1).map_err(LoginError::TooManyAttempts)?;
        let latest = now + MAX_SESSION;
        let expires = holder.expires.map_or(latest, |expires| expires.min(latest));
        let secret = token::session_secret().map_err(AuthUnavailable::other)?;
        let token = holder.token.token.clone();
        let session = Session { digest: Digest::of(&secret), token, token_digest: Digest::of(text), expires };
        // The token may have been revoked since it was looked up.
        if !self.auth_store.open_session(session, now).await.map_err(AuthUnavailable::other)? {
            return self.deny_login(source).await;
        }
        self.log_login(Some(holder.token), 303).await?;
        Ok(header(cookie::set(&secret, expires.duration_since(now).as_secs(), self.is_secure))?)
    }

    /// Counts and logs a failed login. Those beyond the bound are not logged: a flood of them must not cost a write each.
    async fn deny_login(&self, source: ClientKey) -> Result<SetCookie, LoginError> {
        self.login_throttle.failed(source, Instant::now()).map_err(LoginError::TooManyAttempts)?;
        self.log_login(None, 401).await?;
        Err(LoginError::InvalidToken)
    }

    /// Ends the session of `principal`, if it has one.
    pub(in crate::backend) async fn log_out(&self, principal: &Principal) -> Result<SetCookie, AuthUnavailable> {
        if let Some(session) = principal.session {
            self.auth_store.close_session(session).await.map_err(AuthUnavailable::other)?;
        }
        header(cookie::clear(self.is_secure))
    }

    /// Logs a login. Of one that failed, neither the text nor the source is logged.
    async fn log_login(&self, who: Option<TokenRef>, status: u16) -> Result<(), AuthUnavailable> {
        let entry =
            AuditLogEntry { time: Timestamp::now(), who, what: LOGIN.to_owned(), status: Some(status), count: 1 };
        self.audit_log.record(entry).await.map_err(|_| AuthUnavailable::NotLogged)
    }
}

fn header(cookie: Option<HeaderValue>) -> Result<SetCookie, AuthUnavailable> {
    Ok([(SET_COOKIE, cookie.ok_or_else(|| AuthUnavailable::other("the cookie is no header"))?)])
}

impl From<AuthUnavailable> for LoginError {
    fn from(error: AuthUnavailable) -> Self {
        Self::Unavailable(error)
    }
}
