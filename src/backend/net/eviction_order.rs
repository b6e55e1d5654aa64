//! The order in which idle connections are evicted.
//!
//! Nothing of the crate is imported here, so that benches/handshake measures this file as it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The number of a connection in an [`EvictionOrder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(u64);

/// Open connections, idle or busy, in the order of their eviction.
///
/// First comes a connection of the client with the most connections, busy ones included, among the clients that have an
/// idle one; of these connections, and of those of clients with equally many, the one that has been idle for longest.
/// Busy connections are never evicted.
///
/// Each method takes O(log n) for n connections: a few look-ups by hash, at most one insertion and one removal in the map
/// of one client's idle connections, and the same in the map of candidates. Neither map is larger than n. For a million
/// connections that is 20 comparisons in a binary search.
#[derive(Debug)]
pub(super) struct EvictionOrder<C> {
    /// The next number of a connection, or of the beginning of an idle time. No number is used twice: 64 bits last for
    /// half a million years at a million a second.
    next: u64,
    connections: HashMap<ConnectionId, OpenConnection<C>>,
    clients: HashMap<C, ClientConnections>,
    /// The longest-idle connection of each client that has an idle one. The last is the next to be evicted.
    candidates: BTreeMap<EvictionPriority, ConnectionId>,
}

#[derive(Debug)]
struct OpenConnection<C> {
    client: C,
    /// The number of the beginning of its idle time; `None` while it is busy.
    idle_since: Option<u64>,
}

/// The connections of one client, which has at least one.
#[derive(Debug, Default)]
struct ClientConnections {
    open: usize,
    /// The idle ones by the beginning of their idle time.
    idle: BTreeMap<u64, ConnectionId>,
}

/// The rank of a client's longest-idle connection: the greatest is evicted first. No two have the same beginning of
/// their idle time, so that none hides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionPriority {
    open: usize,
    idle_since: Reverse<u64>,
}

impl<C> Default for EvictionOrder<C> {
    fn default() -> Self {
        Self { next: 0, connections: HashMap::new(), clients: HashMap::new(), candidates: BTreeMap::new() }
    }
}

impl<C: Copy + Eq + Hash> EvictionOrder<C> {
    /// Adds an idle connection of `client`.
    pub(super) fn insert(&mut self, client: C) -> ConnectionId {
        let (id, since) = (ConnectionId(self.number()), self.number());
        self.connections.insert(id, OpenConnection { client, idle_since: Some(since) });
        self.update(client, |connections| {
            connections.open += 1;
            connections.idle.insert(since, id);
        });
        id
    }

    /// Marks a connection as busy. One that was removed or evicted stays so.
    pub(super) fn mark_busy(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(since) = connection.idle_since.take() else { return };
        let client = connection.client;
        self.update(client, |connections| {
            connections.idle.remove(&since);
        });
    }

    /// Marks a connection as idle from now on. One that was removed or evicted stays so.
    pub(super) fn mark_idle(&mut self, id: ConnectionId) {
        let since = self.number();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (client, before) = (connection.client, connection.idle_since.replace(since));
        self.update(client, |connections| {
            before.map(|before| connections.idle.remove(&before));
            connections.idle.insert(since, id);
        });
    }

    /// Removes the first connection to be evicted, of `client` or of any. Returns `None` if none of them is idle.
    pub(super) fn evict(&mut self, client: Option<C>) -> Option<ConnectionId> {
        let id = match client {
            Some(client) => self.clients.get(&client)?.candidate()?.1,
            None => *self.candidates.last_key_value()?.1,
        };
        self.remove(id);
        Some(id)
    }

    /// Removes a connection, if it is neither removed nor evicted yet.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(OpenConnection { client, idle_since }) = self.connections.remove(&id) else { return };
        self.update(client, |connections| {
            connections.open -= 1;
            idle_since.map(|since| connections.idle.remove(&since));
        });
    }

    /// Returns whether nothing is remembered, of connections and of their clients.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.clients.is_empty() && self.candidates.is_empty()
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Changes the connections of `client`, and its candidate with them.
    fn update(&mut self, client: C, change: impl FnOnce(&mut ClientConnections)) {
        let connections = self.clients.entry(client).or_default();
        let before = connections.candidate();
        change(connections);
        let (after, is_gone) = (connections.candidate(), connections.open == 0);
        if before != after {
            before.map(|(priority, _)| self.candidates.remove(&priority));
            after.map(|(priority, id)| self.candidates.insert(priority, id));
        }
        if is_gone {
            self.clients.remove(&client);
        }
    }
}

impl ClientConnections {
    /// Returns the client's longest-idle connection with its rank.
    fn candidate(&self) -> Option<(EvictionPriority, ConnectionId)> {
        let (since, id) = self.idle.first_key_value()?;
        Some((EvictionPriority { open: self.open, idle_since: Reverse(*since) }, *id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENTS: u8 = 4;

    /// A change of the connections. Numbers are positions among all connections that were ever opened.
    #[derive(Debug, Clone)]
    enum Change {
        Insert(u8),
        MarkBusy(usize),
        MarkIdle(usize),
        Remove(usize),
        Evict(Option<u8>),
    }

    fn change() -> impl Strategy<Value = Change> {
        let position = || 0..40_usize;
        prop_oneof![
            4 => (0..CLIENTS).prop_map(Change::Insert),
            4 => position().prop_map(Change::MarkBusy),
            4 => position().prop_map(Change::MarkIdle),
            1 => position().prop_map(Change::Remove),
            2 => proptest::option::of(0..CLIENTS).prop_map(Change::Evict),
        ]
    }

    /// The plain search over all connections, which defines the order.
    #[derive(Debug, Default)]
    struct PlainSearch {
        now: u64,
        connections: Vec<(ConnectionId, u8, Option<u64>)>,
    }

    impl PlainSearch {
        fn set(&mut self, id: ConnectionId, idle_since: Option<u64>) {
            if let Some(connection) = self.connections.iter_mut().find(|connection| connection.0 == id) {
                connection.2 = idle_since;
            }
        }

        fn remove(&mut self, id: ConnectionId) {
            self.connections.retain(|connection| connection.0 != id);
        }

        fn evict(&mut self, client: Option<u8>) -> Option<ConnectionId> {
            let open = |client| self.connections.iter().filter(|connection| connection.1 == client).count();
            let idle = self.connections.iter().filter_map(|(id, of, since)| Some((*id, *of, (*since)?)));
            let idle = idle.filter(|(_, of, _)| client.is_none_or(|client| client == *of));
            let (evicted, ..) = idle.max_by_key(|(_, of, since)| (open(*of), Reverse(*since)))?;
            self.remove(evicted);
            Some(evicted)
        }
    }

    proptest! {
        #[test]
        fn the_evicted_connection_is_that_of_a_search_over_all(
            changes in proptest::collection::vec(change(), 0..200),
        ) {
            let (mut order, mut plain, mut opened) = (EvictionOrder::default(), PlainSearch::default(), Vec::new());
            for change in changes {
                plain.now += 1;
                let now = plain.now;
                let at = |position: usize| opened.get(position).copied();
                match change {
                    Change::Insert(client) => {
                        let id = order.insert(client);
                        opened.push(id);
                        plain.connections.push((id, client, Some(now)));
                    }
                    Change::MarkBusy(position) => if let Some(id) = at(position) {
                        order.mark_busy(id);
                        plain.set(id, None);
                    },
                    Change::MarkIdle(position) => if let Some(id) = at(position) {
                        order.mark_idle(id);
                        plain.set(id, Some(now));
                    },
                    Change::Remove(position) => if let Some(id) = at(position) {
                        order.remove(id);
                        plain.remove(id);
                    },
                    Change::Evict(client) => prop_assert_eq!(order.evict(client), plain.evict(client)),
                }
            }
            // The order in which all that remains is evicted.
            while let Some(evicted) = plain.evict(None) {
                prop_assert_eq!(order.evict(None), Some(evicted));
            }
            prop_assert_eq!(order.evict(None), None);
            plain.connections.iter().for_each(|(id, ..)| order.remove(*id));
            prop_assert!(order.is_empty());
        }
    }
}
