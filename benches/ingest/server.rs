//! The process that serves the backend.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kamaji_telemetry::backend::Stores;
use kamaji_telemetry::backend::store::SqliteStore;

use crate::backend::BenchBackend;
use crate::null_store::NullStore;
use crate::usage;

/// Serves the store in `file`, or one that does nothing. Prints the address of OTLP/gRPC. For each line on standard
/// input, it prints the CPU time in microseconds and the bytes written. It ends with the input.
pub(crate) fn run(file: Option<&Path>) -> anyhow::Result<()> {
    // Tokens need a store, although none is used.
    let elsewhere = tempfile::tempdir()?;
    let sqlite = Arc::new(SqliteStore::open(file.unwrap_or(&elsewhere.path().join("telemetry.db")))?);
    let stores = match file {
        Some(_) => Stores::from(sqlite),
        None => Stores { rows: Arc::new(NullStore), auth: sqlite },
    };
    let backend = BenchBackend {
        stores,
        tls: None,
        max_connections: usize::MAX,
        listener: |listeners| &listeners.grpc,
        figures: || {
            let [written, accounted] = written()?;
            Ok(format!("{} {written} {accounted}", usage::cpu()?.as_micros()))
        },
    };
    backend.run()
}

/// Returns the bytes that the process has written, to sockets as well, and those that the kernel accounts for as going
/// to disk. With large folios it accounts for each page of one of which any changes, though only those that change are
/// written: ext4 of Linux 6.18 for 37 kB where a random page of 4 kB is written.
fn written() -> anyhow::Result<[u64; 2]> {
    let io = fs::read_to_string("/proc/self/io").context("no procfs: expected Linux")?;
    let number = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        anyhow::Ok(line.with_context(|| format!("no {name} in procfs"))?.parse()?)
    };
    Ok([number("wchar")?, number("write_bytes")?])
}
