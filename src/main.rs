//! The `kamaji-telemetry` program: parses the command line, sets up the log, and turns errors into exit codes.

use std::io::IsTerminal;
use std::process::ExitCode;

use kamaji_telemetry::cli::{Cli, LogFormat, exit_code};
use kamaji_telemetry::process::json_log::FlatJson;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable with the log filter.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// The log filter if the variable is not set. The libraries' own events contain bodies, addresses and each retry; the
/// program logs whatever of that an operator has to know.
const DEFAULT_FILTER: (&str, LevelFilter) = ("kamaji_telemetry", LevelFilter::INFO);

fn main() -> ExitCode {
    let cli = Cli::parse_or_exit();
    let format = cli.log_format;
    log_to_stderr(format);
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format, &error);
            exit_code(&error)
        }
    }
}

/// Writes the error that ends the program to standard error, in the format of the log.
fn print_error(format: LogFormat, error: &anyhow::Error) {
    let error = format!("{error:#}");
    match format {
        // A filter that drops errors must not hide why the program has ended.
        LogFormat::Json if tracing::enabled!(tracing::Level::ERROR) => tracing::error!(error, "failed"),
        LogFormat::Json | LogFormat::Text => eprintln!("error: {error}"),
    }
}

fn log_to_stderr(format: LogFormat) {
    // An empty variable is unset, rather than a filter that lets nothing pass.
    let variable = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    let filter: Option<Targets> = variable.and_then(|filter| filter.parse().ok());
    let filter = filter.unwrap_or_else(|| Targets::from_iter([DEFAULT_FILTER]));
    // The subscriber's own limit is INFO.
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let log = log.with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).finish().with(filter).init(),
        LogFormat::Json => log.fmt_fields(JsonFields::new()).event_format(FlatJson).finish().with(filter).init(),
    }
}
