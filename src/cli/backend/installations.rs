//! `kamaji-telemetry backend installations`, and the filters that it shares with `kamaji-telemetry backend erase`

use clap::{Args, Subcommand};

use super::StoreArgs;
use crate::backend::admin::rows::{self, ListFormat};
use crate::backend::store::{EventFilter, FilterTime, FilterVersion, HourRange, InstallationFilter, InstallationId};
use crate::catalog::{KamajiVersion, KubernetesVersion};
use crate::cli::print;

#[derive(Debug, Subcommand)]
pub(super) enum InstallationsCommand {
    /// List installations, those outside of the figures included.
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: InstallationFilterArgs,
    /// Maximum number of installations that are listed.
    #[arg(long, default_value = "100", value_name = "NUMBER")]
    limit: usize,
    /// Format of the list.
    #[arg(long, short, value_enum, default_value = "table")]
    output: ListFormat,
    #[command(flatten)]
    store: StoreArgs,
}

/// Filters of installations. A time is a UTC date such as 2026-11-24, or a time such as 2026-11-24T12:00:00Z, whose hour
/// counts.
#[derive(Debug, Args)]
pub(super) struct InstallationFilterArgs {
    /// Name by which readers know the installation: 16 hexadecimal digits.
    #[arg(long, value_name = "ID")]
    id: Option<InstallationId>,
    /// First receipt at this time or later: a UTC date, or a time such as 2026-11-24T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    first_seen_after: Option<FilterTime>,
    /// First receipt before this time.
    #[arg(long, value_name = "TIME")]
    first_seen_before: Option<FilterTime>,
    /// Last receipt at this time or later.
    #[arg(long, value_name = "TIME")]
    received_after: Option<FilterTime>,
    /// Last receipt before this time.
    #[arg(long, value_name = "TIME")]
    received_before: Option<FilterTime>,
    /// Version of Kamaji, or other.
    #[arg(long, value_name = "VERSION")]
    kamaji_version: Option<FilterVersion<KamajiVersion>>,
    /// Version of the management cluster, or other.
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<FilterVersion<KubernetesVersion>>,
    /// In bulk, or not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bulk: Option<bool>,
    /// Confirmed, or not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    confirmed: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct EventFilterArgs {
    /// Events of this time or later: a UTC date, or a time such as 2026-11-24T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    after: Option<FilterTime>,
    /// Events before this time.
    #[arg(long, value_name = "TIME")]
    before: Option<FilterTime>,
    /// Version of Kamaji, or other.
    #[arg(long, value_name = "VERSION")]
    kamaji_version: Option<FilterVersion<KamajiVersion>>,
    /// Version of the management cluster, or other.
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<FilterVersion<KubernetesVersion>>,
    /// Version of the control plane; of an update, the old or the new one.
    #[arg(long, value_name = "VERSION")]
    tcp_version: Option<FilterVersion<KubernetesVersion>>,
    /// In bulk, or not.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    bulk: Option<bool>,
}

impl InstallationFilterArgs {
    pub(super) fn into_filter(self) -> InstallationFilter {
        InstallationFilter {
            id: self.id,
            first_seen: HourRange::between(self.first_seen_after, self.first_seen_before),
            last_seen: HourRange::between(self.received_after, self.received_before),
            kamaji_version: self.kamaji_version.map(|version| version.0),
            kubernetes_version: self.kubernetes_version.map(|version| version.0),
            bulk: self.bulk,
            confirmed: self.confirmed,
        }
    }
}

impl EventFilterArgs {
    pub(super) fn into_filter(self) -> EventFilter {
        let Self { after, before, kamaji_version, kubernetes_version, tcp_version, bulk } = self;
        EventFilter {
            time: HourRange::between(after, before),
            kamaji_version: kamaji_version.map(|version| version.0),
            kubernetes_version: kubernetes_version.map(|version| version.0),
            tcp_version: tcp_version.map(|version| version.0),
            bulk,
        }
    }
}

/// Runs a command for installations.
pub(super) async fn run(InstallationsCommand::List(args): InstallationsCommand) -> anyhow::Result<()> {
    let ListArgs { filter, limit, output, store } = args;
    print(&rows::list_installations(store.location()?, filter.into_filter(), limit, output).await?)
}
