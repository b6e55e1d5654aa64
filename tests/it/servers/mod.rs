//! The real servers that the tests drive. Each is a struct whose drop kills and reaps its process and removes its files.

mod api_server;
mod audit;
mod collector;
mod etcd;
mod fleet;
mod process;
mod tcp;
pub(crate) mod web;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use api_server::{ApiServer, User, documents};
pub(crate) use audit::Request;
pub(crate) use collector::Collector;
use etcd::Etcd;
pub(crate) use fleet::{Tcp, tcp};
pub(crate) use process::{Launch, Process, free_address, tool_path};
pub(crate) use tcp::CountingProxy;
pub(crate) use web::{Arrived, CapturingBackend};

/// How long a server may take to start, or a condition to come true: many times what it takes when nothing else runs
/// (an API server 3 s), because the tests share two cores with a build at worst.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// How often a condition is looked at: seldom enough to leave the processor to what is waited for.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `probe` gives a value, and panics after [`DEADLINE`] with `what` was waited for.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let probes = async {
        loop {
            match probe().await {
                Some(value) => return value,
                None => tokio::time::sleep(POLL).await,
            }
        }
    };
    // Over all of it, since a probe may wait for an answer that never comes.
    let value = tokio::time::timeout(DEADLINE, probes).await;
    value.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// A file of the checkout, by its path from the root.
pub(crate) fn checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What is in `tests/fixtures/{name}`.
pub(crate) fn fixture(name: &str) -> String {
    let path = checkout("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Another project's definition of a custom resource, by its file's name without `.yaml`: `{group}_{plural}`.
pub(crate) fn definition(name: &str) -> String {
    let path = tool_path(&format!("definitions/{name}.yaml"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is in `../shared/kamaji/{name}`, upstream's files, where that folder is beside the checkout.
pub(crate) fn upstream(name: &str) -> Option<String> {
    std::fs::read_to_string(checkout("../shared/kamaji").join(name)).ok()
}
