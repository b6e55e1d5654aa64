//! Validation of metrics, which become gauge snapshots.

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};

use super::envelope::{Attributes, check_scope, excess_attributes, excess_resource_attributes, read_resource};
use super::snapshot::{AgentIdentity, DataPoint, SnapshotBuilder};
use super::time::is_current;
use super::{RejectReason, Validated};
use crate::backend::store::{Dimension, Hour};
use crate::catalog::{
    self, KAMAJI_VERSION, KUBERNETES_VERSION, MAX_COUNT, METRIC_RESOURCE, METRICS, SERVICE_INSTANCE_ID,
    SERVICE_VERSION_ATTRIBUTE,
};

/// Validates metrics that are received at `now`. The gauges of one resource and scope are one snapshot.
pub fn validate_metrics(request: &ExportMetricsServiceRequest, now: Timestamp) -> Validated {
    let mut validated = Validated::default();
    for ResourceMetrics { resource, scope_metrics, schema_url } in &request.resource_metrics {
        let agent = read_resource(resource.as_ref(), schema_url, METRIC_RESOURCE)
            .and_then(|attributes| read_agent(&attributes));
        for ScopeMetrics { scope, metrics, schema_url } in scope_metrics {
            let agent = check_scope(scope.as_ref(), schema_url).and_then(|()| agent.as_ref().map_err(|reason| *reason));
            match agent {
                Ok(agent) => validate_snapshot(agent, metrics, now, &mut validated),
                Err(reason) => validated.rejections.add(reason, metrics.iter().map(points).sum()),
            }
        }
    }
    validated
}

/// Returns the number of points. A metric that has none, or is not a gauge, counts as one.
pub fn points_in(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).map(points).sum()
}

/// Returns the number of items to charge for: points of any kind, empty resources, scopes and metrics, and attributes beyond
/// those that any point has.
pub fn items_in_metrics(request: &ExportMetricsServiceRequest) -> usize {
    let of_scope = |ScopeMetrics { scope, metrics, schema_url: _ }: &ScopeMetrics| {
        let metrics = metrics.iter().map(items).sum::<usize>();
        metrics.max(1) + scope.as_ref().map_or(0, |scope| excess_attributes(&scope.attributes))
    };
    let of_resource = |ResourceMetrics { resource, scope_metrics, schema_url: _ }: &ResourceMetrics| {
        scope_metrics.iter().map(of_scope).sum::<usize>().max(1) + excess_resource_attributes(resource.as_ref())
    };
    request.resource_metrics.iter().map(of_resource).sum()
}

fn items(metric: &Metric) -> usize {
    let numbers =
        |points: &[NumberDataPoint]| points.iter().map(|point| 1 + excess_attributes(&point.attributes)).sum();
    let points: usize = match &metric.data {
        Some(Data::Gauge(gauge)) => numbers(&gauge.data_points),
        Some(Data::Sum(sum)) => numbers(&sum.data_points),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 1,
    };
    points.max(1) + excess_attributes(&metric.metadata)
}

fn read_agent(attributes: &Attributes<'_>) -> Result<AgentIdentity, RejectReason> {
    Ok(AgentIdentity {
        installation: attributes.parse(&SERVICE_INSTANCE_ID)?,
        agent_version: attributes.parse(&SERVICE_VERSION_ATTRIBUTE)?,
    })
}

/// Returns the number of points of a metric. A metric that has none, or is not a gauge, counts as one.
fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(Gauge { data_points })) => data_points.len().max(1),
        _ => 1,
    }
}

fn validate_snapshot(agent: &AgentIdentity, metrics: &[Metric], now: Timestamp, validated: &mut Validated) {
    let mut snapshot = SnapshotBuilder::default();
    for metric in metrics {
        match read_metric(metric) {
            Ok((known, points)) => points.iter().for_each(|point| match read_point(known, point, now) {
                Ok(point) => snapshot.push(point),
                Err(reason) => validated.rejections.add(reason, 1),
            }),
            Err(reason) => validated.rejections.add(reason, points(metric)),
        }
    }
    snapshot.finish(agent, Hour::of(now), validated);
}

/// Validates a metric; returns the catalog's metric and the points. Unit and description are the catalog's, as the SDK
/// sends them, or blank, as a relay may leave them.
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
    // The start time has no meaning for a gauge.
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
        is_current: is_current(*time_unix_nano, now)?,
        count: count.ok_or(RejectReason::Value)?,
        versions: (attributes.parse(&KAMAJI_VERSION)?, attributes.parse(&KUBERNETES_VERSION)?),
    })
}
