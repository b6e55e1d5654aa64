//! Real servers for the tests. Dropping one kills its process and removes its files.

mod api_server;
pub(crate) mod audit;
mod collector;
mod etcd;
mod fleet;
pub(crate) mod postgres;
mod process;
mod proxy;
pub(crate) mod store;
mod tcp;
mod tls;
mod volume;
pub(crate) mod web;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use api_server::{ApiServer, User, documents};
pub(crate) use audit::Request;
pub(crate) use collector::Collector;
use etcd::Etcd;
pub(crate) use fleet::{Tcp, tcp};
pub(crate) use process::{Launch, Process, free_address, tool_path, tools_folder};
pub(crate) use proxy::ForwardProxy;
pub(crate) use tcp::CountingProxy;
pub(crate) use tls::{Authority, RefusedCertificate, TlsServer, acceptor};
pub(crate) use volume::MountedVolume;
pub(crate) use web::{Arrived, CapturingBackend};

/// The timeout of a server's start and of a condition: many times as long as on an idle machine (3 s for an API
/// server), since the tests may share two cores with a build.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The interval at which a condition is checked: long enough to leave the processor to the servers.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Waits until `probe` returns a value. Panics after [`DEADLINE`], with `what` in the message.
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, probe).await
}

/// Waits until `probe` returns a value. Panics after `deadline`, with `what` in the message.
pub(crate) async fn within<T>(deadline: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let probes = async {
        loop {
            match probe().await {
                Some(value) => return value,
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    };
    // The timeout includes the probes, since one may wait for a response that never arrives.
    let value = tokio::time::timeout(deadline, probes).await;
    value.unwrap_or_else(|_| panic!("waited {deadline:?} for {what}"))
}

/// Returns the path of a file of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Reads `tests/fixtures/{name}`.
pub(crate) fn fixture(name: &str) -> String {
    let path = checkout("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads another project's definition of a custom resource, named `{group}_{plural}`.
pub(crate) fn definition(name: &str) -> String {
    let path = tool_path(&format!("definitions/{name}.yaml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads a file of upstream from `../shared/kamaji/{name}`, if that folder is beside the checkout.
pub(crate) fn upstream(name: &str) -> Option<String> {
    std::fs::read_to_string(checkout("../shared/kamaji").join(name)).ok()
}
