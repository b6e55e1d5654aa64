use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::agent::observe::{ControlPlane, IndexOptions};
use crate::process::lock::lock;

/// The interval between two reads of the server's position.
const COMPARE: Duration = Duration::from_secs(30);

/// A request to the simulated API server.
#[derive(Debug, Clone)]
struct ListRequest {
    query: String,
    time: Instant,
}

impl ListRequest {
    /// Returns the value of a parameter, or an empty text if the query has none.
    fn value(&self, parameter: &str) -> &str {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == parameter).map_or("", |(_, value)| value)
    }

    fn is_streamed_list(&self) -> bool {
        self.value("sendInitialEvents") == "true"
    }

    fn is_paged_list(&self) -> bool {
        self.value("watch").is_empty()
    }
}

/// The answer to a request.
enum ScriptedAnswer {
    /// A complete body.
    Body(String),
    /// The beginning of a body that does not end.
    Open(String),
    /// An empty body after this time.
    Slow(Duration),
    /// No response.
    Silence,
    /// An error.
    Status(StatusCode),
}

impl From<String> for ScriptedAnswer {
    fn from(body: String) -> Self {
        Self::Body(body)
    }
}

impl ScriptedAnswer {
    async fn response(self) -> Response<Body> {
        let (status, body) = match self {
            Self::Body(text) => (StatusCode::OK, Body::from(text)),
            Self::Open(text) => {
                let start = futures::stream::iter([Ok::<_, Infallible>(text)]);
                (StatusCode::OK, Body::from_stream(start.chain(futures::stream::pending())))
            }
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                (StatusCode::OK, Body::empty())
            }
            Self::Silence => pending().await,
            Self::Status(status) => {
                let body = json!({"kind": "Status", "code": status.as_u16(), "message": "", "reason": ""});
                (status, Body::from(body.to_string()))
            }
        };
        Response::builder().status(status).body(body).unwrap()
    }
}

/// A simulated API server: its requests so far, without the reads of its position, and the number of those.
#[derive(Clone, Default)]
struct Server {
    requests: Arc<Mutex<Vec<ListRequest>>>,
    reads: Arc<Mutex<usize>>,
}

impl Server {
    /// Creates a client whose requests get their answers from `answer`, and its reads of the position from `position`,
    /// both by number.
    fn client<A: Into<ScriptedAnswer>>(
        &self,
        answer: impl Fn(usize) -> A + Send + Sync + 'static,
        position: impl Fn(usize) -> ScriptedAnswer + Send + Sync + 'static,
    ) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let request = ListRequest { query, time: Instant::now() };
            let answer = if request.value("limit") == "1" {
                let mut reads = lock(&server.reads);
                *reads += 1;
                position(*reads - 1)
            } else {
                let mut requests = lock(&server.requests);
                requests.push(request);
                answer(requests.len() - 1).into()
            };
            async { Ok::<_, Infallible>(answer.response().await) }
        });
        Client::new(service, "default")
    }

    fn requests(&self) -> Vec<ListRequest> {
        lock(&self.requests).clone()
    }

    fn reads(&self) -> usize {
        *lock(&self.reads)
    }
}

/// Answers to reads of the position: `versions`, one after the other, and then the last of them for ever.
fn positions<const N: usize>(versions: [&'static str; N]) -> impl Fn(usize) -> ScriptedAnswer {
    move |read| paged_list(versions[read.min(N - 1)], &[]).into()
}

fn paged_list(version: &str, items: &[Value]) -> String {
    json!({"kind": "TenantControlPlaneList", "apiVersion": "kamaji.clastix.io/v1alpha1",
        "metadata": {"resourceVersion": version}, "items": items})
    .to_string()
}

fn line(event: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": event, "object": object}))
}

fn object(number: u32) -> Value {
    json!({"metadata": {"uid": uuid::Uuid::from_u128(number.into()), "resourceVersion": number.to_string()}})
}

fn end_of_list(version: &str) -> String {
    let annotations = json!({INITIAL_EVENTS_END: "true"});
    let metadata = json!({"resourceVersion": version, "annotations": annotations});
    line(
        "BOOKMARK",
        &json!({"kind": "TenantControlPlane", "apiVersion": "kamaji.clastix.io/v1alpha1", "metadata": metadata}),
    )
}

/// Watches with `memory` until `is_done`, and returns the events. The result is an error if the watch ended.
async fn watch_until(
    client: &Client,
    memory: &WatchMemory,
    mut is_done: impl FnMut() -> bool,
) -> Result<Vec<WatcherEvent>, Vec<WatcherEvent>> {
    let (sender, mut receiver) = mpsc::channel(1);
    let mut events = Vec::new();
    let intervals = WatchIntervals { retry_max: MAX_BACKOFF, compare: COMPARE };
    let mut watch = std::pin::pin!(run(client, intervals, memory, sender));
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut deadline = std::pin::pin!(tokio::time::sleep(Duration::from_hours(1)));
    while !is_done() {
        tokio::select! {
            biased;
            Some(event) = receiver.recv() => events.push(event),
            () = &mut watch => return Err(events),
            () = &mut deadline => panic!("waited an hour of the paused clock: {events:?}"),
            _ = ticks.tick() => {}
        }
    }
    Ok(events)
}

/// Watches a server that is never behind until it has received `count` requests, and returns the events and the requests.
async fn watch(
    answer: impl Fn(usize) -> String + Send + Sync + 'static,
    count: usize,
) -> (Vec<WatcherEvent>, Vec<ListRequest>) {
    let server = Server::default();
    let client = server.client(answer, positions(["1000"]));
    let events = watch_until(&client, &WatchMemory::default(), || server.requests().len() >= count).await;
    (events.expect("the history is not replaced"), server.requests())
}

fn is_applied(event: &WatcherEvent, number: u32) -> bool {
    matches!(event, WatcherEvent::Apply(ControlPlane { uid, .. }) if uid.as_u128() == number.into())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_closes_is_resumed_from_its_position() {
    let answer = |request| match request {
        0 => line("ADDED", &object(1)) + &end_of_list("5") + &line("MODIFIED", &object(7)),
        _ => line("DELETED", &object(8)),
    };
    let (events, made) = watch(answer, 3).await;
    assert!(
        matches!(events[..], [WatcherEvent::Init, _, WatcherEvent::InitDone, _, WatcherEvent::Delete(_), ..]),
        "{events:?}"
    );
    assert!(is_applied(&events[1], 1) && is_applied(&events[3], 7), "{events:?}");
    let versions: Vec<_> = made.iter().map(|request| request.value("resourceVersion")).collect();
    assert_eq!(versions[..3], ["", "7", "8"]);
    assert_eq!(made[0].value("sendInitialEvents"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_truncated_line_is_no_event_and_is_requested_again() {
    let answer = |request| match request {
        0 => end_of_list("5") + line("MODIFIED", &object(7)).trim_end_matches("}\n"),
        _ => line("MODIFIED", &object(7)),
    };
    let (events, made) = watch(answer, 3).await;
    assert!(
        matches!(events[..], [WatcherEvent::Init, WatcherEvent::InitDone, _, ..]) && is_applied(&events[2], 7),
        "{events:?}"
    );
    assert_eq!(made[1].value("resourceVersion"), "5");
}

#[tokio::test(start_paused = true)]
async fn what_is_known_may_be_old_from_the_first_failure_until_the_watch_continues() {
    let server = Server::default();
    let answer = |request| match request {
        0 => ScriptedAnswer::Body(end_of_list("5")),
        1 | 2 => ScriptedAnswer::Status(StatusCode::FORBIDDEN),
        _ => ScriptedAnswer::Body(line("MODIFIED", &object(7))),
    };
    let client = server.client(answer, positions(["1000"]));
    let events = watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 5).await.unwrap();
    assert!(
        matches!(
            events[..],
            [WatcherEvent::Init, WatcherEvent::InitDone, WatcherEvent::Interrupted, _, WatcherEvent::Resumed, ..]
        ) && is_applied(&events[3], 7),
        "{events:?}"
    );
    assert!(events[5..].iter().all(|event| is_applied(event, 7)), "once: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_accepted_and_closed_at_once_has_not_continued_and_one_that_stays_open_has() {
    let server = Server::default();
    let answer = |request| match request {
        0 => ScriptedAnswer::Body(end_of_list("5")),
        1..10 => ScriptedAnswer::Body(String::new()),
        _ => ScriptedAnswer::Open(String::new()),
    };
    let client = server.client(answer, positions(["1000"]));
    let begun = Instant::now();
    let events = watch_until(&client, &WatchMemory::default(), || begun.elapsed() > Duration::from_mins(10)).await;
    let expected = [WatcherEvent::Init, WatcherEvent::InitDone, WatcherEvent::Interrupted, WatcherEvent::Resumed];
    assert_eq!(events.unwrap()[..4], expected);
    assert!(server.requests().len() >= 11);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_each_time_is_retried_with_growing_waits() {
    let (_, made) = watch(|_| line("ADDED", &object(1)), 6).await;
    let waits = made.windows(2).map(|pair| pair[1].time - pair[0].time);
    for (wait, factor) in waits.zip([1, 2, 4, 8, 16]) {
        assert!(wait >= MIN_BACKOFF.mul_f32(0.5) * factor, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_behind_for_a_moment_changes_nothing() {
    let server = Server::default();
    let client = server.client(|_| ScriptedAnswer::Open(end_of_list("5")), positions(["3", "9", "3", "9"]));
    let events = watch_until(&client, &WatchMemory::default(), || server.reads() >= 5).await.unwrap();
    assert_eq!(events, [WatcherEvent::Init, WatcherEvent::InitDone]);
    assert_eq!(server.requests().len(), 1, "the watch goes on");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_behind_ends_the_watch() {
    let server = Server::default();
    let client = server.client(|_| ScriptedAnswer::Open(end_of_list("5")), positions(["9", "3"]));
    let started = Instant::now();
    watch_until(&client, &WatchMemory::default(), || false).await.unwrap_err();
    assert_eq!((server.requests().len(), server.reads()), (1, 3), "it was behind twice");
    assert!(started.elapsed() >= 3 * COMPARE);
}

/// Answers with a list that breaks, and then with one that does not.
fn broken_once(request: usize) -> ScriptedAnswer {
    if request == 0 { end_of_list("5").into() } else { ScriptedAnswer::Open(end_of_list("5")) }
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_not_resumed_where_the_server_is_behind() {
    let server = Server::default();
    let client = server.client(broken_once, positions(["3"]));
    let memory = WatchMemory::default();
    let started = Instant::now();
    watch_until(&client, &memory, || false).await.unwrap_err();
    assert_eq!(server.requests().len(), 1, "no request continues from the position");
    assert!(started.elapsed() >= COMPARE && server.reads() > 2);

    let reads = server.reads();
    watch_until(&client, &memory, || server.requests().len() >= 2).await.unwrap();
    assert!(server.requests()[1].is_streamed_list());
    assert_eq!(server.reads(), reads, "the next term has no position");
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_begins_with_a_list_once_the_server_has_caught_up() {
    let server = Server::default();
    let client = server.client(broken_once, positions(["3", "6"]));
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 2).await.unwrap();
    assert!(server.requests()[1].is_streamed_list(), "it may be another history that has passed the position");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_behind_while_a_watch_was_open_is_listed_after_it() {
    let server = Server::default();
    let client = server.client(|_| ScriptedAnswer::Open(end_of_list("5")), positions(["3", "9"]));
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 2).await.unwrap();
    assert!(server.requests()[1].is_streamed_list(), "the watch may have been of another server");
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_that_is_cut_is_listed_in_pages() {
    let server = Server::default();
    let answer = |request| match request {
        0 => ScriptedAnswer::Body(line("ADDED", &object(1))),
        1 => ScriptedAnswer::Body(paged_list("5", &[object(1)])),
        _ => ScriptedAnswer::Open(String::new()),
    };
    let client = server.client(answer, positions(["9"]));
    let events = watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 3).await.unwrap();
    assert!(server.requests()[1].is_paged_list());
    assert!(events.contains(&WatcherEvent::InitDone), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_list_of_a_term_is_not_from_behind_the_term_before() {
    let server = Server::default();
    let client = server.client(|_| ScriptedAnswer::Open(end_of_list("5")), positions(["3", "3", "6"]));
    let memory = WatchMemory::default();
    watch_until(&client, &memory, || !server.requests().is_empty()).await.unwrap();
    assert_eq!(server.reads(), 0);
    watch_until(&client, &memory, || server.requests().len() >= 2).await.unwrap();
    assert_eq!(server.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_position_that_cannot_be_read_decides_nothing() {
    let server = Server::default();
    let position = |read| match read {
        0..5 => ScriptedAnswer::Status(StatusCode::SERVICE_UNAVAILABLE),
        _ => paged_list("5", &[]).into(),
    };
    let client = server.client(broken_once, position);
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 2).await.unwrap();
    assert_eq!(server.requests()[1].value("resourceVersion"), "5");
    assert_eq!(server.reads(), 6);
}

#[tokio::test(start_paused = true)]
async fn versions_without_an_order_are_not_compared() {
    let server = Server::default();
    let client = server.client(|_| end_of_list("some-token"), positions(["1"]));
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 2).await.unwrap();
    assert_eq!((server.requests()[1].value("resourceVersion"), server.reads()), ("some-token", 0));
}

/// The ways in which a streamed list is held back.
fn held_back() -> [fn() -> ScriptedAnswer; 3] {
    [
        || ScriptedAnswer::Silence,
        || ScriptedAnswer::Open(String::new()),
        || ScriptedAnswer::Open(line("ADDED", &object(1))),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_that_is_held_back_is_listed_in_pages_and_watched_in_short_requests() {
    for streamed in held_back() {
        let server = Server::default();
        let answer = move |request: usize| match request {
            0 => streamed(),
            1 | 3 => paged_list("5", &[object(1)]).into(),
            _ => ScriptedAnswer::Open(String::new()),
        };
        let (client, memory) = (server.client(answer, positions(["5"])), WatchMemory::default());
        watch_until(&client, &memory, || server.requests().len() >= 3).await.unwrap();
        let requests = server.requests();
        assert!(requests[0].is_streamed_list() && requests[1].is_paged_list(), "{requests:?}");
        assert_eq!(requests[1].time - requests[0].time, REQUEST_TIMEOUT);
        assert_eq!((requests[2].value("timeoutSeconds"), requests[2].value("resourceVersion")), ("10", "5"));

        // The next term does not try again.
        watch_until(&client, &memory, || server.requests().len() >= 4).await.unwrap();
        assert!(server.requests()[3].is_paged_list());
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_in_pages_either_is_streamed_again() {
    let server = Server::default();
    let answer = |request| match request {
        0 | 1 => ScriptedAnswer::Silence,
        _ => ScriptedAnswer::Open(end_of_list("5")),
    };
    let (client, memory) = (server.client(answer, positions(["5"])), WatchMemory::default());
    watch_until(&client, &memory, || server.requests().len() >= 3).await.unwrap();
    let requests = server.requests();
    assert!(requests[1].is_paged_list() && requests[2].is_streamed_list(), "{requests:?}");
    assert!(!memory.is_buffered.load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_response_is_made_in_short_requests() {
    let server = Server::default();
    let answer = |request| match request {
        0 => end_of_list("5").into(),
        1 => ScriptedAnswer::Silence,
        2 => line("MODIFIED", &object(7)).into(),
        _ => ScriptedAnswer::Open(String::new()),
    };
    let client = server.client(answer, positions(["9"]));
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 4).await.unwrap();
    let requests = server.requests();
    let seconds: Vec<_> = requests.iter().map(|request| request.value("timeoutSeconds")).collect();
    assert_eq!(seconds, ["290", "290", "10", "10"]);
    let versions: Vec<_> = requests.iter().map(|request| request.value("resourceVersion")).collect();
    assert_eq!(versions, ["", "5", "5", "7"]);
}

#[tokio::test(start_paused = true)]
async fn short_watches_follow_each_other_without_a_wait_where_bookmarks_are_dropped() {
    let server = Server::default();
    let answer = |request| match request {
        0 => ScriptedAnswer::Silence,
        1 => paged_list("5", &[]).into(),
        _ => ScriptedAnswer::Slow(Duration::from_secs(u64::from(SHORT_WATCH_SECONDS))),
    };
    let client = server.client(answer, positions(["5"]));
    watch_until(&client, &WatchMemory::default(), || server.requests().len() >= 12).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[11].time - requests[2].time, Duration::from_secs(90), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn one_list_falls_back_to_pages_too() {
    for streamed in held_back() {
        let server = Server::default();
        let answer = move |request| match request {
            0 => streamed(),
            _ => paged_list("5", &[object(1), object(2)]).into(),
        };
        let mut index = Index::new(IndexOptions { extended: false, limit: usize::MAX });
        list(&server.client(answer, positions(["5"])), &mut index).await.unwrap();
        assert_eq!(index.counts().unwrap().not_ready, 2);
    }
}
