//! What is held for a while, and bounded in all and for each source: connections, and bytes of bodies.

use crate::process::lock::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::ClientKey;

/// What is held, by source. Nothing is kept of a source that holds nothing.
#[derive(Debug)]
pub(in crate::backend) struct Quota {
    most: usize,
    most_each: usize,
    held: Mutex<QuotaState>,
}

#[derive(Debug, Default)]
struct QuotaState {
    all: usize,
    each: HashMap<ClientKey, usize>,
}

/// What one holds, until it is dropped.
#[derive(Debug)]
pub(in crate::backend) struct Reservation {
    shares: Arc<Quota>,
    source: ClientKey,
    most_each: usize,
    amount: usize,
}

/// Which bound was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum QuotaExceeded {
    /// That of all together.
    All,
    /// That of the source.
    Source,
}

impl Quota {
    pub(in crate::backend) fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, held: Mutex::default() })
    }

    /// Nothing yet, for `source`.
    pub(in crate::backend) fn open(self: &Arc<Self>, source: ClientKey) -> Reservation {
        Reservation { shares: Arc::clone(self), source, most_each: self.most_each, amount: 0 }
    }

    /// Nothing yet, for a source which may be a proxy: what is many's is bounded in all only.
    pub(in crate::backend) fn open_for_peer(self: &Arc<Self>, source: ClientKey) -> Reservation {
        let mut share = self.open(source);
        if source.is_proxy() {
            share.most_each = self.most;
        }
        share
    }
}

impl Reservation {
    /// Holds `more`, if the bounds allow it. That of the source comes first: one that is at its own has all to give.
    pub(in crate::backend) fn add(&mut self, more: usize) -> Result<(), QuotaExceeded> {
        let Quota { most, most_each: _, held } = self.shares.as_ref();
        let mut held = lock(held);
        let each = held.each.get(&self.source).copied().unwrap_or_default();
        if each + more > self.most_each {
            return Err(QuotaExceeded::Source);
        }
        if held.all + more > *most {
            return Err(QuotaExceeded::All);
        }
        held.all += more;
        held.each.insert(self.source, each + more);
        self.amount += more;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut held = lock(&self.shares.held);
        held.all -= self.amount;
        let left = held.each.get(&self.source).copied().unwrap_or_default() - self.amount;
        if left == 0 {
            held.each.remove(&self.source);
        } else {
            held.each.insert(self.source, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_source_and_all_together_are_bounded_and_what_is_dropped_is_free_again() {
        let shares = Quota::new(5, 3);
        let of = |last| shares.open(ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into()));
        let (mut one, mut two) = (of(1), of(1));
        assert_eq!((one.add(2), two.add(2), two.add(1)), (Ok(()), Err(QuotaExceeded::Source), Ok(())));
        let mut other = of(2);
        assert_eq!((other.add(3), other.add(2)), (Err(QuotaExceeded::All), Ok(())));
        drop((one, two));
        assert_eq!(other.add(1), Ok(()));
        drop(other);
        let held = shares.held.lock().unwrap();
        assert_eq!((held.all, held.each.len()), (0, 0));
    }
}
