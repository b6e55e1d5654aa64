//! A client for the simulated API server without any socket between, so that tests can run on a clock that stands still
//! until all wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::testkit::cluster::{Cluster, ClusterOptions};

/// A simulated API server, and whether it answers.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) cluster: Cluster,
    is_down: Arc<AtomicBool>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        Self { cluster: Cluster::new(ClusterOptions::default(), CancellationToken::new()), is_down: Arc::default() }
    }

    /// From here on every request fails, or none.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn client(&self) -> Client {
        let (router, is_down) = (self.cluster.router(), Arc::clone(&self.is_down));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, is_down) = (router.clone(), is_down.load(Ordering::SeqCst));
            async move {
                if is_down {
                    let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty());
                    return Ok::<_, std::convert::Infallible>(answer.unwrap());
                }
                router.oneshot(request.map(Body::new)).await
            }
        });
        Client::new(service, "kamaji-telemetry")
    }
}
