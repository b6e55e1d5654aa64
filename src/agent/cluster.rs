//! cluster
mod projection;
