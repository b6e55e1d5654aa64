//! The whole pipeline, real in each part, with a proxy before each server: the stage of every fault.

mod accounts;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kamaji_telemetry::catalog::KubernetesVersion;
use kube::api::PostParams;

use super::history::{Recorder, Revision};
use super::oracle::{Observation, Outage, Report, Span};
use super::proxies::{ApiProxy, Mode, Protocol, TcpProxy};
use super::stored::{self, Change, FencedJournal};
use crate::program::{Agent, AgentOptions, Backend};
use crate::servers::{ApiServer, Collector, User, checkout, eventually, fixture, tcp};

/// The names in a scene are in the order of the flow.
pub(super) struct Scene {
    /// The management cluster.
    pub(super) cluster: ApiServer,
    /// Before it: fails requests.
    pub(super) api: ApiProxy,
    /// Before that: fails connections.
    pub(super) way_to_api: TcpProxy,
    /// Before the relay.
    pub(super) way_to_relay: TcpProxy,
    /// The relay.
    pub(super) relay: Collector,
    /// The backend.
    pub(super) backend: Backend,
    /// What truly happened.
    recorder: Recorder,
    observation: Observation,
    numbers: Numbers,
    seed: u64,
    random: RefCell<fastrand::Rng>,
    /// What has been reported so far.
    told: Report,
    /// The longest delay since that, and of all.
    delay: Cell<Duration>,
    longest: Duration,
}

/// The numbers of control planes: each is used once.
#[derive(Clone)]
pub(super) struct Numbers(Arc<AtomicU16>);

/// An outage that has begun.
#[must_use]
pub(super) struct Begun(Revision);

/// What came of it, and how long it took.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The oracle's report.
    pub(super) report: Report,
    /// The longest from the end of a fault until what changed then was stored.
    pub(super) delay: Duration,
}

/// Where a run's random choices can be set, to repeat them.
const SEED: &str = "KAMAJI_TELEMETRY_FAULTS_SEED";

impl Numbers {
    /// The next number: one more than the one before, as far as a version's minor goes.
    pub(super) fn next(&self) -> u16 {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        assert!(number <= 9999, "a version has no larger minor");
        number
    }
}

/// The version of control plane `number` with this patch.
pub(super) fn version(number: u16, patch: u16) -> String {
    format!("v1.{number}.{patch}")
}

impl Scene {
    /// Starts everything but an agent.
    pub(super) async fn set() -> Self {
        Self::set_with(&fixture("tenantcontrolplanes.yaml")).await
    }

    /// The same with another definition of a control plane.
    pub(super) async fn set_with(definition: &str) -> Self {
        let seed = std::env::var(SEED).map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
        println!("{SEED}={seed}");
        let (cluster, backend) = tokio::join!(ApiServer::start_uncompacted(definition), Backend::start());
        let relay = checkout("otel-collector/relay.yaml");
        let relay = Collector::start(&relay, &[("RELAY_ENDPOINT", backend.url())], &[]).await;
        let (certificate, key) = cluster.certificate();
        let api = ApiProxy::start(cluster.anonymous(), &certificate, &key).await;
        Self {
            way_to_api: TcpProxy::start(api.address(), Protocol::Opaque).await,
            way_to_relay: TcpProxy::start(relay.address(), Protocol::Http2).await,
            recorder: Recorder::start(&cluster).await,
            observation: Observation::default(),
            numbers: Numbers(Arc::new(AtomicU16::new(1))),
            cluster,
            api,
            relay,
            backend,
            seed,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            told: Report::default(),
            delay: Cell::default(),
            longest: Duration::ZERO,
        }
    }

    /// An agent that is not started yet, by its identity, with every wait as short as it can be.
    pub(super) fn agent<'a>(&self, identity: &'a str) -> AgentOptions<'a> {
        let kubeconfig = self.cluster.kubeconfig_at(User::Agent, self.way_to_api.address());
        let relay = format!("http://{}", self.way_to_relay.address());
        let options = AgentOptions::with_kubeconfig(&kubeconfig, &relay).variable("POD_NAME", identity);
        let settings = ["--namespace=kamaji-telemetry", "--owner-deployment=kamaji-telemetry"];
        let waits = ["--timeout=2000", "--retry-max-interval=1s", "--acknowledge-interval=1s"];
        settings.into_iter().chain(waits).fold(options, AgentOptions::argument)
    }

    /// Starts an agent, and takes what is there when it is ready as the baseline.
    pub(super) async fn watched(&mut self) -> Agent {
        let agent = self.agent("a").start().await;
        self.baseline(&agent).await;
        agent
    }

    /// Takes what is there when `agent` is ready as the baseline. Nothing is to change meanwhile.
    pub(super) async fn baseline(&mut self, agent: &Agent) {
        agent.ready().await;
        let baseline = self.cluster.revision().await;
        self.observation.spans.push(Span { baseline, end: Revision::MAX });
    }

    /// Telemetry is off from here on. Everything is to be stored before.
    pub(super) async fn switched_off(&mut self) {
        let end = self.cluster.revision().await;
        self.observation.spans.last_mut().expect("it was on").end = end;
    }

    /// Random choices of this run, others each time.
    pub(super) fn random(&self) -> fastrand::Rng {
        self.random.borrow_mut().fork()
    }

    /// The numbers for new control planes.
    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Creates a control plane with a number of its own, which it gives, at the patch 0 of that.
    pub(super) async fn creates(&self, name: &str) -> u16 {
        let number = self.numbers.next();
        self.cluster.create(tcp(name).version(&version(number, 0))).await;
        number
    }

    /// Takes the control plane with this number to one patch after the other.
    pub(super) async fn upgrades(&self, name: &str, number: u16, patches: &[u16]) {
        for patch in patches {
            self.cluster.upgrade(name, &version(number, *patch)).await;
        }
    }

    /// Waits until there were `count` more commits.
    pub(super) async fn commits(&self, count: u64) {
        let before = self.cluster.revision().await;
        eventually("changes", async || (self.cluster.revision().await >= before + count).then_some(())).await;
    }

    /// How many events the backend holds.
    pub(super) fn stored(&self) -> usize {
        stored::count(self.backend.file())
    }

    /// Waits until the backend holds more than `count` events.
    pub(super) async fn stores_more_than(&self, count: usize) {
        eventually("more events to be stored", async || (self.stored() > count).then_some(())).await;
    }

    /// Creates a control plane by which a moment can be told, and gives the revision that did it, and its version.
    async fn mark(&self) -> (Revision, KubernetesVersion) {
        let number = self.numbers.next();
        let version = version(number, 0);
        let mark = tcp(&format!("mark-{number}")).version(&version).object();
        let made = self.cluster.tcps().create(&PostParams::default(), &mark).await.expect("it can be created");
        let revision = made.metadata.resource_version.and_then(|revision| revision.parse().ok());
        (revision.expect("it is etcd's revision"), KubernetesVersion::normalise(&version))
    }

    /// Waits until a control plane that is made now is stored: the agent sees, and all parts work. Gives the revision
    /// that made it. A fault has ended when this is called: how long it takes is the delay that the fault leaves.
    pub(super) async fn passes(&self) -> Revision {
        let begun = Instant::now();
        let (revision, version) = self.mark().await;
        let is_mark = |event: &FencedJournal| event.change == Change::Created(version);
        eventually("a new control plane to be stored", async || self.events().iter().any(is_mark).then_some(())).await;
        self.delay.set(self.delay.get().max(begun.elapsed()));
        revision
    }

    /// From here on, the agent may not see every state: what is stored by now was seen.
    pub(super) fn outage_begins(&self) -> Begun {
        // What is stored is read last: it may be more than the history says, and what it holds was seen.
        let history = self.recorder.so_far();
        Begun(self.observation.settled(&history, &self.events()))
    }

    /// Waits until the agent sees again, and takes note of what it may have missed.
    pub(super) async fn outage_ends(&mut self, Begun(after): Begun) {
        self.passes().await;
        let until = self.cluster.revision().await;
        // What was committed between the two may have been seen and not been written yet, so that a kill loses it.
        // Once something later has passed, it can't.
        self.passes().await;
        self.observation.outages.push(Outage { after, until });
    }

    /// Waits until what is stored is all that is due and nothing else; nothing is to change meanwhile. Gives what came
    /// of all since the last time.
    pub(super) async fn settles(&mut self) -> Outcome {
        let begun = Instant::now();
        let (revision, _) = self.mark().await;
        let history = self.recorder.up_to(revision).await;
        let last = Shown::default();
        eventually("all that is due to be stored, and nothing else", async || {
            let report = self.observation.judge(&history, &self.events());
            let is_clean = report.is_clean();
            last.0.replace(report);
            is_clean.then_some(())
        })
        .await;
        self.delay.set(self.delay.get().max(begun.elapsed()));
        // Whatever else was on its way came before what is made now.
        let history = self.recorder.up_to(self.passes().await).await;
        last.0.replace(self.observation.judge(&history, &self.events()));
        assert!(last.0.borrow().is_clean(), "more came: {}", last.0.borrow());
        let (report, delay) = (last.0.take(), self.delay.take());
        self.longest = self.longest.max(delay);
        Outcome { report: std::mem::replace(&mut self.told, report.clone()).until(&report), delay }
    }

    /// How often an agent has asked for a list of all control planes.
    pub(super) fn lists(&self) -> usize {
        let requests = self.cluster.requests_of(User::Agent);
        requests.iter().filter(|request| request.uri.contains("sendInitialEvents=true")).count()
    }

    /// What came of everything, as it was when it last settled, and the longest delay.
    pub(super) fn settled_in_all(&self) -> Outcome {
        Outcome { report: self.told.clone(), delay: self.longest }
    }

    /// What this run's random choices come from.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// How many writes of the journal the API server has answered.
    pub(super) fn journal_writes(&self) -> usize {
        let requests = self.cluster.requests_of(User::Agent);
        requests.iter().filter(|request| request.resource == "configmaps" && request.verb == "update").count()
    }

    fn events(&self) -> Vec<FencedJournal> {
        stored::read(self.backend.file())
    }

    /// The network is as it should be.
    pub(super) fn mend(&self) {
        self.way_to_api.set(Mode::Pass);
        self.way_to_relay.set(Mode::Pass);
    }
}

/// A report that is shown when its test fails.
#[derive(Default)]
struct Shown(RefCell<Report>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let report = self.0.borrow();
            eprintln!("--- {report} ---\n{}", report.findings.join("\n"));
        }
    }
}
