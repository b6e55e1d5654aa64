//! What stands before every route: who needs what is let in, and what was read is logged before it is answered.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;

use super::attempts::Attempts;
use super::ingest::{EXPECTED, IngestTokens, bearer};
use super::origin::{self, PublicUrl};
use super::recorder::Recorder;
use super::token::prefix_of;
use super::{Entrance, Reader, cookie};
use crate::backend::accounts::{self, Transport};
use crate::backend::receive;
use crate::backend::routes::{self, Needs, Route};
use crate::backend::store::{Access, Digest, LogEntry, Role, Token};
use crate::backend::web;

/// Knows who is let in.
pub(in crate::backend) struct Guard {
    pub(super) access: Arc<dyn Access>,
    pub(super) recorder: Recorder,
    pub(super) attempts: Attempts,
    pub(super) secure: bool,
    public_url: Option<PublicUrl>,
    ingest: IngestTokens,
}

/// Who sent a request, as far as it says.
enum Identity {
    Nobody,
    /// The token is unknown or has ended.
    Wrong,
    Reader(Reader),
}

/// Something is wrong on our side, and nothing is shown: the log says what, the reader only that.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend) enum Failed {
    /// What is not in the access log is not answered.
    NotLogged,
    /// Anything else, logged already.
    Other,
}

/// The middleware. It needs the path that was matched, so it goes around the routes and not around their router.
pub(in crate::backend) async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        // There is no such path, and the fallback says so.
        return next.run(request).await;
    };
    match routes::find(request.method(), path.as_str()) {
        Some(route) => guard.pass(route, request, next).await.unwrap_or_else(web::with_headers),
        None => not_allowed(path.as_str()),
    }
}

impl Guard {
    pub(in crate::backend) fn new(
        access: Arc<dyn Access>,
        recorder: Recorder,
        entrance: &Entrance,
        ingest: IngestTokens,
    ) -> Self {
        let attempts = Attempts::new(Instant::now());
        let (secure, public_url) = (entrance.is_secure(), entrance.public_url.clone());
        Self { access, recorder, attempts, secure, public_url, ingest }
    }

    /// Lets a request in, or gives what it is refused with.
    async fn pass(&self, route: &Route, request: Request, next: Next) -> Result<Response, Response> {
        match route.needs {
            Needs::Nothing => Ok(next.run(request).await),
            Needs::Sender if self.ingest.admit(request.headers()) => Ok(next.run(request).await),
            Needs::Sender => Ok(refuse_sender(route)),
            Needs::OwnPage => {
                self.check_host(&request)?;
                self.check_page(&request)?;
                Ok(next.run(request).await)
            }
            Needs::Front | Needs::Page(_) | Needs::Api(_) => {
                self.check_host(&request)?;
                self.read(route, request, next).await
            }
        }
    }

    /// Runs what a reader asks for, and logs it.
    async fn read(&self, route: &Route, mut request: Request, next: Next) -> Result<Response, Response> {
        let identity = self.identify(request.headers()).await.map_err(IntoResponse::into_response)?;
        let reader = match (identity, route.needs) {
            (Identity::Reader(reader), _) => reader,
            (_, Needs::Front) => return Ok(next.run(request).await),
            (_, Needs::Page(_)) => return Err(Redirect::to("/").into_response()),
            (Identity::Wrong, _) => return Err(unauthorized("error=\"invalid_token\"", WRONG)),
            (Identity::Nobody, _) => return Err(unauthorized("realm=\"kamaji-telemetry\"", NEEDED)),
        };
        if reader.session.is_some() && !request.method().is_safe() {
            self.check_page(&request)?;
        }
        let response = match route.needs {
            Needs::Page(role) | Needs::Api(role) if reader.token.role < role => forbidden(&reader.token, role),
            _ => {
                request.extensions_mut().insert(reader.clone());
                next.run(request).await
            }
        };
        let entry = LogEntry {
            time: Timestamp::now(),
            who: Some(reader.token.who()),
            what: format!("{} {}", route.method, route.path),
            status: Some(response.status().as_u16()),
            count: 1,
        };
        self.recorder.record(entry).await.map_err(|_| Failed::NotLogged.into_response())?;
        Ok(response)
    }

    async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Failed> {
        let now = Timestamp::now();
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let Some(text) = bearer(authorization.as_bytes()) else { return Ok(Identity::Wrong) };
            let token = self.token(text, now).await?;
            return Ok(token.map_or(Identity::Wrong, |token| Identity::Reader(Reader { token, session: None })));
        }
        let Some(secret) = cookie::read(headers, self.secure) else { return Ok(Identity::Nobody) };
        // Found by the digest of 256 random bits: how long that takes tells nothing of them.
        let digest = Digest::of(secret);
        let session = self.access.session(digest).await.map_err(Failed::other)?;
        let valid = session.filter(|(expires, token)| now < *expires && token.is_valid(now));
        Ok(valid.map_or(Identity::Nobody, |(_, token)| Identity::Reader(Reader { token, session: Some(digest) })))
    }

    /// The token whose whole text this is, where it opens anything.
    pub(super) async fn token(&self, text: &str, now: Timestamp) -> Result<Option<Token>, Failed> {
        let Some(prefix) = prefix_of(text) else { return Ok(None) };
        let known = self.access.token(prefix.to_owned()).await.map_err(Failed::other)?;
        let valid = known.filter(|(token, digest)| digest.matches(&Digest::of(text)) && token.is_valid(now));
        Ok(valid.map(|(token, _)| token))
    }

    /// Where the public URL is known, no other name leads here, whoever made it point to this address.
    fn check_host(&self, request: &Request) -> Result<(), Response> {
        match &self.public_url {
            Some(url) if !url.is_host_of(request) => {
                let told = format!("this is {url}, and is served under no other name (--public-url)\n");
                Err((StatusCode::MISDIRECTED_REQUEST, told).into_response())
            }
            _ => Ok(()),
        }
    }

    /// A cookie goes with whatever a browser sends, so what changes something must come from our own page.
    fn check_page(&self, request: &Request) -> Result<(), Response> {
        if origin::is_own(request, self.public_url.as_ref()) {
            return Ok(());
        }
        Err((StatusCode::FORBIDDEN, FOREIGN).into_response())
    }
}

const NEEDED: &str = "a token is needed: expected `Authorization: Bearer TOKEN`; whoever runs this backend makes one with \
                      `kamaji-telemetry backend token create`\n";

const WRONG: &str =
    "the token is unknown, expired or revoked: expected `Authorization: Bearer TOKEN` with one that is not\n";

const FOREIGN: &str = "this was not sent by a page of this backend: expected a browser on that page, which says so in \
                       Sec-Fetch-Site or Origin. Where a proxy changes the name of the host, --public-url tells the \
                       right one; a program sends a token instead\n";

fn unauthorized(challenge: &str, told: &'static str) -> Response {
    let mut response = (StatusCode::UNAUTHORIZED, told).into_response();
    if let Ok(challenge) = HeaderValue::try_from(format!("Bearer {challenge}")) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn forbidden(token: &Token, needed: Role) -> Response {
    let told = format!("the role {} is too small: expected a token with the role {needed}\n", token.role);
    web::with_headers((StatusCode::FORBIDDEN, told).into_response())
}

/// In the form that senders of the route understand. The body was not looked at.
fn refuse_sender(route: &Route) -> Response {
    let (transport, mut response) = if route.path.starts_with("/v1/") {
        (Transport::Http, receive::http::unauthenticated(EXPECTED))
    } else {
        (Transport::Kamaji, (StatusCode::UNAUTHORIZED, format!("{EXPECTED}\n")).into_response())
    };
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    accounts::answered(transport, response.status().as_str().to_owned());
    response
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

impl Failed {
    /// Logs what the reader is not told.
    pub(in crate::backend) fn other(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a reader could not be answered");
        Self::Other
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let told = match self {
            Self::NotLogged => "what is read has to be logged, and that fails at the moment: see the backend's log\n",
            Self::Other => "the store cannot be used at the moment: see the backend's log\n",
        };
        (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
    }
}
