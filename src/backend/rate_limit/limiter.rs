//! The limiter: one token bucket per client and limit, and bounds on what is in memory at once.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use uuid::Uuid;

use super::decoders::{Decoder, Decoders};
use super::shares::DailyShares;
use super::{ClientKey, Limits, Quota, RateLimitError, RateLimited, Reservation, TokenBuckets, TrustedProxies};
use crate::backend::clock::Clock;
use crate::backend::metrics::{self, LimitKind};
use crate::backend::store::{Allowance, Room, Spent};
use crate::process::lock::lock;

/// Bytes that cost as much as one item: the size of an event. Reading takes time and memory also for a body that holds
/// few items, or that cannot be decoded at all.
const BYTES_PER_ITEM: usize = 300;

/// Bytes of bodies in memory before they are decoded: 128 of the largest.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one client's bodies: 4 of the largest, which is more than the ten batches of 150 kB that a relay has under
/// way. It takes 32 clients to use up [`MAX_BODY_BYTES`].
const MAX_BODY_BYTES_PER_CLIENT: usize = 2 * 1024 * 1024;

/// The address at the other end of a connection: an extension of each request on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend) struct PeerAddr(pub(in crate::backend) IpAddr);

/// The limits that a request is checked against before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum LimitScope {
    /// None. Probes are served whatever other clients at the same address send.
    Nothing,
    /// The rate of requests.
    Requests,
    /// The rate of requests and the rate of items. Bodies are decoded behind it, which costs memory and time.
    Items,
}

/// Applies [`Limits`].
#[derive(Debug)]
pub(in crate::backend) struct Limiter {
    trusted_proxies: TrustedProxies,
    connections: TokenBuckets<ClientKey>,
    requests: TokenBuckets<ClientKey>,
    items: TokenBuckets<ClientKey>,
    bytes_per_day: TokenBuckets<ClientKey>,
    snapshots: TokenBuckets<Uuid>,
    shares: DailyShares,
    clock: Clock,
    body_bytes: Arc<Quota>,
    decoders: Arc<Decoders>,
}

/// A request that passed [`Limiter::check`]. It is an extension of the request.
///
/// A body that was read and is never charged, since it could not be decoded, is charged for its bytes when the last
/// handle is dropped.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Permit(Arc<PermitState>);

#[derive(Debug)]
struct PermitState {
    limiter: Arc<Limiter>,
    client: ClientKey,
    scope: LimitScope,
    uncharged: Mutex<Option<ReadBody>>,
}

/// A body that was read, and is neither charged nor stored yet.
#[derive(Debug)]
struct ReadBody {
    /// Its length before or after decompression, whichever is greater.
    bytes: usize,
    _reservation: Reservation,
    _decoder: Decoder,
}

/// A body after decompression.
#[derive(Debug)]
pub(in crate::backend) struct Decompressed<E> {
    /// The plain body, or the reason for which there is none.
    pub(in crate::backend) body: Result<Bytes, E>,
    /// The number of bytes that were decompressed, also before an error.
    pub(in crate::backend) bytes: usize,
}

impl Limiter {
    pub(in crate::backend) fn new(limits: &Limits, clock: Clock) -> Arc<Self> {
        let Limits { requests, items, bytes_per_day, snapshots, shares, trusted_proxies, .. } = limits;
        Arc::new(Self {
            trusted_proxies: trusted_proxies.clone(),
            connections: TokenBuckets::new(*requests),
            requests: TokenBuckets::new(*requests),
            items: TokenBuckets::new(*items),
            bytes_per_day: TokenBuckets::daily(*bytes_per_day),
            snapshots: TokenBuckets::new(*snapshots),
            shares: DailyShares::new(shares),
            clock,
            body_bytes: Quota::new(MAX_BODY_BYTES, MAX_BODY_BYTES_PER_CLIENT),
            decoders: Decoders::new(),
        })
    }

    /// Returns the client of a connection.
    pub(in crate::backend) fn client_of_peer(&self, peer: IpAddr) -> ClientKey {
        ClientKey::of_peer(peer, &self.trusted_proxies)
    }

    /// Checks that a client opened no more connections than it may send requests: a handshake is as much work.
    pub(in crate::backend) fn check_connection(&self, client: ClientKey) -> Result<(), RateLimited> {
        // The requests on a proxy's connections are limited by their own clients.
        if client.is_proxy() {
            return Ok(());
        }
        self.connections.take(client, 1, self.clock.instant()).map_err(|retry_after| RateLimited { retry_after })
    }

    /// Checks that the client of a request did not send too many requests, or too many items in earlier ones.
    pub(in crate::backend) fn check<B>(
        self: &Arc<Self>,
        request: &Request<B>,
        scope: LimitScope,
    ) -> Result<Permit, RateLimitError> {
        let Some(PeerAddr(peer)) = request.extensions().get().copied() else { return Err(RateLimitError::Broken) };
        let client = ClientKey::of_request(peer, request.headers(), &self.trusted_proxies);
        if scope == LimitScope::Items {
            self.check_items_owed(client)?;
        }
        if scope != LimitScope::Nothing {
            self.requests
                .take(client, 1, self.clock.instant())
                .map_err(|retry_after| limited(LimitKind::Requests, retry_after))?;
        }
        let limiter = Arc::clone(self);
        Ok(Permit(Arc::new(PermitState { limiter, client, scope, uncharged: Mutex::default() })))
    }

    /// Forgets clients and installations whose buckets are full, which changes nothing for them.
    pub(in crate::backend) fn evict(&self) {
        let now = self.clock.instant();
        for clients in [&self.connections, &self.requests, &self.items, &self.bytes_per_day] {
            clients.evict(now);
        }
        self.snapshots.evict(now);
        self.shares.evict(now);
    }

    /// Returns whether the store is as large as it may be.
    pub(in crate::backend) fn is_full(&self) -> bool {
        self.shares.is_full()
    }

    /// Sets whether the store is as large as it may be.
    pub(in crate::backend) fn set_full(&self, is_full: bool) {
        self.shares.set_full(is_full);
    }

    /// Returns the number of clients that are remembered by their connections.
    #[cfg(test)]
    pub(in crate::backend) fn known_clients(&self) -> usize {
        self.connections.len()
    }

    fn check_items_owed(&self, client: ClientKey) -> Result<(), RateLimited> {
        self.items.take(client, 0, self.clock.instant()).map_err(|retry_after| limited(LimitKind::Items, retry_after))
    }

    fn charge_items(&self, client: ClientKey, items: usize, bytes: usize) {
        let items = items.max(bytes / BYTES_PER_ITEM).max(1);
        self.items.charge(client, u32::try_from(items).unwrap_or(u32::MAX), self.clock.instant());
    }

    /// Checks that the client did not write too much today, and takes a snapshot of each of `installations`: all of them,
    /// or none. What is written is known, and charged, after the commit.
    fn take_snapshots(
        &self,
        client: ClientKey,
        installations: impl Iterator<Item = Uuid> + Clone,
    ) -> Result<(), RateLimited> {
        let now = self.clock.instant();
        self.bytes_per_day.take(client, 0, now).map_err(|retry_after| limited(LimitKind::BytesPerDay, retry_after))?;
        installations
            .clone()
            .try_for_each(|installation| self.snapshots.take(installation, 0, now))
            .map_err(|retry_after| limited(LimitKind::Snapshots, retry_after))?;
        installations.for_each(|installation| self.snapshots.charge(installation, 1, now));
        Ok(())
    }
}

impl<E> Decompressed<E> {
    /// Returns a body that was plain.
    pub(in crate::backend) fn plain(body: Bytes) -> Self {
        Self { bytes: body.len(), body: Ok(body) }
    }

    /// Returns the error of a body of which nothing was decompressed.
    pub(in crate::backend) const fn failed(error: E) -> Self {
        Self { body: Err(error), bytes: 0 }
    }
}

impl Permit {
    /// Returns the client of the request.
    pub(in crate::backend) fn client(&self) -> ClientKey {
        self.0.client
    }

    /// Reads a body of at most `max` bytes to its end, within the client's quota, and decompresses it.
    ///
    /// The whole body is buffered first, since a decoder that began earlier could be kept waiting with all that it has
    /// decoded. Where items are limited, the body is decompressed once a [`Decoder`] is free, which is then held until
    /// [`Permit::charge`].
    pub(in crate::backend) async fn read_body<E: From<RateLimitError>>(
        &self,
        body: Body,
        max: usize,
        decompress: impl FnOnce(Bytes) -> Decompressed<E>,
    ) -> Result<Bytes, E> {
        let PermitState { limiter, client, scope, uncharged } = self.0.as_ref();
        let mut reservation = limiter.body_bytes.open(*client);
        let body = collect(body, max, &mut reservation).await?;
        if *scope != LimitScope::Items {
            return decompress(body).body;
        }
        let decoder = limiter.decoders.acquire(*client).await?;
        // Bodies of the same client that were decoded meanwhile may have been too much.
        limiter.check_items_owed(*client).map_err(RateLimitError::from)?;
        let compressed_len = body.len();
        let Decompressed { body, bytes } = decompress(body);
        let bytes = bytes.max(compressed_len);
        *lock(uncharged) = Some(ReadBody { bytes, _reservation: reservation, _decoder: decoder });
        body
    }

    /// Charges the client for `items`, or for the equivalent of the body's size if that is more.
    ///
    /// Items are charged whatever becomes of the request: it is too late to reject them, and the client's next request
    /// waits.
    pub(in crate::backend) fn charge(&self, items: usize) {
        let PermitState { limiter, client, scope: _, uncharged } = self.0.as_ref();
        // The decoder is free from here on: storing waits for a commit, which many requests share.
        if let Some(ReadBody { bytes, .. }) = lock(uncharged).take() {
            limiter.charge_items(*client, items, bytes);
        }
    }

    /// Checks that the client may store something, and returns the allowance within which it may. `installations` has one
    /// element for each gauge snapshot.
    ///
    /// Fails if the client wrote too much today, or an installation sent too many snapshots; nothing may be stored then.
    pub(in crate::backend) fn allowance(
        &self,
        installations: impl Iterator<Item = Uuid> + Clone,
    ) -> Result<Arc<dyn Allowance>, RateLimited> {
        let PermitState { limiter, client, .. } = self.0.as_ref();
        limiter.take_snapshots(*client, installations)?;
        Ok(Arc::new(ClientAllowance { limiter: Arc::clone(limiter), client: *client }))
    }
}

impl Drop for PermitState {
    fn drop(&mut self) {
        if let Some(ReadBody { bytes, .. }) = lock(&self.uncharged).take() {
            self.limiter.charge_items(self.client, 0, bytes);
        }
    }
}

/// The allowance of a client.
#[derive(Debug)]
struct ClientAllowance {
    limiter: Arc<Limiter>,
    client: ClientKey,
}

impl Allowance for ClientAllowance {
    fn sender(&self) -> u64 {
        self.limiter.shares.sender(self.client)
    }

    fn room(&self) -> Room {
        self.limiter.shares.room(self.client, self.limiter.clock.instant())
    }

    fn spend(&self, spent: Spent) {
        let now = self.limiter.clock.instant();
        self.limiter.shares.spend(self.client, spent, now);
        self.limiter.bytes_per_day.charge(self.client, spent.bytes, now);
    }
}

fn limited(limit: LimitKind, retry_after: Duration) -> RateLimited {
    metrics::requests_rate_limited(limit);
    RateLimited { retry_after }
}

/// Buffers a body of at most `max` bytes, as far as `reservation` can grow.
///
/// A length that the head states is checked before anything is read.
async fn collect(mut body: Body, max: usize, reservation: &mut Reservation) -> Result<Bytes, RateLimitError> {
    if body.size_hint().lower() > max as u64 {
        return Err(RateLimitError::TooLarge(max));
    }
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| RateLimitError::Broken)?.into_data() else { continue };
        if buffer.len() + data.len() > max {
            return Err(RateLimitError::TooLarge(max));
        }
        reservation.add(data.len()).map_err(|_| {
            metrics::requests_rate_limited(LimitKind::BodyBytes);
            RateLimitError::NoRoom
        })?;
        buffer.extend_from_slice(&data);
    }
    Ok(buffer.freeze())
}
