//! Deliveries to a scripted collector in memory, with the clock paused.

use std::collections::VecDeque;

use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response};
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::catalog::{Event, KamajiVersion, KubernetesVersion};

/// The maximum backoff of the tests.
const RETRY_MAX: Duration = Duration::from_mins(1);

type Answer = Result<ExportLogsServiceResponse, Status>;

/// A collector that gives scripted answers, then OK. It rejects a request that contains `poison`, and records all requests.
#[derive(Clone, Default)]
struct FakeCollector(Arc<Mutex<CollectorState>>);

#[derive(Default)]
struct CollectorState {
    answers: VecDeque<Answer>,
    poison: Option<Uuid>,
    requests: Vec<Vec<LogRecord>>,
}

#[tonic::async_trait]
impl LogsService for FakeCollector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resource_logs = request.into_inner().resource_logs;
        let scopes = resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let records: Vec<_> = scopes.flat_map(|scope| scope.log_records).collect();
        let mut state = self.0.lock().unwrap();
        let is_poisoned = state.poison.is_some_and(|poison| records.iter().any(|record| uid(record) == poison));
        state.requests.push(records);
        if is_poisoned {
            return Err(Status::invalid_argument("poison"));
        }
        state.answers.pop_front().unwrap_or_else(|| Ok(ExportLogsServiceResponse::default())).map(Response::new)
    }
}

impl FakeCollector {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let collector = Self::default();
        collector.0.lock().unwrap().answers = answers.into_iter().collect();
        collector
    }

    /// Creates an exporter that is connected to this collector.
    async fn connect(&self) -> EventExporter {
        EventExporter::new(&self.channel().await, RETRY_MAX, Arc::default())
    }

    /// Creates a connection to this collector.
    async fn channel(&self) -> CollectorChannel {
        let (connections, mut incoming) = mpsc::channel(1);
        let service = LogsServiceServer::new(self.clone()).accept_compressed(CompressionEncoding::Gzip);
        let incoming = futures::stream::poll_fn(move |context| incoming.poll_recv(context));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let connector = tower::service_fn(move |_| {
            let connections = connections.clone();
            async move {
                let (client, server) = tokio::io::duplex(64 * 1024);
                connections.send(Ok::<_, std::io::Error>(server)).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(client))
            }
        });
        let channel = Endpoint::from_static("http://collector.test").connect_with_connector(connector).await.unwrap();
        CollectorChannel::from_channel(channel)
    }

    fn sizes(&self) -> Vec<usize> {
        self.0.lock().unwrap().requests.iter().map(Vec::len).collect()
    }

    fn uids(&self) -> Vec<Vec<Uuid>> {
        self.0.lock().unwrap().requests.iter().map(|records| records.iter().map(uid).collect()).collect()
    }
}

fn uid(record: &LogRecord) -> Uuid {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let attribute = record.attributes.iter().find(|attribute| attribute.key == "log.record.uid").unwrap();
    match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn events<const N: usize>() -> [EventRecord; N] {
    std::array::from_fn(|_| EventRecord {
        uid: Uuid::new_v4(),
        time: "2026-11-22T22:16:03Z".parse::<Timestamp>().unwrap(),
        kamaji_version: KamajiVersion::normalize("v1.0.0"),
        kubernetes_version: KubernetesVersion::normalize("v1.36.3"),
        event: Event::Created { tcp_version: KubernetesVersion::normalize("v1.35.1"), extended: None },
    })
}

fn all(events: &[EventRecord]) -> HashSet<Uuid> {
    events.iter().map(|event| event.uid).collect()
}

#[tokio::test]
async fn a_record_carries_its_event_and_nothing_else() {
    let collector = FakeCollector::default();
    let events = events::<1>();
    collector.connect().await.deliver(&events).await;
    let record = collector.0.lock().unwrap().requests[0][0].clone();
    assert_eq!(record.event_name, "kamaji.tcp.created");
    assert_eq!(record.severity_number, 9, "INFO");
    assert_eq!(record.time_unix_nano, u64::try_from(events[0].time.as_nanosecond()).unwrap());
    assert_eq!(record.body, None);
    let mut keys: Vec<_> = record.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["kamaji_version", "kubernetes_version", "log.record.uid", "tcp_version"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_again_with_the_same_uids_until_the_answer_is_ok() {
    let collector = FakeCollector::answering([
        Err(Status::unavailable("")),
        Err(Status::deadline_exceeded("")),
        Err(Status::data_loss("")),
    ]);
    let events = events::<3>();
    let outcome = collector.connect().await.deliver(&events).await;
    assert_eq!(outcome, DeliveryOutcome { acknowledged: all(&events), rejected: HashSet::new() });
    let uids = collector.uids();
    assert_eq!(uids.len(), 4);
    assert!(uids.iter().all(|sent| *sent == uids[0]));
}

#[tokio::test(start_paused = true)]
async fn the_servers_retry_delay_is_respected() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_mins(10)));
    let overloaded = Status::with_error_details(Code::ResourceExhausted, "", details);
    let collector = FakeCollector::answering([Err(overloaded)]);
    let mut exporter = collector.connect().await;
    let start = Instant::now();
    exporter.deliver(&events::<1>()).await;
    assert!(start.elapsed() >= Duration::from_mins(10));
    assert_eq!(collector.sizes(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_has_to_fix_is_retried_at_the_maximum_backoff() {
    for code in [Code::Unknown, Code::Internal, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented] {
        let collector = FakeCollector::answering([Err(Status::new(code, ""))]);
        let events = events::<2>();
        let mut exporter = collector.connect().await;
        let start = Instant::now();
        let outcome = exporter.deliver(&events).await;
        assert!(start.elapsed() >= RETRY_MAX / 2, "{code:?}");
        assert_eq!(outcome.acknowledged, all(&events), "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_sent_at_once_over_a_replaced_connection() {
    let collector = FakeCollector::answering([Err(Status::unauthenticated(""))]);
    let (events, channel) = (events::<1>(), collector.channel().await);
    let mut exporter = EventExporter::new(&channel, RETRY_MAX, Arc::default());
    let start = Instant::now();
    let replace = async {
        while collector.sizes().is_empty() {
            tokio::task::yield_now().await;
        }
        channel.replace_by_its_equal();
    };
    let (outcome, ()) = tokio::join!(exporter.deliver(&events), replace);
    assert_eq!(outcome.acknowledged, all(&events));
    assert!(start.elapsed() < RETRY_MAX / 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_rejected_record_is_found_and_the_others_are_delivered_in_order() {
    let collector = FakeCollector::default();
    let events = events::<8>();
    collector.0.lock().unwrap().poison = Some(events[5].uid);
    let outcome = collector.connect().await.deliver(&events).await;
    assert_eq!(outcome.rejected, HashSet::from([events[5].uid]));
    assert_eq!(outcome.acknowledged.len(), 7);
    let accepted = collector.uids().into_iter().filter(|uids| !uids.contains(&events[5].uid)).flatten();
    let expected: Vec<_> = events.iter().map(|event| event.uid).filter(|uid| *uid != events[5].uid).collect();
    assert_eq!(accepted.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_not_sent_again() {
    let partial = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "no".to_owned() };
    let collector = FakeCollector::answering([Ok(ExportLogsServiceResponse { partial_success: Some(partial) })]);
    let events = events::<3>();
    let outcome = collector.connect().await.deliver(&events).await;
    assert_eq!(outcome.acknowledged, all(&events));
    assert_eq!(collector.sizes(), [3]);
}
