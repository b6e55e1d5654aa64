//! Tests of the backend's chart.

mod alerts;
mod gateway;
mod job;
mod maintenance;
mod missing_values;
mod pod;
mod postgres;
mod release;
mod selection;
pub(super) mod snapshots;
mod values;

use super::helm::{BACKEND, Helm};
use crate::servers::ApiServer;

/// Creates a client for the backend's chart without a cluster.
fn offline() -> Helm {
    Helm::offline().with(&BACKEND)
}

/// Creates a client for the backend's chart in `cluster`.
fn of(cluster: &ApiServer) -> Helm {
    Helm::of(cluster).with(&BACKEND)
}
