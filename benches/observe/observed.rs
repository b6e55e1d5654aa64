//! The observed cluster, which is changed by commands.

use std::io::{BufRead, Write, stdin, stdout};
use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use kamaji_telemetry::catalog::Status;
use kamaji_telemetry::testkit::tenant::SimulatedControlPlane;
use serde_json::Value;

/// The object that is deleted last, by which a reader knows that it has observed all changes.
pub(crate) const LAST: &str = "last";

/// The time between two changes: ten times what a reader needs, so that it observes each alone, as in a real cluster.
const CHANGE_INTERVAL: Duration = Duration::from_millis(2);

/// The time between the last change and the deletion, so that no reader reads the two at once.
const DELETION_DELAY: Duration = Duration::from_millis(100);

/// A cluster with control planes, of which [`LAST`] has no finalizer.
pub(crate) trait Observed {
    /// Sets a label of the object. The whole object is sent to the watches, and the agent reports nothing.
    fn relabel(&self, name: &str, value: &str) -> anyhow::Result<()>;
    /// Deletes [`LAST`].
    fn delete_last(&self) -> anyhow::Result<()>;
    /// Creates [`LAST`] again and deletes the agent's state, so that each round begins without any.
    fn restore(&self) -> anyhow::Result<()>;
    /// Returns an object as it is sent.
    fn read(&self, name: &str) -> anyhow::Result<Value>;
}

/// Prints the readers' file and the size of an object in bytes. Then it runs the commands from standard input until
/// that ends: `change N` changes N objects one after the other and deletes the last one, `restore` creates it again and
/// deletes the agent's state.
pub(crate) fn run_commands(observed: &impl Observed, access: &str, objects: usize) -> anyhow::Result<()> {
    println!("{access}\n{}", observed.read(&name(0))?.to_string().len());
    for (round, line) in stdin().lock().lines().enumerate() {
        match line?.split(' ').collect::<Vec<_>>()[..] {
            ["change", count] => change(observed, round, objects, count.parse()?)?,
            ["restore"] => observed.restore()?,
            ref other => bail!("unexpected command {other:?}"),
        }
        println!("done");
        stdout().flush()?;
    }
    Ok(())
}

fn change(observed: &impl Observed, round: usize, objects: usize, count: usize) -> anyhow::Result<()> {
    // The objects of a real cluster outlive the program: each run needs other labels.
    let run = Timestamp::now().as_second();
    for number in 0..count {
        observed.relabel(&name(number % objects), &format!("change-{run}-{round:03}-{number:06}"))?;
        sleep(CHANGE_INTERVAL);
    }
    sleep(DELETION_DELAY);
    observed.delete_last()
}

/// Returns the name of an object.
pub(crate) fn name(number: usize) -> String {
    format!("tenant-{number:06}")
}

/// Returns a simulated control plane of real size.
pub(crate) fn tenant(name: &str) -> Value {
    SimulatedControlPlane::new(name, Timestamp::now()).installed(Status::Ready).to_object()
}
