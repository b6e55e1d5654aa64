//! What stands before every route: who needs what is let in, what was read is logged before it is answered, and what
//! changes something before it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::audit_log::AuditLogWriter;
use super::cookie;
use super::csrf::{self, PublicUrl};
use super::error::{AuthError, AuthUnavailable, Respond};
use super::ingest_tokens::{IngestTokens, bearer};
use super::login_throttle::LoginThrottle;
use super::principal::{Credentials, Principal};
use super::token::prefix_of;
use super::token_file::ReaderTokens;
use crate::backend::auth::routes::{self, Route, RouteAccess};
use crate::backend::rate_limit::TokenBuckets;
use crate::backend::store::{AuditLogEntry, AuthStore, Digest, ReadError, StoredSession, Token, TokenRef};
use crate::backend::web;

/// Rows that one token may add to the audit log a second, through its sessions too, and in bursts of 20 s. A page asks
/// for one twice a minute, so that these are 150 open pages, and they are 432,000 a day.
const LOGGED: u32 = 5;

/// Knows who is let in.
pub(in crate::backend) struct AuthLayer {
    pub(super) access: Arc<dyn AuthStore>,
    reader_tokens: ReaderTokens,
    pub(super) recorder: AuditLogWriter,
    pub(super) attempts: LoginThrottle,
    /// What each token added to the log, by its prefix.
    logged: TokenBuckets<String>,
    pub(super) secure: bool,
    public_url: Option<PublicUrl>,
    ingest: IngestTokens,
}

/// The middleware. It needs the path that was matched, so it goes around the routes and not around their router.
async fn guard(State((guard, respond)): State<(Arc<AuthLayer>, Respond)>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        // There is no such path, and the fallback says so.
        return next.run(request).await;
    };
    match routes::find(request.method(), path.as_str()) {
        Some(route) => guard.pass(route, request, next).await.unwrap_or_else(respond),
        None => not_allowed(path.as_str()),
    }
}

impl AuthLayer {
    pub(in crate::backend) fn new(
        access: Arc<dyn AuthStore>,
        recorder: AuditLogWriter,
        public_url: Option<PublicUrl>,
        secure: bool,
        ingest: IngestTokens,
        reader_tokens: ReaderTokens,
    ) -> Self {
        let (attempts, logged) = (LoginThrottle::new(Instant::now()), TokenBuckets::new(LOGGED));
        Self { access, reader_tokens, recorder, attempts, logged, secure, public_url, ingest }
    }

    /// Forgets whom there is nothing to remember of.
    pub(in crate::backend) fn forget(&self, now: Instant) {
        self.attempts.forget(now);
        self.logged.evict(now);
    }

    /// Returns `routes` behind this layer, with errors rendered by `respond`.
    pub(in crate::backend) fn layer(self: &Arc<Self>, routes: Router, respond: fn(AuthError) -> Response) -> Router {
        routes.layer(from_fn_with_state((Arc::clone(self), respond), guard))
    }

    /// Lets a request in, or not.
    async fn pass(&self, route: &Route, request: Request, next: Next) -> Result<Response, AuthError> {
        match route.needs {
            RouteAccess::Nothing => Ok(next.run(request).await),
            RouteAccess::Sender if self.ingest.admits(request.headers()) => Ok(next.run(request).await),
            RouteAccess::Sender => Err(AuthError::SenderTokenRequired),
            RouteAccess::OwnPage => {
                self.check_host(&request)?;
                self.check_page(&request)?;
                Ok(next.run(request).await)
            }
            RouteAccess::Front | RouteAccess::Page(_) | RouteAccess::Api(_) => {
                self.check_host(&request)?;
                self.read(route, request, next).await
            }
        }
    }

    /// Runs what a reader asks for, and logs it.
    async fn read(&self, route: &Route, mut request: Request, next: Next) -> Result<Response, AuthError> {
        let reader = match (self.identify(request.headers()).await?, route.needs) {
            (Credentials::Principal(reader), _) => reader,
            (_, RouteAccess::Front) => return Ok(next.run(request).await),
            (_, RouteAccess::Page(_)) => return Err(AuthError::SignInFirst),
            (Credentials::Invalid, _) => return Err(AuthError::WrongToken),
            (Credentials::None, _) => return Err(AuthError::Nobody),
        };
        if reader.session.is_some() && !request.method().is_safe() {
            self.check_page(&request)?;
        }
        // What changes something is logged before it is done, too.
        let rows = if request.method().is_safe() { 1 } else { 2 };
        self.pace(&reader, rows).map_err(AuthError::RateLimited)?;
        let (who, has) = (reader.token.clone(), reader.role);
        let response = match route.needs {
            RouteAccess::Page(needed) | RouteAccess::Api(needed) if has < needed => {
                AuthError::Role { has, needed }.into_response()
            }
            _ => {
                let is_safe = request.method().is_safe();
                request.extensions_mut().insert(reader);
                if !is_safe {
                    return Ok(self.change(route, &who, request, next).await?);
                }
                next.run(request).await
            }
        };
        self.log(route, &who, Some(response.status())).await?;
        Ok(response)
    }

    /// Runs what changes something. That may be done whatever becomes of the connection and of us, so it is logged before;
    /// and it is not undone where only its result can't be logged, so it is answered then.
    async fn change(
        &self,
        route: &Route,
        who: &TokenRef,
        request: Request,
        next: Next,
    ) -> Result<Response, AuthUnavailable> {
        self.log(route, who, None).await?;
        let response = next.run(request).await;
        let _ = self.log(route, who, Some(response.status())).await;
        Ok(response)
    }

    /// Returns once it is in the log; without a status where the answer is still to come.
    async fn log(&self, route: &Route, who: &TokenRef, status: Option<StatusCode>) -> Result<(), AuthUnavailable> {
        let what = format!("{} {}", route.method, route.path);
        let status = status.map(|status| status.as_u16());
        let entry = AuditLogEntry { time: Timestamp::now(), who: Some(who.clone()), what, status, count: 1 };
        self.recorder.record(entry).await.map_err(|_| AuthUnavailable::NotLogged)
    }

    async fn identify(&self, headers: &HeaderMap) -> Result<Credentials, AuthUnavailable> {
        let now = Timestamp::now();
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let Some(text) = bearer(authorization.as_bytes()) else { return Ok(Credentials::Invalid) };
            let holder = self.token_holder(text, now).await?;
            return Ok(holder.map_or(Credentials::Invalid, Credentials::Principal));
        }
        let Some(secret) = cookie::read(headers, self.secure) else { return Ok(Credentials::None) };
        // Found by the digest of 256 random bits: the time of the search tells nothing of them.
        let stored = self.access.session(Digest::of(secret)).await.map_err(AuthUnavailable::other)?;
        let holder = stored.and_then(|stored| self.session_holder(stored, now));
        Ok(holder.map_or(Credentials::None, Credentials::Principal))
    }

    /// Returns whether any token is valid, in the store or in the file.
    pub(in crate::backend) async fn has_valid_token(&self) -> Result<bool, ReadError> {
        Ok(!self.reader_tokens.is_empty() || self.access.has_valid_token(Timestamp::now()).await?)
    }

    /// Returns the holder of the token with this whole text, if it is valid.
    pub(super) async fn token_holder(&self, text: &str, now: Timestamp) -> Result<Option<Principal>, AuthUnavailable> {
        let Some(prefix) = prefix_of(text) else { return Ok(None) };
        let stored = self.access.token(prefix.to_owned()).await.map_err(AuthUnavailable::other)?;
        Ok(self.verify(prefix, &Digest::of(text), stored, now))
    }

    fn session_holder(&self, stored: StoredSession, now: Timestamp) -> Option<Principal> {
        let StoredSession { session, token } = stored;
        let holder = self.verify(&session.token, &session.token_digest, token, now)?;
        (now < session.expires).then_some(Principal { session: Some(session.digest), ..holder })
    }

    /// Checks a token against the store's token of the same prefix or, if there is none, against the file.
    ///
    /// A token that is revoked or expired in the store is refused although the file lists it: nobody brings a revoked
    /// token back by accident.
    fn verify(
        &self,
        prefix: &str,
        digest: &Digest,
        stored: Option<(Token, Digest)>,
        now: Timestamp,
    ) -> Option<Principal> {
        let Some((token, known)) = stored else { return self.reader_tokens.find(prefix, digest) };
        self.reader_tokens.warn_of_refused(prefix, digest);
        (known.matches(digest) && token.is_valid(now)).then(|| token.into())
    }

    /// Counts rows that a token adds to the log, or says how long to wait where there were too many: that is not in the
    /// log, which must not grow with it.
    pub(super) fn pace(&self, reader: &Principal, rows: u32) -> Result<(), Duration> {
        self.logged.take(reader.token.token.clone(), rows, Instant::now())
    }

    /// Where the public URL is known, no other name leads here, whoever made it point to this address.
    fn check_host(&self, request: &Request) -> Result<(), AuthError> {
        match &self.public_url {
            Some(url) if !url.is_host_of(request) => Err(AuthError::Host(url.clone())),
            _ => Ok(()),
        }
    }

    /// A cookie goes with whatever a browser sends, so what changes something must come from our own page.
    fn check_page(&self, request: &Request) -> Result<(), AuthError> {
        if csrf::is_own(request, self.public_url.as_ref()) { Ok(()) } else { Err(AuthError::Foreign) }
    }
}

fn not_allowed(path: &str) -> Response {
    let allowed = routes::allowed(path);
    let told = format!("this path has no such method: expected {allowed}\n");
    let mut response = web::with_headers((StatusCode::METHOD_NOT_ALLOWED, told).into_response());
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;
    use crate::backend::store::SqliteStore;

    /// A guard before handlers that let in whoever reaches them.
    fn guarded(routes: Router) -> (Router, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let access: Arc<dyn AuthStore> = Arc::new(SqliteStore::open(&folder.path().join("access.db")).unwrap());
        let (recorder, _) = AuditLogWriter::new(Arc::clone(&access));
        let open = IngestTokens::open(None).unwrap();
        let guard = AuthLayer::new(access, recorder, None, false, open, ReaderTokens::open(None).unwrap());
        (Arc::new(guard).layer(routes, IntoResponse::into_response), folder)
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
        let (routes, _folder) = guarded(routes);
        assert_eq!(status(&routes, Request::get("/livez")).await, StatusCode::OK);
        for forgotten in [Request::delete("/livez"), Request::get("/forgotten"), Request::post("/below/livez")] {
            assert_eq!(status(&routes, forgotten).await, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}
