//! Quotas of what is held for a while, in all and for each source: connections, and bytes of bodies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::ClientKey;
use crate::process::lock::lock;

/// A quota. A source that holds nothing takes no memory.
#[derive(Debug)]
pub(in crate::backend) struct Quota {
    max: usize,
    max_per_source: usize,
    state: Mutex<QuotaState>,
}

#[derive(Debug, Default)]
struct QuotaState {
    total: usize,
    per_source: HashMap<ClientKey, usize>,
}

/// A part of a quota, until it is dropped.
#[derive(Debug)]
pub(in crate::backend) struct Reservation {
    quota: Arc<Quota>,
    source: ClientKey,
    max_per_source: usize,
    amount: usize,
}

/// The bound that a reservation would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum QuotaExceeded {
    /// The bound of all sources together.
    All,
    /// The bound of the source.
    Source,
}

impl Quota {
    pub(in crate::backend) fn new(max: usize, max_per_source: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_source, state: Mutex::default() })
    }

    /// Opens an empty reservation of `source`.
    pub(in crate::backend) fn open(self: &Arc<Self>, source: ClientKey) -> Reservation {
        Reservation { quota: Arc::clone(self), source, max_per_source: self.max_per_source, amount: 0 }
    }

    /// Opens an empty reservation of a peer. A proxy carries many sources, and has the bound of all of them.
    pub(in crate::backend) fn open_for_peer(self: &Arc<Self>, peer: ClientKey) -> Reservation {
        let mut reservation = self.open(peer);
        if peer.is_proxy() {
            reservation.max_per_source = self.max;
        }
        reservation
    }
}

impl Reservation {
    /// Adds `amount`, if the bounds allow it. The bound of the source is checked first: a source that is at its own is
    /// told so even where all is in use.
    pub(in crate::backend) fn add(&mut self, amount: usize) -> Result<(), QuotaExceeded> {
        let mut state = lock(&self.quota.state);
        let of_source = state.per_source.get(&self.source).copied().unwrap_or_default();
        if of_source + amount > self.max_per_source {
            return Err(QuotaExceeded::Source);
        }
        if state.total + amount > self.quota.max {
            return Err(QuotaExceeded::All);
        }
        state.total += amount;
        state.per_source.insert(self.source, of_source + amount);
        self.amount += amount;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = lock(&self.quota.state);
        state.total -= self.amount;
        let rest = state.per_source.get(&self.source).copied().unwrap_or_default() - self.amount;
        if rest == 0 {
            state.per_source.remove(&self.source);
        } else {
            state.per_source.insert(self.source, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_source_and_all_together_are_bounded_and_a_dropped_reservation_is_free_again() {
        let quota = Quota::new(5, 3);
        let of = |last| quota.open(ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into()));
        let (mut one, mut two) = (of(1), of(1));
        assert_eq!((one.add(2), two.add(2), two.add(1)), (Ok(()), Err(QuotaExceeded::Source), Ok(())));
        let mut other = of(2);
        assert_eq!((other.add(3), other.add(2)), (Err(QuotaExceeded::All), Ok(())));
        drop((one, two));
        assert_eq!(other.add(1), Ok(()));
        drop(other);
        let state = quota.state.lock().unwrap();
        assert_eq!((state.total, state.per_source.len()), (0, 0));
    }
}
