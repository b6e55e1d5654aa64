//! The tokens of readers that a file lists, beside those made by hand: valid as long as they are in it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::followed::Followed;
use super::token::{Name, prefix_of};
use crate::backend::metrics::TokenFile;
use crate::backend::reload::{self, FileWatcher};
use crate::backend::store::{AuthStore, Digest, FileToken, Listing, RefusedToken, Role, WriteError};

/// How often the file is read again: soon enough to wait for, and reading a small file costs nothing.
const EVERY: Duration = Duration::from_secs(5);

/// How often the store is brought in line with a file that has not changed: another process may have changed the store.
/// Where that finds nothing to do it writes nothing.
const AGAIN: Duration = Duration::from_mins(1);

/// The most tokens of a file: one for each of its maintainers and their programs is some dozens. So many are made valid
/// in 13 ms, found to be as they were in 3 and revoked in 28, as measured on two busy processors; writes wait that long.
const MAX: usize = 1_000;

/// The file of the readers' tokens, if there is one, and the store that is brought in line with it.
pub(in crate::backend) struct ReaderTokens {
    path: Option<PathBuf>,
    access: Arc<dyn AuthStore>,
    /// What the file held when it could last be used.
    listed: Vec<FileToken>,
    /// Whether the store could not take it.
    failing: bool,
    /// What was said of the tokens that are refused.
    said: HashSet<RefusedToken>,
}

/// Why a file lists no tokens.
#[derive(Debug, thiserror::Error)]
#[error("--reader-token-file {}: {cause}", path.display())]
pub(in crate::backend) struct ReaderTokensError {
    path: PathBuf,
    cause: TokenFileCause,
}

#[derive(Debug, thiserror::Error)]
enum TokenFileCause {
    #[error("{0}; expected a file of tokens, one a line: NAME ROLE TOKEN")]
    File(#[from] std::io::Error),
    #[error("it lists more than {MAX} tokens; expected as many at most")]
    TooMany,
    #[error("line {0} {1}")]
    Line(usize, InvalidLine),
}

/// What is wrong with a line, none of which is repeated: each of its words may be a secret.
#[derive(Debug, thiserror::Error)]
enum InvalidLine {
    #[error("has not three words; expected NAME ROLE TOKEN")]
    Words,
    #[error("does not begin with a name: {0}; a line is NAME ROLE TOKEN")]
    Name(super::token::InvalidName),
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
    /// Reads the file, if there is to be one.
    pub(in crate::backend) fn check(path: Option<&Path>) -> Result<(), ReaderTokensError> {
        path.map_or(Ok(()), |path| read(path).map(drop))
    }

    /// Reads the file, if there is to be one, and brings the store in line with it. Without one no token is listed.
    pub(in crate::backend) async fn open(path: Option<PathBuf>, access: Arc<dyn AuthStore>) -> anyhow::Result<Self> {
        let listed = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let mut tokens = Self { path, access, listed, failing: false, said: HashSet::new() };
        tokens.set().await?;
        Ok(tokens)
    }

    /// Brings the store in line with the file again and again until `shutdown`. A file that can't be used changes nothing.
    pub(in crate::backend) async fn follow(mut self, shutdown: CancellationToken) {
        let Some(path) = self.path.clone() else { return };
        let mut follower = FileWatcher::new(EVERY, shutdown, move || read(&path));
        let mut file = Followed::new(TokenFile::Reader, EVERY);
        let mut due = Instant::now() + AGAIN;
        loop {
            let changed = tokio::select! {
                changed = follower.changed() => Some(changed),
                () = sleep_until(due) => None,
            };
            match changed {
                Some(None) => return,
                Some(Some(found)) => {
                    let Some(listed) = file.take(found) else { continue };
                    self.listed.clone_from(listed);
                }
                None => {}
            }
            // The store may take them another time, and a name may become free.
            due = Instant::now() + if self.keep().await { AGAIN } else { EVERY };
        }
    }

    /// Brings the store in line with what is listed, and says whether it is now.
    async fn keep(&mut self) -> bool {
        let set = self.set().await;
        if let (Err(error), false) = (&set, self.failing) {
            tracing::error!(%error, "the readers' tokens stay as they were; tried again every {EVERY:?}");
        }
        self.failing = set.is_err();
        set.unwrap_or(false)
    }

    /// Says whether all that is listed is valid.
    async fn set(&mut self) -> Result<bool, WriteError> {
        let tokens = self.listed.len();
        let set = self.access.set_listed_tokens(self.listed.clone(), Timestamp::now()).await?;
        let Listing { created, revoked, refused } = set;
        if created + revoked > 0 {
            tracing::info!(
                tokens,
                created,
                revoked,
                "the readers' tokens were brought in line with --reader-token-file"
            );
        }
        let refused: HashSet<_> = refused.into_iter().collect();
        for token in refused.difference(&self.said) {
            tracing::warn!("--reader-token-file: {token}");
        }
        self.said = refused;
        Ok(self.said.is_empty())
    }
}

fn read(path: &Path) -> Result<Vec<FileToken>, ReaderTokensError> {
    let text = reload::read_text(path).map_err(TokenFileCause::from);
    text.and_then(|text| parse(&text)).map_err(|cause| ReaderTokensError { path: path.to_owned(), cause })
}

/// A token a line; empty lines and those that begin with `#` are none. A file may list none: whoever takes the last one out
/// means it.
fn parse(text: &str) -> Result<Vec<FileToken>, TokenFileCause> {
    let mut listed = Vec::new();
    let (mut names, mut prefixes) = (HashMap::new(), HashMap::new());
    let lines = (1..).zip(text.lines().map(str::trim));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let token = parse_line(line).map_err(|wrong| TokenFileCause::Line(number, wrong))?;
        if let Some(first) = names.insert(token.name.clone(), number) {
            return Err(TokenFileCause::Line(number, InvalidLine::SameName(first)));
        }
        if let Some(first) = prefixes.insert(token.prefix.clone(), number) {
            return Err(TokenFileCause::Line(number, InvalidLine::SamePrefix(first)));
        }
        listed.push(token);
    }
    if listed.len() > MAX { Err(TokenFileCause::TooMany) } else { Ok(listed) }
}

fn parse_line(line: &str) -> Result<FileToken, InvalidLine> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [name, role, token] = words[..] else { return Err(InvalidLine::Words) };
    let name: Name = name.parse().map_err(InvalidLine::Name)?;
    let role: Role = role.parse().map_err(|_| InvalidLine::Role)?;
    let prefix = prefix_of(token).ok_or(InvalidLine::Token)?;
    Ok(FileToken { prefix: prefix.to_owned(), name: name.to_string(), role, digest: Digest::of(token) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::store::SqliteStore;

    fn token(number: usize) -> String {
        format!("ktt_{number:08x}_{}", "5ec4e7a0".repeat(8))
    }

    #[test]
    fn a_file_is_a_name_a_role_and_a_token_a_line_with_comments() {
        let (first, second) = (token(1), token(2));
        let text = format!("# maintainers\n\n alice@example.org\tadmin  {first} \r\nci viewer {second}");
        let [alice, ci] = parse(&text).unwrap().try_into().unwrap();
        assert_eq!((&*alice.prefix, &*alice.name, alice.role), ("ktt_00000001", "alice@example.org", Role::Admin));
        assert_eq!((&*ci.prefix, &*ci.name, ci.role), ("ktt_00000002", "ci", Role::Viewer));
        assert_eq!([alice.digest, ci.digest], [Digest::of(&first), Digest::of(&second)]);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_no_word_of_it_is_repeated() {
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

    #[tokio::test(start_paused = true)]
    async fn what_changes_in_the_store_alone_is_brought_in_line_within_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let [file, path] = ["readers", "telemetry.db"].map(|name| folder.path().join(name));
        std::fs::write(&file, format!("ci viewer {}", token(1))).unwrap();
        let access: Arc<dyn AuthStore> = Arc::new(SqliteStore::open(&path).unwrap());
        let shutdown = CancellationToken::new();
        let listed = ReaderTokens::open(Some(file.clone()), Arc::clone(&access)).await.unwrap();
        let following = tokio::spawn(listed.follow(shutdown.clone()));
        // As one that was restored may be, or one that another process has another file for.
        let other = SqliteStore::open(&path).unwrap();
        let is_valid = async || access.has_valid_token(Timestamp::now()).await.unwrap();
        // The second time with a file that cannot be used, which changes nothing.
        for text in [None, Some("wrong")] {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            tokio::time::sleep(2 * EVERY).await;
            assert!(is_valid().await);
            other.set_listed_tokens(vec![], Timestamp::now()).await.unwrap();
            // The store takes its time, which is not the paused clock's: that runs on meanwhile.
            let began = std::time::Instant::now();
            while !is_valid().await {
                assert!(began.elapsed() < Duration::from_mins(1), "it is not valid again");
                tokio::time::sleep(EVERY).await;
            }
        }
        shutdown.cancel();
        following.await.unwrap();
    }

    #[test]
    fn a_file_lists_so_many_tokens_and_no_more() {
        let listing = |tokens| (0..tokens).map(|n| format!("n{n} viewer {}", token(n))).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(&listing(MAX)).unwrap().len(), MAX);
        assert!(parse(&listing(MAX + 1)).unwrap_err().to_string().contains("more than 1000"));
    }
}
