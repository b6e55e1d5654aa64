//! A client of the simulated API server in the same process. Without a socket, tests can run on tokio's paused clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::testkit::simulated_cluster::{ClusterOptions, SimulatedCluster};

/// The API of a simulated cluster, which can be made unavailable.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) cluster: SimulatedCluster,
    is_down: Arc<AtomicBool>,
}

impl ApiServer {
    pub(crate) fn start() -> Self {
        Self {
            cluster: SimulatedCluster::new(ClusterOptions::default(), CancellationToken::new()),
            is_down: Arc::default(),
        }
    }

    /// Makes every following request fail, or succeed again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(crate) fn client(&self) -> Client {
        let (router, is_down) = (self.cluster.router(), Arc::clone(&self.is_down));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, is_down) = (router.clone(), is_down.load(Ordering::SeqCst));
            async move {
                if is_down {
                    let unavailable = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty());
                    return Ok::<_, std::convert::Infallible>(unavailable.unwrap());
                }
                router.oneshot(request.map(Body::new)).await
            }
        });
        Client::new(service, "kamaji-telemetry")
    }
}
