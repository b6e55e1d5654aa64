//! Backends on one database, and a proxy in front of them.

use super::balancer::Balancer;
use super::load::{Ledger, Load};
use super::stored;
use crate::program::{Backend, UNLIMITED};

/// Backends behind a proxy.
pub(super) struct Scene {
    pub(super) backends: Vec<Backend>,
    database: String,
    pub(super) ledger: Ledger,
}

impl Scene {
    /// Starts two backends on a database.
    pub(super) async fn start(database: String) -> Self {
        let mut scene = Self { backends: Vec::new(), database, ledger: Ledger::default() };
        scene.start_backend(&[]).await;
        scene.start_backend(&[]).await;
        scene
    }

    /// Starts a further backend, with further flags.
    pub(super) async fn start_backend(&mut self, flags: &[&str]) {
        let flags = [&UNLIMITED, flags].concat();
        self.backends.push(Backend::start_on(&self.database, &flags).await);
    }

    /// Starts senders, and a proxy to the backends.
    pub(super) async fn load(&self) -> Load {
        Load::start(Balancer::start(self.backends.iter().map(Backend::http).collect()).await)
    }

    /// Ends the senders and checks all that was acknowledged so far. Returns the number of rows.
    pub(super) async fn end(&mut self, load: Load) -> usize {
        load.end(&mut self.ledger).await;
        self.check().await
    }

    /// Checks all that was acknowledged so far. Returns the number of rows.
    pub(super) async fn check(&self) -> usize {
        stored::check(&self.database, &self.ledger).await
    }

    /// Returns what was acknowledged, for the figures.
    pub(super) fn summary(&self, stored: usize) -> String {
        let counts = &self.ledger.counts;
        format!(
            "{} requests with {} events acknowledged, {} refused for a while, {} lost with their connection; {stored} rows \
             stored: none of those acknowledged missing, none twice, rollups equal to a recount; slowest answer {} ms",
            counts.acknowledged,
            self.ledger.events.len(),
            counts.unavailable,
            counts.lost,
            counts.slowest.as_millis(),
        )
    }
}

/// Returns the median and the largest of some times, in milliseconds.
pub(super) fn milliseconds(mut times: Vec<std::time::Duration>) -> String {
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2].as_millis(), times[times.len() - 1].as_millis());
    format!("{median} ms (median), {slowest} ms (slowest)")
}
