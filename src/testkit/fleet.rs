//! A small fleet of control planes that lives: people create, upgrade, put to sleep and delete them, some fail, and a
//! simulated operator brings each to where it should be.

mod scenery;

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Kind, StatusError};
use super::tenant::{FINALIZER, NAMESPACE, Tenant};
use crate::catalog::{DRIVERS, NetworkProfile, Status};
pub use scenery::{KAMAJI_NAMESPACE, KAMAJI_VERSION, furnish};

/// Time between two actions: a reader can follow, and something is always going on.
const PACE: Duration = Duration::from_millis(1_500);

/// Actions that the simulated operator needs until what was asked for is done: long enough to be seen on a page that
/// counts every few seconds.
const OPERATOR_TAKES: u64 = 4;

/// Tenant versions in the order in which they are upgraded to; no step skips a minor version, which Kamaji refuses.
const VERSIONS: [&str; 7] = ["v1.32.11", "v1.33.9", "v1.34.3", "v1.34.5", "v1.35.1", "v1.35.4", "v1.36.0"];

/// Network profiles, as often as they are chosen.
const EXPOSURES: [NetworkProfile; 5] = [
    NetworkProfile::LoadBalancer,
    NetworkProfile::LoadBalancer,
    NetworkProfile::ClusterIp,
    NetworkProfile::NodePort,
    NetworkProfile::Ingress,
];

/// Control planes and what is going on with them.
#[derive(Debug)]
pub struct Fleet {
    random: Rng,
    members: Vec<Member>,
    /// How many there are when nothing pulls either way.
    size: usize,
    named: usize,
    step: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    tenant: Tenant,
    /// The step of its last change.
    since: u64,
    terminating: bool,
}

/// Something that happens to one control plane; it displays as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    tenant: Tenant,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Create,
    Upgrade {
        from: String,
    },
    Relabel,
    Sleep,
    Wake,
    Fail,
    Delete,
    /// The operator has brought it up.
    Ready {
        after: Status,
    },
    /// The operator has removed its finalizer.
    Gone,
}

impl Fleet {
    /// A fleet of `size` control planes, made in the months before `now`; the same for the same seed.
    pub fn new(seed: u64, size: usize, now: Timestamp) -> Self {
        let mut fleet =
            Self { random: Rng::with_seed(seed), members: Vec::new(), size, named: 0, step: OPERATOR_TAKES };
        for _ in 0..size {
            let age = SignedDuration::from_hours(fleet.random.i64(1..24 * 200));
            let status = if fleet.random.u8(0..8) == 0 { Status::Sleeping } else { Status::Ready };
            let tenant = fleet.new_tenant(now - age).installed(status);
            fleet.members.push(Member { tenant, since: 0, terminating: false });
        }
        fleet
    }

    /// The control planes as they are now.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.members.iter().map(|member| &member.tenant)
    }

    /// The next thing that happens: what the operator has finished, else what somebody asks for.
    pub fn next(&mut self, now: Timestamp) -> Action {
        self.step += 1;
        self.finish().unwrap_or_else(|| self.begin(now))
    }

    fn new_tenant(&mut self, created: Timestamp) -> Tenant {
        self.named += 1;
        let driver = if self.random.u8(0..3) == 0 { DRIVERS[self.random.usize(..DRIVERS.len())] } else { DRIVERS[0] };
        Tenant::new(format!("tenant-{:02}", self.named), created)
            .version(VERSIONS[self.random.usize(1..VERSIONS.len() - 1)])
            .driver(driver)
            .exposure(EXPOSURES[self.random.usize(..EXPOSURES.len())])
            .cluster_api(self.random.bool())
    }

    /// What the operator has finished, the longest in the works first.
    fn finish(&mut self) -> Option<Action> {
        let step = self.step;
        let in_the_works = |member: &Member| member.terminating || is_unsettled(member.tenant.status());
        let due = self.members.iter().enumerate().filter(|(_, member)| in_the_works(member));
        let due = due.filter(|(_, member)| step - member.since >= OPERATOR_TAKES);
        let (at, _) = due.min_by_key(|(_, member)| member.since)?;
        if self.members[at].terminating {
            return Some(Action { tenant: self.members.remove(at).tenant, what: What::Gone });
        }
        let after = self.members[at].tenant.status();
        Some(self.act(at, What::Ready { after }, |tenant| tenant.become_(Status::Ready)))
    }

    /// What somebody asks for.
    fn begin(&mut self, now: Timestamp) -> Action {
        let roll = self.random.usize(0..100);
        // As many are made as deleted, and one more or less in a hundred for each hundredth that is missing or over.
        let missing = (20_usize + 100).saturating_sub(100 * self.members.len() / self.size.max(1));
        let Some(at) = self.pick().filter(|_| roll >= missing) else { return self.create(now) };
        match (self.members[at].tenant.status(), roll) {
            (Status::Sleeping, _) => self.act(at, What::Wake, |tenant| tenant.become_(Status::Ready)),
            (_, ..40) => self.delete(at),
            (_, ..65) => self.upgrade(at),
            (_, ..75) => self.act(at, What::Sleep, |tenant| tenant.become_(Status::Sleeping)),
            (_, ..88) => self.act(at, What::Fail, |tenant| tenant.become_(Status::NotReady)),
            _ => self.act(at, What::Relabel, Tenant::relabel),
        }
    }

    /// Any control plane that nothing is going on with.
    fn pick(&mut self) -> Option<usize> {
        let settled = |member: &Member| !member.terminating && !is_unsettled(member.tenant.status());
        let settled: Vec<_> = (0..self.members.len()).filter(|at| settled(&self.members[*at])).collect();
        self.random.choice(settled)
    }

    fn create(&mut self, now: Timestamp) -> Action {
        let tenant = self.new_tenant(now);
        self.members.push(Member { tenant: tenant.clone(), since: self.step, terminating: false });
        Action { tenant, what: What::Create }
    }

    fn upgrade(&mut self, at: usize) -> Action {
        let from = self.members[at].tenant.desired().to_owned();
        let newer = VERSIONS.iter().skip_while(|version| **version != from).nth(1);
        match newer {
            Some(to) => self.act(at, What::Upgrade { from }, |tenant| tenant.upgrade(*to)),
            None => self.act(at, What::Relabel, Tenant::relabel),
        }
    }

    fn delete(&mut self, at: usize) -> Action {
        self.members[at].terminating = true;
        self.act(at, What::Delete, |_| ())
    }

    fn act(&mut self, at: usize, what: What, change: impl FnOnce(&mut Tenant)) -> Action {
        let member = &mut self.members[at];
        member.since = self.step;
        change(&mut member.tenant);
        Action { tenant: member.tenant.clone(), what }
    }
}

/// The operator is at work on it, or has to be.
fn is_unsettled(status: Status) -> bool {
    matches!(status, Status::Provisioning | Status::Upgrading | Status::NotReady)
}

impl Action {
    /// Does in the cluster what the action says.
    pub fn apply(&self, cluster: &Cluster) -> Result<(), StatusError> {
        let (kind, name) = (Kind::TenantControlPlane, self.tenant.name());
        match self.what {
            What::Create => cluster.create(kind, NAMESPACE, self.tenant.to_object()),
            What::Delete => cluster.delete(kind, NAMESPACE, name),
            What::Gone => cluster.change(kind, NAMESPACE, name, |object| {
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
        let Self { tenant, what } = self;
        let (name, version) = (tenant.name(), tenant.desired());
        match what {
            What::Create => write!(f, "{name} is created with Kubernetes {version}"),
            What::Upgrade { from } => write!(f, "{name} is to go from {from} to {version}"),
            What::Relabel => write!(f, "{name} gets another label, of which nobody is told"),
            What::Sleep => write!(f, "{name} is put to sleep"),
            What::Wake => write!(f, "{name} is woken"),
            What::Fail => write!(f, "{name} fails"),
            What::Delete => write!(f, "{name} is to be deleted and waits for its finalizer"),
            What::Ready { after: Status::Upgrading } => write!(f, "{name} now runs {version}"),
            What::Ready { after: Status::NotReady } => write!(f, "{name} has recovered"),
            What::Ready { .. } => write!(f, "{name} is ready"),
            What::Gone => write!(f, "{name} is gone"),
        }
    }
}

/// Lets the fleet live in the cluster until the shutdown, and tells each action.
pub async fn live(
    mut fleet: Fleet,
    cluster: Cluster,
    tell: impl Fn(&Action),
    shutdown: CancellationToken,
) -> Result<(), StatusError> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let action = fleet.next(Timestamp::now());
        action.apply(&cluster)?;
        scenery::note_use(&cluster, &fleet)?;
        tell(&action);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::testkit::cluster::ClusterOptions;

    const SIZE: usize = 25;

    fn lived(steps: usize) -> (Fleet, Cluster, Vec<Action>) {
        let mut fleet = Fleet::new(7, SIZE, Timestamp::UNIX_EPOCH);
        let cluster = Cluster::new(ClusterOptions::default(), CancellationToken::new());
        furnish(&cluster, &fleet).unwrap();
        let actions: Vec<_> = (0..steps).map(|_| fleet.next(Timestamp::UNIX_EPOCH)).collect();
        for action in &actions {
            action.apply(&cluster).unwrap();
        }
        scenery::note_use(&cluster, &fleet).unwrap();
        (fleet, cluster, actions)
    }

    #[test]
    fn everything_that_can_happen_does_and_the_fleet_keeps_its_size() {
        let (fleet, _, actions) = lived(600);
        let happened: BTreeSet<_> = actions
            .iter()
            .map(|action| format!("{:?}", action.what).split([' ', '{']).next().unwrap_or_default().to_owned())
            .collect();
        let all = ["Create", "Delete", "Fail", "Gone", "Ready", "Relabel", "Sleep", "Upgrade", "Wake"];
        assert_eq!(happened.into_iter().collect::<Vec<_>>(), all);
        assert!((SIZE / 2..=SIZE * 2).contains(&fleet.members.len()), "{} members", fleet.members.len());
    }

    #[test]
    fn the_cluster_holds_what_the_fleet_is() {
        let (fleet, cluster, _) = lived(300);
        for Member { tenant, terminating, .. } in &fleet.members {
            let object = cluster.read(Kind::TenantControlPlane, NAMESPACE, tenant.name()).unwrap();
            assert_eq!(object["metadata"]["deletionTimestamp"] != Value::Null, *terminating, "{}", tenant.name());
            assert_eq!(object["spec"]["kubernetes"]["version"], tenant.desired());
            assert_eq!(object["status"]["kubernetesResources"]["version"]["status"], tenant.status().as_str());
        }
    }

    #[test]
    fn every_control_plane_is_named_by_one_datastore() {
        let (fleet, cluster, _) = lived(100);
        let users = DRIVERS.iter().flat_map(|driver| {
            let store = cluster.read(Kind::DataStore, "", &driver.to_lowercase()).unwrap();
            store["status"]["usedBy"].as_array().unwrap().clone()
        });
        let users: BTreeSet<_> = users.map(|user| user.as_str().unwrap().to_owned()).collect();
        assert_eq!(users, fleet.tenants().map(|tenant| format!("{NAMESPACE}/{}", tenant.name())).collect());
    }

    #[test]
    fn a_deleted_control_plane_is_marked_first_and_gone_later() {
        let (_, cluster, actions) = lived(300);
        let gone = actions.iter().position(|action| action.what == What::Gone).unwrap();
        let name = actions[gone].tenant.name();
        let before: Vec<_> = actions[..gone].iter().filter(|action| action.tenant.name() == name).collect();
        assert_eq!(before.last().unwrap().what, What::Delete);
        assert!(matches!(cluster.read(Kind::TenantControlPlane, NAMESPACE, name), Err(StatusError::NotFound { .. })));
    }

    #[test]
    fn the_same_seed_makes_the_same_life() {
        let lines = |actions: Vec<Action>| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(lines(lived(50).2), lines(lived(50).2));
    }
}
