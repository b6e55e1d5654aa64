//! One test binary, modules by topic.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod backend;
mod cluster;
mod relay;
#[allow(dead_code, reason = "not every helper has its test yet")]
mod servers;
