//! Which replica leads: a Lease of `coordination.k8s.io`, held as Kubernetes' own components hold theirs.
//!
//! No clock but one's own is believed, and of that only how much time has passed: a Lease has expired when it was seen
//! not to change for long enough. The Lease keeps replicas from working against each other; that nothing is lost or
//! invented where two think that they lead is the journal's fence.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use tokio::time::{Instant, sleep, timeout_at};

use super::journal::JournalStore;
use super::kubernetes::api_error::{ApiError, Resource};
use super::kubernetes::within_deadline;
use crate::process::log_throttle::LogThrottle;

/// The name of the Lease.
pub const NAME: &str = "kamaji-telemetry";

const RESOURCE: Resource =
    Resource { plural: "leases", group: "coordination.k8s.io", verbs: "create, get, update", is_custom: false };

/// How a duration of a Lease is spent, in tenths of it. The holder gives up before anybody else may take over, and
/// whoever looks for the last time before that still takes over within the duration.
const RETRY_PERIOD: u32 = 1;
const RENEW_PERIOD: u32 = 3;
const RENEW_DEADLINE: u32 = 6;
const LEASE_DURATION: u32 = 8;

/// A candidate for the Lease, or its holder.
pub struct Lease {
    place: JournalStore,
    identity: String,
    duration: Duration,
    quiet: LogThrottle,
    seen: Option<ObservedLease>,
}

/// The Lease as it was last seen or written, and since when it has been like that.
struct ObservedLease {
    object: Object,
    since: Instant,
}

impl Lease {
    /// A candidate that was seen nowhere yet. Who has the same `identity` after a restart is the same candidate.
    pub fn new(place: JournalStore, identity: String, duration: Duration) -> Self {
        Self { place, identity, duration, quiet: LogThrottle::hourly(), seen: None }
    }

    /// Waits until the Lease is held, and gives as of when: what was asked for then was granted. It calls `stand_by`
    /// whenever another is seen to hold it. What fails is said, and tried again for ever.
    pub async fn acquire(&mut self, stand_by: impl Fn()) -> Instant {
        loop {
            let asked = Instant::now();
            if self.try_to_hold().await {
                return asked;
            }
            if self.seen.as_ref().is_some_and(|seen| seen.holder().is_some()) {
                stand_by();
            }
            sleep(self.tenths(RETRY_PERIOD)).await;
        }
    }

    /// Renews the Lease, which was granted as of `renewed`, and returns when it is no longer held.
    pub async fn keep(&mut self, mut renewed: Instant) {
        loop {
            sleep(self.tenths(RENEW_PERIOD)).await;
            let give_up = renewed + self.tenths(RENEW_DEADLINE);
            match timeout_at(give_up, self.renew()).await {
                Ok(Some(at)) => renewed = at,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Tries until it is renewed, and says as of when; `None` where another holds it.
    async fn renew(&mut self) -> Option<Instant> {
        loop {
            let asked = Instant::now();
            if self.try_to_hold().await {
                return Some(asked);
            }
            if !self.is_mine() {
                return None;
            }
            sleep(self.tenths(RETRY_PERIOD)).await;
        }
    }

    /// Gives the Lease up, so that another replica need not wait for it to expire. A request that was under way when
    /// this replica stopped may have changed it: it is read first, and a second time where that has just happened.
    pub async fn release(&mut self) {
        for _ in 0..2 {
            match self.give_up().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let failure = ApiError::of(RESOURCE, &error);
                    tracing::info!("the Lease {NAME} was not released and will expire: {failure}");
                    return;
                }
            }
        }
    }

    /// Says whether there is nothing more to do.
    async fn give_up(&mut self) -> Result<bool, kube::Error> {
        self.seen = None;
        let Some(mut object) = within_deadline(self.api().get_opt(NAME)).await? else { return Ok(true) };
        let spec = object.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(true);
        }
        spec.holder_identity = None;
        let answer = within_deadline(self.api().replace(NAME, &PostParams::default(), &object)).await;
        self.written(answer)
    }

    fn api(&self) -> Api<Object> {
        Api::namespaced(self.place.client.clone(), &self.place.namespace)
    }

    fn tenths(&self, count: u32) -> Duration {
        self.duration * count / 10
    }

    fn is_mine(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.holder() == Some(&self.identity))
    }

    /// Takes or renews the Lease if that may be, and says whether it is held now.
    async fn try_to_hold(&mut self) -> bool {
        match self.hold().await {
            Ok(held) => {
                self.quiet.recovered(|| tracing::info!("the Lease {NAME} can be read and written again"));
                held
            }
            Err(error) => {
                let failure = ApiError::of(RESOURCE, &error);
                self.quiet.failed(|_| tracing::warn!("can't lead without the Lease {NAME}: {failure}; trying again"));
                false
            }
        }
    }

    /// The holder writes over what it wrote last; only where that has changed since is it read first.
    async fn hold(&mut self) -> Result<bool, kube::Error> {
        if self.is_mine() && self.write().await? {
            return Ok(true);
        }
        match within_deadline(self.api().get_opt(NAME)).await? {
            None => self.create().await,
            Some(object) => {
                self.see(object);
                if self.may_hold() { self.write().await } else { Ok(false) }
            }
        }
    }

    fn see(&mut self, object: Object) {
        let version = |object: &Object| object.metadata.resource_version.clone();
        if self.seen.as_ref().is_none_or(|seen| version(&seen.object) != version(&object)) {
            self.seen = Some(ObservedLease { object, since: Instant::now() });
        }
    }

    fn may_hold(&self) -> bool {
        let Some(seen) = &self.seen else { return false };
        match seen.holder() {
            None => true,
            Some(holder) => *holder == self.identity || seen.since.elapsed() >= self.patience(seen),
        }
    }

    /// How long the Lease is to be seen unchanged: the holder's duration counts where it is longer than this one's.
    fn patience(&self, seen: &ObservedLease) -> Duration {
        let spec = seen.object.spec.as_ref();
        let theirs = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        self.duration.max(Duration::from_secs(theirs.unwrap_or_default())) * LEASE_DURATION / 10
    }

    async fn create(&mut self) -> Result<bool, kube::Error> {
        let object = Object { metadata: self.place.metadata(NAME), spec: Some(self.spec(None)) };
        self.written(within_deadline(self.api().create(&PostParams::default(), &object)).await)
    }

    async fn write(&mut self) -> Result<bool, kube::Error> {
        let Some(seen) = &self.seen else { return Ok(false) };
        let mut object = seen.object.clone();
        object.spec = Some(self.spec(object.spec.take()));
        object.metadata.owner_references = self.place.metadata(NAME).owner_references;
        self.written(within_deadline(self.api().replace(NAME, &PostParams::default(), &object)).await)
    }

    /// A conflict says that another was first.
    fn written(&mut self, answer: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
        match answer {
            Ok(object) => {
                self.seen = Some(ObservedLease { object, since: Instant::now() });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The Lease as held by this candidate. Times are for people: nobody here believes them.
    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let before = before.unwrap_or_default();
        let is_renewed = before.holder_identity.as_ref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs().max(1)).ok(),
            acquire_time: if is_renewed { before.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if is_renewed { transitions } else { transitions.saturating_add(1) }),
            ..before
        }
    }
}

impl ObservedLease {
    fn holder(&self) -> Option<&String> {
        self.object.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
    }
}

#[cfg(test)]
mod tests;
