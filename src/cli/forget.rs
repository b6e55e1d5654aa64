//! `kamaji-telemetry forget`

use clap::Args;

use super::{namespace, print};
use crate::agent::forget;

#[derive(Debug, Args)]
pub(super) struct ForgetArgs {
    /// Namespace of the agent's own state [default: the namespace of the kubeconfig or of the service account].
    #[arg(long, env = "POD_NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
}

/// Deletes the agent's state and prints what was deleted.
pub(super) async fn run(args: ForgetArgs) -> anyhow::Result<()> {
    let ForgetArgs { namespace } = args;
    print(&forget::run(namespace).await?)
}
