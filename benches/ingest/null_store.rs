//! A store that does nothing, which leaves the cost of receiving, validating and responding.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{
    Allowance, Batch, Cutoffs, Day, Erased, EventFilter, Facts, FactsQuery, InstallationFilter, Intake,
    MatchedInstallations, MatchedRows, OverviewData, OverviewQuery, Pruned, PseudonymKey, ReadError, StaleRows, Store,
    StoreSize, WriteError,
};
use uuid::Uuid;

pub(crate) struct NullStore;

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

    fn count_events(&self, _: EventFilter) -> BoxFuture<'_, Result<MatchedRows, ReadError>> {
        ready(Ok(MatchedRows::default())).boxed()
    }

    fn intake(&self, _: Day) -> BoxFuture<'_, Result<Intake, ReadError>> {
        ready(Ok(Intake::default())).boxed()
    }

    fn overview(&self, _: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>> {
        ready(Ok(OverviewData::default())).boxed()
    }

    fn facts(&self, _: Vec<FactsQuery>) -> BoxFuture<'_, Result<Vec<Facts>, ReadError>> {
        ready(Ok(Vec::new())).boxed()
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
