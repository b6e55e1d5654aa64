//! The backend as a process with a file.

use std::path::{Path, PathBuf};

use super::PROGRAM;
use crate::servers::{Launch, Process, eventually, free_address, web};

/// A running backend.
pub(crate) struct Backend {
    process: Process,
    place: Place,
}

struct Place {
    url: String,
    file: PathBuf,
}

impl Backend {
    /// Starts it empty, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it empty with more flags, and waits until it is ready.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let launch = |folder: &Path| {
            let (grpc, http) = (free_address(), free_address());
            let file = folder.join("telemetry.db");
            let mut arguments = vec!["backend".to_owned(), "serve".to_owned()];
            arguments.extend([format!("--grpc={grpc}"), format!("--http={http}")]);
            arguments.push(format!("--store=sqlite:{}", file.display()));
            arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
            let place = Place { url: format!("http://{http}"), file };
            (Launch { program: PROGRAM.into(), arguments, environment: Vec::new() }, place)
        };
        let (process, place) = Process::start(launch, async |place: &Place| is_ready(place).await).await;
        Self { process, place }
    }

    /// Where it takes OTLP over HTTP.
    pub(crate) fn url(&self) -> &str {
        &self.place.url
    }

    /// Where it stores.
    pub(crate) fn file(&self) -> &Path {
        &self.place.file
    }

    /// Waits until it has logged `text`.
    pub(crate) async fn logged(&self, text: &str) {
        let log = async || self.process.output().contains(text).then_some(());
        eventually(&format!("the backend to log {text:?}"), log).await;
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.stop();
    }

    /// Starts it again with the same file.
    pub(crate) async fn restart(&mut self) {
        let Self { process, place } = self;
        process.resume(async || is_ready(place).await).await;
    }
}

async fn is_ready(place: &Place) -> bool {
    web::answers_ok(&place.url, "/readyz").await
}
