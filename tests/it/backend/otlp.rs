//! OTLP over both transports: the responses, and the stored records.

use kamaji_telemetry::backend::store::fold::DimensionPart;
use kamaji_telemetry::backend::store::{PairFact, SourceKind};
use kamaji_telemetry::catalog::{self, SERVICE_NAME, SERVICE_VERSION};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_otlp::{MetricExporter, WithTonicConfig};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prost::Message;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use uuid::Uuid;

use super::harness::{Backend, GZIP, PROTOBUF, gzip, today};
use super::samples::{
    KAMAJI, KUBERNETES, attribute, created, created_with, deleted, extended_gauges, logs_request, metrics_request, now,
    state_gauges, text, updated,
};

const LIMIT: usize = 512 * 1024;

#[tokio::test]
async fn gauges_over_grpc_are_stored_and_shown() {
    let backend = Backend::start().await;
    let installation = Uuid::new_v4();
    backend.received_before(installation).await;
    let request = metrics_request(installation, state_gauges([5, 2, 1, 0], now()));
    let response = backend.metrics_client().await.export(request).await.unwrap().into_inner();
    assert_eq!(response, ExportMetricsServiceResponse::default());
    let shown = &backend.installations().await[0];
    assert_eq!([shown.running, shown.sleeping, shown.not_ready, shown.upgrading], [5, 2, 1, 0]);
    assert_eq!((shown.kamaji_version.as_str(), shown.kubernetes_version.as_str()), ("v1.0.0", "v1.35.1"));
    assert!(shown.confirmed.is_some() && !shown.bulk, "{shown:?}");
    let active = &backend.overview("agent", "active").await[0];
    assert_eq!([&active["installations"], &active["not_confirmed"], &active["bulk"]], [1, 0, 0], "{active}");
    let pair = PairFact {
        kamaji: "v1.0.0".parse().unwrap(),
        kubernetes: "v1.35.1".parse().unwrap(),
        installations: 1,
        control_planes: 8,
        weight: 8,
    };
    assert_eq!(backend.facts(SourceKind::Agent, today()).await.pairs, [pair]);
}

#[tokio::test]
async fn both_signals_are_taken_compressed_over_both_transports() {
    let backend = Backend::start().await;
    let metrics = |installation| metrics_request(installation, state_gauges([1, 0, 0, 0], now()));
    let logs = || logs_request(vec![created(Uuid::new_v4(), now())]);

    let mut client = backend.metrics_client().await.send_compressed(CompressionEncoding::Gzip);
    client.export(metrics(Uuid::new_v4())).await.unwrap();
    let mut client = backend.logs_client().await.send_compressed(CompressionEncoding::Gzip);
    client.export(logs()).await.unwrap();

    for headers in [&[PROTOBUF][..], &[PROTOBUF, GZIP]] {
        let encode = |bytes: Vec<u8>| if headers.len() == 2 { gzip(&bytes) } else { bytes };
        let body = encode(metrics(Uuid::new_v4()).encode_to_vec());
        let reply = backend.post("/v1/metrics", headers, &body).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(PROTOBUF.1)), "{reply:?}");
        let response = ExportMetricsServiceResponse::decode(reply.body.as_slice()).unwrap();
        assert_eq!(response.partial_success, None);
        let reply = backend.post("/v1/logs", headers, &encode(logs().encode_to_vec())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!((backend.count("latest"), backend.count("events")), (3, 3));
}

#[tokio::test]
async fn every_kind_of_event_is_shown_with_its_attributes_at_its_hour() {
    let backend = Backend::start().await;
    let uid = Uuid::new_v4;
    let records = vec![created(uid(), now()), created_with(uid(), now()), updated(uid(), now()), deleted(uid(), now())];
    backend.logs_client().await.export(logs_request(records)).await.unwrap();
    let events: Vec<_> = backend.events().await.into_iter().map(|listed| listed.event).collect();
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event.time.as_second() % 3600 == 0));
    let created: Vec<_> = events.iter().filter(|event| event.name == "kamaji.tcp.created").collect();
    assert_eq!(created.iter().filter(|event| event.cluster_api == Some(true)).count(), 1);
    let updated = events.iter().find(|event| event.name == "kamaji.tcp.updated").unwrap();
    assert_eq!(updated.old_tcp_version.as_deref(), Some("v1.34.2"));
    assert_eq!(updated.new_tcp_version.as_deref(), Some("v1.35.1"));
    let deleted = events.iter().find(|event| event.name == "kamaji.tcp.deleted").unwrap();
    assert_eq!((deleted.status.as_deref(), deleted.tcp_version.as_deref()), (Some("NotReady"), Some("v1.35.1")));
}

#[tokio::test]
async fn extended_gauges_are_summed_by_value() {
    let backend = Backend::start().await;
    let mut client = backend.metrics_client().await;
    for installation in [(); 2].map(|()| Uuid::new_v4()) {
        backend.received_before(installation).await;
        let gauges = state_gauges([5, 0, 0, 0], now()).into_iter().chain(extended_gauges(now())).collect();
        let response = client.export(metrics_request(installation, gauges)).await.unwrap().into_inner();
        assert_eq!(response.partial_success, None);
    }
    let facts = backend.facts(SourceKind::Agent, today()).await;
    let sums = facts.dimensions.iter().filter_map(|fact| match &fact.part {
        DimensionPart::Value(dimension) => Some((dimension.metric().name, dimension.value(), fact.count)),
        DimensionPart::Metric(_) => None,
    });
    let mut sums: Vec<_> = sums.collect();
    sums.sort_unstable();
    let expected = [
        ("kamaji.datastore.count", "etcd", 2),
        ("kamaji.datastore.used_by", "PostgreSQL", 2),
        ("kamaji.datastore.used_by", "etcd", 8),
        ("kamaji.tcp.by_version", "v1.34", 4),
        ("kamaji.tcp.by_version", "v1.35", 6),
    ];
    assert_eq!(sums, expected);
}

#[tokio::test]
async fn a_repeated_event_is_acknowledged_and_stored_once_across_a_restart() {
    let backend = Backend::start().await;
    let request = logs_request(vec![created(Uuid::new_v4(), now()), deleted(Uuid::new_v4(), now())]);
    for _ in 0..3 {
        backend.logs_client().await.export(request.clone()).await.unwrap();
    }
    assert_eq!(backend.count("events"), 2);
    let backend = backend.restart().await;
    let response = backend.logs_client().await.export(request).await.unwrap().into_inner();
    assert_eq!(response.partial_success, None);
    assert_eq!(backend.count("events"), 2);
}

#[tokio::test]
async fn what_is_acknowledged_is_in_the_file_at_once() {
    let backend = Backend::start().await;
    let mut client = backend.logs_client().await;
    for sent in 1..=20 {
        client.export(logs_request(vec![updated(Uuid::new_v4(), now())])).await.unwrap();
        assert_eq!(backend.count("events"), sent);
    }
}

#[tokio::test]
async fn a_request_that_is_partly_acceptable_is_stored_in_part_and_says_what_was_not() {
    let backend = Backend::start().await;
    let mut rejected = created(Uuid::new_v4(), now());
    rejected.attributes[1] = text("tcp_version", "v1.35.1-acme");
    let request = logs_request(vec![created(Uuid::new_v4(), now()), rejected]);

    let partial = backend.logs_client().await.export(request.clone()).await.unwrap().into_inner();
    let partial = partial.partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 1);
    assert_eq!(partial.error_message, "1 rejected: an attribute's value is not one of the catalog's");

    let reply = backend.post("/v1/logs", &[PROTOBUF], &request.encode_to_vec()).await;
    let response = ExportLogsServiceResponse::decode(reply.body.as_slice()).unwrap();
    assert_eq!((reply.status, response.partial_success.unwrap()), (200, partial));
    assert_eq!(backend.count("events"), 1);
}

#[tokio::test]
async fn a_request_with_nothing_acceptable_is_an_invalid_argument_and_nothing_is_stored() {
    let backend = Backend::start().await;
    let mut record = created(Uuid::new_v4(), now());
    record.event_name = "acme.secret".into();
    let logs = logs_request(vec![record]);
    let metrics = metrics_request(Uuid::new_v4(), state_gauges([1, 2, 3, -4], now()));

    let status = backend.logs_client().await.export(logs.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "1 rejected: the name is not in the catalog")
    );
    let status = backend.metrics_client().await.export(metrics.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    for (path, body) in [("/v1/logs", logs.encode_to_vec()), ("/v1/metrics", metrics.encode_to_vec())] {
        let reply = backend.post(path, &[PROTOBUF], &body).await;
        assert_eq!(rpc_status(&reply.body).code, i32::from(Code::InvalidArgument));
        assert_eq!((reply.status, reply.header("content-type")), (400, Some(PROTOBUF.1)));
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn an_empty_request_is_acknowledged() {
    let backend = Backend::start().await;
    for path in ["/v1/logs", "/v1/metrics"] {
        assert_eq!(backend.post(path, &[PROTOBUF], &[]).await.status, 200);
    }
}

#[tokio::test]
async fn an_event_of_last_year_is_acknowledged_and_dropped() {
    let backend = Backend::start().await;
    let year = 365 * 24 * 3600 * 1_000_000_000;
    let request = logs_request(vec![created(Uuid::new_v4(), now() - year)]);
    let response = backend.logs_client().await.export(request).await.unwrap().into_inner();
    assert_eq!(response.partial_success, None);
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn other_content_types_and_encodings_are_unsupported() {
    let backend = Backend::start().await;
    let body = logs_request(vec![created(Uuid::new_v4(), now())]).encode_to_vec();
    let text = ("content-type", "text/plain");
    for headers in
        [&[][..], &[text], &[PROTOBUF, ("content-encoding", "br")], &[PROTOBUF, ("content-encoding", "zstd")]]
    {
        let reply = backend.post("/v1/logs", headers, &body).await;
        assert_eq!(reply.status, 415, "{headers:?}");
        assert!(rpc_status(&reply.body).message.contains("expected"), "{headers:?}");
    }
    let with_charset = ("content-type", "Application/X-Protobuf; charset=utf-8");
    assert_eq!(backend.post("/v1/logs", &[with_charset], &body).await.status, 200);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_bad_request() {
    let backend = Backend::start().await;
    let body = logs_request(vec![created(Uuid::new_v4(), now())]).encode_to_vec();
    let truncated = &gzip(&body)[..20];
    for (headers, body) in
        [(&[PROTOBUF][..], &b"not protobuf"[..]), (&[PROTOBUF, GZIP], truncated), (&[PROTOBUF, GZIP], b"{}")]
    {
        let reply = backend.post("/v1/logs", headers, body).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert_eq!(rpc_status(&reply.body).code, i32::from(Code::InvalidArgument));
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn a_message_over_the_limit_is_rejected_compressed_or_not() {
    let backend = Backend::start().await;
    let mut record = created(Uuid::new_v4(), now());
    record.severity_text = "A".repeat(LIMIT);
    let request = logs_request(vec![record]);
    let body = request.encode_to_vec();
    for (headers, body) in [(&[PROTOBUF][..], body.clone()), (&[PROTOBUF, GZIP], gzip(&body))] {
        let reply = backend.post("/v1/logs", headers, &body).await;
        assert_eq!(reply.status, 413);
        assert!(rpc_status(&reply.body).message.contains(&LIMIT.to_string()));
    }
    let plain = backend.logs_client().await;
    let compressed = backend.logs_client().await.send_compressed(CompressionEncoding::Gzip);
    for (mut client, code) in [(plain, Code::InvalidArgument), (compressed, Code::ResourceExhausted)] {
        assert_eq!(client.export(request.clone()).await.unwrap_err().code(), code);
    }
    assert_eq!(backend.rows(), 0);
}

#[tokio::test]
async fn values_nested_without_end_are_rejected() {
    let backend = Backend::start().await;
    let mut value = Value::BoolValue(true);
    for _ in 0..1_000 {
        value = Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
    }
    let mut record = created(Uuid::new_v4(), now());
    record.attributes.push(attribute("a", value));
    let request = logs_request(vec![record]);
    assert_eq!(backend.post("/v1/logs", &[PROTOBUF], &request.encode_to_vec()).await.status, 400);
    assert!(backend.logs_client().await.export(request).await.is_err());
    assert_eq!(backend.rows(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_sdk_exports_is_stored() {
    let backend = Backend::start().await;
    let exporter = MetricExporter::builder().with_tonic().with_channel(backend.channel().await).build().unwrap();
    let installation = Uuid::new_v4();
    let resource = Resource::builder_empty().with_attributes([
        opentelemetry::KeyValue::new("service.name", SERVICE_NAME),
        opentelemetry::KeyValue::new("service.version", SERVICE_VERSION),
        opentelemetry::KeyValue::new("service.instance.id", installation.to_string()),
    ]);
    let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).with_resource(resource.build()).build();
    backend.received_before(installation).await;
    let meter = provider.meter(SERVICE_NAME);
    let versions = [("kamaji_version", KAMAJI), ("kubernetes_version", KUBERNETES)];
    let _gauges: Vec<_> = [&catalog::RUNNING, &catalog::SLEEPING, &catalog::NOT_READY, &catalog::UPGRADING]
        .into_iter()
        .zip(1..)
        .map(|(metric, count)| {
            let attributes = versions.map(|(key, value)| opentelemetry::KeyValue::new(key, value));
            let gauge = meter.u64_observable_gauge(metric.name).with_unit(metric.unit);
            let gauge = gauge.with_description(metric.description);
            gauge.with_callback(move |observer| observer.observe(count, &attributes)).build()
        })
        .collect();
    let flushed = tokio::task::spawn_blocking(move || (provider.force_flush(), provider)).await.unwrap();
    flushed.0.unwrap();
    let shown = &backend.installations().await[0];
    assert_eq!(shown.agent_version.as_deref(), Some(SERVICE_VERSION));
    assert_eq!([shown.running, shown.sleeping, shown.not_ready, shown.upgrading], [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_bomb_is_rejected_without_being_decompressed() {
    let backend = Backend::start().await;
    // 128 MB of zeros in 128 kB.
    let bomb = gzip(&vec![0; 256 * LIMIT]);
    assert_eq!(backend.post("/v1/metrics", &[PROTOBUF, GZIP], &bomb).await.status, 413);
    assert_eq!(backend.get("/livez").await.status, 200);
}

fn rpc_status(body: &[u8]) -> tonic_types::pb::Status {
    tonic_types::pb::Status::decode(body).unwrap()
}
