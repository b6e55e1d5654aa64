//! What stands between the programs, and fails when it is told to.

mod api;
mod frames;
mod hold;
mod tcp;
mod tls;

pub(super) use api::{ApiProxy, Target};
pub(super) use hold::{Hold, Point};
pub(super) use tcp::{Mode, Protocol, TcpProxy};
