//! Proxies between the programs, which can be made to fail.

mod api;
mod frames;
mod hold;
mod tcp;
mod tls;

pub(super) use api::{ApiProxy, Target};
pub(super) use hold::{Hold, Point};
pub(super) use tcp::{Mode, Protocol, TcpProxy};
