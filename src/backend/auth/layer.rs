//! The layer in front of every route: authorizes requests by the route table and records those of readers.
//!
//! A read is recorded before the response is sent, and a change before it is applied.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::audit_log::AuditLogWriter;
use super::cookie;
use super::csrf::{self, PublicUrl};
use super::error::{AuthError, AuthUnavailable, Respond};
use super::ingest_tokens::{IngestTokens, bearer};
use super::login_code::{LoginCode, UnusedLoginCode};
use super::login_throttle::LoginThrottle;
use super::principal::{Credentials, Principal};
use super::reader_tokens::ReaderTokens;
use super::routes::{self, Route, RouteAccess};
use super::token::prefix_of;
use crate::backend::clock::Clock;
use crate::backend::rate_limit::TokenBuckets;
use crate::backend::store::{AuditLogEntry, AuthStore, Digest, ReadError, StoredSession, Token};

/// The audit log entries that one token may add per second, sessions included, with a burst of 20 s' worth. A page adds
/// two a minute, so this is enough for 150 open pages. It is 432,000 entries a day.
const MAX_LOG_ENTRIES_PER_SECOND: u32 = 5;

/// The authorization layer of the HTTP routes.
pub(in crate::backend) struct AuthLayer {
    pub(super) auth_store: Arc<dyn AuthStore>,
    pub(super) audit_log: AuditLogWriter,
    pub(super) login_throttle: LoginThrottle,
    pub(super) login_code: UnusedLoginCode,
    /// The entries that each token added to the audit log, by its prefix.
    log_entries: TokenBuckets<String>,
    pub(super) is_secure: bool,
    public_url: Option<PublicUrl>,
    ingest_tokens: IngestTokens,
    reader_tokens: ReaderTokens,
    pub(super) clock: Clock,
}

/// The middleware. It needs the matched path, so it is a layer of the routes and not of their router.
async fn authorize(State((auth, respond)): State<(Arc<AuthLayer>, Respond)>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        // No route has this path: the fallback responds.
        return next.run(request).await;
    };
    let Some(route) = routes::find(request.method(), path.as_str()) else {
        return respond(AuthError::MethodNotAllowed(routes::allowed(path.as_str())));
    };
    auth.authorize(route, request, next).await.unwrap_or_else(respond)
}

impl AuthLayer {
    /// Creates the layer. `is_secure` says whether the session's cookie is bound to TLS.
    pub(in crate::backend) fn new(
        auth_store: Arc<dyn AuthStore>,
        audit_log: AuditLogWriter,
        public_url: Option<PublicUrl>,
        is_secure: bool,
        ingest_tokens: IngestTokens,
        reader_tokens: ReaderTokens,
        clock: Clock,
    ) -> Self {
        let login_throttle = LoginThrottle::new(Instant::now());
        let log_entries = TokenBuckets::new(MAX_LOG_ENTRIES_PER_SECOND);
        Self {
            auth_store,
            audit_log,
            login_throttle,
            login_code: UnusedLoginCode::new(None),
            log_entries,
            is_secure,
            public_url,
            ingest_tokens,
            reader_tokens,
            clock,
        }
    }

    /// Returns the layer with a code that signs in once, if there is one.
    #[must_use]
    pub(in crate::backend) fn with_login_code(self, code: Option<LoginCode>) -> Self {
        Self { login_code: UnusedLoginCode::new(code), ..self }
    }

    /// Forgets the sources and tokens that are within their limits again.
    pub(in crate::backend) fn evict(&self, now: Instant) {
        self.login_throttle.evict(now);
        self.log_entries.evict(now);
    }

    /// Returns `routes` behind this layer, with errors rendered by `respond`.
    pub(in crate::backend) fn layer(self: &Arc<Self>, routes: Router, respond: Respond) -> Router {
        routes.layer(from_fn_with_state((Arc::clone(self), respond), authorize))
    }

    async fn authorize(&self, route: &Route, request: Request, next: Next) -> Result<Response, AuthError> {
        match route.access {
            RouteAccess::Public => Ok(next.run(request).await),
            RouteAccess::Sender if self.ingest_tokens.authorizes(request.headers()) => Ok(next.run(request).await),
            RouteAccess::Sender => Err(AuthError::SenderTokenRequired),
            RouteAccess::LoginLink => {
                self.check_host(&request)?;
                Ok(next.run(request).await)
            }
            RouteAccess::SameOrigin => {
                self.check_host(&request)?;
                self.check_origin(&request)?;
                Ok(next.run(request).await)
            }
            RouteAccess::FrontPage | RouteAccess::Page(_) | RouteAccess::Api(_) => {
                self.check_host(&request)?;
                self.authorize_reader(route, request, next).await
            }
        }
    }

    /// Runs the request of a reader, and records it.
    async fn authorize_reader(&self, route: &Route, mut request: Request, next: Next) -> Result<Response, AuthError> {
        let principal = match (self.authenticate(request.headers()).await?, route.access) {
            (Credentials::Principal(principal), _) => principal,
            // The handler shows the login form to a request without a principal.
            (_, RouteAccess::FrontPage) => return Ok(next.run(request).await),
            (_, RouteAccess::Page(_)) => return Err(AuthError::LoginRequired),
            (Credentials::Invalid, _) => return Err(AuthError::InvalidToken),
            (Credentials::None, _) => return Err(AuthError::TokenRequired),
        };
        let is_safe = request.method().is_safe();
        if principal.session.is_some() && !is_safe {
            self.check_origin(&request)?;
        }
        // A change is recorded before it is applied, and again with its status.
        self.check_rate(&principal, if is_safe { 1 } else { 2 }).map_err(AuthError::RateLimited)?;
        let (actor, has) = (principal.clone(), principal.role);
        if let RouteAccess::Page(needed) | RouteAccess::Api(needed) = route.access
            && has < needed
        {
            let error = AuthError::Role { has, needed };
            self.record(route, &actor, Some(error.status())).await?;
            return Err(error);
        }
        request.extensions_mut().insert(principal);
        if !is_safe {
            return Ok(self.run_change(route, &actor, request, next).await?);
        }
        let response = next.run(request).await;
        self.record(route, &actor, Some(response.status())).await?;
        Ok(response)
    }

    /// Runs a request that changes something.
    ///
    /// The change may be applied even if the connection or the process ends, so it is recorded first. If only its
    /// result can't be recorded, the response is sent all the same, because the change is not undone.
    async fn run_change(
        &self,
        route: &Route,
        actor: &Principal,
        request: Request,
        next: Next,
    ) -> Result<Response, AuthUnavailable> {
        self.record(route, actor, None).await?;
        let response = next.run(request).await;
        let _ = self.record(route, actor, Some(response.status())).await;
        Ok(response)
    }

    /// Adds an entry to the audit log, without a status if the response is still to come. Returns once it is stored.
    async fn record(
        &self,
        route: &Route,
        actor: &Principal,
        status: Option<StatusCode>,
    ) -> Result<(), AuthUnavailable> {
        let action = format!("{} {}", route.method, route.path);
        let (token, status) = (actor.token.clone(), status.map(|status| status.as_u16()));
        let entry = AuditLogEntry { time: self.clock.now(), actor: Some(token), action, status, count: 1 };
        self.audit_log.record(entry, Some(actor.role)).await.map_err(|_| AuthUnavailable::AuditLog)
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Credentials, AuthUnavailable> {
        let now = self.clock.now();
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let Some(text) = bearer(authorization.as_bytes()) else { return Ok(Credentials::Invalid) };
            let holder = self.token_holder(text, now).await?;
            return Ok(holder.map_or(Credentials::Invalid, Credentials::Principal));
        }
        let Some(secret) = cookie::read(headers, self.is_secure) else { return Ok(Credentials::None) };
        // Found by the digest of 256 random bits: the time of the search tells nothing of them.
        let stored = self.auth_store.session(Digest::of(secret)).await.map_err(AuthUnavailable::other)?;
        let holder = stored.and_then(|stored| self.session_holder(stored, now));
        Ok(holder.map_or(Credentials::None, Credentials::Principal))
    }

    /// Returns whether any token is valid, in the store or in the file.
    pub(in crate::backend) async fn has_valid_token(&self) -> Result<bool, ReadError> {
        Ok(!self.reader_tokens.is_empty() || self.auth_store.has_valid_token(self.clock.now()).await?)
    }

    /// Returns the holder of the token with this whole text, if it is valid.
    pub(super) async fn token_holder(&self, text: &str, now: Timestamp) -> Result<Option<Principal>, AuthUnavailable> {
        let Some(prefix) = prefix_of(text) else { return Ok(None) };
        let stored = self.auth_store.token(prefix.to_owned()).await.map_err(AuthUnavailable::other)?;
        Ok(self.verify(prefix, &Digest::of(text), stored, now))
    }

    fn session_holder(&self, stored: StoredSession, now: Timestamp) -> Option<Principal> {
        let StoredSession { session, token } = stored;
        let holder = self.verify(&session.token, &session.token_digest, token, now)?;
        (now < session.expires).then_some(Principal { session: Some(session.digest), ..holder })
    }

    /// Checks a token against the store's token of the same prefix or, if there is none, against the file.
    ///
    /// A token that is revoked or expired in the store is rejected although the file lists it, so that a revoked
    /// token isn't brought back by accident.
    fn verify(
        &self,
        prefix: &str,
        digest: &Digest,
        stored: Option<(Token, Digest)>,
        now: Timestamp,
    ) -> Option<Principal> {
        let Some((token, known)) = stored else { return self.reader_tokens.find(prefix, digest) };
        self.reader_tokens.warn_of_prefix_conflict(prefix, digest);
        (known.matches(digest) && token.is_valid(now)).then(|| token.into())
    }

    /// Counts entries that a token adds to the audit log, or returns the time to wait if there are too many. A request
    /// over the limit is not recorded, so that the log stays bounded.
    pub(super) fn check_rate(&self, principal: &Principal, entries: u32) -> Result<(), Duration> {
        self.log_entries.take(principal.token.token.clone(), entries, Instant::now())
    }

    /// Fails if the public URL is known and the request is for another host: no other name may lead here.
    fn check_host(&self, request: &Request) -> Result<(), AuthError> {
        match &self.public_url {
            Some(url) if !url.is_host_of(request) => Err(AuthError::Host(url.clone())),
            _ => Ok(()),
        }
    }

    /// Fails if no page of this backend sent the request: a browser adds the cookie to the requests of any page.
    fn check_origin(&self, request: &Request) -> Result<(), AuthError> {
        if csrf::is_same_origin(request, self.public_url.as_ref()) { Ok(()) } else { Err(AuthError::CrossOrigin) }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::response::IntoResponse;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;
    use crate::backend::store::SqliteStore;

    /// Returns `routes` behind a layer, and the directory of its store.
    fn behind_layer(routes: Router) -> (Router, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let auth_store: Arc<dyn AuthStore> = Arc::new(SqliteStore::open(&folder.path().join("auth.db")).unwrap());
        let (audit_log, _) = AuditLogWriter::new(Arc::clone(&auth_store));
        let (ingest_tokens, reader_tokens) = (IngestTokens::open(None).unwrap(), ReaderTokens::open(None).unwrap());
        let auth = AuthLayer::new(auth_store, audit_log, None, false, ingest_tokens, reader_tokens, Clock::default());
        (Arc::new(auth).layer(routes, IntoResponse::into_response), folder)
    }

    async fn status(routes: &Router, request: http::request::Builder) -> StatusCode {
        routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_handler_without_an_entry_in_the_table_is_never_reached() {
        let handler = async || "let in";
        let routes = Router::new()
            .route("/livez", get(handler).delete(handler))
            .route("/forgotten", get(handler))
            .nest("/below", Router::new().route("/livez", post(handler)));
        let (routes, _folder) = behind_layer(routes);
        assert_eq!(status(&routes, Request::get("/livez")).await, StatusCode::OK);
        for forgotten in [Request::delete("/livez"), Request::get("/forgotten"), Request::post("/below/livez")] {
            assert_eq!(status(&routes, forgotten).await, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}
