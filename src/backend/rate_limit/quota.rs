//! Quotas on resources that are held for a time, in total and per client: connections, and bytes of bodies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::ClientKey;
use crate::process::lock::lock;

/// A quota. A client that holds nothing takes no memory.
#[derive(Debug)]
pub(in crate::backend) struct Quota {
    max: usize,
    max_per_client: usize,
    state: Mutex<QuotaState>,
}

#[derive(Debug, Default)]
struct QuotaState {
    total: usize,
    per_client: HashMap<ClientKey, usize>,
}

/// A part of a quota, held until it is dropped.
#[derive(Debug)]
pub(in crate::backend) struct Reservation {
    quota: Arc<Quota>,
    client: ClientKey,
    max_per_client: usize,
    amount: usize,
}

/// The bound that a reservation would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum QuotaExceeded {
    /// The bound of all clients together.
    All,
    /// The bound of the client.
    Client,
}

impl Quota {
    pub(in crate::backend) fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_client, state: Mutex::default() })
    }

    /// Opens an empty reservation of `client`.
    pub(in crate::backend) fn open(self: &Arc<Self>, client: ClientKey) -> Reservation {
        Reservation { quota: Arc::clone(self), client, max_per_client: self.max_per_client, amount: 0 }
    }

    /// Opens an empty reservation of a peer. A proxy carries many clients, so that only the total bounds it.
    pub(in crate::backend) fn open_for_peer(self: &Arc<Self>, peer: ClientKey) -> Reservation {
        let mut reservation = self.open(peer);
        if peer.is_proxy() {
            reservation.max_per_client = self.max;
        }
        reservation
    }
}

impl Reservation {
    /// Adds `amount`, if the bounds allow it. The client's bound is checked first, so it is the one reported if both are
    /// reached.
    pub(in crate::backend) fn add(&mut self, amount: usize) -> Result<(), QuotaExceeded> {
        let mut state = lock(&self.quota.state);
        let of_client = state.per_client.get(&self.client).copied().unwrap_or_default();
        if of_client + amount > self.max_per_client {
            return Err(QuotaExceeded::Client);
        }
        if state.total + amount > self.quota.max {
            return Err(QuotaExceeded::All);
        }
        state.total += amount;
        state.per_client.insert(self.client, of_client + amount);
        self.amount += amount;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = lock(&self.quota.state);
        state.total -= self.amount;
        let rest = state.per_client.get(&self.client).copied().unwrap_or_default() - self.amount;
        if rest == 0 {
            state.per_client.remove(&self.client);
        } else {
            state.per_client.insert(self.client, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_client_and_all_together_are_bounded_and_a_dropped_reservation_is_free_again() {
        let quota = Quota::new(5, 3);
        let of = |last| quota.open(ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into()));
        let (mut one, mut two) = (of(1), of(1));
        assert_eq!((one.add(2), two.add(2), two.add(1)), (Ok(()), Err(QuotaExceeded::Client), Ok(())));
        let mut other = of(2);
        assert_eq!((other.add(3), other.add(2)), (Err(QuotaExceeded::All), Ok(())));
        drop((one, two));
        assert_eq!(other.add(1), Ok(()));
        drop(other);
        let state = quota.state.lock().unwrap();
        assert_eq!((state.total, state.per_client.len()), (0, 0));
    }
}
