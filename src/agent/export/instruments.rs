//! The gauges as observable instruments of the OpenTelemetry SDK, flushed once an export.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::reporting_exporter::{LastError, ReportingExporter};
use super::resource;
use crate::agent::kubernetes::ComponentVersions;
use crate::agent::kubernetes::datastores::DatastoreUsage;
use crate::agent::observe::Counts;
use crate::catalog::{
    BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, DRIVER, KAMAJI_VERSION, KUBERNETES_VERSION, Metric, NOT_READY,
    RUNNING, SERVICE_NAME, SLEEPING, TCP_MINOR, UPGRADING,
};
use crate::process::lock::lock;

/// The reader's own interval, longer than any process lives: it exports only when it is flushed.
const READER_INTERVAL: Duration = Duration::from_hours(100 * 365 * 24);

/// The values of one export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeValues {
    /// The versions, which are attributes of each data point.
    pub versions: ComponentVersions,
    /// The counts of control planes.
    pub counts: Counts,
    /// The extended values, if the extended signals are on.
    pub extended: Option<ExtendedValues>,
}

/// The values of the extended signals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedValues {
    /// The datastores, by driver.
    pub datastores: BTreeMap<&'static str, DatastoreUsage>,
}

/// The instruments of one installation.
#[derive(Debug, Clone)]
pub struct GaugeInstruments {
    provider: SdkMeterProvider,
    current: CurrentValues,
    last_error: LastError,
    cancellation: CancellationToken,
}

/// An error of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExportError(String);

/// The values that the instruments observe. There are none between two exports, so that an export by the SDK itself sends
/// nothing.
type CurrentValues = Arc<Mutex<Option<GaugeValues>>>;

impl GaugeInstruments {
    /// Creates the instruments of `installation`.
    pub fn new(exporter: impl PushMetricExporter, installation: Uuid) -> Self {
        let last_error = LastError::default();
        let cancellation = CancellationToken::new();
        let exporter = ReportingExporter {
            inner: exporter,
            last_error: Arc::clone(&last_error),
            cancellation: cancellation.clone(),
        };
        let reader = PeriodicReader::builder(exporter).with_interval(READER_INTERVAL).build();
        let provider =
            SdkMeterProvider::builder().with_resource(resource(Some(installation))).with_reader(reader).build();
        let current = CurrentValues::default();
        register_all(&provider.meter(SERVICE_NAME), &current);
        Self { provider, current, last_error, cancellation }
    }

    /// Exports `values`. Blocks until the exporter is done.
    pub fn export(&self, values: GaugeValues) -> Result<(), ExportError> {
        *lock(&self.current) = Some(values);
        let result = self.provider.force_flush();
        *lock(&self.current) = None;
        let last_error = lock(&self.last_error).take();
        result.map_err(|error| ExportError(last_error.unwrap_or_else(|| error.to_string())))
    }

    /// Cancels a running export and all later ones.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }
}

/// Registers a gauge for each metric of the catalog.
fn register_all(meter: &Meter, current: &CurrentValues) {
    let state = |metric, count: fn(&Counts) -> u32| {
        register(meter, current, metric, move |values, observe| observe(count(&values.counts), &[]));
    };
    state(&RUNNING, |counts| counts.running);
    state(&SLEEPING, |counts| counts.sleeping);
    state(&NOT_READY, |counts| counts.not_ready);
    state(&UPGRADING, |counts| counts.upgrading);
    register(meter, current, &BY_VERSION, |values, observe| {
        for (minor, count) in values.extended.iter().flat_map(|_| &values.counts.by_version) {
            observe(*count, &[KeyValue::new(TCP_MINOR.key, minor.to_string())]);
        }
    });
    let datastores = |metric, count: fn(&DatastoreUsage) -> u32| {
        register(meter, current, metric, move |values, observe| {
            for (driver, usage) in values.extended.iter().flat_map(|extended| &extended.datastores) {
                observe(count(usage), &[KeyValue::new(DRIVER.key, *driver)]);
            }
        });
    };
    datastores(&DATASTORE_COUNT, |usage| usage.count);
    datastores(&DATASTORE_USED_BY, |usage| usage.used_by);
}

/// Registers a gauge that observes the current values while there are any.
fn register(
    meter: &Meter,
    current: &CurrentValues,
    metric: &'static Metric,
    observe: impl Fn(&GaugeValues, &mut dyn FnMut(u32, &[KeyValue])) + Send + Sync + 'static,
) {
    let current = Arc::clone(current);
    let callback = move |instrument: &dyn AsyncInstrument<i64>| {
        let current = lock(&current);
        let Some(values) = current.as_ref() else { return };
        let versions = [
            KeyValue::new(KAMAJI_VERSION.key, values.versions.kamaji.to_string()),
            KeyValue::new(KUBERNETES_VERSION.key, values.versions.kubernetes.to_string()),
        ];
        observe(values, &mut |count, own| {
            let attributes: Vec<_> = own.iter().chain(&versions).cloned().collect();
            instrument.observe(i64::from(count), &attributes);
        });
    };
    meter
        .i64_observable_gauge(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.description)
        .with_callback(callback)
        .build();
}
