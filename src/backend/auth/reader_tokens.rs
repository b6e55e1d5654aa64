//! The tokens of readers from a file (`--reader-token-file`), beside those in the store.
//!
//! A token is valid as long as the file listed it when it could last be read. Only memory holds it: the store has the
//! sessions made from it, and the audit log names it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use tokio_util::sync::CancellationToken;

use super::principal::Principal;
use super::token::{InvalidTokenName, TokenName, prefix_of};
use super::token_file::watch;
use crate::backend::metrics::TokenFile;
use crate::backend::secret_file::{self, Secret};
use crate::backend::store::{Digest, Role, TokenRef};
use crate::process::lock;

/// The maximum number of tokens in a file. A token for each maintainer and each of their programs makes some dozens.
const MAX_TOKENS: usize = 1_000;

/// The readers' tokens of a file; `None` without a file.
#[derive(Debug, Clone)]
pub(in crate::backend) struct ReaderTokens(Option<Arc<ReaderTokenFile>>);

#[derive(Debug)]
struct ReaderTokenFile {
    path: PathBuf,
    /// Replaced as a whole when the file changes.
    tokens: RwLock<FileTokens>,
    /// The prefixes of refused tokens that were warned of since the last change of the file. A throttle would repeat
    /// the warning, and would withhold that of a second token.
    warned: Mutex<HashSet<String>>,
}

/// The tokens of a file, by their prefixes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FileTokens(HashMap<String, FileToken>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileToken {
    name: String,
    role: Role,
    /// The digest of its whole text.
    digest: Digest,
}

/// An error in a file of readers' tokens.
#[derive(Debug, thiserror::Error)]
#[error("--reader-token-file {}: {cause}", path.display())]
pub(in crate::backend) struct ReaderTokensError {
    path: PathBuf,
    cause: ReaderTokensCause,
}

#[derive(Debug, thiserror::Error)]
enum ReaderTokensCause {
    #[error("{0}; expected a file of tokens, one a line: NAME ROLE TOKEN")]
    File(#[from] std::io::Error),
    #[error("it lists more than {MAX_TOKENS} tokens; expected as many at most")]
    TooMany,
    #[error("line {0} {1}")]
    Line(usize, InvalidLine),
}

/// An error in a line. The texts repeat no word of it: any of them may be a secret.
#[derive(Debug, thiserror::Error)]
enum InvalidLine {
    #[error("has not three words; expected NAME ROLE TOKEN")]
    Words,
    #[error("does not begin with a name: {0}; a line is NAME ROLE TOKEN")]
    Name(InvalidTokenName),
    #[error("names no role; expected NAME ROLE TOKEN, and as a role viewer or admin")]
    Role,
    #[error(
        "ends with no token; expected NAME ROLE TOKEN, and as a token what `echo ktt_$(openssl rand -hex 4)_$(openssl rand -hex 32)` gives"
    )]
    Token,
    #[error("has the name of line {0}; expected one token of a name")]
    SameName(usize),
    #[error("has the first twelve characters of the token of line {0}; expected another token")]
    SamePrefix(usize),
}

impl ReaderTokens {
    /// Reads the file, if there is one. Blocks.
    pub(in crate::backend) fn open(file: Option<PathBuf>) -> Result<Self, ReaderTokensError> {
        let Some(path) = file else { return Ok(Self(None)) };
        let tokens = RwLock::new(read(&path)?.content);
        Ok(Self(Some(Arc::new(ReaderTokenFile { path, tokens, warned: Mutex::default() }))))
    }

    /// Returns whether there are no tokens.
    pub(in crate::backend) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|file| lock::read(&file.tokens).0.is_empty())
    }

    /// Returns the prefixes of all tokens.
    pub(in crate::backend) fn prefixes(&self) -> Vec<String> {
        self.0.as_ref().map_or_else(Vec::new, |file| lock::read(&file.tokens).0.keys().cloned().collect())
    }

    /// Returns the holder of the token with this prefix, if `digest` is that of its whole text.
    pub(super) fn find(&self, prefix: &str, digest: &Digest) -> Option<Principal> {
        let tokens = lock::read(&self.0.as_ref()?.tokens);
        let FileToken { name, role, digest: known } = tokens.0.get(prefix)?;
        let token = TokenRef { token: prefix.to_owned(), name: name.clone() };
        known.matches(digest).then_some(Principal { token, role: *role, expires: None, session: None })
    }

    /// Logs a warning, once per token until the file changes, if a token of the file is refused because the store has
    /// one with the same prefix.
    pub(super) fn warn_of_prefix_conflict(&self, prefix: &str, digest: &Digest) {
        let (Some(file), Some(Principal { token, .. })) = (&self.0, self.find(prefix, digest)) else { return };
        if lock::lock(&file.warned).insert(token.token) {
            tracing::warn!(
                prefix,
                name = token.name,
                "refused a token of --reader-token-file: the store has a token with the same prefix, valid or revoked; \
                 put another token into the file"
            );
        }
    }

    /// Reloads the file when it changes, until `shutdown`. A file that cannot be used leaves the tokens as they were.
    pub(in crate::backend) async fn reload_on_change(self, shutdown: CancellationToken) {
        let Some(file) = self.0 else { return };
        let path = file.path.clone();
        watch(TokenFile::Reader, move || read(&path), shutdown, |tokens| file.replace(tokens)).await;
    }
}

impl ReaderTokenFile {
    fn replace(&self, tokens: &FileTokens) {
        let mut known = lock::write(&self.tokens);
        if *known != *tokens {
            tracing::info!(tokens = tokens.0.len(), "reloaded the readers' tokens from --reader-token-file");
            known.clone_from(tokens);
            lock::lock(&self.warned).clear();
        }
    }
}

fn read(path: &Path) -> Result<Secret<FileTokens>, ReaderTokensError> {
    let read = || secret_file::read(path)?.try_map(|content| parse(&secret_file::text(content)?));
    read().map_err(|cause: ReaderTokensCause| ReaderTokensError { path: path.to_owned(), cause })
}

/// Reads one token a line. Empty lines and lines that begin with `#` are skipped. A file may list no token: removing
/// the last one is deliberate.
fn parse(text: &str) -> Result<FileTokens, ReaderTokensCause> {
    let mut tokens = FileTokens::default();
    let (mut names, mut prefixes) = (HashMap::new(), HashMap::new());
    let lines = (1..).zip(text.lines().map(str::trim));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (prefix, token) = parse_line(line).map_err(|error| ReaderTokensCause::Line(number, error))?;
        if let Some(first) = names.insert(token.name.clone(), number) {
            return Err(ReaderTokensCause::Line(number, InvalidLine::SameName(first)));
        }
        if let Some(first) = prefixes.insert(prefix.clone(), number) {
            return Err(ReaderTokensCause::Line(number, InvalidLine::SamePrefix(first)));
        }
        tokens.0.insert(prefix, token);
    }
    if tokens.0.len() > MAX_TOKENS { Err(ReaderTokensCause::TooMany) } else { Ok(tokens) }
}

/// Returns the prefix of the token, and the token.
fn parse_line(line: &str) -> Result<(String, FileToken), InvalidLine> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, role, token] = words[..] else { return Err(InvalidLine::Words) };
    let name: TokenName = name.parse().map_err(InvalidLine::Name)?;
    let role: Role = role.parse().map_err(|_| InvalidLine::Role)?;
    let prefix = prefix_of(token).ok_or(InvalidLine::Token)?;
    Ok((prefix.to_owned(), FileToken { name: name.to_string(), role, digest: Digest::of(token) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> String {
        format!("ktt_{number:08x}_{}", "5ec4e7a0".repeat(8))
    }

    #[test]
    fn a_file_is_a_name_a_role_and_a_token_a_line_with_comments() {
        let (first, second) = (token(1), token(2));
        let text = format!("# maintainers\n\n alice@example.org\tadmin  {first} \r\nci viewer {second}");
        let FileTokens(tokens) = parse(&text).unwrap();
        let [alice, ci] = ["ktt_00000001", "ktt_00000002"].map(|prefix| &tokens[prefix]);
        assert_eq!((&*alice.name, alice.role), ("alice@example.org", Role::Admin));
        assert_eq!((&*ci.name, ci.role, tokens.len()), ("ci", Role::Viewer, 2));
        assert_eq!([alice.digest, ci.digest], [Digest::of(&first), Digest::of(&second)]);
    }

    #[test]
    fn an_error_names_its_line_and_repeats_no_word_of_it() {
        let good = format!("ci viewer {}", token(1));
        let short = &token(2)[..76];
        for (text, expected) in [
            (format!("{good}\nalice viewer"), "line 2 has not three words"),
            (format!("{good}\nalice viewer {} more", token(2)), "line 2 has not three words"),
            (format!("{good}\n{} viewer alice", token(2)), "line 2 does not begin with a name"),
            (format!("{good}\nalice {} viewer", token(2)), "line 2 names no role"),
            (format!("{good}\nalice root {}", token(2)), "line 2 names no role"),
            (format!("{good}\nalice Viewer {}", token(2)), "line 2 names no role"),
            (format!("{good}\nalice viewer {short}"), "line 2 ends with no token"),
            (format!("{good}\n\nci admin {}", token(2)), "line 3 has the name of line 1"),
            (
                format!("{good}\n\nalice viewer {}", token(1)),
                "line 3 has the first twelve characters of the token of line 1",
            ),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            let secret = ["5ec4e7a0", "alice", "root", "Viewer"].into_iter().find(|word| error.contains(word));
            assert!(error.contains(expected) && error.contains("expected") && secret.is_none(), "{error}");
        }
    }

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let listing = |tokens| (0..tokens).map(|n| format!("n{n} viewer {}", token(n))).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&listing(MAX_TOKENS)).unwrap().0.len(), MAX_TOKENS);
        assert!(parse(&listing(MAX_TOKENS + 1)).unwrap_err().to_string().contains("more than 1000"));
    }
}
