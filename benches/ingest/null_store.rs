//! A store that does nothing, which leaves the cost of receiving, validating and responding.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, EventRow, Facts, FactsQuery, Hour, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, Operations, Pruned, PseudonymKey, PublicKey, PublicWeekStore, ReadError,
    StaleRows, Store, StoreSize, StoredWeek, WeekCounts, WriteError,
};
use uuid::Uuid;

pub(crate) struct NullStore;

impl PublicWeekStore for NullStore {
    fn week_counts(&self, _: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>> {
        ready(Ok(WeekCounts::default())).boxed()
    }

    fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>> {
        ready(Ok(PublicKey::from([0; PublicKey::LENGTH]))).boxed()
    }

    fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>> {
        ready(Ok(None)).boxed()
    }

    fn publish_week(&self, _: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>> {
        ready(Ok(true)).boxed()
    }

    fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>> {
        ready(Ok(Vec::new())).boxed()
    }
}

impl Store for NullStore {
    fn write_within(&self, _: Batch, _: Arc<dyn Allowance>) -> BoxFuture<'_, Result<(), WriteError>> {
        ready(Ok(())).boxed()
    }

    fn prune(&self, _: Cutoffs) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        ready(Ok(Pruned::default())).boxed()
    }

    fn newest_record(&self) -> BoxFuture<'_, Result<Option<Timestamp>, ReadError>> {
        ready(Ok(None)).boxed()
    }

    fn stale_rows(&self, _: Cutoffs) -> BoxFuture<'_, Result<StaleRows, ReadError>> {
        ready(Ok(StaleRows::default())).boxed()
    }

    fn delete_after(&self, _: Timestamp) -> BoxFuture<'_, Result<Pruned, WriteError>> {
        ready(Ok(Pruned::default())).boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        ready(Ok(())).boxed()
    }

    fn erase(&self, _: Uuid) -> BoxFuture<'_, Result<Erased, WriteError>> {
        ready(Ok(Erased::default())).boxed()
    }

    fn erase_installations(&self, _: InstallationFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        ready(Ok(MatchedRows::default())).boxed()
    }

    fn erase_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, WriteError>> {
        ready(Ok(MatchedRows::default())).boxed()
    }

    fn installations(&self, _: InstallationFilter, _: usize) -> BoxFuture<'_, Result<MatchedInstallations, ReadError>> {
        ready(Ok(MatchedInstallations::default())).boxed()
    }

    fn events(&self, _: EventFilter, _: usize) -> BoxFuture<'_, Result<Vec<EventRow>, ReadError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn count_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        ready(Ok(MatchedRows::default())).boxed()
    }

    fn intake(&self, _: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        ready(Ok(Intake::default())).boxed()
    }

    fn record_operations(&self, _: Operations) -> BoxFuture<'_, Result<(), WriteError>> {
        ready(Ok(())).boxed()
    }

    fn facts(&self, _: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn move_first_seen(&self, _: BTreeMap<Uuid, Hour>) -> BoxFuture<'_, Result<u64, WriteError>> {
        ready(Ok(0)).boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        ready(Ok(PseudonymKey::from([0; PseudonymKey::LENGTH]))).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<StoreSize, ReadError>> {
        ready(Ok(StoreSize::default())).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        ready(Ok(())).boxed()
    }
}
