//! The whole pipeline under faults: no change is lost, and none is reported twice.
//!
//! `scene` starts etcd, the API server, the agents, the relay and the backend, with `proxies` between them that can be
//! made to fail. `stream` makes the changes. `history` records them from etcd, independently of the agent. `oracle`
//! compares that history with the events in the backend's file, which `stored` reads, and `figures` prints the result.
//! `inject` has the faults that the tests are composed of.

mod history;
mod oracle;
pub(crate) mod stored;
mod proxies;
mod scene;
mod stream;
mod figures;
mod inject;
mod short;

mod network;
mod api_server;
mod restore;
mod held_back;
mod journal;
mod copies;
mod objects;
mod kills;
mod takeover;
mod consent;
mod soak;
