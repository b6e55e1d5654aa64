//! What senders may do: how often, how much, and how much of it at once.
//!
//! A source is an address or the beginning of one, and is known here only: nothing of it is stored, logged or counted.

mod client_ip;
mod layer;
mod quota;
mod token_bucket;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::metrics::{self, LimitKind};
use super::store::Batch;
pub(super) use client_ip::ClientKey;
pub use client_ip::{InvalidNetwork, Network};
pub(super) use layer::{LimitScope, PeerAddr, RateLimitError, RateLimitLayer};
pub(super) use quota::{Quota, QuotaExceeded, Reservation};
pub(super) use token_bucket::TokenBuckets;

/// Bytes that cost as much as a row: those of an event. Reading takes time and memory for what becomes no row too, and
/// for what can't be read at all.
const ROW: usize = 300;

/// Requests that are read at once, from their bytes to rows. That is work for the processor alone, so that more of them
/// would not be done earlier, and a message takes up to 64 MiB meanwhile: 256 MiB in all.
const READ_AT_ONCE: usize = 4;

/// Of one source: so many of the others' are read meanwhile.
const READ_EACH: usize = READ_AT_ONCE / 2;

/// Groups of sources, by a hash that nobody can foresee: of each, so many are read at once. That is a bound for each
/// source in as much memory as for few of them.
const GROUPS: usize = 256;

/// Bytes of bodies in memory, before they are read: 128 of the largest, and of one source 4, which is more than the ten
/// batches of 150 kB that a relay has under way. So it takes 32 sources to have it all.
const BODIES: usize = 64 * 1024 * 1024;
const BODIES_EACH: usize = 2 * 1024 * 1024;

/// What is limited, a second where nothing else is said; nothing is where it is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one source.
    pub requests: u32,
    /// Rows of one source that are read: gauge points and events.
    pub rows: u32,
    /// Rows of one source that are stored, a day: gauge snapshots and events.
    pub items_per_day: u32,
    /// Gauge snapshots of one installation.
    pub snapshots: u32,
    /// Connections at once.
    pub connections: usize,
    /// Connections of one source at once.
    pub max_connections_per_client: usize,
    /// TokenRef is believed about where a request comes from.
    pub proxies: Vec<Network>,
}

/// Applies [`Limits`].
#[derive(Debug)]
pub(super) struct Limiter {
    proxies: Vec<Network>,
    connections: TokenBuckets<ClientKey>,
    requests: TokenBuckets<ClientKey>,
    rows: TokenBuckets<ClientKey>,
    days: TokenBuckets<ClientKey>,
    snapshots: TokenBuckets<Uuid>,
    bodies: Arc<Quota>,
    reading: Arc<Semaphore>,
    reading_each: Vec<Arc<Semaphore>>,
    hash: RandomState,
}

/// A request that is let in, and what is known of it for that: for its handler, among the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Permit(Arc<Work>);

#[derive(Debug)]
struct Work {
    limiter: Arc<Limiter>,
    source: ClientKey,
    cost: Arc<Cost>,
    /// End with the last handle, which the handler lets go when it has read the request.
    _reading: [OwnedSemaphorePermit; 2],
}

/// What a request costs its source.
#[derive(Debug, Default)]
struct Cost {
    /// How many bytes are read, once unpacked.
    bytes: AtomicUsize,
    /// Whether it was charged.
    charged: AtomicBool,
}

/// More than is allowed, for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimited(pub(super) Duration);

impl Default for Limits {
    /// What they are derived from is in docs/operations.md.
    fn default() -> Self {
        Self {
            requests: 100,
            rows: 1_000,
            items_per_day: 500_000,
            snapshots: 1,
            connections: 900,
            max_connections_per_client: 128,
            proxies: Vec::new(),
        }
    }
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let Limits { requests, rows, items_per_day, snapshots, connections: _, max_connections_per_client: _, proxies } =
            limits;
        Arc::new(Self {
            proxies: proxies.clone(),
            connections: TokenBuckets::new(*requests),
            requests: TokenBuckets::new(*requests),
            rows: TokenBuckets::new(*rows),
            days: TokenBuckets::daily(*items_per_day),
            snapshots: TokenBuckets::new(*snapshots),
            bodies: Quota::new(BODIES, BODIES_EACH),
            reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
            reading_each: (0..GROUPS).map(|_| Arc::new(Semaphore::new(READ_EACH))).collect(),
            hash: RandomState::new(),
        })
    }

    /// That of a connection.
    pub(super) fn source_of_peer(&self, peer: IpAddr) -> ClientKey {
        ClientKey::of_peer(peer, &self.proxies)
    }

    /// Lets a connection in, unless there were as many as there may be requests: a handshake is as much work.
    pub(super) fn connect(&self, source: ClientKey) -> Result<(), RateLimited> {
        // What a proxy's connections carry is limited by where it is from.
        if source.is_proxy() { Ok(()) } else { self.connections.take(source, 1, Instant::now()).map_err(RateLimited) }
    }

    /// Forgets whom there is nothing to remember of.
    pub(super) fn forget(&self, now: Instant) {
        for sources in [&self.connections, &self.requests, &self.rows, &self.days] {
            sources.forget(now);
        }
        self.snapshots.forget(now);
    }

    /// How many are remembered by what they may connect.
    #[cfg(test)]
    pub(super) fn known_sources(&self) -> usize {
        self.connections.len()
    }

    fn source(&self, peer: IpAddr, headers: &HeaderMap) -> ClientKey {
        ClientKey::of_request(peer, headers, &self.proxies)
    }

    /// Lets a request in, unless there were too many.
    fn request(&self, source: ClientKey) -> Result<(), RateLimited> {
        self.requests.take(source, 1, Instant::now()).map_err(|wait| too_much(LimitKind::Requests, wait))
    }

    /// Lets it in, unless there were too many rows in those before.
    fn has_rows(&self, source: ClientKey) -> Result<(), RateLimited> {
        self.rows.take(source, 0, Instant::now()).map_err(|wait| too_much(LimitKind::Rows, wait))
    }

    /// Waits until a request may be read. By then others of its source may have been too much: those that came with
    /// them are not read.
    async fn admit(self: &Arc<Self>, source: ClientKey) -> Result<Permit, RateLimitError> {
        let enter = async |semaphore: &Arc<Semaphore>| {
            Arc::clone(semaphore).acquire_owned().await.map_err(|_| RateLimitError::NoRoom)
        };
        let own = enter(self.group(source)).await?;
        let reading = [own, enter(&self.reading).await?];
        self.has_rows(source)?;
        let limiter = Arc::clone(self);
        Ok(Permit(Arc::new(Work { limiter, source, cost: Arc::default(), _reading: reading })))
    }

    fn group(&self, source: ClientKey) -> &Arc<Semaphore> {
        let group = self.hash.hash_one(source) % GROUPS as u64;
        &self.reading_each[usize::try_from(group).unwrap_or_default()]
    }

    /// Counts what a request costs, if it was not counted yet.
    fn settle(&self, source: ClientKey, cost: &Cost, rows: usize) {
        if !cost.charged.swap(true, Ordering::Relaxed) {
            let rows = rows.max(cost.bytes.load(Ordering::Relaxed) / ROW).max(1);
            self.rows.charge(source, u32::try_from(rows).unwrap_or(u32::MAX), Instant::now());
        }
    }

    /// Lets the rows of a request be stored, all or none.
    fn keep(&self, source: ClientKey, batch: &Batch) -> Result<(), RateLimited> {
        let now = Instant::now();
        self.days.take(source, 0, now).map_err(|wait| too_much(LimitKind::Day, wait))?;
        let installations = || batch.snapshots.iter().map(|snapshot| snapshot.installation);
        installations()
            .try_for_each(|installation| self.snapshots.take(installation, 0, now))
            .map_err(|wait| too_much(LimitKind::Cycles, wait))?;
        installations().for_each(|installation| self.snapshots.charge(installation, 1, now));
        let rows = batch.snapshots.len() + batch.events.len();
        self.days.charge(source, u32::try_from(rows).unwrap_or(u32::MAX), now);
        Ok(())
    }
}

impl Permit {
    /// Tells how many bytes are read, once unpacked: they cost something even where they are no rows.
    pub(super) fn weigh(&self, bytes: usize) {
        self.0.cost.bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Counts what was sent, whatever becomes of it. It is too late to refuse it: what is too much is waited for by the
    /// source's next request.
    pub(super) fn charge(&self, rows: usize) {
        let Work { limiter, source, cost, _reading } = self.0.as_ref();
        limiter.settle(*source, cost, rows);
    }

    /// Lets the next be read, since this one is, and its rows be stored, unless its source or its installations had too
    /// many.
    pub(super) fn done(self, batch: &Batch) -> Result<(), RateLimited> {
        self.0.limiter.keep(self.0.source, batch)
    }
}

fn too_much(limit: LimitKind, wait: Duration) -> RateLimited {
    metrics::limited(limit);
    RateLimited(wait)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_one_source_has_read_leaves_room_for_the_others() {
        let limiter = Limiter::new(&Limits::default());
        let of = |last| ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into());
        let mut held = Vec::new();
        while let Some(admission) = limiter.admit(of(1)).now_or_never() {
            held.push(admission.unwrap());
        }
        assert!((1..READ_AT_ONCE).contains(&held.len()), "{}", held.len());
        // Some of them may be of the same group as the first.
        let others = (2..=9).filter_map(|last| limiter.admit(of(last)).now_or_never());
        assert_eq!(others.collect::<Vec<_>>().len(), READ_AT_ONCE - held.len());
    }
}
