//! The journal's ConfigMap as long as it exists: by its UID, whatever is written to it.
//!
//! When it is deleted, so is the identity of the installation. Nothing may leave under it any more, and whoever deleted it
//! need not wait for a poll to see a new one.

use std::convert::Infallible;
use std::sync::Once;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{GetParams, PartialObjectMeta, WatchEvent, WatchParams};
use kube::core::Request;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::store::{NAME, RESOURCE};
use crate::agent::backoff::Backoff;
use crate::agent::kubernetes::api_error::ApiError;
use crate::agent::kubernetes::within_deadline;

/// The time after which the server ends a watch: less than the five minutes for which some proxies keep a silent
/// connection.
const WATCH_SECONDS: u32 = 290;
/// The time after which a watch is considered dead, since the server should have ended it 10 s before.
const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// The wait before the first retry of a watch that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait between retries. Meanwhile a deletion is noticed at the term's next check.
const RETRY_MAX: Duration = Duration::from_mins(5);

/// A handle of the ConfigMap that a term has opened.
#[derive(Clone)]
pub struct JournalHandle {
    client: Client,
    request: Request,
    uid: Option<String>,
}

impl JournalHandle {
    pub(super) fn new(client: Client, request: Request, uid: Option<String>) -> Self {
        Self { client, request, uid }
    }

    /// Returns whether the ConfigMap exists. Another one of the same name is none.
    pub async fn exists(&self) -> Result<bool, ApiError> {
        match self.get().await {
            // One that waits for a finalizer is as good as deleted.
            Ok(found) => Ok(found.metadata.uid == self.uid && found.metadata.deletion_timestamp.is_none()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(ApiError::from_kube(RESOURCE, &error)),
        }
    }

    async fn get(&self) -> Result<PartialObjectMeta<ConfigMap>, kube::Error> {
        let request = self.request.get_metadata(NAME, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        within_deadline(self.client.request(request)).await
    }

    /// Watches for ever. Notifies `deleted` when the ConfigMap is deleted, and when it may have been deleted unseen, which
    /// is whenever a watch begins. A missing right is logged once, by `denied`: the watch only saves waiting.
    pub async fn watch_deletion(&self, deleted: &Notify, denied: &Once) -> Infallible {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            let begun = Instant::now();
            if let Ok(Err(error)) = timeout(WATCH_TIMEOUT, self.watch_once(deleted)).await {
                let error = ApiError::from_kube(RESOURCE, &error);
                if matches!(error, ApiError::Forbidden { .. }) {
                    denied.call_once(|| {
                        tracing::info!(%error, "failed to watch the journal; its deletion is noticed at the next poll");
                    });
                }
            }
            if begun.elapsed() >= RETRY_MAX / 2 {
                backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
            }
            sleep(backoff.wait()).await;
        }
    }

    /// Watches from the most recent state until the server ends the watch. Writes are of no interest: the writer knows of
    /// its own, and another's end the term at the next one.
    async fn watch_once(&self, deleted: &Notify) -> Result<(), kube::Error> {
        let params = WatchParams::default().fields(&format!("metadata.name={NAME}"));
        let params = params.timeout(WATCH_SECONDS).disable_bookmarks();
        let request = self.request.watch_metadata(&params, "").map_err(kube::Error::BuildRequest)?;
        let events = self.client.request_events::<PartialObjectMeta<ConfigMap>>(request);
        let events = within_deadline(events).await?;
        deleted.notify_one();
        pin_mut!(events);
        while let Some(event) = events.next().await.transpose()? {
            match event {
                WatchEvent::Deleted(_) => deleted.notify_one(),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    }
}
