//! A backup of a large store under load, and what shrinks a file after many rows were deleted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kamaji_telemetry::backend::store::sqlite::backup::{backup, restore};
use kamaji_telemetry::backend::store::{Cutoffs, Day, Hour, SqliteStore, Store};
use rusqlite::{Connection, named_params};

use crate::load::{self, Acknowledged, Shape};
use crate::measured::BenchServer;
use crate::process::Process;
use crate::report::print_head;
use crate::requests::Kind;
use crate::{generated, stored};

/// The load that stores the most records a second.
const SHAPE: Shape = Shape { name: "500 events, 16 agents", kind: Kind::Events(500), connections: 16, depth: 1 };

/// The duration of the load without a backup.
const ALONE: Duration = Duration::from_secs(20);

/// The time to wait for a checkpoint, which comes each minute.
const CHECKPOINTED: Duration = Duration::from_secs(90);

/// The interval at which the sizes of the files are read.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The installations of a store, which is filled with days of them.
const INSTALLATIONS: u32 = 1_000_000;

/// The age of the first day in a store: no retention deletes it.
const FIRST_DAY: i32 = 390;

/// The rows of all installations on a day. Its rollups are left out: no backup and no deletion depends on them.
const DAY: &str = "
    INSERT INTO days (day, installation, source, standing, young, stuck, upgrading_long, running, sleeping,
                      not_ready, upgrading, agent, kamaji, kubernetes, dimensions)
    SELECT :day, installation, source, 1, 0, 0, 0, running, sleeping, not_ready, upgrading, agent, kamaji, kubernetes, dimensions
    FROM latest";

/// The sizes of a store's files, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct FileSizes {
    file: u64,
    wal: u64,
}

impl FileSizes {
    fn of(file: &Path) -> Self {
        let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        Self { file: bytes(file), wal: bytes(&PathBuf::from(format!("{}-wal", file.display()))) }
    }

    /// Returns the largest sizes until `is_over`.
    fn peak(file: &Path, is_over: impl Fn() -> bool) -> Self {
        let mut peak = Self::default();
        while !is_over() {
            let Self { file, wal } = Self::of(file);
            peak = Self { file: peak.file.max(file), wal: peak.wal.max(wal) };
            thread::sleep(POLL_INTERVAL);
        }
        peak
    }
}

/// Measures a load on a store of this many gigabytes, alone and beside a backup.
pub(crate) fn run(gigabytes: u32) -> anyhow::Result<()> {
    print_head();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    generate(&file, gigabytes)?;
    let mut server = BenchServer::start(Some(&file))?;
    let mut acknowledged = Acknowledged::default();
    phase("alone", &file, &mut server, &mut acknowledged, || {
        thread::sleep(ALONE);
        Ok(())
    })?;
    let copy = folder.path().join("copy.db");
    let paths = [&file, &copy].map(|path| path.display().to_string());
    phase("beside a backup", &file, &mut server, &mut acknowledged, || {
        Process::start(&["backup", &paths[0], &paths[1]])?.end()
    })?;
    println!("  the backup has {} MB", megabytes(FileSizes::of(&copy).file));
    let start = Instant::now();
    let is_over = load::after(CHECKPOINTED);
    while FileSizes::of(&file).wal > 0 && !is_over() {
        thread::sleep(POLL_INTERVAL);
    }
    println!("  the log has {} MB {:.0?} later", megabytes(FileSizes::of(&file).wal), start.elapsed());
    server.end()?;
    stored::check(&file, 0, &acknowledged)?;
    println!("the file has exactly the acknowledged records, and the backup was checked");
    Ok(())
}

/// Backs a store up: the command, in a process of its own.
pub(crate) fn run_backup(file: &Path, copy: &Path) -> anyhow::Result<()> {
    Ok(backup(file, copy)?)
}

/// Puts the load on the server while `work` runs, and prints the rate and the sizes of the files.
fn phase(
    name: &str,
    file: &Path,
    server: &mut BenchServer,
    acknowledged: &mut Acknowledged,
    work: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    let has_ended = AtomicBool::new(false);
    let is_over = || has_ended.load(Ordering::Relaxed);
    let (before, start) = (FileSizes::of(file), Instant::now());
    let (measured, elapsed, peak) = thread::scope(|scope| {
        let work = scope.spawn(|| {
            let result = work();
            has_ended.store(true, Ordering::Relaxed);
            result.map(|()| start.elapsed())
        });
        let peak = scope.spawn(|| FileSizes::peak(file, is_over));
        let measured = server.measure_until(&SHAPE, is_over, acknowledged);
        let elapsed = work.join().expect("the work does not panic")?;
        anyhow::Ok((measured?, elapsed, peak.join().expect("reading sizes does not panic")))
    })?;
    println!(
        "  {name}: {elapsed:.1?}, {:.0} records a second, log of at most {} MB, file from {} to {} MB",
        measured.records_per_second(),
        megabytes(peak.wal),
        megabytes(before.file),
        megabytes(FileSizes::of(file).file),
    );
    Ok(())
}

/// Deletes nine tenths of the days of a store of this many gigabytes, and prints the size of the file after each step.
pub(crate) fn shrink(gigabytes: u32) -> anyhow::Result<()> {
    print_head();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("telemetry.db");
    let days = generate(&file, gigabytes)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let store = SqliteStore::open(&file)?;
    let hour = Hour::of(Timestamp::now());
    let cutoffs = Cutoffs { events: hour.minus(744), uids: hour.minus(744), installations: first_day(days * 9 / 10) };
    let start = Instant::now();
    let pruned = runtime.block_on(async {
        let pruned = store.prune(cutoffs).await?;
        store.checkpoint().await?;
        anyhow::Ok(pruned)
    })?;
    print_size(&format!("{} days of installations deleted", pruned.days), &file, start);
    drop(store);
    let (copy, start) = (folder.path().join("copy.db"), Instant::now());
    backup(&file, &copy)?;
    print_size("backed up", &copy, start);
    let start = Instant::now();
    restore(&copy, &file)?;
    print_size("restored", &file, start);
    Ok(())
}

fn print_size(step: &str, file: &Path, start: Instant) {
    println!("  {step} in {:.1?}: {} MB", start.elapsed(), megabytes(FileSizes::of(file).file));
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Returns the day that this many days come before in a generated store.
fn first_day(days: i32) -> Day {
    Hour::of(Timestamp::now()).day().minus(FIRST_DAY - days)
}

/// Generates a store and returns the number of days.
fn generate(file: &Path, gigabytes: u32) -> anyhow::Result<i32> {
    let start = Instant::now();
    drop(SqliteStore::open(file)?);
    let mut connection = Connection::open(file)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;")?;
    let transaction = connection.transaction()?;
    generated::insert_latest(&transaction, INSTALLATIONS, Hour::of(Timestamp::now()).number())?;
    let mut days = 0;
    let pages = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    while pages("page_count")? * pages("page_size")? < i64::from(gigabytes) * 1_000_000_000 {
        transaction.execute(DAY, named_params! { ":day": first_day(days).number() })?;
        days += 1;
    }
    transaction.commit()?;
    println!("a store of {days} days of {INSTALLATIONS} installations");
    print_size("generated", file, start);
    Ok(days)
}
