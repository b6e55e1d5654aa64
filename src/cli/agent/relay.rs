//! The flags of the relay beside the agent.

use std::path::PathBuf;

use clap::Args;

use crate::agent::relay_probe::RelayConfig;

#[derive(Debug, Args)]
#[command(next_help_heading = "Relay")]
pub(super) struct RelayArgs {
    /// PEM file of the CA bundle of the relay in the same pod. /livez/relay fails if it changed after the relay had started.
    #[arg(long, env = "KAMAJI_TELEMETRY_RELAY_CA_FILE", value_name = "FILE", requires = "health_addr")]
    relay_ca_file: Option<PathBuf>,
    /// URL of the relay's health check, which /livez/relay asks.
    #[arg(
        long,
        env = "KAMAJI_TELEMETRY_RELAY_HEALTH_URL",
        default_value = "http://127.0.0.1:13133",
        value_name = "URL"
    )]
    relay_health_url: http::Uri,
}

impl RelayArgs {
    /// Returns the relay to answer for, if there is one.
    pub(super) fn into_config(self) -> Option<RelayConfig> {
        let Self { relay_ca_file, relay_health_url } = self;
        relay_ca_file.map(|ca| RelayConfig { ca, health_url: relay_health_url })
    }
}
