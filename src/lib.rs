//! Kamaji's usage telemetry as an OpenTelemetry pipeline: what leaves a management cluster, how, and what is made of it.
//!
//! ```text
//!  management cluster                                                       maintainers
//!
//!  kube-apiserver ─watch─▶ agent ───OTLP/gRPC──▶ relay ───OTLP/HTTP──▶ backend
//!                          │                     OpenTelemetry         │
//!                          ├ cluster             Collector with        ├ receive
//!                          ├ observe             otel-collector/       ├ admit
//!                          ├ journal                                   ├ store
//!                          └ deliver                                   ├ insights
//!                                                                      └ web
//!              signals: the one catalog of what can be sent, which all three are held against
//! ```
//!
//! [`agent`] and [`backend`] know nothing of each other: both build on [`signals`].

pub mod signals;

pub mod agent;
pub mod backend;
pub mod demo;

pub mod health;
pub mod process;

pub mod cli;
pub mod commands;
