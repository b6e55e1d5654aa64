//! The stores of a backend.

use std::sync::Arc;

use super::{AuthStore, Store};

/// The stores of a backend, which may be one.
#[derive(Clone)]
pub struct Stores {
    /// The telemetry.
    pub rows: Arc<dyn Store>,
    /// Tokens, sessions and the audit log.
    pub access: Arc<dyn AuthStore>,
}

impl<S: Store + AuthStore> From<Arc<S>> for Stores {
    /// Uses one store for both.
    fn from(store: Arc<S>) -> Self {
        let rows: Arc<dyn Store> = Arc::clone(&store) as _;
        Self { rows, access: store }
    }
}
