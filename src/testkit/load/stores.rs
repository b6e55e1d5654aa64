//! The stores of the backends under load: they are filled before, and compared with what was acknowledged after.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use uuid::Uuid;

use super::installation::FleetInstallation;
use super::schedule::SnapshotDelivery;
use crate::backend::admin;
use crate::backend::store::{Batch, EventFilter, Hour, HourRange, InstallationFilter, Store, StoreLocation};

/// The hours from the first receipt of a filled store to now: its installations are older than the 28 days for which one weighs
/// little.
const FIRST_SEEN: i32 = 30 * 24;

/// The hours from the last receipt of a filled store to now: each installation's next snapshot is the first of its hour, and
/// is stored.
const LAST_SEEN: i32 = 1;

/// The rows of a batch. In the order of their keys they are on few pages.
const BATCH: usize = 10_000;

/// The stores of a run.
pub(super) struct LoadStores {
    stores: Vec<Arc<dyn Store>>,
    events_before: u64,
    begin: Hour,
}

/// The comparison of the stores with what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredRecords {
    /// Events that were added since the beginning.
    pub(super) events: u64,
    /// Installations whose last acknowledged snapshot is stored.
    pub(super) installations: usize,
    /// Installations of which a snapshot was acknowledged.
    pub(super) acknowledged: usize,
    /// Installations of which another snapshot is stored than the last acknowledged one.
    pub(super) missing: usize,
}

/// Writes a fleet into a store that no backend serves: each installation was received twice, and is confirmed.
pub(super) async fn fill(location: StoreLocation, installations: u32) -> anyhow::Result<()> {
    let store = admin::open_to_serve(location).await.context("--fill")?.rows;
    let mut fleet: Vec<_> = (0..installations).map(FleetInstallation::new).collect();
    fleet.sort_unstable_by_key(|installation| installation.uuid);
    let now = Hour::of(Timestamp::now());
    for received in [now.minus(FIRST_SEEN), now.minus(LAST_SEEN)] {
        for part in fleet.chunks(BATCH) {
            let snapshots =
                part.iter().map(|installation| installation.snapshot(received)).collect::<Result<_, _>>()?;
            store.write(Batch { snapshots, events: Vec::new() }).await?;
        }
    }
    Ok(store.checkpoint().await?)
}

impl LoadStores {
    /// Opens stores that backends serve, and counts their events.
    pub(super) async fn open(locations: Vec<StoreLocation>) -> anyhow::Result<Self> {
        let mut stores = Vec::new();
        for location in locations {
            stores.push(admin::open(location).await.context("--store")?.rows);
        }
        let events_before = count_events(&stores).await?;
        Ok(Self { stores, events_before, begin: Hour::of(Timestamp::now()) })
    }

    /// Compares the stores with what was acknowledged, which is given for each installation by its number. Returns `None`
    /// if there are no stores.
    ///
    /// An installation with an attempt whose outcome is not known counts as stored if it was received at all: the snapshot
    /// of that attempt may be the last.
    pub(super) async fn compare(
        &self,
        deliveries: impl Iterator<Item = SnapshotDelivery>,
    ) -> anyhow::Result<Option<StoredRecords>> {
        if self.stores.is_empty() {
            return Ok(None);
        }
        let running = self.running().await?;
        let events = count_events(&self.stores).await?.saturating_sub(self.events_before);
        let mut records = StoredRecords { events, installations: 0, acknowledged: 0, missing: 0 };
        for (number, delivery) in (0..).zip(deliveries) {
            let Some(changes) = delivery.acknowledged else { continue };
            records.acknowledged += 1;
            let installation = FleetInstallation::new(number);
            let stored = running.get(&installation.uuid).map(Vec::as_slice).unwrap_or_default();
            let expected = installation.counts(changes).running;
            if stored.contains(&expected) || delivery.is_uncertain && !stored.is_empty() {
                records.installations += 1;
            } else {
                records.missing += 1;
            }
        }
        Ok(Some(records))
    }

    /// Returns the running control planes of each installation that was received since the beginning, one of each store.
    async fn running(&self) -> anyhow::Result<HashMap<Uuid, Vec<u32>>> {
        let last_seen = HourRange { from: Some(self.begin), until: None };
        let mut running: HashMap<_, Vec<_>> = HashMap::new();
        for store in &self.stores {
            let filter = InstallationFilter { last_seen, ..InstallationFilter::default() };
            for row in store.installations(filter, usize::MAX).await?.listed {
                running.entry(row.uuid).or_default().push(row.latest.report.counts.running);
            }
        }
        Ok(running)
    }
}

impl StoredRecords {
    /// Fails if something that was acknowledged is not stored.
    pub(super) fn check(&self, events_acknowledged: u64) -> anyhow::Result<()> {
        let Self { events, missing, .. } = *self;
        ensure!(
            missing == 0,
            "{missing} installations have another snapshot in the store than the last acknowledged one"
        );
        ensure!(
            events >= events_acknowledged,
            "{events_acknowledged} events were acknowledged, and {events} are stored; expected each of them. Does the \
             backend have another store than --store, or did something else delete events?"
        );
        Ok(())
    }
}

async fn count_events(stores: &[Arc<dyn Store>]) -> anyhow::Result<u64> {
    let mut events = 0;
    for store in stores {
        events += store.count_events(EventFilter::default()).await?.events;
    }
    Ok(events)
}
