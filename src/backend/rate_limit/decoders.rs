//! The bound on bodies that are decoded at once, shared fairly among clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ClientKey, RateLimitError};
use crate::process::lock::lock;

/// Bodies that are decoded at once. Decoding is work for the processor alone, so that more of them would not be done
/// earlier, and each takes up to 64 MiB meanwhile: 256 MiB in all.
const MAX_DECODERS: usize = 4;

/// Bodies of one client that are decoded, or wait for their turn behind those of others: one less than all, so that one
/// client never holds every decoder, and a body of another waits for three of each client at most.
const MAX_DECODERS_PER_CLIENT: usize = MAX_DECODERS - 1;

/// The decoders. A client that uses none takes no memory.
#[derive(Debug)]
pub(super) struct Decoders {
    all: Arc<Semaphore>,
    per_client: Mutex<HashMap<ClientKey, Arc<Semaphore>>>,
}

/// A decoder, held until it is dropped.
#[derive(Debug)]
pub(super) struct Decoder {
    _all: OwnedSemaphorePermit,
    _turn: Turn,
}

/// A turn of a client: one of those that may wait for a decoder, or hold one.
#[derive(Debug)]
struct Turn {
    decoders: Arc<Decoders>,
    client: ClientKey,
    turns: Option<Arc<Semaphore>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Decoders {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { all: Arc::new(Semaphore::new(MAX_DECODERS)), per_client: Mutex::default() })
    }

    /// Waits for a decoder: first behind the client's own bodies, then behind those of all clients.
    pub(super) async fn acquire(self: &Arc<Self>, client: ClientKey) -> Result<Decoder, RateLimitError> {
        let turn = self.turn(client).await?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| RateLimitError::NoRoom)?;
        Ok(Decoder { _all: all, _turn: turn })
    }

    async fn turn(self: &Arc<Self>, client: ClientKey) -> Result<Turn, RateLimitError> {
        let new = || Arc::new(Semaphore::new(MAX_DECODERS_PER_CLIENT));
        let turns = Arc::clone(lock(&self.per_client).entry(client).or_insert_with(new));
        // Dropped with the future if the sender goes away.
        let mut turn = Turn { decoders: Arc::clone(self), client, turns: Some(Arc::clone(&turns)), permit: None };
        turn.permit = Some(turns.acquire_owned().await.map_err(|_| RateLimitError::NoRoom)?);
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut per_client = lock(&self.decoders.per_client);
        // Under the lock, so that the last of several turns sees that it is the last.
        drop((self.permit.take(), self.turns.take()));
        if per_client.get(&self.client).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            per_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_client_never_holds_every_decoder_and_waits_behind_its_own() {
        let decoders = Decoders::new();
        let client = |last| ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into());
        let take = |last| decoders.acquire(client(last)).now_or_never();
        let mut held: Vec<_> = (0..MAX_DECODERS_PER_CLIENT).map(|_| take(1).unwrap().unwrap()).collect();
        assert!(take(1).is_none(), "its own are in use");
        let other = take(2).unwrap().unwrap();
        assert!(take(3).is_none(), "all are in use");
        let next = decoders.acquire(client(1));
        held.pop();
        held.push(next.now_or_never().unwrap().unwrap());
        drop((held, other));
        assert!(lock(&decoders.per_client).is_empty());
        assert_eq!(decoders.all.available_permits(), MAX_DECODERS);
    }
}
