//! The backend on real sockets and a real file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admission;
mod conformance;
mod harness;
mod hostile;
mod legacy;
mod marker;
mod migration;
mod otlp;
mod overload;
mod page;
mod retention;
mod samples;
mod shutdown;
mod sqlite;
