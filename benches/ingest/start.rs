//! The time and the memory that a start takes, which reads the uids of recent events.

use std::path::Path;
use std::time::Instant;

use kamaji_telemetry::backend::store::SqliteStore;

use crate::process::Process;
use crate::report::print_head;
use crate::{fill, usage};

/// The number of starts.
const STARTS: usize = 3;

/// The hours of the last 30 days, of which events are accepted.
pub(crate) const HOURS: u32 = 30 * 24;

/// Fills a store with `events` events of the last 30 days, and prints what it takes to open it.
pub(crate) fn run(events: u32) -> anyhow::Result<()> {
    print_head();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    let start = Instant::now();
    fill::events(&file, events, HOURS)?;
    let size = file.metadata()?.len() / 1_000_000;
    println!("{events} events of the last 30 days: stored in {:.1?}, file {size} MB", start.elapsed());
    for _ in 0..STARTS {
        let mut process = Process::start(&["open", &file.display().to_string()])?;
        println!("  opened in {}", process.line()?);
        process.end()?;
    }
    Ok(())
}

/// Opens a store, and prints the time and the peak of memory of this process, before and after.
pub(crate) fn open(file: &Path) -> anyhow::Result<()> {
    let (before, start) = (usage::peak_memory()?, Instant::now());
    let store = SqliteStore::open(file)?;
    let elapsed = start.elapsed();
    println!("{elapsed:.1?}; peak of memory {} MB, {} MB before", usage::peak_memory()? / 1_000, before / 1_000);
    drop(store);
    Ok(())
}
