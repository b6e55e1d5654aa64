//! The management cluster: its API server, and the objects that the agent reads from it.

mod client;
mod kubeconfig;
mod proxy;
pub mod api_error;
mod auth_error;
mod lenient;
pub(super) mod resource_version;

mod cluster_info;
pub(super) mod deployment;
pub mod operator;
pub mod owner;

mod tenant_control_plane;
pub mod watch;
pub mod datastores;

pub use client::connect;
pub(super) use client::within_deadline;
pub use cluster_info::{ClusterInfo, ComponentVersions, read_cluster_info};
