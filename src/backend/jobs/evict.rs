//! Eviction of clients that the limits need not remember.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::backend::auth::AuthLayer;
use crate::backend::rate_limit::Limiter;

/// The interval of evictions: a client is in memory no longer than a minute after its last limit has passed. A pass over
/// the maximum number of clients takes a few milliseconds.
const EVICTION_INTERVAL: Duration = Duration::from_mins(1);

/// Evicts clients until `shutdown`. It is a job apart from those of the store, so that a store that hangs keeps no client
/// in memory.
pub(in crate::backend) async fn run(limiter: Arc<Limiter>, auth: Arc<AuthLayer>, shutdown: CancellationToken) {
    let evict = || {
        limiter.evict();
        auth.evict(Instant::now());
        ready(())
    };
    repeat(EVICTION_INTERVAL, shutdown, evict).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::backend::auth::{AuditLogWriter, IngestTokens, ReaderTokens};
    use crate::backend::clock::Clock;
    use crate::backend::rate_limit::{ClientKey, Limits};
    use crate::backend::store::SqliteStore;

    #[tokio::test(start_paused = true)]
    async fn a_client_is_forgotten_within_a_minute_though_nobody_else_comes() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<SqliteStore> = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
        let (audit_log, _writes) = AuditLogWriter::new(store.clone());
        let (ingest_tokens, reader_tokens) = (IngestTokens::open(None).unwrap(), ReaderTokens::open(None).unwrap());
        let auth =
            Arc::new(AuthLayer::new(store, audit_log, None, false, ingest_tokens, reader_tokens, Clock::default()));
        // Full again at once, since the buckets' clock is not paused.
        let limiter = Limiter::new(&Limits { requests: 1_000_000_000, ..Limits::default() }, Clock::default());
        let job = tokio::spawn(run(Arc::clone(&limiter), auth, CancellationToken::new()));
        tokio::time::sleep(EVICTION_INTERVAL / 2).await;
        limiter.check_connection(ClientKey::of(Ipv4Addr::LOCALHOST.into())).unwrap();
        assert_eq!(limiter.known_clients(), 1);
        tokio::time::sleep(EVICTION_INTERVAL).await;
        assert_eq!(limiter.known_clients(), 0);
        job.abort();
    }
}
