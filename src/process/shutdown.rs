//! Shutdown by signals, and supervision of the tasks of the process.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The exit code that shells report for a process that a SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Returns a token that the first SIGTERM or SIGINT cancels. The second signal exits the process at once.
pub fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if is_first {
                tracing::info!(signal, "shutting down; a second signal ends at once");
                token.cancel();
            }
        }
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(shutdown)
}

/// Waits for all tasks. Returns the first error or panic, and drops the other tasks with it.
pub async fn supervise(mut tasks: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task panicked")??;
    }
    Ok(())
}
