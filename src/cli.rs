//! The command line. Each command has a module with its flags, their environment variables, and what it runs.

#[cfg(feature = "agent")]
mod agent;
#[cfg(feature = "backend")]
mod backend;
mod catalog;
mod completion;
#[cfg(feature = "demo")]
mod demo;
mod environment;
#[cfg(feature = "agent")]
mod forget;
#[cfg(feature = "agent")]
mod operator;
#[cfg(feature = "agent")]
mod preview;
#[cfg(feature = "agent")]
mod status;
#[cfg(feature = "backend")]
mod store_files;

use std::io::Write;
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use tokio::runtime;

/// Usage telemetry of Kamaji: the agent that runs beside it, the backend, and tools for operators.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Format of the log, which goes to standard error.
    #[arg(long, global = true, env = "KAMAJI_TELEMETRY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the tenant control planes, and send their counts and changes.
    #[cfg(feature = "agent")]
    Agent(agent::AgentArgs),
    /// Show what the agent would send now, without sending it.
    #[cfg(feature = "agent")]
    Preview(preview::PreviewArgs),
    /// Show whether telemetry is on and what is still to be delivered, read from the agent's state in the cluster. What
    /// the agent's Deployment sets takes precedence over the flags.
    #[cfg(feature = "agent")]
    Status(status::StatusArgs),
    /// Delete the agent's state from the cluster, including the installation's UUID.
    #[cfg(feature = "agent")]
    Forget(forget::ForgetArgs),
    /// Run or administer the backend, which receives, stores and shows the telemetry.
    #[cfg(feature = "backend")]
    Backend(Box<backend::BackendArgs>),
    /// Print every signal that can be sent.
    Catalog(catalog::CatalogArgs),
    /// Run agent and backend against a simulated cluster, with nothing to install.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Print a shell's completion script for this program.
    Completion(completion::CompletionArgs),
}

/// The format of the log.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Cli {
    /// Parses the command line and the environment. For a help text or an error, prints it and exits the process.
    pub fn parse_or_exit() -> Self {
        let matches = environment::prepare(Self::command()).try_get_matches();
        let cli = matches.and_then(|matches| Self::from_arg_matches(&matches));
        cli.unwrap_or_else(|error| environment::without_secrets(error).exit())
    }

    /// Runs the command until its end.
    pub fn run(self) -> anyhow::Result<()> {
        // One thread where a command waits nearly always: every worker costs memory.
        match self.command {
            #[cfg(feature = "agent")]
            Command::Agent(args) => block_on(runtime::Builder::new_current_thread(), agent::run(args)),
            #[cfg(feature = "agent")]
            Command::Preview(args) => block_on(runtime::Builder::new_current_thread(), preview::run(args)),
            #[cfg(feature = "agent")]
            Command::Status(args) => block_on(runtime::Builder::new_current_thread(), status::run(args)),
            #[cfg(feature = "agent")]
            Command::Forget(args) => block_on(runtime::Builder::new_current_thread(), forget::run(args)),
            #[cfg(feature = "backend")]
            Command::Backend(args) => block_on(runtime::Builder::new_multi_thread(), backend::run(*args)),
            Command::Catalog(args) => catalog::run(&args),
            #[cfg(feature = "demo")]
            Command::Demo(args) => block_on(runtime::Builder::new_multi_thread(), demo::run(args)),
            Command::Completion(args) => completion::run(&args),
        }
    }
}

fn block_on(mut builder: runtime::Builder, task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // tokio panics at an empty variable, where one that is unset stands for the processors.
    if std::env::var_os("TOKIO_WORKER_THREADS").is_some_and(|value| value.is_empty()) {
        builder.worker_threads(std::thread::available_parallelism().map_or(1, NonZero::get));
    }
    let runtime = builder.enable_all().build().context("the runtime can't start")?;
    let result = runtime.block_on(task);
    // A blocking export to a collector that does not answer may still run, and nothing needs its result.
    runtime.shutdown_background();
    result
}

/// The error of flags that cannot be used together. The program ends with [`UsageError::EXIT_CODE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// The exit code: that of flags that cannot be parsed.
    pub const EXIT_CODE: u8 = 2;
}

/// The error of a command that has done what it could, and has to run again after what its message names. The program ends with
/// [`IncompleteError::EXIT_CODE`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct IncompleteError(pub String);

impl IncompleteError {
    /// The exit code, which neither a failure nor a wrong flag has.
    pub const EXIT_CODE: u8 = 3;
}

/// Returns the exit code of a command that ends with an error.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<UsageError>() {
        ExitCode::from(UsageError::EXIT_CODE)
    } else if error.is::<IncompleteError>() {
        ExitCode::from(IncompleteError::EXIT_CODE)
    } else {
        ExitCode::FAILURE
    }
}

/// Writes to standard output. A closed pipe is no error: `head` closes it once it has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Parses a duration from one second to one day. Anything shorter would put load on the other side, and an installation
/// that reports less than once a day would not be counted as active.
fn interval(text: &str) -> Result<Duration, &'static str> {
    let allowed = Duration::from_secs(1)..=Duration::from_hours(24);
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration
        .filter(|duration| allowed.contains(duration))
        .ok_or("expected a duration from 1s to 24h, such as 5m or 90s")
}

/// Parses the name of a namespace: a label of DNS.
#[cfg(feature = "agent")]
fn namespace(text: &str) -> Result<String, &'static str> {
    let is_valid = text.len() <= 63 && is_dns_label(text);
    is_valid
        .then(|| text.to_owned())
        .ok_or("expected a namespace: lower-case letters, digits and '-', such as kamaji-system")
}

/// Parses the name of an object: labels of DNS, separated by dots.
#[cfg(feature = "agent")]
fn object_name(text: &str) -> Result<String, &'static str> {
    let is_valid = text.len() <= 253 && text.split('.').all(is_dns_label);
    is_valid
        .then(|| text.to_owned())
        .ok_or("expected the name of an object: lower-case letters, digits, '-' and '.', such as kamaji")
}

/// Returns whether `text` is a label as RFC 1123 defines it, whatever its length.
#[cfg(feature = "agent")]
fn is_dns_label(text: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_edge) && text.ends_with(is_edge) && text.chars().all(|c| is_edge(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_interval_is_between_a_second_and_a_day() {
        assert_eq!(interval("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(interval("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["0s", "-5m", "25h", "5", "", "soon", "999999999999999999h"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }

    #[cfg(feature = "agent")]
    #[test]
    fn a_name_is_one_that_the_api_server_can_have() {
        for good in ["a", "kamaji-system", "0"] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "a.b", "A", "-a", "a-", "a/b", "a b", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
        assert!(object_name("a.b-c").is_ok());
        for bad in ["", "a..b", ".a", "a/b", "Kamaji"] {
            assert!(object_name(bad).is_err(), "{bad}");
        }
    }
}
