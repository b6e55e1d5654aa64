//! The flags that tell where Kamaji's operator is, shared by agent, preview and status.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::{namespace, object_name};
use crate::agent::consent::KamajiOptOut;
use crate::agent::kubernetes::operator::OperatorLocation;

#[derive(Debug, Args)]
pub(super) struct OperatorArgs {
    /// Namespace of Kamaji's operator.
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_NAMESPACE", default_value = "kamaji-system", value_parser = namespace)]
    kamaji_namespace: String,
    /// Deployment of Kamaji's operator. With a name, the agent needs no permission to list Deployments, only to get this
    /// one [default: the one that runs "kamaji manager"].
    #[arg(long, env = "KAMAJI_TELEMETRY_KAMAJI_DEPLOYMENT", value_parser = object_name)]
    kamaji_deployment: Option<String>,
    /// Turns telemetry off if Kamaji's operator runs with --disable-telemetry, or if that can't be determined. Set it
    /// to false if Kamaji's built-in telemetry is off because this one replaces it.
    #[arg(long, env = "KAMAJI_TELEMETRY_FOLLOW_KAMAJI_OPT_OUT", action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    follow_kamaji_opt_out: bool,
}

impl OperatorArgs {
    /// Returns the place of the operator, and the effect of its opt-out.
    pub(super) fn into_parts(self) -> (OperatorLocation, KamajiOptOut) {
        let Self { kamaji_namespace, kamaji_deployment, follow_kamaji_opt_out } = self;
        let location = OperatorLocation { namespace: kamaji_namespace, deployment: kamaji_deployment };
        (location, follow_kamaji_opt_out.into())
    }
}
