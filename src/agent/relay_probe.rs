//! The liveness of the relay, which the agent tells the kubelet where the relay can't.
//!
//! The collector reads a CA bundle at its start alone ([open-telemetry/opentelemetry-collector#11111]), and no other container
//! can send it a signal. The agent runs in the same pod and sees the same files: it answers the relay's liveness probe, and
//! fails it once the bundle has changed. The kubelet then restarts the relay's container, and no other.
//!
//! [open-telemetry/opentelemetry-collector#11111]: https://github.com/open-telemetry/opentelemetry-collector/issues/11111

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use jiff::Timestamp;
use kube::Client;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::process::reload;

/// The timeout of one check: less than that of a kubelet's probe, 1 s, so that the reason is told.
const TIMEOUT: Duration = Duration::from_millis(800);

/// The relay, as far as its liveness is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The PEM file of the CA bundle that the relay trusts.
    pub ca: PathBuf,
    /// The URL of the relay's health check.
    pub health_url: http::Uri,
}

/// A flag that tells whether telemetry is on. While it is off, nothing is asked of the relay, not even its health.
#[derive(Debug, Clone, Default)]
pub(super) struct RelayUse(Arc<AtomicBool>);

/// The answer of the collector's health check.
#[derive(Deserialize)]
struct RelayHealth {
    /// The time at which the collector was up, which is a fraction of a second after it read its files.
    #[serde(rename = "upSince")]
    up_since: Timestamp,
}

/// A CA bundle with at least one certificate that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bundle {
    /// The time of its last change.
    changed: Timestamp,
    /// A hash of its content.
    hash: u64,
}

/// A run of the relay, and the hash of the bundle that was there when it was first seen.
#[derive(Debug, Clone, Copy)]
struct Run {
    up_since: Timestamp,
    hash: u64,
}

struct RelayProbe {
    ca: PathBuf,
    client: Client,
    relay_use: RelayUse,
    /// Locked for a whole check, so that whoever reaches the port causes one at a time.
    run: Mutex<Option<Run>>,
}

impl RelayUse {
    /// Sets whether telemetry is on.
    pub(super) fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Relaxed);
    }
}

/// Returns the route `/livez/relay`.
pub(super) fn routes(config: &RelayConfig, relay_use: RelayUse) -> anyhow::Result<Router> {
    let mut kube_config = kube::Config::new(config.health_url.clone());
    // The kubelet asks again.
    kube_config.default_retry = false;
    let client = Client::try_from(kube_config).context("--relay-health-url")?;
    let probe = Arc::new(RelayProbe { ca: config.ca.clone(), client, relay_use, run: Mutex::default() });
    Ok(Router::new().route("/livez/relay", get(livez)).with_state(probe))
}

async fn livez(State(probe): State<Arc<RelayProbe>>) -> (StatusCode, String) {
    if !probe.relay_use.0.load(Ordering::Relaxed) {
        return (StatusCode::OK, "telemetry is off\n".to_owned());
    }
    let check = tokio::time::timeout(TIMEOUT, probe.check()).await;
    match check.context("the relay does not answer its health check").flatten() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
    }
}

impl RelayProbe {
    /// Fails if the relay does not answer, or runs with another CA bundle than that of the file.
    async fn check(&self) -> anyhow::Result<()> {
        let mut run = self.run.lock().await;
        let answer = self.client.request_text(http::Request::get("/").body(Vec::new())?).await;
        let RelayHealth { up_since } = serde_json::from_str(&answer.context("the relay's health check")?)
            .context("the relay's health check: expected the JSON of the collector's health_check extension")?;
        let path = self.ca.clone();
        // A bundle that can't be used restarts nothing: the relay would not start with it.
        let Some(bundle) = tokio::task::spawn_blocking(move || Bundle::read(&path)).await? else { return Ok(()) };
        let seen = run.filter(|run| run.up_since == up_since).unwrap_or(Run { up_since, hash: bundle.hash });
        *run = Some(seen);
        ensure!(
            !seen.is_outdated(bundle, Timestamp::now()),
            "the relay started at {up_since}, and its CA bundle {} changed at {}: the relay has to be restarted",
            self.ca.display(),
            bundle.changed
        );
        Ok(())
    }
}

impl Run {
    /// Returns whether the relay may have read another bundle than `bundle`, which is there at `now`.
    ///
    /// The content decides where the agent has seen the run from its start, whatever the clock did. Else the time of the change
    /// does; one in the future is none of a change: the clock was set back, and a restart would not help.
    fn is_outdated(self, bundle: Bundle, now: Timestamp) -> bool {
        let is_newer = self.up_since < bundle.changed && bundle.changed <= now;
        bundle.hash != self.hash || is_newer
    }
}

impl Bundle {
    /// Reads a CA bundle. Returns `None` if it has no certificate that can be used.
    ///
    /// A kubelet writes a changed volume into a new folder, so that the time of the file is that of the change.
    fn read(path: &Path) -> Option<Self> {
        let changed: SystemTime = std::fs::metadata(path).ok()?.modified().ok()?;
        let pem = reload::read(path).ok()?;
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates);
        let mut hasher = DefaultHasher::new();
        pem.hash(&mut hasher);
        (usable > 0).then(|| Some(Self { changed: Timestamp::try_from(changed).ok()?, hash: hasher.finish() }))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn bundle(changed: i64, hash: u64) -> Bundle {
        Bundle { changed: at(changed), hash }
    }

    #[test]
    fn a_bundle_is_outdated_if_its_content_or_its_time_is_another_than_the_relay_has_read() {
        let run = Run { up_since: at(100), hash: 1 };
        assert!(!run.is_outdated(bundle(10, 1), at(200)), "unchanged");
        assert!(run.is_outdated(bundle(150, 2), at(200)), "changed");
        assert!(run.is_outdated(bundle(60, 2), at(200)), "changed after the clock was set back");
        assert!(!run.is_outdated(bundle(300, 1), at(200)), "written before the clock was set back");
    }

    #[test]
    fn a_bundle_that_changed_before_the_agent_saw_the_relay_is_told_by_its_time() {
        let run = Run { up_since: at(100), hash: 1 };
        assert!(run.is_outdated(bundle(101, 1), at(200)), "after the start");
        assert!(!run.is_outdated(bundle(99, 1), at(200)), "with the pod, before the start");
        assert!(!run.is_outdated(bundle(90, 1), at(200)), "before the start");
    }

    #[test]
    fn a_bundle_without_a_certificate_is_not_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for unusable in ["", "no certificate", block] {
            std::fs::write(file.path(), unusable).unwrap();
            assert_eq!(Bundle::read(file.path()), None, "{unusable}");
        }
        assert_eq!(Bundle::read(Path::new("nowhere/ca.crt")), None);
    }
}
