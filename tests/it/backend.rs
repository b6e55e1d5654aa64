//! The backend on real sockets and a real file.

mod conformance;
mod harness;
mod hostile;
mod otlp;
mod page;
mod samples;
