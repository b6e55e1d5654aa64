//! The reload of a token file while the backend serves.

use std::fmt::Display;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::metrics::{self, TokenFile};
use crate::backend::secret_file::Secret;
use crate::process::reload::FileWatcher;

/// The interval between two reads of a token file: an operator can wait for it, and reading a small file costs nothing.
pub(super) const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// Reads a token file until `shutdown`, and calls `apply` with its content at the start and after each change.
///
/// A file that cannot be used is logged once for each reason, and changes nothing. One that every user may read is warned of
/// at the start and after each change.
pub(super) async fn watch<C, E>(
    file: TokenFile,
    read: impl Fn() -> Result<Secret<C>, E> + Clone + Send + 'static,
    shutdown: CancellationToken,
    apply: impl Fn(&C),
) where
    C: PartialEq + Send + 'static,
    E: Display + Send + 'static,
{
    let flag = match file {
        TokenFile::Reader => "--reader-token-file",
        TokenFile::Ingest => "--ingest-token-file",
    };
    let mut watcher = FileWatcher::new(RELOAD_INTERVAL, shutdown, read);
    // The watcher returns each error once, so that no throttle is needed.
    let mut is_failing = false;
    while let Some(content) = watcher.changed().await {
        metrics::token_file_reloads(file, content.is_ok());
        match content {
            Ok(secret) => {
                secret.warn(flag);
                apply(&secret.content);
                if std::mem::take(&mut is_failing) {
                    tracing::info!(flag, "the token file can be used again");
                }
            }
            Err(error) => {
                is_failing = true;
                tracing::error!(
                    %error, flag, retry_after = ?RELOAD_INTERVAL,
                    "failed to reload the token file; its tokens stay as they were"
                );
            }
        }
    }
}
