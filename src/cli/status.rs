//! `kamaji-telemetry status`

use clap::{Args, ValueEnum};

use super::agent::refusal;
use super::operator::OperatorArgs;
use super::{namespace, object_name, print};
use crate::agent::status::{self, StatusOptions};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Format of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: StatusOutput,
    /// Namespace of the agent's own state [default: the namespace of the kubeconfig or of the service account].
    #[arg(long, env = "POD_NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
    /// Deployment that the agent runs in [default: the owner of its state].
    #[arg(long, env = "KAMAJI_TELEMETRY_OWNER_DEPLOYMENT", value_parser = object_name)]
    owner_deployment: Option<String>,
    #[command(flatten)]
    operator: OperatorArgs,
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
    let StatusArgs { output, namespace, owner_deployment: deployment, operator } = args;
    let (operator_location, kamaji_opt_out) = operator.into_parts();
    let options = StatusOptions { namespace, deployment, operator_location, kamaji_opt_out, refusal };
    let status = status::read(options).await?;
    print(&match output {
        StatusOutput::Table => status.to_string(),
        StatusOutput::Json => format!("{}\n", serde_json::to_string(&status)?),
    })
}
