//! Reloading of files while the process runs: tokens, headers, certificates and keys.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// The maximum number of bytes of a file, as of a Secret or a ConfigMap in Kubernetes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A watcher that reads files repeatedly. It compares their content rather than their dates: a kubelet swaps a link.
pub(crate) struct FileWatcher<C, R> {
    read: R,
    interval: Interval,
    shutdown: CancellationToken,
    /// The result that was returned last: the content, or the text of the error.
    last: Option<Result<C, String>>,
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_open(&File::open(path)?)
}

/// Reads an open file to its end.
pub(crate) fn read_open(file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it holds more than 1 MiB"));
    }
    Ok(content)
}

impl<C, E, R> FileWatcher<C, R>
where
    C: PartialEq + Send + 'static,
    E: Display + Send + 'static,
    R: Fn() -> Result<C, E> + Clone + Send + 'static,
{
    /// Creates a watcher that calls `read`, which may block, at once and then every `period`.
    pub(crate) fn new(period: Duration, shutdown: CancellationToken, read: R) -> Self {
        let mut interval = interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { read, interval, shutdown, last: None }
    }

    /// Waits until the content differs from that returned last, or until the files can't be used, which is returned
    /// once for each error. Returns `None` at the shutdown. A caller that drops the future misses no change.
    pub(crate) async fn changed(&mut self) -> Option<Result<&C, E>> {
        loop {
            self.shutdown.run_until_cancelled(self.interval.tick()).await?;
            // A read that panics aborts the program. The only other error is a runtime that is shut down.
            match tokio::task::spawn_blocking(self.read.clone()).await.ok()? {
                Ok(content) => {
                    if !matches!(&self.last, Some(Ok(last)) if *last == content) {
                        let last = self.last.insert(Ok(content)).as_ref();
                        return last.ok().map(Ok);
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if !matches!(&self.last, Some(Err(last)) if *last == text) {
                        self.last = Some(Err(text));
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

    #[test]
    fn a_file_is_read_up_to_its_bound_and_refused_beyond() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (length, is_read) in [(0, true), (MAX_FILE_BYTES, true), (MAX_FILE_BYTES + 1, false)] {
            file.as_file().set_len(length).unwrap();
            let content = read(file.path());
            assert_eq!(content.is_ok_and(|content| content.len() as u64 == length), is_read, "{length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_content_is_returned_once_and_so_is_each_error() {
        let file: Arc<Mutex<Result<u8, &str>>> = Arc::new(Mutex::new(Ok(1)));
        let shutdown = CancellationToken::new();
        let reads = Arc::clone(&file);
        let read = move || reads.lock().unwrap().map(|content| vec![content]);
        let mut watcher = FileWatcher::new(Duration::from_secs(5), shutdown.clone(), read);
        let mut changed = async || {
            // Long enough for many reads.
            let result = tokio::time::timeout(Duration::from_mins(1), watcher.changed()).await;
            result.map(|changed| changed.map(Result::<&Vec<u8>, &str>::cloned))
        };
        assert_eq!(changed().await, Ok(Some(Ok(vec![1]))));
        assert!(changed().await.is_err(), "it is the same");
        *file.lock().unwrap() = Err("gone");
        assert_eq!(changed().await, Ok(Some(Err("gone"))));
        assert!(changed().await.is_err(), "it is still gone");
        *file.lock().unwrap() = Err("forbidden");
        assert_eq!(changed().await, Ok(Some(Err("forbidden"))));
        *file.lock().unwrap() = Ok(1);
        assert_eq!(changed().await, Ok(Some(Ok(vec![1]))), "it is as it was before it was gone");
        *file.lock().unwrap() = Ok(2);
        assert_eq!(changed().await, Ok(Some(Ok(vec![2]))));
        shutdown.cancel();
        assert_eq!(changed().await, Ok(None));
    }
}
