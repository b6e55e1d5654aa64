//! The gauges: observable instruments of the `OTel` SDK, flushed once a cycle.

use crate::process::lock::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry_otlp::{MetricExporter, RetryPolicy, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::CollectorChannel;
use super::reporting_exporter::{ReportingExporter, Why};
use super::resource;
use crate::agent::journal::ComponentVersions;
use crate::agent::kubernetes::datastores::Usage;
use crate::agent::observe::Counts;
use crate::catalog::{
    BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, DRIVER, KAMAJI_VERSION, KUBERNETES_VERSION, Metric, NOT_READY,
    RUNNING, SERVICE_NAME, SLEEPING, TCP_MINOR, UPGRADING,
};

/// The reader exports when it is flushed. Its own interval only has to be longer than any process lives.
const NEVER: Duration = Duration::from_hours(100 * 365 * 24);

/// Everything that one cycle sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeValues {
    /// The versions that each point carries.
    pub versions: ComponentVersions,
    /// The control planes.
    pub counts: Counts,
    /// Where the extended signals are on.
    pub extended: Option<ExtendedValues>,
}

/// What only the extended signals say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtendedValues {
    /// The datastores by driver.
    pub datastores: BTreeMap<&'static str, Usage>,
}

/// The gauges of one installation.
#[derive(Debug, Clone)]
pub struct GaugeInstruments {
    provider: SdkMeterProvider,
    current: CurrentValues,
    why: Why,
    ended: CancellationToken,
}

/// Why a cycle was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExportError(String);

/// What the instruments observe: nothing between the cycles, so that no export of the SDK's own can repeat one.
type CurrentValues = Arc<Mutex<Option<GaugeValues>>>;

/// The exporter that sends gauges over `connection`. It does not retry: the next try has fresh counts.
pub fn exporter(connection: &CollectorChannel) -> anyhow::Result<MetricExporter> {
    let mut exporter = MetricExporter::builder()
        .with_tonic()
        .with_channel(connection.channel.clone())
        .with_metadata(connection.headers.metadata())
        .with_timeout(connection.timeout)
        .with_retry_policy(RetryPolicy::disabled());
    if connection.gzip {
        exporter = exporter.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    Ok(exporter.build()?)
}

impl GaugeInstruments {
    /// Prepares the instruments of `installation`.
    pub fn new(exporter: impl PushMetricExporter, installation: Uuid) -> Self {
        let why = Why::default();
        let ended = CancellationToken::new();
        let exporter = ReportingExporter { exporter, why: Arc::clone(&why), ended: ended.clone() };
        let reader = PeriodicReader::builder(exporter).with_interval(NEVER).build();
        let provider =
            SdkMeterProvider::builder().with_resource(resource(Some(installation))).with_reader(reader).build();
        let current = CurrentValues::default();
        instruments(&provider.meter(SERVICE_NAME), &current);
        Self { provider, current, why, ended }
    }

    /// Exports a cycle. It blocks for as long as the exporter does.
    pub fn export(&self, cycle: GaugeValues) -> Result<(), ExportError> {
        self.set(Some(cycle));
        let result = self.provider.force_flush();
        self.set(None);
        let why = lock(&self.why).take();
        result.map_err(|error| ExportError(why.unwrap_or_else(|| error.to_string())))
    }

    /// From here on nothing is sent, not even what is under way.
    pub fn end(&self) {
        self.ended.cancel();
    }

    fn set(&self, cycle: Option<GaugeValues>) {
        *lock(&self.current) = cycle;
    }
}

/// One gauge for each metric of the catalog.
fn instruments(meter: &Meter, current: &CurrentValues) {
    let state = |metric, count: fn(&Counts) -> u32| {
        instrument(meter, current, metric, move |cycle, observe| observe(count(&cycle.counts), &[]));
    };
    state(&RUNNING, |counts| counts.running);
    state(&SLEEPING, |counts| counts.sleeping);
    state(&NOT_READY, |counts| counts.not_ready);
    state(&UPGRADING, |counts| counts.upgrading);
    instrument(meter, current, &BY_VERSION, |cycle, observe| {
        for (minor, count) in cycle.extended.iter().flat_map(|_| &cycle.counts.by_version) {
            observe(*count, &[KeyValue::new(TCP_MINOR.key, minor.to_string())]);
        }
    });
    let datastores = |metric, count: fn(&Usage) -> u32| {
        instrument(meter, current, metric, move |cycle, observe| {
            for (driver, usage) in cycle.extended.iter().flat_map(|extended| &extended.datastores) {
                observe(count(usage), &[KeyValue::new(DRIVER.key, *driver)]);
            }
        });
    };
    datastores(&DATASTORE_COUNT, |usage| usage.count);
    datastores(&DATASTORE_USED_BY, |usage| usage.used_by);
}

/// A gauge that observes a cycle while there is one.
fn instrument(
    meter: &Meter,
    current: &CurrentValues,
    metric: &'static Metric,
    observe: impl Fn(&GaugeValues, &mut dyn FnMut(u32, &[KeyValue])) + Send + Sync + 'static,
) {
    let current = Arc::clone(current);
    let callback = move |instrument: &dyn AsyncInstrument<i64>| {
        let current = lock(&current);
        let Some(cycle) = current.as_ref() else { return };
        let versions = [
            KeyValue::new(KAMAJI_VERSION.key, cycle.versions.kamaji.to_string()),
            KeyValue::new(KUBERNETES_VERSION.key, cycle.versions.kubernetes.to_string()),
        ];
        observe(cycle, &mut |count, own| {
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
