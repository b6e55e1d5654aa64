//! A small fleet of control planes that changes over time. Simulated people create, upgrade, put to sleep and delete
//! control planes, some fail, and a simulated operator completes each change.

mod kamaji;

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::simulated_cluster::{Kind, SimulatedCluster, StatusError};
use super::tenant::{FINALIZER, NAMESPACE, SimulatedControlPlane};
use crate::catalog::{DRIVERS, NetworkProfile, Status};
pub use kamaji::{KAMAJI_NAMESPACE, KAMAJI_VERSION, install};

/// The time between two actions: long enough to read each, and short enough for the page to change all the time.
const ACTION_INTERVAL: Duration = Duration::from_millis(1_500);

/// The number of actions until the simulated operator completes a change: enough to see it on a page that is updated
/// every few seconds.
const OPERATOR_DELAY: u64 = 4;

/// Tenant versions, in the order of upgrades. No step skips a minor version, since Kamaji rejects that.
const VERSIONS: [&str; 7] = ["v1.32.11", "v1.33.9", "v1.34.3", "v1.34.5", "v1.35.1", "v1.35.4", "v1.36.0"];

/// Network profiles, repeated by their weight.
const NETWORK_PROFILES: [NetworkProfile; 5] = [
    NetworkProfile::LoadBalancer,
    NetworkProfile::LoadBalancer,
    NetworkProfile::ClusterIp,
    NetworkProfile::NodePort,
    NetworkProfile::Ingress,
];

/// A fleet of control planes, and the changes that are in progress.
#[derive(Debug)]
pub struct Fleet {
    random: Rng,
    members: Vec<Member>,
    /// The size that creations and deletions tend to.
    size: usize,
    /// The number of control planes created so far.
    created: usize,
    step: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    tenant: SimulatedControlPlane,
    /// The step of the last change.
    changed_at: u64,
    terminating: bool,
}

/// A change of one control plane. It is displayed as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    tenant: SimulatedControlPlane,
    kind: ActionKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ActionKind {
    Create,
    Upgrade {
        from: String,
    },
    Relabel,
    Sleep,
    Wake,
    Fail,
    Delete,
    /// The operator has started it.
    Ready {
        after: Status,
    },
    /// The operator has removed its finalizer.
    Gone,
}

impl Fleet {
    /// Creates a fleet of `size` control planes that were created in the months before `now`. The same seed creates the
    /// same fleet.
    pub fn new(seed: u64, size: usize, now: Timestamp) -> Self {
        let mut fleet =
            Self { random: Rng::with_seed(seed), members: Vec::new(), size, created: 0, step: OPERATOR_DELAY };
        for _ in 0..size {
            let age = SignedDuration::from_hours(fleet.random.i64(1..24 * 200));
            let status = if fleet.random.u8(0..8) == 0 { Status::Sleeping } else { Status::Ready };
            let tenant = fleet.new_tenant(now - age).installed(status);
            fleet.members.push(Member { tenant, changed_at: 0, terminating: false });
        }
        fleet
    }

    /// Returns the control planes in their current state.
    pub fn tenants(&self) -> impl Iterator<Item = &SimulatedControlPlane> {
        self.members.iter().map(|member| &member.tenant)
    }

    /// Returns the next action: a change that the operator completes, or else a new one.
    pub fn next(&mut self, now: Timestamp) -> Action {
        self.step += 1;
        self.complete().unwrap_or_else(|| self.begin(now))
    }

    fn new_tenant(&mut self, created: Timestamp) -> SimulatedControlPlane {
        self.created += 1;
        let driver = if self.random.u8(0..3) == 0 { DRIVERS[self.random.usize(..DRIVERS.len())] } else { DRIVERS[0] };
        SimulatedControlPlane::new(format!("tenant-{:02}", self.created), created)
            .version(VERSIONS[self.random.usize(1..VERSIONS.len() - 1)])
            .driver(driver)
            .network_profile(NETWORK_PROFILES[self.random.usize(..NETWORK_PROFILES.len())])
            .cluster_api(self.random.bool())
    }

    /// Completes the oldest change that is due.
    fn complete(&mut self) -> Option<Action> {
        let step = self.step;
        let in_progress = |member: &Member| member.terminating || is_changing(member.tenant.status());
        let due = self.members.iter().enumerate().filter(|(_, member)| in_progress(member));
        let due = due.filter(|(_, member)| step - member.changed_at >= OPERATOR_DELAY);
        let (index, _) = due.min_by_key(|(_, member)| member.changed_at)?;
        if self.members[index].terminating {
            return Some(Action { tenant: self.members.remove(index).tenant, kind: ActionKind::Gone });
        }
        let after = self.members[index].tenant.status();
        Some(self.act(index, ActionKind::Ready { after }, |tenant| tenant.set_status(Status::Ready)))
    }

    /// Begins a random change.
    fn begin(&mut self, now: Timestamp) -> Action {
        let roll = self.random.usize(0..100);
        // Creations and deletions are equally likely at the intended size. Each hundredth below or above it makes
        // creations one percent more or less likely.
        let creations = (20_usize + 100).saturating_sub(100 * self.members.len() / self.size.max(1));
        let Some(at) = self.pick().filter(|_| roll >= creations) else { return self.create(now) };
        match (self.members[at].tenant.status(), roll) {
            (Status::Sleeping, _) => self.act(at, ActionKind::Wake, |tenant| tenant.set_status(Status::Ready)),
            (_, ..40) => self.delete(at),
            (_, ..65) => self.upgrade(at),
            (_, ..75) => self.act(at, ActionKind::Sleep, |tenant| tenant.set_status(Status::Sleeping)),
            (_, ..88) => self.act(at, ActionKind::Fail, |tenant| tenant.set_status(Status::NotReady)),
            _ => self.act(at, ActionKind::Relabel, SimulatedControlPlane::relabel),
        }
    }

    /// Returns a random control plane without a change in progress.
    fn pick(&mut self) -> Option<usize> {
        let is_idle = |member: &Member| !member.terminating && !is_changing(member.tenant.status());
        let idle: Vec<_> = (0..self.members.len()).filter(|at| is_idle(&self.members[*at])).collect();
        self.random.choice(idle)
    }

    fn create(&mut self, now: Timestamp) -> Action {
        let tenant = self.new_tenant(now);
        self.members.push(Member { tenant: tenant.clone(), changed_at: self.step, terminating: false });
        Action { tenant, kind: ActionKind::Create }
    }

    fn upgrade(&mut self, at: usize) -> Action {
        let from = self.members[at].tenant.desired().to_owned();
        let newer = VERSIONS.iter().skip_while(|version| **version != from).nth(1);
        match newer {
            Some(to) => self.act(at, ActionKind::Upgrade { from }, |tenant| tenant.upgrade(*to)),
            None => self.act(at, ActionKind::Relabel, SimulatedControlPlane::relabel),
        }
    }

    fn delete(&mut self, at: usize) -> Action {
        self.members[at].terminating = true;
        self.act(at, ActionKind::Delete, |_| ())
    }

    fn act(&mut self, at: usize, kind: ActionKind, change: impl FnOnce(&mut SimulatedControlPlane)) -> Action {
        let member = &mut self.members[at];
        member.changed_at = self.step;
        change(&mut member.tenant);
        Action { tenant: member.tenant.clone(), kind }
    }
}

/// Returns whether the operator has to complete a change.
fn is_changing(status: Status) -> bool {
    matches!(status, Status::Provisioning | Status::Upgrading | Status::NotReady)
}

impl Action {
    /// Applies the action to the cluster.
    pub fn apply(&self, cluster: &SimulatedCluster) -> Result<(), StatusError> {
        let (kind, name) = (Kind::TenantControlPlane, self.tenant.name());
        match self.kind {
            ActionKind::Create => cluster.create(kind, NAMESPACE, self.tenant.to_object()),
            ActionKind::Delete => cluster.delete(kind, NAMESPACE, name),
            ActionKind::Gone => cluster.change(kind, NAMESPACE, name, |object| {
                if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
                    finalizers.retain(|finalizer| finalizer != FINALIZER);
                }
            }),
            _ => cluster.change(kind, NAMESPACE, name, |object| *object = self.tenant.to_object()),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, kind } = self;
        let (name, version) = (tenant.name(), tenant.desired());
        match kind {
            ActionKind::Create => write!(f, "{name} is created with Kubernetes {version}"),
            ActionKind::Upgrade { from } => write!(f, "{name} is upgraded from {from} to {version}"),
            ActionKind::Relabel => write!(f, "{name} gets another label, which is not reported"),
            ActionKind::Sleep => write!(f, "{name} is put to sleep"),
            ActionKind::Wake => write!(f, "{name} is woken"),
            ActionKind::Fail => write!(f, "{name} fails"),
            ActionKind::Delete => write!(f, "{name} is being deleted and waits for its finalizer"),
            ActionKind::Ready { after: Status::Upgrading } => write!(f, "{name} now runs {version}"),
            ActionKind::Ready { after: Status::NotReady } => write!(f, "{name} has recovered"),
            ActionKind::Ready { .. } => write!(f, "{name} is ready"),
            ActionKind::Gone => write!(f, "{name} is gone"),
        }
    }
}

/// Applies one action after the other to the cluster until the shutdown, and passes each to `on_action`.
pub async fn run(
    mut fleet: Fleet,
    cluster: SimulatedCluster,
    on_action: impl Fn(&Action),
    shutdown: CancellationToken,
) -> Result<(), StatusError> {
    let mut ticks = interval(ACTION_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let action = fleet.next(Timestamp::now());
        action.apply(&cluster)?;
        kamaji::update_data_stores(&cluster, &fleet)?;
        on_action(&action);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::testkit::simulated_cluster::ClusterOptions;

    const SIZE: usize = 25;

    fn after_steps(steps: usize) -> (Fleet, SimulatedCluster, Vec<Action>) {
        let mut fleet = Fleet::new(7, SIZE, Timestamp::UNIX_EPOCH);
        let cluster = SimulatedCluster::new(ClusterOptions::default(), CancellationToken::new());
        install(&cluster, &fleet).unwrap();
        let actions: Vec<_> = (0..steps).map(|_| fleet.next(Timestamp::UNIX_EPOCH)).collect();
        for action in &actions {
            action.apply(&cluster).unwrap();
        }
        kamaji::update_data_stores(&cluster, &fleet).unwrap();
        (fleet, cluster, actions)
    }

    #[test]
    fn every_kind_of_action_occurs_and_the_fleet_keeps_its_size() {
        let (fleet, _, actions) = after_steps(600);
        let kinds: BTreeSet<_> = actions
            .iter()
            .map(|action| format!("{:?}", action.kind).split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        let all = ["Create", "Delete", "Fail", "Gone", "Ready", "Relabel", "Sleep", "Upgrade", "Wake"];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
        assert!((SIZE / 2..=SIZE * 2).contains(&fleet.members.len()), "{} members", fleet.members.len());
    }

    #[test]
    fn the_cluster_matches_the_fleet() {
        let (fleet, cluster, _) = after_steps(300);
        for Member { tenant, terminating, .. } in &fleet.members {
            let object = cluster.read(Kind::TenantControlPlane, NAMESPACE, tenant.name()).unwrap();
            assert_eq!(object["metadata"]["deletionTimestamp"] != Value::Null, *terminating, "{}", tenant.name());
            assert_eq!(object["spec"]["kubernetes"]["version"], tenant.desired());
            assert_eq!(object["status"]["kubernetesResources"]["version"]["status"], tenant.status().as_str());
        }
    }

    #[test]
    fn every_control_plane_is_named_by_one_datastore() {
        let (fleet, cluster, _) = after_steps(100);
        let users = DRIVERS.iter().flat_map(|driver| {
            let store = cluster.read(Kind::DataStore, "", &driver.to_lowercase()).unwrap();
            store["status"]["usedBy"].as_array().unwrap().clone()
        });
        let users: BTreeSet<_> = users.map(|user| user.as_str().unwrap().to_owned()).collect();
        assert_eq!(users, fleet.tenants().map(|tenant| format!("{NAMESPACE}/{}", tenant.name())).collect());
    }

    #[test]
    fn a_deleted_control_plane_is_marked_first_and_removed_later() {
        let (_, cluster, actions) = after_steps(300);
        let gone = actions.iter().position(|action| action.kind == ActionKind::Gone).unwrap();
        let name = actions[gone].tenant.name();
        let before: Vec<_> = actions[..gone].iter().filter(|action| action.tenant.name() == name).collect();
        assert_eq!(before.last().unwrap().kind, ActionKind::Delete);
        assert!(matches!(cluster.read(Kind::TenantControlPlane, NAMESPACE, name), Err(StatusError::NotFound { .. })));
    }

    #[test]
    fn the_same_seed_results_in_the_same_actions() {
        let lines = |actions: Vec<Action>| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(after_steps(50).2), lines(after_steps(50).2));
    }
}
