//! One address against the numbers, with the default limits: what it makes, stores and moves.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::store::fold::Standing;
use kamaji_telemetry::backend::store::{
    Batch, EventFilter, GaugeSnapshot, Hour, InstallationFilter, Report, Source, SourceKind, SqliteStore, StateCounts,
    Store,
};
use kamaji_telemetry::backend::{Limits, ManualClock, SecurityConfig, ServeSettings, ShareLimits};
use kamaji_telemetry::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use uuid::Uuid;

use super::figures;
use super::harness::{Backend, GZIP, PROTOBUF, UNLIMITED_SHARES, gzip, request_from, unlimited};
use super::samples::{created, gauge, logs_request, metrics_request, point, state_gauges, text};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// The installations of the truth, each of them with as many control planes.
const INSTALLATIONS: u64 = 10_000;
const CONTROL_PLANES: u32 = 20;

/// The hours of the attack.
const HOURS: i64 = 72;

/// The installations of a request: as many as fit into its 512 KiB.
const OF_REQUEST: usize = 400;

/// A control plane count that is as large as counts.
const LARGEST: i64 = 25_000;

/// A backend, and the attacker's view of it.
struct Attack {
    backend: Backend,
    clock: ManualClock,
    installations: Vec<Uuid>,
    /// The number of versions that were made up.
    versions: u16,
}

/// The figures of the day that is not over, and of the one before.
#[derive(Debug)]
struct Shown {
    active: u64,
    control_planes: u64,
    /// Installations that run the version of the truth.
    version: u64,
    bulk: u64,
}

impl Attack {
    async fn start(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
        let clock = ManualClock::new(Timestamp::now());
        let settings = ServeSettings {
            clock: clock.clone().into(),
            security: SecurityConfig { limits, ..SecurityConfig::default() },
            ..ServeSettings::default()
        };
        let backend = Backend::serve_with(folder, store.into(), settings).await;
        Self { backend, clock, installations: Vec::new(), versions: 0 }
    }

    fn time(&self) -> u64 {
        self.clock.now().as_nanosecond().try_into().unwrap()
    }

    fn advance(&self, hours: i64) {
        self.clock.advance(SignedDuration::from_hours(hours));
    }

    async fn post(&self, path: &str, body: &[u8]) -> u16 {
        let headers = [PROTOBUF, GZIP];
        request_from(ATTACKER, self.backend.http, "POST", path, &headers, &gzip(body)).await.unwrap().status
    }

    /// Sends snapshots of these installations, each of a version of its own.
    async fn send(&mut self, installations: &[Uuid], count: i64) -> u16 {
        let time = self.time();
        let mut all = ExportMetricsServiceRequest::default();
        for installation in installations {
            let mut metrics = state_gauges([count, 0, 0, 0], time);
            blank(&mut metrics);
            self.versions = (self.versions + 1) % 9_999;
            set_kamaji_version(&mut metrics, &format!("v6.6.{}", self.versions));
            all.resource_metrics.extend(metrics_request(*installation, metrics).resource_metrics);
        }
        self.post("/v1/metrics", &all.encode_to_vec()).await
    }

    /// Sends as many events, each of a version of its own.
    async fn send_events(&self, count: u16) -> u16 {
        let events = (0..count).map(|number| {
            let mut event = created(Uuid::new_v4(), self.time());
            set(&mut event.attributes, "tcp_version", &format!("v6.7.{number}"));
            event
        });
        self.post("/v1/logs", &logs_request(events.collect()).encode_to_vec()).await
    }

    /// Does in an hour what moves most: new installations, the first ones again, all as large as counts, and events.
    async fn hour(&mut self) {
        let new: Vec<_> = (0..OF_REQUEST).map(|_| Uuid::new_v4()).collect();
        self.send(&new, LARGEST).await;
        self.installations.extend(new);
        let known: Vec<_> = self.installations.iter().copied().take(2 * OF_REQUEST).collect();
        for some in known.chunks(OF_REQUEST) {
            self.send(some, LARGEST).await;
        }
        self.send_events(1_000).await;
    }

    async fn shown(&self) -> Shown {
        let facts = self.backend.facts(SourceKind::Agent, Hour::of(self.clock.now()).day()).await;
        let of_truth = facts.pairs.iter().filter(|pair| pair.kamaji.to_string() == "v1.0.0");
        let bulk = facts.last_seen.iter().filter(|fact| fact.standing == Standing::Bulk);
        Shown {
            active: facts.pairs.iter().map(|pair| pair.installations).sum(),
            control_planes: facts.pairs.iter().map(|pair| pair.control_planes).sum(),
            version: of_truth.map(|pair| pair.installations).sum(),
            bulk: bulk.map(|fact| fact.installations).sum(),
        }
    }
}

/// Removes what a message may leave out.
fn blank(metrics: &mut [Metric]) {
    for metric in metrics {
        metric.description.clear();
        metric.unit.clear();
    }
}

fn set_kamaji_version(metrics: &mut [Metric], version: &str) {
    for metric in metrics {
        let Some(Data::Gauge(gauge)) = &mut metric.data else { continue };
        gauge.data_points.iter_mut().for_each(|point| set(&mut point.attributes, "kamaji_version", version));
    }
}

fn set(attributes: &mut Vec<opentelemetry_proto::tonic::common::v1::KeyValue>, key: &str, value: &str) {
    attributes.retain(|attribute| attribute.key != key);
    attributes.push(text(key, value));
}

/// Stores a snapshot of each installation of the truth.
async fn receive_truth(store: &dyn Store, received: Hour) {
    let snapshot = |installation: u64| GaugeSnapshot {
        installation: Uuid::from_u128(u128::from(installation)),
        received,
        report: Report {
            counts: StateCounts { running: CONTROL_PLANES, ..StateCounts::default() },
            source: Source::Agent("2.0.0".parse().unwrap()),
            kamaji_version: "v1.0.0".parse().unwrap(),
            kubernetes_version: "v1.35.1".parse().unwrap(),
            dimensions: vec![],
        },
    };
    let snapshots = (0..INSTALLATIONS).map(snapshot).collect();
    store.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
}

/// Attacks for three days, and returns what a reader sees then.
async fn three_days(limits: Limits) -> Shown {
    let mut attack = Attack::start(limits).await;
    let start = Hour::of(attack.clock.now());
    for days in [30, 1] {
        receive_truth(attack.backend.store(), start.minus(days * 24)).await;
    }
    for hour in 0..HOURS {
        if hour % 24 == 0 {
            receive_truth(attack.backend.store(), Hour::of(attack.clock.now())).await;
        }
        attack.hour().await;
        attack.advance(1);
    }
    receive_truth(attack.backend.store(), Hour::of(attack.clock.now())).await;
    attack.shown().await
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn moved(shown: u64, truth: u64) -> f64 {
    100.0 * (shown as f64 - truth as f64) / truth as f64
}

/// The definitions of before know no shares, and one address decides the totals.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_moves_no_figure_by_two_percent_in_three_days_and_without_shares_it_does() {
    let truth = INSTALLATIONS * u64::from(CONTROL_PLANES);
    let mut lines =
        format!("{HOURS} hours of one address against {INSTALLATIONS} installations with {truth} control planes\n");
    for (name, shares, holds) in [("shares", ShareLimits::default(), true), ("no shares", UNLIMITED_SHARES, false)] {
        let shown = three_days(Limits { shares, ..Limits::default() }).await;
        let (active, planes) = (moved(shown.active, INSTALLATIONS), moved(shown.control_planes, truth));
        let figures = format!("{active:.2} % more active installations, {planes:.2} % more control planes");
        writeln!(lines, "{name}: {figures}; {shown:?}").unwrap();
        assert_eq!(active < 2.0 && planes < 2.0, holds, "{lines}");
        assert_eq!(shown.version, INSTALLATIONS, "the truth keeps its version: {lines}");
    }
    figures("attacker", &lines);
}

/// Ten thousand installations in a minute are in no figure, and gauges of another time are not even stored.
#[tokio::test]
async fn what_is_made_within_a_minute_is_not_confirmed_and_another_time_does_not_help() {
    let mut attack = Attack::start(Limits::default()).await;
    let new = |_| (0..OF_REQUEST).map(|_| Uuid::new_v4()).collect::<Vec<_>>();
    let statuses: Vec<_> = {
        let mut statuses = Vec::new();
        for installations in (0..20).map(new) {
            statuses.push(attack.send(&installations, 1_000_000).await);
        }
        statuses
    };
    let shown = attack.shown().await;
    let stored = attack.backend.count("latest");
    // What is in bulk takes half of the day of all senders together.
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!((2_000..=2_500).contains(&stored), "{stored}");
    assert_eq!((shown.active, shown.control_planes, shown.bulk), (0, 0, stored), "all are too large: {shown:?}");
    let days = attack.backend.count("days");
    attack.advance(1);
    for hours in [-30 * 24, -2, 1] {
        let time = attack.clock.now() + SignedDuration::from_hours(hours);
        let metrics = state_gauges([1, 0, 0, 0], time.as_nanosecond().try_into().unwrap());
        let request = metrics_request(Uuid::new_v4(), metrics).encode_to_vec();
        assert_eq!(attack.post("/v1/metrics", &request).await, 200, "it is acknowledged");
    }
    assert_eq!((attack.backend.count("latest"), attack.backend.count("days")), (stored, days));
}

/// A snapshot with as many points as there may be.
fn largest_snapshot(number: u16, time: u64) -> ExportMetricsServiceRequest {
    let minor = |value: u16| point(1, time, vec![text("tcp_version", format!("v1.{}", (number + value) % 999))]);
    let driver = |driver: &str| point(1, time, vec![text("driver", driver)]);
    let drivers = || ["etcd", "MySQL", "PostgreSQL", "NATS"].map(driver).into();
    let mut metrics = state_gauges([1, 0, 0, 0], time);
    metrics.push(gauge(&BY_VERSION, (0..16).map(minor).collect()));
    metrics.push(gauge(&DATASTORE_COUNT, drivers()));
    metrics.push(gauge(&DATASTORE_USED_BY, drivers()));
    set_kamaji_version(&mut metrics, &format!("v{number}.0.0"));
    metrics_request(Uuid::new_v4(), metrics)
}

/// The bytes of a day that one address writes are what the file grows by, whatever it sends, and not more.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_stores_no_more_a_day_than_its_bytes() {
    const BYTES: u32 = 4_000_000;
    let mut lines = format!("one address with {BYTES} bytes a day\n");
    for kind in ["snapshots", "snapshots with points", "events"] {
        let mut attack = Attack::start(Limits { bytes_per_day: BYTES, ..unlimited() }).await;
        let empty = attack.backend.store().size().await.unwrap().used;
        let mut sent = 0_u16;
        loop {
            sent += 1;
            let status = match kind {
                "events" => attack.send_events(1_000).await,
                "snapshots" => attack.send(&[(); OF_REQUEST].map(|()| Uuid::new_v4()), LARGEST).await,
                _ => {
                    let all = (0..50).map(|part| largest_snapshot(sent * 50 + part, attack.time()).resource_metrics);
                    let request = ExportMetricsServiceRequest { resource_metrics: all.flatten().collect() };
                    attack.post("/v1/metrics", &request.encode_to_vec()).await
                }
            };
            if status == 429 {
                break;
            }
            assert_eq!(status, 200, "{kind}");
        }
        attack.backend.store().checkpoint().await.unwrap();
        let grown = attack.backend.store().size().await.unwrap().used - empty;
        writeln!(lines, "{kind}: {sent} requests, the file grew by {grown} bytes").unwrap();
        // The last request may exceed what is left.
        assert!(grown < u64::from(BYTES) * 11 / 10, "{lines}");
    }
    figures("attacker-bytes", &lines);
}

/// Versions without end take no place of those that are in use, and add no more words an hour than is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn versions_without_end_displace_none_that_is_in_use() {
    let shares = ShareLimits { values: 256, ..UNLIMITED_SHARES };
    let mut attack = Attack::start(Limits { shares, ..unlimited() }).await;
    let start = Hour::of(attack.clock.now());
    let forged: Vec<_> = (0..OF_REQUEST).map(|_| Uuid::new_v4()).collect();
    for hours in [48, 24, 1] {
        receive_truth(attack.backend.store(), start.minus(hours)).await;
    }
    for hour in 0..26 {
        // The attacker is first in each hour, with ten versions for each of its installations, which are confirmed at last.
        for _ in 0..3 {
            attack.send(&forged, 1).await;
        }
        attack.send_events(1_000).await;
        if hour % 5 == 0 {
            receive_truth(attack.backend.store(), Hour::of(attack.clock.now())).await;
        }
        attack.advance(1);
    }
    receive_truth(attack.backend.store(), Hour::of(attack.clock.now())).await;
    let shown = attack.shown().await;
    let words = attack.backend.count("words");
    assert_eq!((shown.version, shown.active), (INSTALLATIONS, INSTALLATIONS + OF_REQUEST as u64), "{shown:?}");
    // Two pools of Kamaji's versions and two of the versions of control planes, in 27 hours.
    assert!(words < 4 * 256 * 27, "{words}");
    figures("attacker-versions", &format!("26 hours of made-up versions: {words} words, and {shown:?}"));
    let pairs = attack.backend.count("active_pair_rollup");
    assert!(pairs < 256 * 27, "{pairs}");
}

/// An admin sees what the attacker has made and removes it by filters, and the rest stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_attacker_made_is_erased_by_filters() {
    let mut attack = Attack::start(Limits::default()).await;
    let start = Hour::of(attack.clock.now());
    for days in [30, 0] {
        receive_truth(attack.backend.store(), start.minus(days * 24)).await;
    }
    let before = attack.shown().await;
    for _ in 0..26 {
        attack.hour().await;
        attack.advance(1);
    }
    receive_truth(attack.backend.store(), Hour::of(attack.clock.now())).await;
    let path = "/api/v1/installations?first_seen_after=";
    let since = format!("{path}{}", start.start());
    let list: serde_json::Value = serde_json::from_slice(&attack.backend.get(&since).await.body).unwrap();
    let made = list["matching"].as_u64().unwrap();
    assert!(made > 1_000, "{list}");
    let dry_run = attack.backend.send_as_admin("DELETE", &format!("{since}&dry_run=true")).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&dry_run.body).unwrap()["installations"], made);
    assert!(attack.shown().await.bulk > 0, "a dry run erases nothing");
    let erased = attack.backend.send_as_admin("DELETE", &since).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&erased.body).unwrap()["installations"], made);
    let events = attack.backend.send_as_admin("DELETE", "/api/v1/events?bulk=true").await;
    assert_eq!(events.status, 200);
    let after = attack.shown().await;
    assert_eq!((after.active, after.control_planes, after.bulk), (before.active, before.control_planes, 0));
    let none = InstallationFilter { bulk: Some(true), ..InstallationFilter::default() };
    assert_eq!(attack.backend.store().installations(none, 1).await.unwrap().matching, 0);
    let no_events = EventFilter { bulk: Some(true), ..EventFilter::default() };
    assert_eq!(attack.backend.store().count_events(no_events).await.unwrap().events, 0);
    for bad in ["/api/v1/installations", "/api/v1/installations?bulk=maybe", "/api/v1/installations?colour=red"] {
        assert_eq!(attack.backend.send_as_admin("DELETE", bad).await.status, 400, "{bad}");
    }
}
