//! A store that does nothing, which leaves the cost of receiving, validating and responding.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use kamaji_telemetry::backend::store::{
    Batch, Cutoffs, Erased, OverviewData, OverviewQuery, Pruned, PseudonymKey, ReadError, StaleRows, Store, WriteError,
};
use uuid::Uuid;

pub(crate) struct NullStore;

impl Store for NullStore {
    fn write(&self, _: Batch) -> BoxFuture<'_, Result<(), WriteError>> {
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

    fn overview(&self, _: OverviewQuery) -> BoxFuture<'_, Result<OverviewData, ReadError>> {
        ready(Ok(OverviewData::default())).boxed()
    }

    fn pseudonym_key(&self) -> BoxFuture<'_, Result<PseudonymKey, ReadError>> {
        ready(Ok(PseudonymKey::from([0; PseudonymKey::LENGTH]))).boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        ready(Ok(0)).boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), ReadError>> {
        ready(Ok(())).boxed()
    }
}
