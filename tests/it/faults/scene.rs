//! The whole pipeline of real servers, with a proxy in front of each.

mod agent_metrics;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kamaji_telemetry::catalog::KubernetesVersion;
use kube::api::{ListParams, PostParams};
use serde_json::Value;

use super::history::{Recorder, Revision};
use super::oracle::{Observation, Outage, Report, Span, without};
use super::proxies::{ApiProxy, Mode, Protocol, TcpProxy};
use super::stored::{self, Change, StoredEvent};
use crate::program::{Agent, AgentOptions, Backend};
use crate::servers::{ApiServer, Collector, User, checkout, eventually, fixture, tcp};

/// A running pipeline. Its fields are in the order of the data flow.
pub(super) struct Scene {
    /// The management cluster.
    pub(super) cluster: ApiServer,
    /// A proxy of the API server, which fails requests.
    pub(super) api: ApiProxy,
    /// A proxy in front of that, which fails connections.
    pub(super) api_connections: TcpProxy,
    /// A proxy of the relay, which fails connections.
    pub(super) relay_connections: TcpProxy,
    /// The relay.
    pub(super) relay: Collector,
    /// The backend.
    pub(super) backend: Backend,
    /// The recorder of the history.
    recorder: Recorder,
    observation: Observation,
    numbers: Numbers,
    seed: u64,
    random: RefCell<fastrand::Rng>,
    /// The report of the last comparison.
    reported: Report,
    /// The longest delay since the last comparison.
    delay: Cell<Duration>,
    /// The longest delay of all.
    longest: Duration,
}

/// The source of numbers of control planes, each of which is used once.
#[derive(Clone)]
pub(super) struct Numbers(Arc<AtomicU16>);

/// An outage that has begun.
#[must_use]
pub(super) struct OpenOutage(Revision);

/// A backup of etcd, and what was stored and reported then.
pub(super) struct EtcdBackup {
    folder: PathBuf,
    revision: Revision,
    events: Vec<StoredEvent>,
    reported: Report,
}

/// The outcome of a test.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The result of the comparison.
    pub(super) report: Report,
    /// The longest time from the end of a fault until a change made then was stored.
    pub(super) delay: Duration,
}

/// The variable with the seed of a run, to repeat its random choices.
const SEED: &str = "KAMAJI_TELEMETRY_FAULTS_SEED";

impl Numbers {
    /// Returns the next number, up to the largest minor of a version.
    pub(super) fn next(&self) -> u16 {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        assert!(number <= 9999, "a version has no larger minor");
        number
    }
}

/// Returns a version of control plane `number`.
pub(super) fn version(number: u16, patch: u16) -> String {
    format!("v1.{number}.{patch}")
}

/// Each control plane of these tests has a version of its own, by which its events are told apart.
const ALL_VALUES: [&str; 3] = ["--max-values=0", "--max-counted-events=0", "--max-bulk-events=0"];

impl Scene {
    /// Starts everything except an agent.
    pub(super) async fn start() -> Self {
        Self::start_with(&fixture("tenantcontrolplanes.yaml")).await
    }

    /// Starts everything except an agent, with another definition of a control plane.
    pub(super) async fn start_with(definition: &str) -> Self {
        let seed = std::env::var(SEED).map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
        println!("{SEED}={seed}");
        let (cluster, backend) =
            tokio::join!(ApiServer::start_uncompacted(definition), Backend::start_with(&ALL_VALUES));
        let relay = checkout("otel-collector/relay.yaml");
        let relay = Collector::start(&relay, &[("RELAY_ENDPOINT", backend.url())], &[]).await;
        let (certificate, key) = cluster.certificate();
        let api = ApiProxy::start(cluster.anonymous(), &certificate, &key).await;
        Self {
            api_connections: TcpProxy::start(api.address(), Protocol::Opaque).await,
            relay_connections: TcpProxy::start(relay.address(), Protocol::Http2).await,
            recorder: Recorder::start(&cluster).await,
            observation: Observation::default(),
            numbers: Numbers(Arc::new(AtomicU16::new(1))),
            cluster,
            api,
            relay,
            backend,
            seed,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            reported: Report::default(),
            delay: Cell::default(),
            longest: Duration::ZERO,
        }
    }

    /// Returns the options of an agent with this identity and with short intervals.
    pub(super) fn agent<'a>(&self, identity: &'a str) -> AgentOptions<'a> {
        let kubeconfig = self.cluster.kubeconfig_at(User::Agent, self.api_connections.address());
        let relay = format!("http://{}", self.relay_connections.address());
        let options = AgentOptions::with_kubeconfig(&kubeconfig, &relay).variable("POD_NAME", identity);
        let settings = ["--namespace=kamaji-telemetry", "--owner-deployment=kamaji-telemetry"];
        let waits = ["--timeout=2000", "--retry-max-interval=1s"];
        settings.into_iter().chain(waits).fold(options, AgentOptions::argument)
    }

    /// Starts an agent and takes its baseline.
    pub(super) async fn start_agent(&mut self) -> Agent {
        let agent = self.agent("a").start().await;
        self.baseline(&agent).await;
        agent
    }

    /// Waits until `agent` is ready and takes the current state as the baseline. Nothing may change meanwhile.
    pub(super) async fn baseline(&mut self, agent: &Agent) {
        agent.ready().await;
        let baseline = self.cluster.revision().await;
        self.observation.spans.push(Span { baseline, end: Revision::MAX });
    }

    /// Records that telemetry is off from here on. All events must be stored before.
    pub(super) async fn end_span(&mut self) {
        let end = self.cluster.revision().await;
        self.observation.spans.last_mut().expect("it was on").end = end;
    }

    /// Returns a generator that is different at each call.
    pub(super) fn random(&self) -> fastrand::Rng {
        self.random.borrow_mut().fork()
    }

    /// Returns the source of numbers for new control planes.
    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Creates a control plane with patch 0 of a new number, which it returns.
    pub(super) async fn create(&self, name: &str) -> u16 {
        let number = self.numbers.next();
        self.cluster.create(tcp(name).version(&version(number, 0))).await;
        number
    }

    /// Upgrades the control plane to one patch after the other.
    pub(super) async fn upgrade(&self, name: &str, number: u16, patches: &[u16]) {
        for patch in patches {
            self.cluster.upgrade(name, &version(number, *patch)).await;
        }
    }

    /// Waits for `count` more commits.
    pub(super) async fn wait_for_commits(&self, count: u64) {
        let before = self.cluster.revision().await;
        eventually("changes", async || (self.cluster.revision().await >= before + count).then_some(())).await;
    }

    /// Returns the number of stored events.
    pub(super) fn event_count(&self) -> usize {
        stored::count(self.backend.file())
    }

    /// Waits until more than `count` events are stored.
    pub(super) async fn wait_for_more_events_than(&self, count: usize) {
        eventually("more events to be stored", async || (self.event_count() > count).then_some(())).await;
    }

    /// Creates a control plane as a marker of this moment, and returns its revision and version.
    async fn create_marker(&self) -> (Revision, KubernetesVersion) {
        let number = self.numbers.next();
        let version = version(number, 0);
        let marker = tcp(&format!("marker-{number}")).version(&version).object();
        let created = self.cluster.tcps().create(&PostParams::default(), &marker).await.expect("it can be created");
        let revision = created.metadata.resource_version.and_then(|revision| revision.parse().ok());
        (revision.expect("it is etcd's revision"), KubernetesVersion::normalize(&version))
    }

    /// Creates a control plane, waits until its event is stored, and returns its revision. The whole pipeline works
    /// then. It is called at the end of a fault, whose delay is the time that this takes.
    pub(super) async fn wait_until_delivered(&self) -> Revision {
        let begun = Instant::now();
        let (revision, version) = self.create_marker().await;
        let is_marker = |event: &StoredEvent| event.change == Change::Created(version);
        eventually("a new control plane to be stored", async || self.events().iter().any(is_marker).then_some(()))
            .await;
        self.delay.set(self.delay.get().max(begun.elapsed()));
        revision
    }

    /// Begins an outage, from which on the agent may miss states. Changes that are stored by now were observed.
    pub(super) fn begin_outage(&self) -> OpenOutage {
        // The stored events are read after the history, since they only prove that more was observed.
        let history = self.recorder.so_far();
        OpenOutage(self.observation.delivered_until(&history, &self.events()))
    }

    /// Waits until the agent observes changes again, and records the outage.
    pub(super) async fn end_outage(&mut self, OpenOutage(after): OpenOutage) {
        self.wait_until_delivered().await;
        let until = self.cluster.revision().await;
        // A change between the two may be observed but not written yet, so that another kill would lose it. Once a
        // later event is delivered, it is written.
        self.wait_until_delivered().await;
        self.observation.outages.push(Outage { after, until });
    }

    /// Backs up etcd, which is down meanwhile, as is the API server. All events must be stored before.
    pub(super) async fn back_up(&mut self, name: &str) -> EtcdBackup {
        let revision = self.cluster.revision().await;
        let folder = self.cluster.back_up(name).await;
        self.recorder = Recorder::start(&self.cluster).await;
        EtcdBackup { folder, revision, events: self.events(), reported: self.reported.clone() }
    }

    /// Restores etcd from a backup, and adds `bump` to its revision. All events must be stored before.
    pub(super) async fn restore(&mut self, backup: &EtcdBackup, bump: usize) {
        let EtcdBackup { folder, revision, events, reported } = backup;
        self.observation.restore(*revision, without(&self.events(), events));
        self.reported = reported.clone();
        self.cluster.restore(folder, bump).await;
        // etcd is never compacted, so that it still has the history up to the backup.
        self.recorder = Recorder::start(&self.cluster).await;
    }

    /// Waits until the latest snapshot of gauges counts the control planes that are there, by their status.
    pub(super) async fn wait_until_counted(&self) {
        let tcps = self.cluster.tcps().list(&ListParams::default()).await.expect("they can be listed");
        let mut expected = [0; 3];
        for tcp in tcps {
            let status = tcp.data.pointer("/status/kubernetesResources/version/status");
            expected[match status.and_then(Value::as_str) {
                Some("Ready") => 0,
                Some("Sleeping") => 1,
                _ => 2,
            }] += 1;
        }
        let counts = async || (stored::counts(self.backend.file()) == Some(expected)).then_some(());
        eventually(&format!("the counts to be {expected:?}"), counts).await;
    }

    /// Waits until the stored events match the history, and returns the outcome since the last call. Nothing may change
    /// meanwhile.
    pub(super) async fn wait_until_complete(&mut self) -> Outcome {
        let begun = Instant::now();
        let (revision, _) = self.create_marker().await;
        let history = self.recorder.up_to(revision).await;
        let last = ReportOnPanic::default();
        eventually("the stored events to match the history", async || {
            let report = self.observation.compare(&history, &self.events());
            let is_clean = report.is_clean();
            last.0.replace(report);
            is_clean.then_some(())
        })
        .await;
        self.delay.set(self.delay.get().max(begun.elapsed()));
        // Any further event in flight is delivered before this marker.
        let history = self.recorder.up_to(self.wait_until_delivered().await).await;
        last.0.replace(self.observation.compare(&history, &self.events()));
        assert!(last.0.borrow().is_clean(), "further events arrived: {}", last.0.borrow());
        let (report, delay) = (last.0.take(), self.delay.take());
        self.longest = self.longest.max(delay);
        Outcome { report: std::mem::replace(&mut self.reported, report.clone()).until(&report), delay }
    }

    /// Returns the number of lists of all control planes that agents have requested.
    pub(super) fn lists(&self) -> usize {
        let requests = self.cluster.requests_of(User::Agent);
        requests.iter().filter(|request| request.uri.contains("sendInitialEvents=true")).count()
    }

    /// Returns the outcome of the whole run up to the last comparison.
    pub(super) fn total_outcome(&self) -> Outcome {
        Outcome { report: self.reported.clone(), delay: self.longest }
    }

    /// Returns the seed of this run.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the number of writes of the journal that the API server has completed.
    pub(super) fn journal_writes(&self) -> usize {
        let requests = self.cluster.requests_of(User::Agent);
        requests.iter().filter(|request| request.resource == "configmaps" && request.verb == "update").count()
    }

    fn events(&self) -> Vec<StoredEvent> {
        stored::read(self.backend.file())
    }

    /// Makes all connections work again.
    pub(super) fn repair_network(&self) {
        self.api_connections.set_mode(Mode::Pass);
        self.relay_connections.set_mode(Mode::Pass);
    }
}

/// A report that is printed when its test fails.
#[derive(Default)]
struct ReportOnPanic(RefCell<Report>);

impl Drop for ReportOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let report = self.0.borrow();
            eprintln!("--- {report} ---\n{}", report.findings.join("\n"));
        }
    }
}
