//! `kamaji-telemetry status`

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};

use super::agent::operator_location;
use super::print;
use crate::agent::status::{self, StatusOptions};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Format of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: StatusOutput,
    /// Namespace of the agent's own state [default: the namespace of the kubeconfig or of the service account].
    #[arg(long, env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// Deployment that the agent runs in [default: the owner of its state].
    #[arg(long, env = "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT")]
    owner_deployment: Option<String>,
    /// Namespace of Kamaji's operator. The agent's Deployment takes precedence.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", default_value = "kamaji-system")]
    kamaji_namespace: String,
    /// Deployment of Kamaji's operator [default: the one that runs "kamaji manager"]. The agent's Deployment takes
    /// precedence.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_DEPLOYMENT")]
    kamaji_deployment: Option<String>,
    /// Reports telemetry as off if Kamaji's operator runs with --disable-telemetry, or if that can't be determined. The
    /// agent's Deployment takes precedence.
    #[arg(long, env = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    follow_kamaji_opt_out: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusOutput {
    /// A table for people.
    Table,
    /// JSON for programs.
    Json,
}

/// Prints the agent's status.
pub(super) async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let StatusArgs {
        output,
        namespace,
        owner_deployment: deployment,
        kamaji_namespace,
        kamaji_deployment,
        follow_kamaji_opt_out,
    } = args;
    let operator_location = operator_location(kamaji_namespace, kamaji_deployment);
    let kamaji_opt_out = follow_kamaji_opt_out.into();
    let status = status::read(StatusOptions { namespace, deployment, operator_location, kamaji_opt_out }).await?;
    print(&match output {
        StatusOutput::Table => status.to_string(),
        StatusOutput::Json => format!("{}\n", serde_json::to_string(&status)?),
    })
}
