//! The backend on real sockets and a real file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod auth;
mod metrics;
mod validation;
mod answers;
mod attacker;
mod file;
mod fuzz;
mod clock;
pub(crate) mod conformance;
mod backup;
mod costs;
mod crash;
mod equal_answers;
mod flood;
pub(crate) mod harness;
mod heads;
mod hostile;
mod import;
mod insights_api;
mod kamaji;
mod limits;
mod marker;
mod merge_crash;
mod otlp;
mod otlp_json;
mod opening;
mod operations;
mod overload;
mod page;
pub(crate) mod postgres;
mod public;
mod ready;
mod retention;
mod request_id;
mod rollups;
pub(crate) mod samples;
mod shutdown;
mod single_rows;
mod sqlite;
pub(crate) mod tls;

/// Prints figures, and keeps them as `target/tmp/backend/{file}.md`: output of tests that pass is not shown.
pub(crate) fn figures(file: &str, figures: &str) {
    println!("{figures}");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("backend");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{file}.md")), format!("backend: {figures}\n")).unwrap();
}
