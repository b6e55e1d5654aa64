//! Files that are read again while the backend serves: tokens, and what TLS is made of.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The most that is read of a file: what a Secret or a ConfigMap of Kubernetes holds at most.
const MAX: u64 = 1024 * 1024;

/// Looks at files now and then, at what is in them rather than at their dates: a kubelet swaps a link.
pub(super) struct FileWatcher<C, R> {
    read: R,
    due: Interval,
    shutdown: CancellationToken,
    /// What was given last, or why there was nothing.
    seen: Option<Result<C, String>>,
    /// Whether the last look broke off.
    broken_off: bool,
}

/// All that is in a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = File::open(path)?.take(MAX + 1).read_to_end(&mut content)?;
    if length as u64 > MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it holds more than 1 MiB"));
    }
    Ok(content)
}

/// The same of a file that holds text.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no text in UTF-8"))
}

impl<C, E, R> FileWatcher<C, R>
where
    C: PartialEq + Send + 'static,
    E: Display + Send + 'static,
    R: Fn() -> Result<C, E> + Clone + Send + 'static,
{
    /// Looks with `read`, which may block, the first time at once.
    pub(super) fn new(every: Duration, shutdown: CancellationToken, read: R) -> Self {
        let mut due = interval(every);
        // What took too long is not made up for.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { read, due, shutdown, seen: None, broken_off: false }
    }

    /// Waits until there is something else in the files than was given last, or until they can't be used, which is given
    /// once for each reason; `None` at the shutdown. Nothing that was found is lost where it is not waited for to the end.
    pub(super) async fn changed(&mut self) -> Option<Result<&C, E>> {
        loop {
            self.shutdown.run_until_cancelled(self.due.tick()).await?;
            let found = match tokio::task::spawn_blocking(self.read.clone()).await {
                Ok(found) => found,
                Err(error) if error.is_cancelled() => return None,
                Err(error) => {
                    if !self.broken_off {
                        tracing::error!(%error, "a file could not be read again, which is tried on: please report this");
                    }
                    self.broken_off = true;
                    continue;
                }
            };
            self.broken_off = false;
            match found {
                Ok(found) => {
                    if !matches!(&self.seen, Some(Ok(seen)) if *seen == found) {
                        let seen = self.seen.insert(Ok(found)).as_ref();
                        return seen.ok().map(Ok);
                    }
                }
                Err(error) => {
                    let reason = error.to_string();
                    if !matches!(&self.seen, Some(Err(seen)) if *seen == reason) {
                        self.seen = Some(Err(reason));
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::process::lock::lock;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_refused_beyond() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (length, is_read) in [(0, true), (MAX, true), (MAX + 1, false)] {
            file.as_file().set_len(length).unwrap();
            let content = read(file.path());
            assert_eq!(content.is_ok_and(|content| content.len() as u64 == length), is_read, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_content_is_given_once_and_so_is_each_failure() {
        let file: Arc<Mutex<Result<u8, &str>>> = Arc::new(Mutex::new(Ok(1)));
        let shutdown = CancellationToken::new();
        let reads = Arc::clone(&file);
        let read = move || reads.lock().unwrap().map(|content| vec![content]);
        let mut follower = FileWatcher::new(Duration::from_secs(5), shutdown.clone(), read);
        let mut given = async || {
            // Long enough for many looks, of which nothing comes.
            let changed = tokio::time::timeout(Duration::from_mins(1), follower.changed()).await;
            changed.map(|changed| changed.map(Result::<&Vec<u8>, &str>::cloned))
        };
        assert_eq!(given().await, Ok(Some(Ok(vec![1]))));
        assert!(given().await.is_err(), "it is the same");
        *file.lock().unwrap() = Err("gone");
        assert_eq!(given().await, Ok(Some(Err("gone"))));
        assert!(given().await.is_err(), "it is still gone");
        *file.lock().unwrap() = Err("forbidden");
        assert_eq!(given().await, Ok(Some(Err("forbidden"))));
        *file.lock().unwrap() = Ok(1);
        assert_eq!(given().await, Ok(Some(Ok(vec![1]))), "it is as it was before it was gone");
        *file.lock().unwrap() = Ok(2);
        assert_eq!(given().await, Ok(Some(Ok(vec![2]))));
        shutdown.cancel();
        assert_eq!(given().await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_breaks_off_is_not_the_last() {
        let looks = Arc::new(Mutex::new(0..));
        let read = move || match lock(&looks).next() {
            Some(1..5) => panic!("as a parser may"),
            look => Ok::<_, &str>(look),
        };
        let mut follower = FileWatcher::new(Duration::from_secs(5), CancellationToken::new(), read);
        assert_eq!(follower.changed().await, Some(Ok(&Some(0))));
        assert_eq!(follower.changed().await, Some(Ok(&Some(5))));
    }
}
