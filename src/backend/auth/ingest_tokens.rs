//! The tokens of senders: ingest is open to all unless the operator gives a file of them.

use crate::process::lock;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio_util::sync::CancellationToken;

use super::error::{AuthError, Respond};
use super::followed::Followed;
use crate::backend::metrics::TokenFile;
use crate::backend::reload::{self, FileWatcher};
use crate::backend::store::Digest;

/// How often the file is read again: soon enough to wait for, and reading a small file costs nothing.
const EVERY: Duration = Duration::from_secs(5);

/// The fewest characters of a token: 96 bits where they are hexadecimal digits, of which nobody guesses any.
const MIN_LENGTH: usize = 24;

/// The senders' tokens, or none, where all may send.
#[derive(Debug, Clone)]
pub(in crate::backend) struct IngestTokens(Option<Arc<Tokens>>);

#[derive(Debug)]
struct Tokens {
    path: PathBuf,
    digests: RwLock<Vec<Digest>>,
}

/// Why a file gives no tokens.
#[derive(Debug, thiserror::Error)]
#[error("--ingest-token-file {}: {cause}", path.display())]
pub(in crate::backend) struct IngestTokensError {
    path: PathBuf,
    cause: IngestTokensCause,
}

#[derive(Debug, thiserror::Error)]
enum IngestTokensCause {
    #[error("{0}; expected a file of tokens, one a line")]
    File(#[from] std::io::Error),
    #[error("it holds no token; expected at least one, each on a line of its own")]
    Empty,
    #[error(
        "line {0} is no token; expected {MIN_LENGTH} or more letters, digits or punctuation marks, such as `openssl rand -hex 32` gives"
    )]
    Line(usize),
    #[error("line {0} repeats a token")]
    Repeated(usize),
}

impl IngestTokens {
    /// Reads the file, if there is to be one. Blocks.
    pub(in crate::backend) fn open(file: Option<PathBuf>) -> Result<Self, IngestTokensError> {
        let Some(path) = file else { return Ok(Self(None)) };
        let digests = RwLock::new(read(&path)?);
        Ok(Self(Some(Arc::new(Tokens { path, digests }))))
    }

    /// Returns `routes` behind a check of the sender's token, with errors rendered by `respond`.
    pub(in crate::backend) fn layer(self, routes: Router, respond: fn(AuthError) -> Response) -> Router {
        routes.layer(from_fn_with_state((self, respond), guard))
    }

    /// Whether a request with these headers may send. It is compared with every token, however early one fits.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(tokens) = &self.0 else { return true };
        let token = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let Some(digest) = token.map(Digest::of) else { return false };
        // A list is replaced as a whole, whatever happened to another holder.
        let digests = lock::read(&tokens.digests);
        digests.iter().fold(false, |admitted, known| admitted | known.matches(&digest))
    }

    /// Reads the file again and again until `shutdown`. What can't be read leaves the tokens as they were.
    pub(in crate::backend) async fn follow(self, shutdown: CancellationToken) {
        let Some(tokens) = self.0 else { return };
        let path = tokens.path.clone();
        let mut follower = FileWatcher::new(EVERY, shutdown, move || read(&path));
        let mut file = Followed::new(TokenFile::Ingest, EVERY);
        while let Some(digests) = follower.changed().await {
            if let Some(digests) = file.take(digests) {
                tokens.replace(digests);
            }
        }
    }
}

async fn guard(State((tokens, respond)): State<(IngestTokens, Respond)>, request: Request, next: Next) -> Response {
    if tokens.admit(request.headers()) { next.run(request).await } else { respond(AuthError::SenderTokenRequired) }
}

impl Tokens {
    fn replace(&self, digests: &[Digest]) {
        let mut known = lock::write(&self.digests);
        if known.as_slice() != digests {
            tracing::info!(tokens = digests.len(), "the senders' tokens were read again");
            *known = digests.to_vec();
        }
    }
}

/// The token in a value of the header `Authorization`.
pub(super) fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn read(path: &Path) -> Result<Vec<Digest>, IngestTokensError> {
    let text = reload::read_text(path).map_err(IngestTokensCause::from);
    text.and_then(|text| parse(&text)).map_err(|cause| IngestTokensError { path: path.to_owned(), cause })
}

/// A token a line; empty lines and those that begin with `#` are none.
fn parse(text: &str) -> Result<Vec<Digest>, IngestTokensCause> {
    let mut digests = Vec::new();
    let mut seen = HashSet::new();
    let lines = (1..).zip(text.lines().map(str::trim));
    for (number, token) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if token.len() < MIN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(IngestTokensCause::Line(number));
        }
        if !seen.insert(token) {
            return Err(IngestTokensCause::Repeated(number));
        }
        digests.push(Digest::of(token));
    }
    if digests.is_empty() { Err(IngestTokensCause::Empty) } else { Ok(digests) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_token_a_line_with_comments() {
        let (first, second) = ("a".repeat(24), "b".repeat(100));
        let digests = parse(&format!("# the relays\n\n  {first} \r\n{second}\n")).unwrap();
        assert_eq!(digests.len(), 2);
        assert!(digests[0].matches(&Digest::of(&first)) && digests[1].matches(&Digest::of(&second)));
    }

    #[test]
    fn what_is_no_token_is_told_by_its_line_and_never_repeated() {
        let good = "0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            ("", "no token"),
            ("# nothing\n\n", "no token"),
            (&format!("{good}\nsecret-too-short"), "line 2"),
            (&format!("{good}\n{good}secret and spaces"), "line 2"),
            (&format!("{good}\n\n{good}"), "line 3"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret") && !error.contains(good), "{error}");
        }
    }

    #[test]
    fn a_bearer_is_told_from_other_schemes() {
        assert_eq!(bearer(b"Bearer abc"), Some("abc"));
        assert_eq!(bearer(b"bearer  abc"), Some("abc"));
        for other in [&b"Basic abc"[..], b"abc", b"Bearer", b"", b"Bearer \xff"] {
            assert_eq!(bearer(other), None);
        }
    }
}
