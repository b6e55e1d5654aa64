//! Login and logout: the way from a token to a session and back.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::HeaderValue;
use http::header::{HeaderName, SET_COOKIE};
use jiff::SignedDuration;

use super::cookie;
use super::error::AuthUnavailable;
use super::layer::AuthLayer;
use super::principal::Principal;
use super::token;
use crate::backend::rate_limit::ClientKey;
use crate::backend::store::{AuditLogEntry, Digest, Session};

/// The maximum length of a session, which ends earlier if its token does: a working day.
const MAX_SESSION: SignedDuration = SignedDuration::from_hours(12);

/// The audit log's entry for a login with a token.
const LOGIN: &str = "POST /sign-in";

/// The audit log's entry for a login with a code, which is not recorded.
const CODE_LOGIN: &str = "GET /sign-in/{code}";

/// The header that sets or clears the cookie of a session.
pub(in crate::backend) type SetCookie = [(HeaderName, HeaderValue); 1];

/// An error that kept a session from being opened.
#[derive(Debug)]
pub(in crate::backend) enum LoginError {
    /// The token is unknown, expired or revoked, or there is no such code.
    InvalidToken,
    /// The client had too many failed attempts, or the token is used too often; the next attempt is possible after this
    /// time.
    TooManyAttempts(Duration),
    /// The token cannot be looked up, or the session cannot be stored or logged.
    Unavailable(AuthUnavailable),
}

impl AuthLayer {
    /// Opens a session for the holder of the token `text`.
    pub(in crate::backend) async fn log_in(&self, client: ClientKey, text: &str) -> Result<SetCookie, LoginError> {
        self.open_session(client, text.trim(), LOGIN).await
    }

    /// Opens a session for the holder of the token that the login code `code` stands for. A code that is used up by a
    /// failure stays used.
    pub(in crate::backend) async fn log_in_by_code(
        &self,
        client: ClientKey,
        peer: IpAddr,
        code: &str,
    ) -> Result<SetCookie, LoginError> {
        match self.login_code.take(peer, code) {
            Some(token) => self.open_session(client, &token, CODE_LOGIN).await,
            None => self.deny_login(client, CODE_LOGIN).await,
        }
    }

    async fn open_session(&self, client: ClientKey, text: &str, action: &str) -> Result<SetCookie, LoginError> {
        let now = self.clock.now();
        let Some(holder) = self.token_holder(text, now).await? else { return self.deny_login(client, action).await };
        self.check_rate(&holder, 1).map_err(LoginError::TooManyAttempts)?;
        let latest = now + MAX_SESSION;
        let expires = holder.expires.map_or(latest, |expires| expires.min(latest));
        let secret = token::random_secret().map_err(AuthUnavailable::other)?;
        let token = holder.token.token.clone();
        let session = Session { digest: Digest::of(&secret), token, token_digest: Digest::of(text), expires };
        // The token may have been revoked since it was looked up.
        if !self.auth_store.open_session(session, now).await.map_err(AuthUnavailable::other)? {
            return self.deny_login(client, action).await;
        }
        self.record_login(action, Some(holder), 303).await?;
        Ok(header(cookie::set(&secret, expires.duration_since(now).as_secs(), self.is_secure))?)
    }

    /// Counts and records a failed login. Failures over the limit are not recorded, so that a flood costs no writes.
    async fn deny_login(&self, client: ClientKey, action: &str) -> Result<SetCookie, LoginError> {
        self.login_throttle.failed(client, Instant::now()).map_err(LoginError::TooManyAttempts)?;
        self.record_login(action, None, 401).await?;
        Err(LoginError::InvalidToken)
    }

    /// Ends the session of `principal`, if it has one.
    pub(in crate::backend) async fn log_out(&self, principal: &Principal) -> Result<SetCookie, AuthUnavailable> {
        if let Some(session) = principal.session {
            self.auth_store.close_session(session).await.map_err(AuthUnavailable::other)?;
        }
        header(cookie::clear(self.is_secure))
    }

    /// Records a login. The token and the client of a failed login are not recorded.
    async fn record_login(&self, action: &str, actor: Option<Principal>, status: u16) -> Result<(), AuthUnavailable> {
        let (actor, role) = actor.map(|actor| (actor.token, actor.role)).unzip();
        let entry =
            AuditLogEntry { time: self.clock.now(), actor, action: action.to_owned(), status: Some(status), count: 1 };
        self.audit_log.record(entry, role).await.map_err(|_| AuthUnavailable::AuditLog)
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
