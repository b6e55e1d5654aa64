//! One test binary, modules by topic.
//!
//! What needs a real server is ignored unless the feature `real-servers` is on, which `make test` turns on once it has
//! built those servers.

mod servers;

mod agent;
mod backend;
mod cluster;
mod consent;
mod pipeline;
mod preview;
mod relay;
