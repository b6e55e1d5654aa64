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

/// How many control planes live at the most: few enough that each changes often, as an outage has to have something
/// to coalesce.
const FLEET: usize = 24;

/// Words that Kamaji reports, and one that it does not know.
const STATUSES: [&str; 5] = ["Ready", "NotReady", "Sleeping", "Upgrading", "OfNobody"];

/// Time between two tries of a change: an API server that is down is so for seconds.
const RETRY: Duration = Duration::from_millis(100);

/// Changes that go on until they are stopped.
pub(super) struct Stream {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// What is known of the fleet by who changes it.
struct Fleet {
    random: fastrand::Rng,
    numbers: Numbers,
    alive: Vec<Member>,
    /// Names to use again.
    free: Vec<String>,
}

struct Member {
    name: String,
    number: u16,
    patch: u16,
    /// The highest patch that it ever had.
    top: u16,
    held: bool,
    terminating: bool,
}

/// One request.
#[derive(Debug)]
enum Step {
    Create { name: String, version: String, held: bool },
    Change { name: String, change: Value },
    Report { name: String, status: &'static str },
    Delete { name: String },
}

impl Stream {
    /// Begins to make one change after the other, a `pace` apart.
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
                take(&tcps, &fleet.next()).await;
            }
        });
        Self { task, stop }
    }

    /// Ends after the change that is under way.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("changes can be made");
    }
}

impl Fleet {
    /// The next step, as if the ones before were done.
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

    /// Half of them under a name that somebody had before.
    fn create(&mut self) -> Step {
        let number = self.numbers.next();
        let used = if self.random.bool() { self.free.pop() } else { None };
        let name = used.unwrap_or_else(|| format!("tenant-{number}"));
        let held = self.random.bool();
        let member = Member { name: name.clone(), number, patch: 0, top: 0, held, terminating: false };
        self.alive.push(member);
        Step::Create { name, version: version(number, 0), held }
    }

    /// To a version that it never had: so each step from one version to another is taken once.
    fn upgrade(&mut self, at: usize) -> Step {
        let member = &mut self.alive[at];
        member.top += 1;
        member.patch = member.top;
        member.to_its_version("")
    }

    /// Back to one that it had, where it has not gone back since; otherwise to a build of its own, which is no change.
    fn downgrade(&mut self, at: usize) -> Step {
        let member = &mut self.alive[at];
        if member.patch < member.top || member.top == 0 {
            return member.to_its_version("-acme.1");
        }
        member.patch = self.random.u16(..member.top);
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

    /// A held one ends in two steps.
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

/// Takes a step, again and again while the API server can't be reached.
async fn take(tcps: &Api<DynamicObject>, step: &Step) {
    let tries = async {
        loop {
            match attempt(tcps, step).await {
                Ok(()) => return,
                // One whose answer was lost did it.
                Err(kube::Error::Api(status)) if is_done(step, status.code) => return,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    };
    let taken = tokio::time::timeout(DEADLINE, tries).await;
    taken.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for the API server to take {step:?}"));
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
