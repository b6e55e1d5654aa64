//! The delay from the commit of a change in the cluster to its commit in the backend, through the real API server, the
//! agent, the real collector and both kinds of store: quiet, and beside the gauges of a fleet.
//!
//! `make bench` measures 1,000 changes in a cluster of 1,000; `make test` measures fewer, so that the measurement works.

#[path = "../../benches/shared/budget.rs"]
mod budget;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kamaji_telemetry::backend::store::{EventFilter, InstallationFilter, SqliteStore, Store};

use crate::program::{AgentOptions, Backend, PROGRAM, UNLIMITED};
use crate::servers::postgres::TestDatabase;
use crate::servers::{ApiServer, Collector, checkout, eventually, tcp};

/// The variable with the number of control planes, and of changes.
const VARIABLE: &str = "KAMAJI_TELEMETRY_CHANGES";

/// The number of `make test`.
const CHANGES: usize = 40;

/// The number of control planes that are created at once.
const CONCURRENCY: usize = 16;

/// The versions between which control planes are upgraded and downgraded.
const VERSIONS: [&str; 2] = ["v1.35.1", "v1.36.0"];

/// The largest 99th percentile of a budget, in milliseconds. It is no deadline of the tests.
const MAX_P99: f64 = 100.0;

/// The interval in which the store is asked for a change: short against the delays that are measured.
const POLL: Duration = Duration::from_millis(1);

/// The installations of the fleet beside it: 333 requests a second, as much as a backend for 100,000 gets.
const FLEET: &str = "100000";

/// The pipeline of one kind of store.
struct Pipeline {
    cluster: ApiServer,
    backend: Backend,
    store: Arc<dyn Store>,
    changes: usize,
}

/// The process of a fleet, which ends with this.
struct FleetProcess(Child);

impl FleetProcess {
    fn start(url: &str) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["demo", "--load", FLEET, "--events-per-day=0", "--duration=1h", "--to", url]);
        Self(command.env_clear().stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for FleetProcess {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Pipeline {
    async fn events(&self) -> u64 {
        self.store.count_events(EventFilter::default()).await.unwrap().events
    }

    async fn create(&self) {
        let created = stream::iter(0..self.changes).map(|number| self.cluster.create(tcp(&name(number))));
        created.buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    /// Upgrades one control plane after the other. Returns the time of each until its event is stored, in order of length.
    async fn measure(&self, version: &str) -> Vec<Duration> {
        let mut delays = Vec::with_capacity(self.changes);
        let before = self.events().await;
        for (number, stored) in (0..self.changes).zip(before + 1..) {
            self.cluster.upgrade(&name(number), version).await;
            let committed = Instant::now();
            while self.events().await < stored {
                assert!(committed.elapsed() < crate::servers::DEADLINE, "change {number} is not stored");
                tokio::time::sleep(POLL).await;
            }
            delays.push(committed.elapsed());
        }
        delays.sort_unstable();
        delays
    }

    /// Measures without other load, and beside a fleet.
    async fn measure_both(&self, store: &str) {
        let relay = checkout("otel-collector/relay.yaml");
        let relay = Collector::start(&relay, &[("RELAY_ENDPOINT", self.backend.url())], &[]).await;
        self.create().await;
        let agent = AgentOptions::new(&self.cluster, &relay.endpoint()).start().await;
        agent.ready().await;
        let quiet = self.measure(VERSIONS[1]).await;
        let fleet = FleetProcess::start(self.backend.url());
        let installations = || self.store.installations(InstallationFilter::default(), 0);
        eventually("the fleet to send", async || (installations().await.unwrap().matching > 1).then_some(())).await;
        let loaded = self.measure(VERSIONS[0]).await;
        drop(fleet);
        let figures = format!(
            "change → committed, {} changes, {store}: {}; beside a fleet of {FLEET}: {}",
            self.changes,
            distribution(&quiet),
            distribution(&loaded)
        );
        crate::backend::figures(&format!("changes-{store}"), &figures);
        let what = |when: &str| format!("change → committed in {store}, {} changes, {when}: p99", self.changes);
        for (when, delays) in [("quiet", &quiet), ("beside a fleet of 100,000", &loaded)] {
            let reached = percentile(delays, 99);
            budget::add_row(&what(when), &format!("{reached:.0} ms"), "≤ 100 ms quiet", reached <= MAX_P99).unwrap();
        }
    }
}

/// Returns the flags of a backend that a fleet may load.
fn flags() -> Vec<&'static str> {
    [&["--trusted-proxy=127.0.0.1/32"], &UNLIMITED[..]].concat()
}

fn name(number: usize) -> String {
    format!("tenant-{number}")
}

/// Returns a percentile of sorted times in milliseconds.
fn percentile(delays: &[Duration], percent: usize) -> f64 {
    delays[(delays.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
}

/// Returns percentiles of sorted times as text.
fn distribution(delays: &[Duration]) -> String {
    let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| percentile(delays, percent));
    format!("p50 {p50:.0} ms, p90 {p90:.0} ms, p99 {p99:.0} ms, longest {max:.0} ms")
}

fn changes() -> usize {
    std::env::var(VARIABLE).map_or(CHANGES, |number| number.parse().expect("a number of changes"))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_change_is_committed_in_sqlite() {
    let flags = flags();
    let (cluster, backend) = tokio::join!(ApiServer::start_with_kamaji(), Backend::start_with(&flags));
    let store = Arc::new(SqliteStore::open_existing(backend.file()).unwrap());
    Pipeline { cluster, backend, store, changes: changes() }.measure_both("SQLite").await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_change_is_committed_in_postgresql() {
    let (database, flags) = (TestDatabase::create().await, flags());
    let (cluster, backend) =
        tokio::join!(ApiServer::start_with_kamaji(), Backend::start_on(database.address(), &flags));
    let store = database.open().await;
    Pipeline { cluster, backend, store, changes: changes() }.measure_both("PostgreSQL").await;
}
