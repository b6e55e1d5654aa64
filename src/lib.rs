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
//!              catalog: every signal that may leave a cluster; all three are held against it
//! ```
//!
//! # Order of the modules
//!
//! An import points down this list, never up, and no two siblings import each other. The test `layout` reads the imports
//! of the sources and holds them to it.
//!
//! ```text
//! cli
//!   testkit
//!     agent    supervisor  leader  term  preview  status  forget
//!              export  lease  journal  observe  consent  kubernetes
//!              metrics  backoff  task_slot
//!     backend  server
//!              jobs  admin  web  insights  ingest  auth  net  rate_limit  store
//!              metrics  reload
//!   process
//!   catalog
//! ```
//!
//! [`agent`] and [`backend`] do not know each other.

pub mod catalog;

pub mod agent;
pub mod backend;

pub mod process;
pub mod testkit;

pub mod cli;
