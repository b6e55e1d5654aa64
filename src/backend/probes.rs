//! The probes and the accounts on an address of their own, which are answered from the first moment on.

use std::convert::Infallible;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::accounts;
use super::listen::{Gate, Port};
use crate::health::{self, Readiness};

/// Where they are answered, if anywhere, and what.
pub(super) struct Probes {
    listener: Option<TcpListener>,
    pub(super) told: Told,
}

/// What they are told by, and whether anybody can ask.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) readiness: Readiness,
    /// Accounts are kept only where they can be read.
    pub(super) has_accounts: bool,
}

impl Probes {
    /// Accounts are kept from here on, where they can be read. Nothing is ready yet.
    pub(super) fn new(listener: Option<TcpListener>) -> Self {
        let has_accounts = listener.is_some();
        if has_accounts {
            accounts::open();
        }
        Self { listener, told: Told { readiness: Readiness::new(), has_accounts } }
    }

    /// Answers until `shutdown`, as long as `task` runs.
    pub(super) async fn beside<T>(self, task: impl Future<Output = T>, shutdown: CancellationToken) -> T {
        let Self { listener, told: Told { readiness, .. } } = self;
        let answering = async {
            if let Some(listener) = listener {
                Gate::for_probes().serve(listener, Port::Health, health::routes(readiness), shutdown).await;
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            done = task => done,
            never = answering => match never {},
        }
    }
}
