//! ConnectionSlots for connections: so many in all, and of each source. One that is idle gives its place to who comes.

use crate::process::lock::lock;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

use super::Port;
use super::in_flight::InFlight;
use crate::backend::metrics::{self, ConnectionRejection};
use crate::backend::rate_limit::{ClientKey, Limits, Quota, QuotaExceeded, Reservation};

/// All of them.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    shares: Arc<Quota>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by: HashMap<u64, Holder>,
}

/// TokenRef has a place.
#[derive(Debug)]
struct Holder {
    source: ClientKey,
    activity: InFlight,
    replaced: CancellationToken,
    _share: Reservation,
}

/// The place of one connection among all, until it is dropped, or another has it.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    number: u64,
    port: Port,
    /// To be told what is under way.
    pub(super) activity: InFlight,
    /// Tells that another has it.
    pub(super) replaced: CancellationToken,
}

impl ConnectionSlots {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let shares = Quota::new(limits.max_connections, limits.max_connections_per_client);
        Arc::new(Self { shares, taken: Mutex::default() })
    }

    /// A place for a connection of `source`: one that is free, or that of an idle one. Where the source has as many as it
    /// may, that is one of its own.
    pub(super) fn take(self: &Arc<Self>, port: Port, source: ClientKey) -> Result<ConnectionSlot, ConnectionRejection> {
        let mut taken = self.lock();
        let mut share = self.shares.open_for_peer(source);
        if let Err(full) = share.add(1) {
            let (whose, refused) = match full {
                QuotaExceeded::All => (None, ConnectionRejection::All),
                QuotaExceeded::Source => (Some(source), ConnectionRejection::Source),
            };
            let replaced = taken.idle(whose).and_then(|number| taken.by.remove(&number)).ok_or(refused)?;
            replaced.replaced.cancel();
            drop(replaced);
            share.add(1).map_err(|_| refused)?;
        }
        let (activity, replaced) = (InFlight::default(), CancellationToken::new());
        let number = taken.next;
        taken.next += 1;
        let holder = Holder { source, activity: activity.clone(), replaced: replaced.clone(), _share: share };
        taken.by.insert(number, holder);
        metrics::connected(port.as_str());
        Ok(ConnectionSlot { places: Arc::clone(self), number, port, activity, replaced })
    }

    /// What is taken is whole whatever happened to another holder.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        lock(&self.taken)
    }
}

impl Taken {
    /// The connection that has been idle for longest, of `whose`, or of the source that has the most. Where there is a
    /// place for each, this looks at all of them; a source connects as often as it may send.
    fn idle(&self, whose: Option<ClientKey>) -> Option<u64> {
        let mut held: HashMap<ClientKey, usize> = HashMap::new();
        self.by.values().for_each(|holder| *held.entry(holder.source).or_default() += 1);
        let idle = self.by.iter().filter_map(|(number, holder)| Some((number, holder, holder.activity.quiet()?)));
        let idle = idle.filter(|(_, holder, _)| whose.is_none_or(|whose| whose == holder.source));
        let longest = idle.max_by_key(|(_, holder, quiet)| (held.get(&holder.source), Reverse(*quiet)));
        longest.map(|(number, ..)| *number)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.places.lock().by.remove(&self.number);
        metrics::disconnected(self.port.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn of(last: u8) -> ClientKey {
        ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into())
    }

    fn places(max_connections: usize, max_connections_per_client: usize) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(&Limits { max_connections, max_connections_per_client, ..Limits::default() })
    }

    #[test]
    fn a_source_at_its_bound_gives_the_place_of_its_longest_idle_one() {
        let places = places(10, 2);
        let take = |last| places.take(Port::Http, of(last));
        let (first, second, other) = (take(1).unwrap(), take(1).unwrap(), take(2).unwrap());
        let under_way = first.activity.begin();
        let third = take(1).unwrap();
        assert!(!first.replaced.is_cancelled() && second.replaced.is_cancelled());
        let also = third.activity.begin();
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Source);
        drop(under_way);
        let fourth = take(1).unwrap();
        assert!(first.replaced.is_cancelled() && !third.replaced.is_cancelled() && !other.replaced.is_cancelled());
        // The places of those that were replaced are not given back twice.
        drop((first, second, also));
        let held = third.activity.begin();
        let also = fourth.activity.begin();
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Source);
        drop((third, fourth, other, held, also));
        assert!(places.lock().by.is_empty());
    }

    #[test]
    fn where_all_places_are_taken_the_source_with_the_most_gives_one() {
        let places = places(4, 3);
        let take = |last| places.take(Port::Http, of(last));
        let few = take(1).unwrap();
        let many: Vec<_> = (0..3).map(|_| take(2).unwrap()).collect();
        let newcomer = take(3).unwrap();
        let replaced: Vec<_> = many.iter().map(|place| place.replaced.is_cancelled()).collect();
        assert_eq!(replaced, [true, false, false]);
        assert!(!few.replaced.is_cancelled());
        let under_way: Vec<_> = [&few, &newcomer, &many[1], &many[2]].map(|place| place.activity.begin()).into();
        assert_eq!(take(4).unwrap_err(), ConnectionRejection::All);
        drop(under_way);
    }
    #[test]
    fn a_source_at_its_bound_takes_no_place_of_others_even_where_all_are_taken() {
        let places = places(3, 2);
        let take = |last| places.take(Port::Http, of(last));
        let (one, also, other) = (take(1).unwrap(), take(1).unwrap(), take(2).unwrap());
        let _under_way = [one.activity.begin(), also.activity.begin()];
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Source);
        assert!(!other.replaced.is_cancelled());
    }
}
