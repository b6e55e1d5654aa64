//! Nothing lost, nothing twice: the whole pipeline under faults, judged by what truly happened.
//!
//! `scene` sets up etcd, the API server, the agents, the relay and the backend, with `proxies` between them that fail
//! when they are told to. `stream` makes the changes. `history` records them from etcd, independently of the agent;
//! `oracle` compares that with what the backend's `stored` file holds, and `figures` prints what came of it.
//! `injuries` are the faults, of which the tests below are made.

mod history;
mod oracle;
mod stored;
mod proxies;
mod scene;
mod stream;
mod figures;
mod inject;
mod short;

mod network;
mod api_server;
mod journal;
mod objects;
mod kills;
mod takeover;
mod consent;
mod soak;
