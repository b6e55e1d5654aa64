//! The tokens of senders from a file (`--ingest-token-file`). Without a file, senders need no token.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio_util::sync::CancellationToken;

use super::error::{AuthError, Respond};
use super::token_file::watch;
use crate::backend::metrics::TokenFile;
use crate::backend::secret_file::{self, Secret};
use crate::backend::store::Digest;
use crate::process::lock;

/// The minimum number of characters of a token: 96 bits as hexadecimal digits, which cannot be guessed.
const MIN_LENGTH: usize = 24;

/// The senders' tokens of a file; `None` without a file.
#[derive(Debug, Clone)]
pub(in crate::backend) struct IngestTokens(Option<Arc<IngestTokenFile>>);

#[derive(Debug)]
struct IngestTokenFile {
    path: PathBuf,
    /// Replaced as a whole when the file changes.
    digests: RwLock<Vec<Digest>>,
}

/// An error in a file of senders' tokens.
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
    /// Reads the file, if there is one. Blocks.
    pub(in crate::backend) fn open(file: Option<PathBuf>) -> Result<Self, IngestTokensError> {
        let Some(path) = file else { return Ok(Self(None)) };
        let digests = RwLock::new(read(&path)?.content);
        Ok(Self(Some(Arc::new(IngestTokenFile { path, digests }))))
    }

    /// Returns `routes` behind a check of the sender's token, with errors rendered by `respond`.
    pub(in crate::backend) fn layer(self, routes: Router, respond: Respond) -> Router {
        routes.layer(from_fn_with_state((self, respond), check))
    }

    /// Returns whether a request with these headers may send.
    pub(super) fn authorizes(&self, headers: &HeaderMap) -> bool {
        let Some(file) = &self.0 else { return true };
        let token = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let Some(digest) = token.map(Digest::of) else { return false };
        // All tokens are compared: the time must not tell the position of the one that matches.
        let digests = lock::read(&file.digests);
        digests.iter().fold(false, |is_authorized, known| is_authorized | known.matches(&digest))
    }

    /// Reloads the file when it changes, until `shutdown`. A file that cannot be used leaves the tokens as they were.
    pub(in crate::backend) async fn reload_on_change(self, shutdown: CancellationToken) {
        let Some(file) = self.0 else { return };
        let path = file.path.clone();
        watch(TokenFile::Ingest, move || read(&path), shutdown, |digests| file.replace(digests)).await;
    }
}

async fn check(State((tokens, respond)): State<(IngestTokens, Respond)>, request: Request, next: Next) -> Response {
    if tokens.authorizes(request.headers()) { next.run(request).await } else { respond(AuthError::SenderTokenRequired) }
}

impl IngestTokenFile {
    fn replace(&self, digests: &[Digest]) {
        let mut known = lock::write(&self.digests);
        if *known != digests {
            tracing::info!(tokens = digests.len(), "reloaded the senders' tokens from --ingest-token-file");
            *known = digests.to_vec();
        }
    }
}

/// Returns the token in a value of the header `Authorization`.
pub(super) fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn read(path: &Path) -> Result<Secret<Vec<Digest>>, IngestTokensError> {
    let read = || secret_file::read(path)?.try_map(|content| parse(&secret_file::text(content)?));
    read().map_err(|cause: IngestTokensCause| IngestTokensError { path: path.to_owned(), cause })
}

/// Reads one token a line. Empty lines and lines that begin with `#` are skipped.
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
    fn an_error_names_its_line_and_never_repeats_it() {
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
