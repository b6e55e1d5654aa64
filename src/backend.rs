//! The backend: receives telemetry, stores it, and answers questions about it.
//!
//! ```text
//! net ──▶ rate_limit ──▶ auth ──▶ ingest ──▶ store ──▶ insights ──▶ web
//!                                              ▲
//!                                              └── jobs, admin
//! ```
//!
//! A sender is answered after the commit of what it sent.
//!
//! A program that embeds the backend binds [`Listeners`], opens a [`store::Store`], into which it may also write, and calls
//! [`serve`].

mod server;

pub mod admin;
mod jobs;
mod web;
pub mod insights;
pub mod ingest;
pub mod auth;
mod net;
mod rate_limit;
pub mod store;

mod metrics;
mod secret_file;
mod clock_guard;

mod clock;

pub use clock::{Clock, ManualClock};
pub use jobs::retention::Retention;
pub use net::tls::{TlsFiles, TlsIdentity};
pub use rate_limit::{
    InvalidHeader, InvalidNetwork, Limits, ShareLimits, TrustedHeader, TrustedProxies, parse_network,
};
pub use server::{Config, Listeners, SecurityConfig, ServeSettings, run, serve};
pub use store::{StoreLocation, Stores, UnknownStore};
