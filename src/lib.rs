//! Kamaji's usage telemetry as an OpenTelemetry pipeline.
//!
//! ```text
//!  management cluster                                                       maintainers
//!
//!  kube-apiserver ─watch─▶ agent ───OTLP/gRPC──▶ relay ───OTLP/HTTP──▶ backend
//!                          │                     OpenTelemetry         │
//!                          ├ kubernetes          Collector with        ├ ingest
//!                          ├ observe             otel-collector/       ├ store
//!                          ├ journal                                   ├ insights
//!                          └ export                                    └ web
//!              catalog: every signal that may leave a cluster; agent, relay and backend are checked against it
//! ```
//!
//! # Order of the modules
//!
//! A module imports from lines below its own, never from lines above. Modules of one line may import each other as long
//! as no ring results; with a bar between them they may not. The test `layout` reads this list and holds the sources to
//! it.
//!
//! ```text
//! cli
//! testkit
//! agent | backend
//! process
//! catalog
//!
//! agent
//!   supervisor, leader, term, preview, status, forget
//!   config
//!   export, lease
//!   journal
//!   consent
//!   kubernetes
//!   observe
//!   metrics, backoff, task_slot, tls_error, relay_probe, error_chain
//!
//! backend
//!   server
//!   jobs, admin
//!   web
//!   insights
//!   ingest
//!   auth
//!   net
//!   rate_limit
//!   store
//!   clock_guard, metrics, secret_file
//!   clock
//! ```
//!
//! In every folder, the imports between its modules form no ring. A module is its file and its folder: an import from
//! anywhere within one counts for the whole. A re-export counts as the module that defines the item. `src/agent.rs` and
//! `src/backend.rs` stand above all of their modules, which therefore import nothing that these two files define; elsewhere
//! a module's file and the files of its folder are one unit, and may import each other.
//!
//! # Features
//!
//! `agent` and `backend` each compile without the other; `demo` adds `testkit` and needs both. All are on by default.

#[cfg(not(any(feature = "agent", feature = "backend")))]
compile_error!("enable at least one of the features `agent` and `backend`");

pub mod catalog;

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "backend")]
pub mod backend;

pub mod process;
#[cfg(feature = "demo")]
pub mod testkit;

pub mod cli;
