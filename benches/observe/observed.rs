//! What the readers observe: a cluster that changes when it is told to.

use std::io::{BufRead, Write, stdin, stdout};
use std::thread::sleep;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use kamaji_telemetry::catalog::Status;
use kamaji_telemetry::testkit::tenant::Tenant;
use serde_json::Value;

/// The object that goes last: its deletion tells a reader that it has seen all changes.
pub(crate) const LAST: &str = "last";

/// Time between two changes, so that each is observed alone, as in a cluster; ten times what any reader needs.
const PACE: Duration = Duration::from_millis(2);

/// Time between the last change and the deletion, so that no reader gets the two in one read.
const PAUSE: Duration = Duration::from_millis(100);

/// A cluster with control planes, of which [`LAST`] has no finalizer.
pub(crate) trait Observed {
    /// Gives the object a label of this value: the whole object travels, and nothing is to be reported.
    fn relabel(&self, name: &str, value: &str) -> anyhow::Result<()>;
    /// Deletes [`LAST`].
    fn delete_last(&self) -> anyhow::Result<()>;
    /// Makes [`LAST`] again, and deletes what an agent has kept: each begins with nothing.
    fn restore(&self) -> anyhow::Result<()>;
    /// An object as it travels.
    fn read(&self, name: &str) -> anyhow::Result<Value>;
}

/// Prints the readers' file and the size of an object in bytes; then obeys the lines on standard input until that ends:
/// `change N` changes N objects, one after the other, and deletes the last one, `restore` makes it again and forgets the agent.
pub(crate) fn obey(observed: &impl Observed, access: &str, objects: usize) -> anyhow::Result<()> {
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
    // A real cluster outlives the program: no label may be the one that is there.
    let run = Timestamp::now().as_second();
    for number in 0..count {
        observed.relabel(&name(number % objects), &format!("change-{run}-{round:03}-{number:06}"))?;
        sleep(PACE);
    }
    sleep(PAUSE);
    observed.delete_last()
}

/// The name of an object by its number.
pub(crate) fn name(number: usize) -> String {
    format!("tenant-{number:06}")
}

/// A simulated control plane of real size.
pub(crate) fn tenant(name: &str) -> Value {
    Tenant::new(name, Timestamp::now()).installed(Status::Ready).to_object()
}
