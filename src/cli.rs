//! The command line: flags and the environment variables beside them, and no logic.

mod backend;
pub mod commands;
mod security;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;

use crate::agent::preview::Output;
pub use backend::{
    AccessArgs, BackendCommand, BackupArgs, CreateTokenArgs, EraseArgs, RestoreArgs, RevokeTokenArgs, ServeArgs,
    StoreArgs, TokenCommand,
};
pub use security::{LimitArgs, TlsArgs};

/// Usage telemetry of Kamaji: the agent beside it, the backend that receives it, and what an operator looks with.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    /// How lines are logged, to standard error.
    #[arg(long, global = true, env = "KAMAJI_TELEMETRY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the tenant control planes and send their counts and changes.
    Agent(AgentArgs),
    /// Show what the agent would send now, and send nothing.
    Preview(PreviewArgs),
    /// Show whether telemetry is on, and how far its delivery is, from what the agent keeps in the cluster.
    Status(StatusArgs),
    /// Delete what the agent keeps in the cluster, the installation's UUID included.
    Forget(ForgetArgs),
    /// Receive, store and show what agents send.
    Backend {
        /// What the backend is to do.
        #[command(subcommand)]
        command: BackendCommand,
    },
    /// Print every signal that can be sent.
    Catalog {
        /// In which form.
        #[arg(long, value_enum, default_value = "markdown")]
        output: CatalogOutput,
    },
    /// Run all of it against a simulated cluster, with nothing to install.
    Demo(DemoArgs),
    /// Print what completes this program's commands and flags in a shell.
    Completion {
        /// Of which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// How lines are logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// In which form the catalog is printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CatalogOutput {
    /// For people: what docs/signals.md holds.
    Markdown,
    /// For programs.
    Json,
    /// The processors of an OpenTelemetry Collector that let nothing else through.
    Collector,
}

/// What the agent and the preview are told.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The collector, over OTLP/gRPC: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = "http://localhost:4317")]
    pub endpoint: String,
    /// How often the gauges are sent, such as 5m or 90s.
    #[arg(long, env = "KAMAJI_TELEMETRY_EXPORT_INTERVAL", default_value = "5m", value_parser = interval)]
    pub interval: Duration,
    /// Where the agent's own state lives; if not given, in the namespace of the kubeconfig or the service account.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Where Kamaji's operator runs.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", default_value = "kamaji-system")]
    pub kamaji_namespace: String,
    /// Be off where Kamaji's operator runs with --disable-telemetry, and where that can't be told; =false where Kamaji's
    /// own telemetry is off because this one replaces it.
    #[arg(long, env = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub follow_kamaji_opt_out: bool,
    /// Kamaji's version, where it is not to be read from its Deployment.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_VERSION")]
    pub kamaji_version: Option<String>,
    /// The Deployment that the agent runs in: what the agent makes in the cluster goes with it.
    #[arg(long, env = "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT")]
    pub owner_deployment: Option<String>,
    /// Send the extended signals too: tenant versions, datastores, Cluster API, network profiles.
    #[arg(long, env = "KAMAJI_TELEMETRY_EXTENDED", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub extended: bool,
    /// Several replicas run: elect one by a Lease, and let the others wait.
    #[arg(long, env = "KAMAJI_TELEMETRY_LEADER_ELECT", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub leader_elect: bool,
    /// TokenRef this replica is in the election, the same after its container was restarted; the host's name if not given,
    /// which is the pod's.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,
    /// How long the Lease lasts: another replica takes over within this time after the leader has died.
    #[arg(long, env = "KAMAJI_TELEMETRY_LEASE_DURATION", default_value = "15s", value_parser = interval)]
    pub lease_duration: Duration,
    /// Where /livez, /readyz and /metrics are served, such as 0.0.0.0:8080; nowhere if not given.
    #[arg(long, env = "KAMAJI_TELEMETRY_HEALTH_ADDR")]
    pub health_addr: Option<SocketAddr>,
    /// Watch nothing and send nothing.
    // Its variable is a switch of its own: as the flag's, the flag would go before it.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = BoolishValueParser::new(), help = DISABLE_TELEMETRY_HELP)]
    pub disable_telemetry: bool,
    /// How often Kamaji's operator is looked at for its version and its --disable-telemetry.
    #[arg(long, env = "KAMAJI_TELEMETRY_OPERATOR_POLL_INTERVAL", default_value = "30s", value_parser = interval)]
    pub operator_poll_interval: Duration,
    /// How often the agent's state in the cluster is deleted while telemetry is off.
    #[arg(long, env = "KAMAJI_TELEMETRY_ERASE_INTERVAL", default_value = "1m", value_parser = interval)]
    pub erase_interval: Duration,
    /// How long an acknowledgement waits for a write of the state that it may ride on.
    #[arg(long, env = "KAMAJI_TELEMETRY_ACKNOWLEDGE_INTERVAL", default_value = "30s", value_parser = interval)]
    pub acknowledge_interval: Duration,
    /// The longest wait between two tries to deliver, to write or to watch.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETRY_MAX_INTERVAL", default_value = "1m", value_parser = interval)]
    pub retry_max_interval: Duration,
    /// How the collector is talked to.
    #[command(flatten)]
    pub otlp: OtlpArgs,
}

/// How the collector is talked to, beside its address.
#[derive(Debug, Args)]
#[command(next_help_heading = "OTLP")]
pub struct OtlpArgs {
    /// PEM file of the authorities to trust instead of the system's.
    #[arg(long = "ca-file", env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[arg(
        long = "client-certificate-file",
        env = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        value_name = "FILE",
        requires = "client_key"
    )]
    pub client_certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    #[arg(
        long = "client-key-file",
        env = "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_certificate"
    )]
    pub client_key: Option<PathBuf>,
    /// Headers of each request: key=value,key=value with percent-encoded values.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, default_value = "")]
    pub headers: String,
    /// Compression of each request.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", value_enum, default_value = "gzip")]
    pub compression: Compression,
    /// How long a request may take, in milliseconds.
    #[arg(long = "timeout", env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value = "10000", value_name = "MILLISECONDS",
          value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub timeout_ms: u64,
}

/// Compression of OTLP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// gzip
    Gzip,
    /// As they are.
    None,
}

/// What the preview is told.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// In which form.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
    /// As for the agent.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// What the status is told.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// In which form.
    #[arg(long, value_enum, default_value = "table")]
    pub output: StatusOutput,
    /// Where the agent's own state lives; if not given, in the namespace of the kubeconfig or the service account.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// The Deployment that the agent runs in; if not given, the one that its state goes with.
    #[arg(long, env = "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT")]
    pub owner_deployment: Option<String>,
    /// Where Kamaji's operator runs, unless the agent's Deployment says otherwise.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", default_value = "kamaji-system")]
    pub kamaji_namespace: String,
    /// Be off where Kamaji's operator runs with --disable-telemetry, and where that can't be told, unless the agent's Deployment says otherwise; =false where Kamaji's
    /// own telemetry is off because this one replaces it.
    #[arg(long, env = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub follow_kamaji_opt_out: bool,
}

/// In which form the status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusOutput {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What the deletion of the agent's state is told.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Where the agent's own state lives; if not given, in the namespace of the kubeconfig or the service account.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
}

/// What the demo is told.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the data in this directory; without it, nothing is left behind.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where the page is served; 127.0.0.1:24318 if that is free.
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// An OpenTelemetry Collector to put between the agent and the backend, as the relay.
    #[arg(long, value_name = "PATH")]
    pub collector: Option<PathBuf>,
}

const DISABLE_TELEMETRY_HELP: &str = "Watch nothing and send nothing. So does each of \
    KAMAJI_TELEMETRY_DISABLE_TELEMETRY, DO_NOT_TRACK and OTEL_SDK_DISABLED that is set to true, whatever is said here";

/// Shorter than a second would be a load, longer than a day would not be counted as active.
fn interval(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration from 1s to 24h, such as 5m or 90s";
    let duration: SignedDuration = text.parse().map_err(|error| format!("{error}; {expected}"))?;
    let duration = Duration::try_from(duration).map_err(|error| format!("{error}; {expected}"))?;
    let allowed = Duration::from_secs(1)..=Duration::from_hours(24);
    if allowed.contains(&duration) { Ok(duration) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::agent::consent::DISABLE_TELEMETRY;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_switch() {
        let help = Cli::command().find_subcommand_mut("agent").unwrap().render_long_help().to_string();
        for variable in [DISABLE_TELEMETRY, "DO_NOT_TRACK", "OTEL_SDK_DISABLED"] {
            assert!(help.contains(variable), "{help}");
        }
    }

    #[test]
    fn an_interval_is_between_a_second_and_a_day() {
        assert_eq!(interval("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(interval("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["0s", "-5m", "25h", "5", "", "soon", "999999999999999999h"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
