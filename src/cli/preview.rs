//! `kamaji-telemetry preview`

use clap::Args;

use super::agent::AgentArgs;
use super::environment::variable;
use super::print;
use crate::agent::preview::{self, PreviewOutput};

#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    /// Format of the output.
    #[arg(long, value_enum, default_value = "table")]
    output: PreviewOutput,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Prints what the agent would send with the same flags.
pub(super) async fn run(args: PreviewArgs) -> anyhow::Result<()> {
    let PreviewArgs { output, agent } = args;
    print(&preview::read(&agent.into_config(variable)?).await?.print(output)?)
}
