//! Requests as a relay sends them: made by the agent's own encoders, as protobuf with gzip.

use std::io::Write;
use std::sync::Mutex;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use prost::Message;
use uuid::Uuid;

use super::attempt::{Attempt, AttemptContent};
use super::installation::FleetInstallation;
use crate::agent::export::events::RecordEncoder;
use crate::agent::export::instruments::{GaugeInstruments, GaugeValues};
use crate::agent::kubernetes::ComponentVersions;
use crate::agent::observe::Counts;
use crate::agent::preview::capture::Capture;
use crate::backend::store::StateCounts;
use crate::catalog::{
    KAMAJI_VERSION, KUBERNETES_VERSION, KamajiVersion, KubernetesVersion, NOT_READY, RUNNING, SERVICE_INSTANCE_ID,
    SLEEPING, UPGRADING,
};
use crate::process::lock::lock;

/// A request over OTLP/HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtlpRequest {
    pub(super) path: &'static str,
    /// A message, compressed with gzip.
    pub(super) body: Bytes,
}

/// An encoder of the requests of all installations.
pub(super) struct FleetEncoder {
    /// The gauges of one installation as the SDK makes them. Those of others differ in values.
    gauges: ExportMetricsServiceRequest,
    /// One request at a time: it captures the records of a request.
    records: Mutex<RecordEncoder>,
}

impl FleetEncoder {
    /// Creates an encoder. Blocks while the SDK makes the gauges.
    pub(super) fn new() -> anyhow::Result<Self> {
        let captured = Capture::default();
        let versions = ComponentVersions { kamaji: KamajiVersion::Latest, kubernetes: KubernetesVersion::Unknown };
        let values = GaugeValues { versions, counts: Counts::default(), extended: None };
        GaugeInstruments::new(captured.clone(), Uuid::nil()).export(values)?;
        let gauges = captured.take();
        Ok(Self { gauges, records: Mutex::new(RecordEncoder::new()) })
    }

    /// Encodes the request of an attempt.
    pub(super) fn request(&self, attempt: &Attempt) -> anyhow::Result<OtlpRequest> {
        let (path, message) = match &attempt.content {
            AttemptContent::Snapshot { changes } => {
                let installation = FleetInstallation::new(attempt.installation);
                ("/v1/metrics", self.snapshot(&installation, *changes).encode_to_vec())
            }
            AttemptContent::Events(events) => ("/v1/logs", lock(&self.records).request(events).encode_to_vec()),
        };
        // A relay compresses better and for longer, at the cost of its own machine.
        let mut encoder = GzEncoder::new(Vec::with_capacity(message.len()), Compression::fast());
        encoder.write_all(&message)?;
        Ok(OtlpRequest { path, body: encoder.finish()?.into() })
    }

    fn snapshot(&self, installation: &FleetInstallation, changes: u32) -> ExportMetricsServiceRequest {
        let mut request = self.gauges.clone();
        let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        let counts = installation.counts(changes);
        let versions = [
            (KAMAJI_VERSION.key, installation.kamaji.to_string()),
            (KUBERNETES_VERSION.key, installation.kubernetes.to_string()),
        ];
        for resource_metrics in &mut request.resource_metrics {
            let attributes = resource_metrics.resource.iter_mut().flat_map(|resource| &mut resource.attributes);
            set(attributes, SERVICE_INSTANCE_ID.key, &installation.uuid.to_string());
            for metric in resource_metrics.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
                let count = count_of(&metric.name, counts);
                for point in points(metric) {
                    point.time_unix_nano = now;
                    point.value = Some(PointValue::AsInt(count.into()));
                    for (key, version) in &versions {
                        set(point.attributes.iter_mut(), key, version);
                    }
                }
            }
        }
        request
    }
}

fn set<'a>(attributes: impl Iterator<Item = &'a mut KeyValue>, key: &str, text: &str) {
    for attribute in attributes.filter(|attribute| attribute.key == key) {
        attribute.value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    }
}

fn count_of(metric: &str, counts: StateCounts) -> u32 {
    let StateCounts { running, sleeping, not_ready, upgrading } = counts;
    let states = [(&RUNNING, running), (&SLEEPING, sleeping), (&NOT_READY, not_ready), (&UPGRADING, upgrading)];
    states.into_iter().find(|(state, _)| state.name == metric).map_or(0, |(_, count)| count)
}

fn points(metric: &mut Metric) -> impl Iterator<Item = &mut NumberDataPoint> {
    let gauge = match &mut metric.data {
        Some(Data::Gauge(gauge)) => Some(gauge),
        _ => None,
    };
    gauge.into_iter().flat_map(|gauge| &mut gauge.data_points)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_snapshot_has_the_identity_the_counts_and_the_versions_of_its_installation() {
        let (number, changes) = (7, 2);
        let content = AttemptContent::Snapshot { changes };
        let attempt = Attempt { installation: number, url: 0, due: Duration::ZERO, content };
        let OtlpRequest { path, body } = FleetEncoder::new().unwrap().request(&attempt).unwrap();
        let mut message = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut message).unwrap();
        let mut request = ExportMetricsServiceRequest::decode(&*message).unwrap();

        assert_eq!(path, "/v1/metrics");
        let installation = FleetInstallation::new(number);
        let [resource_metrics] = &mut request.resource_metrics[..] else { panic!("expected one resource") };
        let attributes = format!("{:?}", resource_metrics.resource.as_ref().unwrap().attributes);
        assert!(attributes.contains(&installation.uuid.to_string()), "{attributes}");
        let StateCounts { running, sleeping, not_ready, upgrading } = installation.counts(changes);
        let mut expected = [running, sleeping, not_ready, upgrading].map(i64::from).to_vec();
        let mut found = Vec::new();
        for metric in &mut resource_metrics.scope_metrics[0].metrics {
            for point in points(metric) {
                let Some(PointValue::AsInt(count)) = point.value else { panic!("expected a whole number") };
                found.push(count);
                let attributes = format!("{:?}", point.attributes);
                assert!(attributes.contains(&installation.kamaji.to_string()), "{attributes}");
                assert!(attributes.contains(&installation.kubernetes.to_string()), "{attributes}");
            }
        }
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
