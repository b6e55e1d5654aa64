//! The `kamaji-telemetry` program: parses, sets up the log, runs what was asked for, and turns errors into exit codes.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use kamaji_telemetry::cli::commands;
use kamaji_telemetry::cli::{Cli, LogFormat};
use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` is not set. The libraries log bodies, addresses and every retry; what an operator
/// has to know of those, this program says itself.
const LOG: &str = "kamaji_telemetry=info";

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
