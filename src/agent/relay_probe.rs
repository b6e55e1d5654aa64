//! The liveness of the relay, which the agent tells the kubelet where the relay can't.
//!
//! The collector reads a CA bundle at its start alone ([open-telemetry/opentelemetry-collector#11111]), and no other container
//! can send it a signal. The agent runs in the same pod and sees the same files: it answers the relay's liveness probe, and
//! fails it once the bundle has changed. The kubelet then restarts the relay's container, and no other.
//!
//! [open-telemetry/opentelemetry-collector#11111]: https://github.com/open-telemetry/opentelemetry-collector/issues/11111

use std::path::{Path, PathBuf};
use std::sync::Arc;
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

use crate::process::reload;

/// The timeout of the relay's own health check: less than that of a kubelet's probe, 1 s, so that the reason is told.
const TIMEOUT: Duration = Duration::from_millis(800);

/// The relay, as far as its liveness is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The PEM file of the CA bundle that the relay trusts.
    pub ca: PathBuf,
    /// The URL of the relay's health check.
    pub health_url: http::Uri,
}

/// The answer of the collector's health check.
#[derive(Deserialize)]
struct Health {
    /// The time at which the collector had started, with the files as they were then.
    #[serde(rename = "upSince")]
    up_since: Timestamp,
}

struct RelayProbe {
    ca: PathBuf,
    client: Client,
}

/// Returns the route `/livez/relay`.
pub(super) fn routes(config: &RelayConfig) -> anyhow::Result<Router> {
    let mut kube_config = kube::Config::new(config.health_url.clone());
    // The kubelet asks again.
    kube_config.default_retry = false;
    let client = Client::try_from(kube_config).context("--relay-health-url")?;
    let probe = Arc::new(RelayProbe { ca: config.ca.clone(), client });
    Ok(Router::new().route("/livez/relay", get(livez)).with_state(probe))
}

async fn livez(State(probe): State<Arc<RelayProbe>>) -> (StatusCode, String) {
    match probe.check().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
    }
}

impl RelayProbe {
    /// Fails if the relay does not answer, or runs with another CA bundle than that of the file.
    async fn check(&self) -> anyhow::Result<()> {
        let request = http::Request::get("/").body(Vec::new())?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.request_text(request)).await;
        let answer = answer.context("the relay does not answer its health check")?;
        let health: Health = serde_json::from_str(&answer.context("the relay's health check")?)
            .context("the relay's health check: expected the JSON of the collector's health_check extension")?;
        let path = self.ca.clone();
        // A bundle that can't be used restarts nothing: the relay would not start with it.
        let Some(changed) = tokio::task::spawn_blocking(move || usable_since(&path)).await? else { return Ok(()) };
        ensure!(
            !is_outdated(health.up_since, changed, Timestamp::now()),
            "the relay started at {}, and its CA bundle {} changed at {changed}: the relay has to be restarted",
            health.up_since,
            self.ca.display()
        );
        Ok(())
    }
}

/// Returns whether a file that changed at `changed` is newer than what a process read that started at `up_since`.
///
/// A time in the future is none of a change: the clock was set back, and a restart would not help.
fn is_outdated(up_since: Timestamp, changed: Timestamp, now: Timestamp) -> bool {
    up_since < changed && changed <= now
}

/// Returns the time of the last change of a CA bundle, or `None` if it has no certificate that can be used.
///
/// A kubelet writes a changed volume into a new folder, so that the time of the file is that of the change.
fn usable_since(path: &Path) -> Option<Timestamp> {
    let changed: SystemTime = std::fs::metadata(path).ok()?.modified().ok()?;
    let pem = reload::read(path).ok()?;
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates);
    (usable > 0).then(|| Timestamp::try_from(changed).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_outdated_if_it_changed_after_the_start_and_not_in_the_future() {
        let [first, second, third] = [1, 2, 3].map(|second| Timestamp::from_second(second).unwrap());
        assert!(is_outdated(first, second, third) && is_outdated(first, second, second));
        assert!(!is_outdated(second, first, third) && !is_outdated(second, second, third));
        assert!(!is_outdated(first, third, second), "the clock was set back");
    }

    #[test]
    fn a_bundle_without_a_certificate_is_not_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for unusable in ["", "no certificate", block] {
            std::fs::write(file.path(), unusable).unwrap();
            assert_eq!(usable_since(file.path()), None, "{unusable}");
        }
        assert_eq!(usable_since(Path::new("nowhere/ca.crt")), None);
    }
}
