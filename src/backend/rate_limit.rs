//! Rate limits and quotas per client.
//!
//! A request enters this module twice. [`Limiter::check`] runs before the body is read, and returns the [`Permit`] under
//! which the body is read. [`Permit::charge`] runs once the body is decoded and validated.
//!
//! A client is an address or an address prefix. Clients exist in this module's memory only: they are never stored,
//! logged or counted.

mod client_ip;
mod decoders;
mod error;
mod forwarded;
mod layer;
mod limiter;
mod quota;
mod shares;
mod token_bucket;

pub(super) use client_ip::ClientKey;
pub use client_ip::{InvalidHeader, InvalidNetwork, TrustedHeader, TrustedProxies, parse_network};
pub(super) use error::{RateLimitError, RateLimited};
pub(super) use layer::{RateLimitLayer, within_deadline};
pub(super) use limiter::{Decompressed, LimitScope, Limiter, PeerAddr, Permit};
pub(super) use quota::{Quota, QuotaExceeded, Reservation};
pub use shares::ShareLimits;
pub(super) use token_bucket::TokenBuckets;

/// Limits on clients. Rates are per second unless stated otherwise; a rate of zero is unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one client.
    pub requests: u32,
    /// Items of one client that are read: gauge points and events.
    pub items: u32,
    /// Bytes that one client writes into the store in a day, by the estimate of the fold.
    pub bytes_per_day: u32,
    /// Gauge snapshots of one installation.
    pub snapshots: u32,
    /// Bounds on what is new in a day.
    pub shares: ShareLimits,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections of one client at once.
    pub max_connections_per_client: usize,
    /// Proxies that name the client of a request in a header.
    pub trusted_proxies: TrustedProxies,
}

impl Default for Limits {
    /// Returns the default limits, which docs/backend.md derives.
    fn default() -> Self {
        Self {
            requests: 100,
            items: 1_000,
            bytes_per_day: 50_000_000,
            snapshots: 1,
            shares: ShareLimits::default(),
            max_connections: 900,
            max_connections_per_client: 128,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}
