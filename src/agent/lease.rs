//! Leader election with a Lease of `coordination.k8s.io`, as Kubernetes' own components do it.
//!
//! Only the local clock is used, and only for durations: a Lease has expired once it was observed unchanged for long
//! enough. The Lease keeps replicas from working against each other. If two consider themselves the leader all
//! the same, the fence of the journal ensures that nothing is lost or invented.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
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

// The times of the election, in tenths of the Lease's duration. The names are those of client-go's leader election.
//
// The holder stops at the renew deadline, two tenths before anybody may take over at the lease duration, which covers
// clocks of different speed. A candidate sees a renewal at most one retry period after it was made, and notices the
// expiry at most one retry period late. So it takes over at most 8 + 1 + 1 tenths after the last renewal, which is within
// the duration.

/// The wait between two attempts to acquire the Lease, or to renew it after a failure.
const RETRY_PERIOD_TENTHS: u32 = 1;
/// The wait between two renewals. It leaves three tenths, and so three attempts, until the deadline. client-go renews
/// each retry period, which costs three times as many requests.
const RENEW_PERIOD_TENTHS: u32 = 3;
/// The time since the last renewal after which the holder gives up.
const RENEW_DEADLINE_TENTHS: u32 = 6;
/// The time after which a candidate takes over a Lease that it has observed unchanged.
const LEASE_DURATION_TENTHS: u32 = 8;

/// A candidate for the Lease, or its holder.
pub struct Lease {
    store: JournalStore,
    identity: String,
    duration: Duration,
    throttle: LogThrottle,
    observed: Option<ObservedLease>,
}

/// The Lease as last read or written.
struct ObservedLease {
    object: LeaseObject,
    /// The time of the first observation of this resourceVersion.
    since: Instant,
}

impl Lease {
    /// Creates a candidate. One with the same `identity` after a restart is the same candidate, so it need not wait for
    /// its own Lease to expire.
    pub fn new(store: JournalStore, identity: String, duration: Duration) -> Self {
        Self { store, identity, duration, throttle: LogThrottle::hourly(), observed: None }
    }

    /// Returns the identity of this candidate.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Waits until the Lease is held. Returns the start of the request that acquired it, from which the renew deadline
    /// counts. Calls `stand_by` whenever another candidate holds it. Failures are logged and retried for ever.
    pub async fn acquire(&mut self, stand_by: impl Fn()) -> Instant {
        loop {
            let started = Instant::now();
            if self.try_acquire_or_renew().await {
                return started;
            }
            if self.observed.as_ref().is_some_and(|observed| observed.holder().is_some()) {
                stand_by();
            }
            sleep(self.tenths(RETRY_PERIOD_TENTHS)).await;
        }
    }

    /// Renews the Lease, which was last renewed at `renewed_at`. Returns when it is no longer held.
    pub async fn renew_until_lost(&mut self, mut renewed_at: Instant) {
        loop {
            sleep(self.tenths(RENEW_PERIOD_TENTHS)).await;
            let deadline = renewed_at + self.tenths(RENEW_DEADLINE_TENTHS);
            match timeout_at(deadline, self.renew()).await {
                Ok(Some(started)) => renewed_at = started,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Retries until the Lease is renewed. Returns the start of the request that renewed it, or `None` if another
    /// candidate holds it.
    async fn renew(&mut self) -> Option<Instant> {
        loop {
            let started = Instant::now();
            if self.try_acquire_or_renew().await {
                return Some(started);
            }
            if !self.is_holder() {
                return None;
            }
            sleep(self.tenths(RETRY_PERIOD_TENTHS)).await;
        }
    }

    /// Releases the Lease, so that another replica need not wait for it to expire.
    ///
    /// A renewal that was running when this replica stopped may have changed the Lease. So it is read first, and a second
    /// time if it changed just then.
    pub async fn release(&mut self) {
        for _ in 0..2 {
            match self.try_release().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    self.log_unreleased(&error);
                    return;
                }
            }
        }
    }

    /// Logs that the Lease could not be released. That is expected where the agent is removed: Helm and the garbage
    /// collector delete the service account and its roles before the pod has ended.
    fn log_unreleased(&self, error: &kube::Error) {
        let is_removed = matches!(error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404));
        let (identity, error) = (&self.identity, ApiError::from_kube(RESOURCE, error));
        if is_removed {
            tracing::debug!(%error, name = NAME, identity, "the Lease is not released; it will expire");
        } else {
            tracing::info!(%error, name = NAME, identity, "failed to release the Lease; it will expire");
        }
    }

    /// Returns whether there is nothing more to release.
    async fn try_release(&mut self) -> Result<bool, kube::Error> {
        self.observed = None;
        let Some(mut object) = within_deadline(self.api().get_opt(NAME)).await? else { return Ok(true) };
        let spec = object.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(true);
        }
        spec.holder_identity = None;
        let answer = within_deadline(self.api().replace(NAME, &PostParams::default(), &object)).await;
        self.on_written(answer)
    }

    fn api(&self) -> Api<LeaseObject> {
        Api::namespaced(self.store.client.clone(), &self.store.namespace)
    }

    fn tenths(&self, count: u32) -> Duration {
        self.duration * count / 10
    }

    fn is_holder(&self) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.holder() == Some(&self.identity))
    }

    /// Acquires or renews the Lease if that is allowed. Returns whether it is held. Failures are logged.
    async fn try_acquire_or_renew(&mut self) -> bool {
        match self.acquire_or_renew().await {
            Ok(is_held) => {
                self.throttle.recovered(|| tracing::info!(name = NAME, "the Lease can be read and written again"));
                is_held
            }
            Err(error) => {
                let error = ApiError::from_kube(RESOURCE, &error);
                self.throttle.failed(|_| {
                    tracing::warn!(%error, name = NAME, "failed to read or write the Lease; retrying");
                });
                false
            }
        }
    }

    /// Renews without reading while nobody else has changed the Lease, which saves a request.
    async fn acquire_or_renew(&mut self) -> Result<bool, kube::Error> {
        if self.is_holder() && self.replace().await? {
            return Ok(true);
        }
        match within_deadline(self.api().get_opt(NAME)).await? {
            None => self.create().await,
            Some(object) => {
                self.observe(object);
                if self.may_acquire() { self.replace().await } else { Ok(false) }
            }
        }
    }

    /// Keeps the time of the first observation while the resourceVersion is the same.
    fn observe(&mut self, object: LeaseObject) {
        let version = |object: &LeaseObject| object.metadata.resource_version.clone();
        if self.observed.as_ref().is_none_or(|observed| version(&observed.object) != version(&object)) {
            self.observed = Some(ObservedLease { object, since: Instant::now() });
        }
    }

    fn may_acquire(&self) -> bool {
        let Some(observed) = &self.observed else { return false };
        match observed.holder() {
            None => true,
            Some(holder) => *holder == self.identity || observed.since.elapsed() >= self.expiry(observed),
        }
    }

    /// Returns the time after which the unchanged Lease may be taken over. The holder's duration counts if it is longer
    /// than this candidate's.
    fn expiry(&self, observed: &ObservedLease) -> Duration {
        let spec = observed.object.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        self.duration.max(Duration::from_secs(seconds.unwrap_or_default())) * LEASE_DURATION_TENTHS / 10
    }

    async fn create(&mut self) -> Result<bool, kube::Error> {
        let object = LeaseObject { metadata: self.store.metadata(NAME), spec: Some(self.spec(None)) };
        self.on_written(within_deadline(self.api().create(&PostParams::default(), &object)).await)
    }

    async fn replace(&mut self) -> Result<bool, kube::Error> {
        let Some(observed) = &self.observed else { return Ok(false) };
        let mut object = observed.object.clone();
        object.spec = Some(self.spec(object.spec.take()));
        object.metadata.owner_references = self.store.metadata(NAME).owner_references;
        self.on_written(within_deadline(self.api().replace(NAME, &PostParams::default(), &object)).await)
    }

    /// Returns whether the Lease was written. A conflict or a deletion means that another candidate was first.
    fn on_written(&mut self, answer: Result<LeaseObject, kube::Error>) -> Result<bool, kube::Error> {
        match answer {
            Ok(object) => {
                self.observed = Some(ObservedLease { object, since: Instant::now() });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the spec of a Lease that this candidate holds. Its times are for people; no candidate relies on them.
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
#[cfg(feature = "demo")]
mod tests;
