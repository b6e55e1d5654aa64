//! The backend's chart.

mod alerts;
mod gateway;
mod job;
mod pod;
mod release;
mod selection;
pub(super) mod snapshots;
mod values;

use super::helm::{BACKEND, Helm};
use crate::servers::ApiServer;

fn offline() -> Helm {
    Helm::offline().with(&BACKEND)
}

fn of(cluster: &ApiServer) -> Helm {
    Helm::of(cluster).with(&BACKEND)
}
