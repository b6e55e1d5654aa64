//! The process that serves the backend.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kamaji_telemetry::backend::store::SqliteStore;
use kamaji_telemetry::backend::{Stores, TlsFiles, TlsIdentity};

use crate::backend::BenchBackend;
use crate::certificate::Certificate;
use crate::null_store::NullStore;
use crate::process::Process;
use crate::usage;

/// A server in a process of its own.
pub(crate) struct Server {
    process: Process,
    /// The address of OTLP over HTTP.
    pub(crate) address: SocketAddr,
}

/// The use of the machine by the server so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// CPU time, in microseconds.
    pub(crate) cpu: f64,
    /// Resident memory, in kB.
    pub(crate) memory: f64,
}

impl Server {
    pub(crate) fn start(max_connections: usize, certificate: Option<&Certificate>) -> anyhow::Result<Self> {
        let files = certificate.map(|certificate| certificate.paths().map(|path| path.display().to_string()));
        let mut arguments = vec!["serve".to_owned(), max_connections.to_string()];
        arguments.extend(files.into_iter().flatten());
        let mut process = Process::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let address = process.line()?.parse().context("expected an address")?;
        Ok(Self { process, address })
    }

    pub(crate) fn used(&mut self) -> anyhow::Result<Used> {
        let line = self.process.ask("")?;
        let (cpu, memory) = line.split_once(' ').with_context(|| line.clone())?;
        Ok(Used { cpu: cpu.parse()?, memory: memory.parse()? })
    }

    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.process.end()
    }
}

/// Serves a store that does nothing. Prints the address of OTLP over HTTP. For each line on standard input, it prints
/// the CPU time in microseconds and the resident memory in kB. It ends with the input.
pub(crate) fn run(max_connections: usize, files: Option<(&Path, &Path)>) -> anyhow::Result<()> {
    // Tokens need a store, although none is used.
    let elsewhere = tempfile::tempdir()?;
    let auth = Arc::new(SqliteStore::open(&elsewhere.path().join("telemetry.db"))?);
    let tls = files.map(|(certificate, key)| {
        let (certificate, key) = (certificate.to_owned(), key.to_owned());
        TlsIdentity::load(TlsFiles { certificate, key, reload_interval: Duration::from_hours(1) })
    });
    let backend = BenchBackend {
        stores: Stores { rows: Arc::new(NullStore), auth },
        tls: tls.transpose()?,
        max_connections,
        listener: |listeners| &listeners.http,
        figures: || Ok(format!("{} {}", usage::cpu()?.as_micros(), usage::memory()?)),
    };
    backend.run()
}
