//! A client of the simulated API server in the same process. Without a socket, tests can run on tokio's paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::testkit::simulated_cluster::{ClusterOptions, SimulatedCluster};

/// The API of a simulated cluster, which can be made to fail.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) cluster: SimulatedCluster,
    /// The status that answers every request, or 0.
    failure: Arc<AtomicU16>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        Self {
            cluster: SimulatedCluster::new(ClusterOptions::default(), CancellationToken::new()),
            failure: Arc::default(),
        }
    }

    /// Makes every following request fail, or succeed again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.fail_with(is_down.then_some(StatusCode::SERVICE_UNAVAILABLE));
    }

    /// Answers every following request with a status.
    pub(crate) fn fail_with(&self, status: Option<StatusCode>) {
        self.failure.store(status.map_or(0, |status| status.as_u16()), Ordering::SeqCst);
    }

    pub(crate) fn client(&self) -> Client {
        let (router, failure) = (self.cluster.router(), Arc::clone(&self.failure));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, failure) = (router.clone(), StatusCode::from_u16(failure.load(Ordering::SeqCst)));
            async move {
                if let Ok(status) = failure {
                    let response = Response::builder().status(status).body(Body::empty());
                    return Ok::<_, std::convert::Infallible>(response.unwrap());
                }
                router.oneshot(request.map(Body::new)).await
            }
        });
        Client::new(service, "kamaji-telemetry")
    }
}
