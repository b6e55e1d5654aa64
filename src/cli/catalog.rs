//! `kamaji-telemetry catalog`

use clap::{Args, ValueEnum};

use super::print;
use crate::catalog::{allow_list, document};

#[derive(Debug, Args)]
pub(super) struct CatalogArgs {
    /// Format of the output.
    #[arg(long, value_enum, default_value = "markdown")]
    output: CatalogOutput,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CatalogOutput {
    /// Markdown for people, as in docs/signals.md.
    Markdown,
    /// JSON for programs.
    Json,
    /// Processors of an OpenTelemetry Collector that drop everything that is not in the catalog.
    Collector,
}

/// Prints the catalog.
pub(super) fn run(args: &CatalogArgs) -> anyhow::Result<()> {
    let CatalogArgs { output } = args;
    print(&match output {
        CatalogOutput::Markdown => document::markdown(),
        CatalogOutput::Json => document::json()?,
        CatalogOutput::Collector => allow_list::processors(),
    })
}
