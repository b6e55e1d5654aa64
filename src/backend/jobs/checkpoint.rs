//! Checkpoints of the store.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::store::Store;

/// The interval between checkpoints: the traces of deleted rows are gone a minute after them. A write waits for a
/// checkpoint no longer than for a commit.
const INTERVAL: Duration = Duration::from_mins(1);

/// Makes checkpoints of the store until `shutdown`. The first is at the start, for what a crash left.
pub(in crate::backend) async fn run(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let store = &store;
    repeat(INTERVAL, shutdown, || async {
        // Writers report a store that cannot write.
        if let Err(error) = store.checkpoint().await {
            tracing::debug!(%error, "failed to make a checkpoint of the store");
        }
    })
    .await;
}
