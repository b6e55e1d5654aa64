//! The probes and the metrics on an address of their own, served from the start of the process.

use std::convert::Infallible;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::backend::metrics;
use crate::backend::net::{Acceptor, Port};
use crate::process::probes::{self, Readiness};

/// The listener of the probes, if there is one, and their state.
pub(in crate::backend) struct Probes {
    listener: Option<TcpListener>,
    pub(in crate::backend) state: ProbeState,
}

/// The state that the probes report.
#[derive(Clone)]
pub(in crate::backend) struct ProbeState {
    pub(in crate::backend) readiness: Readiness,
    /// True if metrics are recorded, which needs a listener to read them from.
    pub(in crate::backend) has_metrics: bool,
}

impl Probes {
    /// Creates probes that report "not ready". Metrics are recorded from now on if there is a listener; `reject_reasons`
    /// are the labels of rejected records.
    pub(in crate::backend) fn new(
        listener: Option<TcpListener>,
        reject_reasons: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let has_metrics = listener.is_some();
        if has_metrics {
            metrics::open(reject_reasons);
        }
        Self { listener, state: ProbeState { readiness: Readiness::new(), has_metrics } }
    }

    /// Runs `task`, and serves the probes meanwhile, until `shutdown`.
    pub(in crate::backend) async fn serve_while<T>(
        self,
        task: impl Future<Output = T>,
        shutdown: CancellationToken,
    ) -> T {
        let Self { listener, state: ProbeState { readiness, .. } } = self;
        let serving = async {
            if let Some(listener) = listener {
                Acceptor::for_probes().serve(listener, Port::Health, probes::routes(readiness), shutdown).await;
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            done = task => done,
            never = serving => match never {},
        }
    }
}
