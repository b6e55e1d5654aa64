//! The limit on connections, in total and per client. An idle connection is evicted for a new one.
//!
//! Without the eviction, a few clients that connect and send nothing would hold every slot, since each is free again only
//! after the handshake's timeout. `an_idle_connection_is_evicted_for_a_new_one` and
//! `a_health_watch_is_evicted_for_a_new_connection` in tests/it/backend/limits.rs show it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::Port;
use super::eviction_order::{ConnectionId, EvictionOrder};
use super::in_flight::InFlight;
use crate::backend::metrics::{self, ConnectionRejection};
use crate::backend::rate_limit::{ClientKey, Limits, Quota, QuotaExceeded, Reservation};
use crate::process::lock::lock;

/// The slots of all connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    quota: Arc<Quota>,
    /// Locked for the whole of each change of the slots, and before `order`.
    holders: Mutex<HashMap<ConnectionId, SlotHolder>>,
    /// Locked for one step at a time: requests take it as well, and wait neither for the quota nor for the waking of a
    /// task.
    order: Arc<Mutex<EvictionOrder<ClientKey>>>,
}

#[derive(Debug)]
struct SlotHolder {
    evicted: CancellationToken,
    _reservation: Reservation,
}

/// The slot of one connection, until it is dropped or evicted.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    id: ConnectionId,
    port: Port,
    /// Counts the connection's requests.
    pub(super) in_flight: InFlight,
    /// Cancelled once another connection has the slot.
    pub(super) evicted: CancellationToken,
}

impl ConnectionSlots {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let quota = Quota::new(limits.max_connections, limits.max_connections_per_client);
        Arc::new(Self { quota, holders: Mutex::default(), order: Arc::default() })
    }

    /// Takes a free slot for a connection of `client`, or that of an idle connection. A client at its own bound evicts a
    /// connection of its own.
    ///
    /// The number of connections does not matter, as [`EvictionOrder`] says. Where all slots are taken, this runs for each
    /// new connection.
    pub(super) fn take(self: &Arc<Self>, port: Port, client: ClientKey) -> Result<ConnectionSlot, ConnectionRejection> {
        let mut holders = lock(&self.holders);
        let mut reservation = self.quota.open_for_peer(client);
        if let Err(exceeded) = reservation.add(1) {
            let (evict_from, rejection) = match exceeded {
                QuotaExceeded::All => (None, ConnectionRejection::All),
                QuotaExceeded::Client => (Some(client), ConnectionRejection::Client),
            };
            let idle = lock(&self.order).evict(evict_from);
            let holder = idle.and_then(|id| holders.remove(&id)).ok_or(rejection)?;
            holder.evicted.cancel();
            drop(holder);
            reservation.add(1).map_err(|_| rejection)?;
        }
        let id = lock(&self.order).insert(client);
        let (in_flight, evicted) = (InFlight::new(id, Arc::clone(&self.order)), CancellationToken::new());
        holders.insert(id, SlotHolder { evicted: evicted.clone(), _reservation: reservation });
        metrics::connection_opened(port.as_str());
        Ok(ConnectionSlot { slots: Arc::clone(self), id, port, in_flight, evicted })
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut holders = lock(&self.slots.holders);
        lock(&self.slots.order).remove(self.id);
        holders.remove(&self.id);
        drop(holders);
        metrics::connection_closed(self.port.as_str());
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(last: u8) -> ClientKey {
        ClientKey::of(Ipv4Addr::new(192, 0, 2, last).into())
    }

    fn slots(max_connections: usize, max_connections_per_client: usize) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(&Limits { max_connections, max_connections_per_client, ..Limits::default() })
    }

    #[test]
    fn a_client_at_its_bound_evicts_its_longest_idle_connection() {
        let slots = slots(10, 2);
        let take = |last| slots.take(Port::Http, client(last));
        let (first, second, other) = (take(1).unwrap(), take(1).unwrap(), take(2).unwrap());
        let request = first.in_flight.begin();
        let third = take(1).unwrap();
        assert!(!first.evicted.is_cancelled() && second.evicted.is_cancelled());
        let also = third.in_flight.begin();
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Client);
        drop(request);
        let fourth = take(1).unwrap();
        assert!(first.evicted.is_cancelled() && !third.evicted.is_cancelled() && !other.evicted.is_cancelled());
        // The slots of evicted connections are not freed twice.
        drop((first, second, also));
        let held = third.in_flight.begin();
        let also = fourth.in_flight.begin();
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Client);
        drop((third, fourth, other, held, also));
        assert!(lock(&slots.holders).is_empty() && lock(&slots.order).is_empty());
    }

    #[test]
    fn where_all_slots_are_taken_the_client_with_the_most_loses_one() {
        let slots = slots(4, 3);
        let take = |last| slots.take(Port::Http, client(last));
        let few = take(1).unwrap();
        let many: Vec<_> = (0..3).map(|_| take(2).unwrap()).collect();
        let newcomer = take(3).unwrap();
        let evicted: Vec<_> = many.iter().map(|slot| slot.evicted.is_cancelled()).collect();
        assert_eq!(evicted, [true, false, false]);
        assert!(!few.evicted.is_cancelled());
        let requests: Vec<_> = [&few, &newcomer, &many[1], &many[2]].map(|slot| slot.in_flight.begin()).into();
        assert_eq!(take(4).unwrap_err(), ConnectionRejection::All);
        drop(requests);
    }

    #[test]
    fn a_client_at_its_bound_takes_no_slot_of_others_even_where_all_are_taken() {
        let slots = slots(3, 2);
        let take = |last| slots.take(Port::Http, client(last));
        let (one, also, other) = (take(1).unwrap(), take(1).unwrap(), take(2).unwrap());
        let _requests = [one.in_flight.begin(), also.in_flight.begin()];
        assert_eq!(take(1).unwrap_err(), ConnectionRejection::Client);
        assert!(!other.evicted.is_cancelled());
    }
}
