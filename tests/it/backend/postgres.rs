//! Several backends on PostgreSQL, under load, while backends and servers are killed: of what was acknowledged nothing is missing
//! and nothing is there twice, and the rollups are what the rows come to.
//!
//! Eight senders send events and gauges through a proxy, which passes each connection to a backend that is alive. `load` keeps what
//! was acknowledged, and `stored` compares that with the rows. A `scene` has all of them.

pub(crate) mod balancer;
pub(crate) mod load;
mod scene;
pub(crate) mod stored;

mod connections;
mod crashes;
mod failover;
mod jobs;
mod schema;
mod moves;
mod standby;
mod takeover;
mod tokens;

pub(super) use stored::differences;
