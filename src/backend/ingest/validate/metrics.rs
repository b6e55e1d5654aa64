//! Metrics become snapshots.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};
use uuid::Uuid;

use super::envelope::{Attributes, beyond, beyond_in, check_scope, read_resource};
use super::snapshot::{DataPoint, SnapshotBuilder};
use super::time::place;
use super::{RejectReason, Validated};
use crate::backend::store::{AgentVersion, Dimension};
use crate::catalog::{
    self, KAMAJI_VERSION, KUBERNETES_VERSION, MAX_COUNT, METRIC_RESOURCE, METRICS, SERVICE_INSTANCE_ID,
    SERVICE_VERSION_ATTRIBUTE,
};

/// The resource of metrics.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) installation: Uuid,
    pub(super) agent_version: AgentVersion,
}

/// Admits metrics, received at `now`. The gauges of one resource and scope are one snapshot.
pub fn validate_metrics(request: &ExportMetricsServiceRequest, now: Timestamp) -> Validated {
    let mut admitted = Validated::default();
    for ResourceMetrics { resource, scope_metrics, schema_url } in &request.resource_metrics {
        let sender = read_resource(resource.as_ref(), schema_url, METRIC_RESOURCE)
            .and_then(|attributes| read_sender(&attributes));
        for ScopeMetrics { scope, metrics, schema_url } in scope_metrics {
            let sender =
                check_scope(scope.as_ref(), schema_url).and_then(|()| sender.as_ref().map_err(|reason| *reason));
            match sender {
                Ok(sender) => validate_snapshot(sender, metrics, now, &mut admitted),
                Err(reason) => admitted.refused.add(reason, metrics.iter().map(size).sum()),
            }
        }
    }
    admitted
}

/// How many points there are. A metric that has none, or is no gauge, counts as one.
pub fn points_in(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(size).sum()
}

/// How much there is to read: points of whatever kind, what should hold some and is empty, and attributes beyond what
/// any has.
pub fn parts_of_metrics(request: &ExportMetricsServiceRequest) -> usize {
    let of_scope = |ScopeMetrics { scope, metrics, schema_url: _ }: &ScopeMetrics| {
        let metrics = metrics.iter().map(parts).sum::<usize>();
        metrics.max(1) + scope.as_ref().map_or(0, |scope| beyond(&scope.attributes))
    };
    let of_resource = |ResourceMetrics { resource, scope_metrics, schema_url: _ }: &ResourceMetrics| {
        scope_metrics.iter().map(of_scope).sum::<usize>().max(1) + beyond_in(resource.as_ref())
    };
    request.resource_metrics.iter().map(of_resource).sum()
}

fn parts(metric: &Metric) -> usize {
    let numbers = |points: &[NumberDataPoint]| points.iter().map(|point| 1 + beyond(&point.attributes)).sum();
    let points: usize = match &metric.data {
        Some(Data::Gauge(gauge)) => numbers(&gauge.data_points),
        Some(Data::Sum(sum)) => numbers(&sum.data_points),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 1,
    };
    points.max(1) + beyond(&metric.metadata)
}

fn read_sender(attributes: &Attributes<'_>) -> Result<Sender, RejectReason> {
    Ok(Sender {
        installation: attributes.parse(&SERVICE_INSTANCE_ID)?,
        agent_version: attributes.parse(&SERVICE_VERSION_ATTRIBUTE)?,
    })
}

/// How many points are refused with a metric; one that has none, or is no gauge, counts as one.
fn size(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(Gauge { data_points })) => data_points.len().max(1),
        _ => 1,
    }
}

fn validate_snapshot(sender: &Sender, metrics: &[Metric], now: Timestamp, admitted: &mut Validated) {
    let mut draft = SnapshotBuilder::default();
    for metric in metrics {
        match read_metric(metric) {
            Ok((known, points)) => points.iter().for_each(|point| match read_point(known, point, now) {
                Ok(point) => draft.push(point),
                Err(reason) => admitted.refused.add(reason, 1),
            }),
            Err(reason) => admitted.refused.add(reason, size(metric)),
        }
    }
    draft.finish(sender, admitted);
}

/// The catalog's metric, and its points. Unit and description are the catalog's, as the SDK sends them, or blank, as a
/// relay may leave them.
fn read_metric(metric: &Metric) -> Result<(&'static catalog::Metric, &[NumberDataPoint]), RejectReason> {
    let Metric { name, description, unit, metadata, data } = metric;
    let known = METRICS.iter().find(|metric| metric.name == name).ok_or(RejectReason::UnknownSignal)?;
    let known_or_blank = |sent: &str, known: &str| sent.is_empty() || sent == known;
    let described = known_or_blank(description, known.description) && known_or_blank(unit, known.unit);
    if !described || !metadata.is_empty() {
        return Err(RejectReason::Metadata);
    }
    match data {
        Some(Data::Gauge(Gauge { data_points })) => Ok((known, data_points)),
        _ => Err(RejectReason::NotAGauge),
    }
}

fn read_point(
    metric: &'static catalog::Metric,
    point: &NumberDataPoint,
    now: Timestamp,
) -> Result<DataPoint, RejectReason> {
    // When counting began says nothing of a gauge.
    let NumberDataPoint { attributes, start_time_unix_nano: _, time_unix_nano, exemplars, flags, value } = point;
    if !exemplars.is_empty() {
        return Err(RejectReason::Exemplars);
    }
    if *flags != 0 {
        return Err(RejectReason::Flags);
    }
    let count = match value {
        Some(Value::AsInt(value)) => u32::try_from(*value).ok().filter(|value| *value <= MAX_COUNT),
        _ => None,
    };
    let attributes = Attributes::read(attributes, metric.attributes)?;
    let dimension = match Dimension::attribute_of(metric) {
        Some(attribute) => {
            Some(Dimension::new(metric, attributes.text(attribute)?).map_err(|_| RejectReason::AttributeValue)?)
        }
        None => None,
    };
    Ok(DataPoint {
        metric,
        dimension,
        time: place(*time_unix_nano, now)?,
        count: count.ok_or(RejectReason::Value)?,
        versions: (attributes.parse(&KAMAJI_VERSION)?, attributes.parse(&KUBERNETES_VERSION)?),
    })
}
