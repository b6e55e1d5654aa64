//! The purpose for which a store is opened.

/// The purpose for which a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be served, by a backend, which creates it. A file is served by one process at a time.
    Serve,
    /// For a command that changes nothing, beside the backends that serve it.
    Read,
    /// For a command that changes rows, but receives none, beside the backends that serve it.
    Change,
}
