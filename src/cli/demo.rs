//! `kamaji-telemetry demo`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::interval;
use super::store_files::StoreFiles;
use crate::backend::StoreLocation;
use crate::backend::admin::ready::BackendUrl;
use crate::process;
use crate::testkit::demo;
use crate::testkit::load::{self, LoadConfig, MAX_INSTALLATIONS};

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Directory that keeps the demo's data [default: a temporary directory, which is deleted at the end].
    #[arg(long, value_name = "DIR", conflicts_with = "load")]
    data: Option<PathBuf>,
    /// Address that serves the web page [default: 127.0.0.1:4318, or another port if that one is in use].
    #[arg(long, value_name = "ADDRESS", conflicts_with = "load")]
    http_addr: Option<SocketAddr>,
    /// Program of an OpenTelemetry Collector to run as the relay between agent and backend [default: no relay].
    #[arg(long, value_name = "PATH", conflicts_with = "load")]
    collector: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "A simulated fleet that puts a load on backends (instead of the demo)")]
struct LoadArgs {
    /// Number of installations, up to 10000000. They send to --to, or are written into --fill.
    #[arg(long, value_name = "INSTALLATIONS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_INSTALLATIONS)),
          requires = "target")]
    load: Option<u32>,
    /// URLs of the HTTP ports of backends. Each gets its part of the installations, and what fails at one is sent again to
    /// another.
    #[arg(long, value_name = "URL", value_delimiter = ',', requires = "load", group = "target")]
    to: Vec<BackendUrl>,
    /// Store that the installations are written into, confirmed and received an hour ago, such as sqlite:PATH. No backend may
    /// be serving it.
    #[arg(long, value_name = "STORE", requires = "load", group = "target")]
    fill: Option<StoreLocation>,
    /// Outage from which the fleet is back at the beginning, up to 24h: its agents retry, and have events to send.
    #[arg(long, value_name = "DURATION", value_parser = interval, requires = "load", conflicts_with = "fill")]
    outage: Option<Duration>,
    /// Duration of the run, from 1s to 24h.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = interval)]
    duration: Duration,
    /// Speed of the fleet's clock, from 0.001 to 1000: with 5, each installation sends every minute instead of every five.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Events of one installation in a day, from 0 to 100000.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = events_per_day)]
    events_per_day: f64,
    /// Connections to each URL, over which up to 32 requests each are in flight.
    #[arg(long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// PEM file with the CA bundle that signed the certificates of https:// URLs [default: the system's].
    #[arg(long, value_name = "FILE", requires = "load", conflicts_with = "fill")]
    ca_file: Option<PathBuf>,
    /// Store of a backend, to compare with what was acknowledged. Repeatable, for backends with stores of their own
    /// [default: nothing is compared].
    #[arg(long, value_name = "STORE", requires = "load", conflicts_with = "fill")]
    store: Vec<StoreLocation>,
    #[command(flatten)]
    files: StoreFiles,
    /// Process of this machine, such as a backend or a database server, whose CPU time and memory are printed, with those of
    /// its children. Repeatable.
    #[arg(long, value_name = "PID", requires = "load", conflicts_with = "fill")]
    pid: Vec<u32>,
}

/// Runs the demo, or a load, until a signal ends it.
pub(super) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let shutdown = process::shutdown::shutdown_on_signals()?;
    let DemoArgs { data, collector, http_addr, load } = args;
    let Some(installations) = load.load else {
        return demo::run(demo::Config { data, collector, http_addr }, shutdown).await;
    };
    if let Some(store) = load.fill {
        return load::fill(load.files.of(store), installations).await;
    }
    load::run(load.into_config(installations), shutdown).await
}

impl LoadArgs {
    fn into_config(self, installations: u32) -> LoadConfig {
        let Self {
            load: _,
            to,
            fill: _,
            outage,
            duration,
            speed,
            events_per_day,
            connections,
            ca_file,
            store,
            files,
            pid,
        } = self;
        LoadConfig {
            installations,
            urls: to,
            ca: ca_file,
            duration,
            speed,
            outage: outage.unwrap_or_default(),
            events_per_day,
            connections: connections.into(),
            stores: store.into_iter().map(|store| files.of(store)).collect(),
            processes: pid,
        }
    }
}

fn speed(text: &str) -> Result<f64, &'static str> {
    let factor = text.parse().ok().filter(|factor| (0.001..=1_000.0).contains(factor));
    factor.ok_or("expected a factor from 0.001 to 1000, such as 5")
}

fn events_per_day(text: &str) -> Result<f64, &'static str> {
    let events = text.parse().ok().filter(|events| (0.0..=100_000.0).contains(events));
    events.ok_or("expected a number from 0 to 100000, such as 1 or 0.5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_and_a_number_of_events_are_within_their_bounds() {
        assert_eq!((speed("0.5"), events_per_day("0")), (Ok(0.5), Ok(0.0)));
        for bad in ["", "0", "-1", "1001", "NaN", "inf", "fast"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
        for bad in ["", "-1", "100001", "NaN", "inf"] {
            assert!(events_per_day(bad).is_err(), "{bad}");
        }
    }
}
