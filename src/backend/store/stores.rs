//! The stores of a backend.

use std::sync::Arc;

use super::{AuthStore, Store};

/// The stores of a backend, which may be one.
#[derive(Clone)]
pub struct Stores {
    /// The store of installations and events.
    pub rows: Arc<dyn Store>,
    /// The store of tokens, sessions and the audit log.
    pub auth: Arc<dyn AuthStore>,
}

impl<S: Store + AuthStore> From<Arc<S>> for Stores {
    fn from(store: Arc<S>) -> Self {
        let rows: Arc<dyn Store> = Arc::clone(&store) as _;
        Self { rows, auth: store }
    }
}
