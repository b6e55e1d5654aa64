//! `kamaji-telemetry agent`: the flags of the agent, which the preview shares.

mod otlp;
mod refusal;
mod relay;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::environment::variable;
use super::operator::OperatorArgs;
use super::{interval, namespace, object_name};
use crate::agent::consent::{DISABLE_TELEMETRY, OptOut, is_set};
use crate::agent::{self, ElectionConfig};
use crate::catalog::KamajiVersion;
use crate::process;
use crate::process::redact::redacted;
pub(super) use refusal::refusal;

/// The interval of OpenTelemetry's SDKs, in milliseconds.
const OTEL_METRIC_EXPORT_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

const EXPORT_INTERVAL_HELP: &str = "Interval between two exports of the gauges, from 1s to 24h, such as 90s. \
    OTEL_METRIC_EXPORT_INTERVAL, in milliseconds, applies if neither this flag nor its variable is set [default: 5m]";

const DEFAULT_EXPORT_INTERVAL: Duration = Duration::from_mins(5);

/// The variables are no `env` of the flag: clap would let the flag override its variable, but each of them is enough.
const DISABLE_TELEMETRY_HELP: &str = "Watches nothing and sends nothing. Each of KAMAJI_TELEMETRY_DISABLE_TELEMETRY, \
    DO_NOT_TRACK and OTEL_SDK_DISABLED does the same if it is set to true, whatever the value of this flag";

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// URL of the OpenTelemetry collector, which is reached by OTLP/gRPC: http://HOST:PORT or https://HOST:PORT.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", default_value = "http://localhost:4317")]
    endpoint: String,
    #[arg(long, env = "KAMAJI_TELEMETRY_EXPORT_INTERVAL", value_parser = interval, help = EXPORT_INTERVAL_HELP)]
    export_interval: Option<Duration>,
    /// Namespace of the agent's own state [default: the namespace of the kubeconfig or of the service account].
    #[arg(long, env = "POD_NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
    #[command(flatten)]
    operator: OperatorArgs,
    /// Kamaji's version, such as v1.2.3, if it can't be read from its Deployment.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_VERSION")]
    kamaji_version: Option<String>,
    /// Deployment that the agent runs in. It becomes the owner of the agent's objects, which are deleted with it.
    #[arg(long, env = "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT", value_parser = object_name)]
    owner_deployment: Option<String>,
    /// Sends the extended signals as well: tenant versions, datastores, Cluster API, network profiles.
    #[arg(long, env = "KAMAJI_TELEMETRY_EXTENDED", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    extended: bool,
    /// Elects a leader among several replicas, by a Lease. The others wait.
    #[arg(long, env = "KAMAJI_TELEMETRY_LEADER_ELECT", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = BoolishValueParser::new())]
    leader_elect: bool,
    /// Identity of this replica in the election, which must stay the same when its container restarts [default: the
    /// host name, which is the pod's name].
    #[arg(long, env = "POD_NAME")]
    leader_elect_identity: Option<String>,
    /// Duration of the Lease, from 1s to 24h. Another replica takes over within this time after the leader has died.
    #[arg(long, env = "KAMAJI_TELEMETRY_LEASE_DURATION", default_value = "15s", value_parser = interval)]
    lease_duration: Duration,
    /// Address that serves /livez, /readyz and /metrics, such as 0.0.0.0:8080 [default: they are not served].
    #[arg(long, env = "KAMAJI_TELEMETRY_HEALTH_ADDR")]
    health_addr: Option<SocketAddr>,
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = BoolishValueParser::new(), help = DISABLE_TELEMETRY_HELP)]
    disable_telemetry: bool,
    /// Interval between two reads of Kamaji's Deployment, for its version and its --disable-telemetry, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_OPERATOR_POLL_INTERVAL", default_value = "30s", value_parser = interval)]
    operator_poll_interval: Duration,
    /// Interval between two deletions of the agent's state while telemetry is off, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_ERASE_INTERVAL", default_value = "1m", value_parser = interval, hide = true)]
    erase_interval: Duration,
    /// Longest time between two attempts of an export, a write or a watch that fails, from 1s to 24h.
    #[arg(long, env = "KAMAJI_TELEMETRY_RETRY_MAX_INTERVAL", default_value = "1m", value_parser = interval)]
    retry_max_interval: Duration,
    #[command(flatten)]
    otlp: otlp::OtlpArgs,
    #[command(flatten)]
    relay: relay::RelayArgs,
}

/// Runs the agent until a signal ends it.
pub(super) async fn run(args: AgentArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    agent::run(args.into_config(variable)?, shutdown).await
}

impl AgentArgs {
    /// Checks the flags and the variables beside them, and returns the agent's configuration.
    pub(super) fn into_config(self, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<agent::Config> {
        let Self {
            endpoint,
            export_interval,
            namespace,
            operator,
            kamaji_version,
            owner_deployment,
            extended,
            leader_elect,
            leader_elect_identity,
            lease_duration,
            health_addr,
            disable_telemetry,
            operator_poll_interval,
            erase_interval,
            retry_max_interval,
            otlp,
            relay,
        } = self;
        let (operator_location, kamaji_opt_out) = operator.into_parts();
        let is_true = |name| variable(name).is_some_and(|value| is_set(&value));
        let election = leader_elect.then(|| election(leader_elect_identity, lease_duration)).transpose()?;
        Ok(agent::Config {
            exporter: otlp.into_config(endpoint, &variable)?,
            export_interval: resolve_export_interval(export_interval, &variable)?,
            operator_poll_interval,
            erase_interval,
            retry_max_interval,
            operator_location,
            kamaji_opt_out,
            kamaji_version: kamaji_version.map(|version| parse_version(&version)).transpose()?,
            namespace,
            owner_deployment,
            extended,
            election,
            health_addr,
            relay: relay.into_config(),
            opt_out: OptOut {
                disable_telemetry,
                disabled_by_variable: is_true(DISABLE_TELEMETRY),
                do_not_track: is_true("DO_NOT_TRACK"),
                otel_sdk_disabled: is_true("OTEL_SDK_DISABLED"),
            },
            cluster: None,
        })
    }
}

/// Returns the interval of the flag or its variable, else that of OpenTelemetry's variable, else the default.
fn resolve_export_interval(
    flag: Option<Duration>,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Duration> {
    let from_variable = || {
        let text = variable(OTEL_METRIC_EXPORT_INTERVAL)?;
        Some(interval(&format!("{text}ms")).map_err(|_| {
            let text = redacted(&text);
            anyhow::anyhow!(
                "{OTEL_METRIC_EXPORT_INTERVAL} is set to {text:?}: expected milliseconds from 1000 to 86400000"
            )
        }))
    };
    match flag {
        Some(interval) => Ok(interval),
        None => from_variable().unwrap_or(Ok(DEFAULT_EXPORT_INTERVAL)),
    }
}

/// Returns how the leader is elected. The host name of a pod is the pod's name, and stays when its container restarts.
fn election(identity: Option<String>, lease_duration: Duration) -> anyhow::Result<ElectionConfig> {
    let identity = match identity {
        Some(identity) => identity,
        None => std::fs::read_to_string("/proc/sys/kernel/hostname")
            .context("--leader-elect needs an identity for this replica: set --leader-elect-identity (POD_NAME)")?
            .trim()
            .to_owned(),
    };
    Ok(ElectionConfig { identity, lease_duration })
}

fn parse_version(text: &str) -> anyhow::Result<KamajiVersion> {
    let version = KamajiVersion::normalize(text);
    let expected = "vX.Y.Z, edge-X.Y.Z, X.Y.Z-edge or latest";
    let text = redacted(text);
    ensure!(version != KamajiVersion::Unknown, "--kamaji-version {text:?} is no version: expected {expected}");
    Ok(version)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn help() -> String {
        Cli::command().find_subcommand_mut("agent").unwrap().render_long_help().to_string()
    }

    #[test]
    fn the_help_names_every_switch() {
        let help = help();
        for variable in [DISABLE_TELEMETRY, "DO_NOT_TRACK", "OTEL_SDK_DISABLED"] {
            assert!(help.contains(variable), "{help}");
        }
    }

    #[test]
    fn the_help_leaves_out_the_flags_of_the_tests() {
        let help = help();
        assert!(!help.contains("--erase-interval"), "{help}");
    }

    #[test]
    fn the_export_interval_is_that_of_the_flag_else_of_opentelemetrys_variable_else_the_default() {
        let resolve = |flag, otel: Option<&str>| {
            resolve_export_interval(flag, |name| {
                assert_eq!(name, OTEL_METRIC_EXPORT_INTERVAL);
                otel.map(str::to_owned)
            })
        };
        let ninety = Some(Duration::from_secs(90));
        assert_eq!(resolve(ninety, Some("60000")).unwrap(), Duration::from_secs(90));
        assert_eq!(resolve(None, Some("60000")).unwrap(), Duration::from_mins(1));
        assert_eq!(resolve(None, None).unwrap(), DEFAULT_EXPORT_INTERVAL);
        for bad in ["0", "999", "86400001", "-60000", "1m", "soon"] {
            let error = resolve(None, Some(bad)).unwrap_err().to_string();
            assert!(error.contains(OTEL_METRIC_EXPORT_INTERVAL) && error.contains(bad), "{error}");
        }
        assert!(resolve(ninety, Some("soon")).is_ok(), "a variable that does not apply is not read");
    }
}
