use std::convert::Infallible;
use std::future::ready;

use http::{Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::agent::observe::ControlPlane;

/// A request to the simulated API server.
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
}

/// Creates a client whose requests get their bodies from `answer`, by number, and a receiver of the requests.
fn client(answer: impl Fn(usize) -> String + Send + 'static) -> (Client, mpsc::UnboundedReceiver<ListRequest>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let mut count = 0;
    let service = service_fn(move |request: http::Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        // A test drops the receiver once it has enough requests.
        let _ = sender.send(ListRequest { query, time: Instant::now() });
        count += 1;
        let body = answer(count - 1).into_bytes();
        ready(Ok::<_, Infallible>(Response::builder().status(StatusCode::OK).body(Body::from(body)).unwrap()))
    });
    (Client::new(service, "default"), requests)
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

/// Watches until the client has made `count` requests, and returns the events and the requests.
async fn watch(
    client: Client,
    mut requests: mpsc::UnboundedReceiver<ListRequest>,
    count: usize,
) -> (Vec<WatcherEvent>, Vec<ListRequest>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let (mut events, mut made) = (Vec::new(), Vec::new());
    let throttle = LogThrottle::hourly();
    let mut watch = std::pin::pin!(run(&client, MAX_BACKOFF, &throttle, sender));
    while made.len() < count {
        tokio::select! {
            biased;
            Some(event) = receiver.recv() => events.push(event),
            Some(request) = requests.recv() => made.push(request),
            () = &mut watch => panic!("the watch ends only when its receiver is dropped"),
        }
    }
    (events, made)
}

fn is_applied(event: &WatcherEvent, number: u32) -> bool {
    matches!(event, WatcherEvent::Apply(ControlPlane { uid, .. }) if uid.as_u128() == number.into())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_closes_is_resumed_from_its_position() {
    let (client, requests) = client(|request| match request {
        0 => line("ADDED", &object(1)) + &end_of_list("5") + &line("MODIFIED", &object(7)),
        _ => line("DELETED", &object(8)),
    });
    let (events, made) = watch(client, requests, 3).await;
    assert!(
        matches!(events[..], [WatcherEvent::Init, _, WatcherEvent::InitDone, _, WatcherEvent::Delete(_), ..]),
        "{events:?}"
    );
    assert!(is_applied(&events[1], 1) && is_applied(&events[3], 7), "{events:?}");
    let versions: Vec<_> = made.iter().map(|request| request.value("resourceVersion")).collect();
    assert_eq!(versions, ["", "7", "8"]);
    assert_eq!(made[0].value("sendInitialEvents"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_truncated_line_is_no_event_and_is_requested_again() {
    let (client, requests) = client(|request| match request {
        0 => end_of_list("5") + line("MODIFIED", &object(7)).trim_end_matches("}\n"),
        _ => line("MODIFIED", &object(7)),
    });
    let (events, made) = watch(client, requests, 3).await;
    assert!(
        matches!(events[..], [WatcherEvent::Init, WatcherEvent::InitDone, _]) && is_applied(&events[2], 7),
        "{events:?}"
    );
    assert_eq!(made[1].value("resourceVersion"), "5");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_each_time_is_retried_with_growing_waits() {
    let (client, requests) = client(|_| line("ADDED", &object(1)));
    let (_, made) = watch(client, requests, 6).await;
    let waits = made.windows(2).map(|pair| pair[1].time - pair[0].time);
    for (wait, factor) in waits.zip([1, 2, 4, 8, 16]) {
        assert!(wait >= MIN_BACKOFF.mul_f32(0.5) * factor, "{wait:?}");
    }
}
