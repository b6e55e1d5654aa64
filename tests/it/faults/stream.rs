//! A steady stream of random changes to a small fleet, made by an administrator.

use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::scene::{Numbers, Scene, version};
use crate::servers::{DEADLINE, tcp};

/// The largest number of control planes: small enough for each to change often, so that an outage has changes to
/// coalesce.
const FLEET: usize = 24;

/// Statuses of Kamaji, and one that it does not define.
const STATUSES: [&str; 5] = ["Ready", "NotReady", "Sleeping", "Upgrading", "OfNobody"];

/// The time between two attempts of a change. An API server that restarts is down for seconds.
const RETRY: Duration = Duration::from_millis(100);

/// A stream of changes, which runs until it is stopped.
pub(super) struct Stream {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// The administrator's view of the fleet.
struct Fleet {
    random: fastrand::Rng,
    numbers: Numbers,
    alive: Vec<Member>,
    /// The names of deleted control planes, to be used again.
    free: Vec<String>,
}

struct Member {
    name: String,
    number: u16,
    patch: u16,
    /// The highest patch so far.
    highest_patch: u16,
    held: bool,
    terminating: bool,
}

/// A request to change a control plane.
#[derive(Debug)]
enum Step {
    Create { name: String, version: String, held: bool },
    Change { name: String, change: Value },
    Report { name: String, status: &'static str },
    Delete { name: String },
}

impl Stream {
    /// Starts to make one change after the other, at intervals of `pace`.
    pub(super) fn start(scene: &Scene, pace: Duration) -> Self {
        let mut fleet =
            Fleet { random: scene.random(), numbers: scene.numbers().clone(), alive: Vec::new(), free: Vec::new() };
        let (tcps, stop) = (scene.cluster.tcps(), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stopped.is_cancelled() {
                pace.tick().await;
                apply(&tcps, &fleet.next()).await;
            }
        });
        Self { task, stop }
    }

    /// Stops after the current change.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("changes can be made");
    }
}

impl Fleet {
    /// Returns the next step, after all steps so far.
    fn next(&mut self) -> Step {
        if self.alive.is_empty() || (self.alive.len() < FLEET && self.random.u8(..100) < 15) {
            return self.create();
        }
        let at = self.random.usize(..self.alive.len());
        match self.random.u8(..100) {
            0..45 => self.upgrade(at),
            45..60 => self.downgrade(at),
            60..68 => self.merge(at, |number| json!({"metadata": {"labels": {"edited": number.to_string()}}})),
            68..80 => self.report(at),
            _ => self.end(at),
        }
    }

    /// Creates a control plane. Half of them use the name of a deleted one.
    fn create(&mut self) -> Step {
        let number = self.numbers.next();
        let used = if self.random.bool() { self.free.pop() } else { None };
        let name = used.unwrap_or_else(|| format!("tenant-{number}"));
        let held = self.random.bool();
        let member = Member { name: name.clone(), number, patch: 0, highest_patch: 0, held, terminating: false };
        self.alive.push(member);
        Step::Create { name, version: version(number, 0), held }
    }

    /// Upgrades to a new version, so that no step from one version to another is repeated.
    fn upgrade(&mut self, at: usize) -> Step {
        let member = &mut self.alive[at];
        member.highest_patch += 1;
        member.patch = member.highest_patch;
        member.to_its_version("")
    }

    /// Downgrades to an earlier version, once after each upgrade; otherwise changes the suffix of the version, which is
    /// not reported.
    fn downgrade(&mut self, at: usize) -> Step {
        let member = &mut self.alive[at];
        if member.patch < member.highest_patch || member.highest_patch == 0 {
            return member.to_its_version("-acme.1");
        }
        member.patch = self.random.u16(..member.highest_patch);
        member.to_its_version("")
    }

    fn merge(&mut self, at: usize, change: impl FnOnce(u16) -> Value) -> Step {
        let change = change(self.random.u16(..));
        Step::Change { name: self.alive[at].name.clone(), change }
    }

    fn report(&mut self, at: usize) -> Step {
        let status = STATUSES[self.random.usize(..STATUSES.len())];
        Step::Report { name: self.alive[at].name.clone(), status }
    }

    /// Deletes a control plane, in two steps if it has a finalizer.
    fn end(&mut self, at: usize) -> Step {
        let member = &mut self.alive[at];
        let name = member.name.clone();
        if member.held && !member.terminating {
            member.terminating = true;
            return Step::Delete { name };
        }
        let Member { held, .. } = self.alive.swap_remove(at);
        self.free.push(name.clone());
        if held {
            Step::Change { name, change: json!({"metadata": {"finalizers": null}}) }
        } else {
            Step::Delete { name }
        }
    }
}

impl Member {
    fn to_its_version(&self, suffix: &str) -> Step {
        let version = version(self.number, self.patch) + suffix;
        Step::Change { name: self.name.clone(), change: json!({"spec": {"kubernetes": {"version": version}}}) }
    }
}

/// Makes a change, and retries it while the API server can't be reached.
async fn apply(tcps: &Api<DynamicObject>, step: &Step) {
    let tries = async {
        loop {
            match attempt(tcps, step).await {
                Ok(()) => return,
                // An earlier attempt, whose response was lost, succeeded.
                Err(kube::Error::Api(status)) if is_done(step, status.code) => return,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    };
    let applied = tokio::time::timeout(DEADLINE, tries).await;
    applied.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for the API server to accept {step:?}"));
}

fn is_done(step: &Step, code: u16) -> bool {
    match step {
        Step::Create { .. } => code == 409,
        Step::Change { .. } | Step::Delete { .. } => code == 404,
        Step::Report { .. } => false,
    }
}

async fn attempt(tcps: &Api<DynamicObject>, step: &Step) -> kube::Result<()> {
    let patch = PatchParams::default();
    match step {
        Step::Create { name, version, held } => {
            let tcp = tcp(name).version(version);
            let tcp = if *held { tcp.held() } else { tcp };
            tcps.create(&PostParams::default(), &tcp.object()).await.map(drop)
        }
        Step::Change { name, change } => tcps.patch(name, &patch, &Patch::Merge(change)).await.map(drop),
        Step::Report { name, status } => {
            let status = json!({"status": {"kubernetesResources": {"version": {"status": status}}}});
            tcps.patch_status(name, &patch, &Patch::Merge(status)).await.map(drop)
        }
        Step::Delete { name } => tcps.delete(name, &DeleteParams::default()).await.map(drop),
    }
}
