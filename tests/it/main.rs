//! One test binary, modules by topic.
//!
//! Tests that need a real server are ignored unless the feature `real-servers` is on. `make test` builds the servers
//! and turns it on.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod marker;
mod program;
mod servers;

mod agent;
mod backend;
mod browser;
mod chart;
mod cluster;
mod commit_delay;
mod completion;
mod consent;
mod docs;
mod election;
mod endpoint;
mod environment;
mod faults;
mod image;
mod journal;
mod kubeconfig;
mod layout;
mod load;
mod log_format;
mod node;
mod pipeline;
mod preview;
mod proxy;
mod relay;
mod rotation;
mod secrets;
mod tls;
