use std::convert::Infallible;
use std::future::ready;

use http::{Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::service_fn;

use super::*;
use crate::agent::observe::ControlPlane;

/// A request that was made.
struct Asked {
    query: String,
    at: Instant,
}

impl Asked {
    /// What was given for a parameter; empty where it was not.
    fn value(&self, parameter: &str) -> &str {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| *name == parameter).map_or("", |(_, value)| value)
    }
}

/// A client whose requests are answered by `answer`, one after the other, and what was asked.
fn client(answer: impl Fn(usize) -> String + Send + 'static) -> (Client, mpsc::UnboundedReceiver<Asked>) {
    let (asked, asks) = mpsc::unbounded_channel();
    let mut count = 0;
    let service = service_fn(move |request: http::Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        // A test that has seen enough listens no more.
        let _ = asked.send(Asked { query, at: Instant::now() });
        count += 1;
        let body = answer(count - 1).into_bytes();
        ready(Ok::<_, Infallible>(Response::builder().status(StatusCode::OK).body(Body::from(body)).unwrap()))
    });
    (Client::new(service, "default"), asks)
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

/// What is seen, and the requests that were made for it, until `requests` were.
async fn watch(
    client: Client,
    mut asks: mpsc::UnboundedReceiver<Asked>,
    requests: usize,
) -> (Vec<WatcherEvent>, Vec<Asked>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let (mut seen, mut asked) = (Vec::new(), Vec::new());
    let quiet = LogThrottle::hourly();
    let mut watch = std::pin::pin!(run(&client, BACKOFF_MAX, &quiet, sender));
    while asked.len() < requests {
        tokio::select! {
            biased;
            Some(next) = receiver.recv() => seen.push(next),
            Some(next) = asks.recv() => asked.push(next),
            () = &mut watch => panic!("the watch goes on for as long as somebody listens"),
        }
    }
    (seen, asked)
}

fn is_applied(seen: &WatcherEvent, number: u32) -> bool {
    matches!(seen, WatcherEvent::Apply(ControlPlane { uid, .. }) if uid.as_u128() == number.into())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_the_server_ends_is_resumed_where_it_was() {
    let (client, asks) = client(|request| match request {
        0 => line("ADDED", &object(1)) + &end_of_list("5") + &line("MODIFIED", &object(7)),
        _ => line("DELETED", &object(8)),
    });
    let (seen, asked) = watch(client, asks, 3).await;
    assert!(
        matches!(seen[..], [WatcherEvent::Init, _, WatcherEvent::InitDone, _, WatcherEvent::Delete(_), ..]),
        "{seen:?}"
    );
    assert!(is_applied(&seen[1], 1) && is_applied(&seen[3], 7), "{seen:?}");
    let versions: Vec<_> = asked.iter().map(|asked| asked.value("resourceVersion")).collect();
    assert_eq!(versions, ["", "7", "8"]);
    assert_eq!(asked[0].value("sendInitialEvents"), "true");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_cut_is_not_taken_for_an_event_and_comes_again() {
    let (client, asks) = client(|request| match request {
        0 => end_of_list("5") + line("MODIFIED", &object(7)).trim_end_matches("}\n"),
        _ => line("MODIFIED", &object(7)),
    });
    let (seen, asked) = watch(client, asks, 3).await;
    assert!(matches!(seen[..], [WatcherEvent::Init, WatcherEvent::InitDone, _]) && is_applied(&seen[2], 7), "{seen:?}");
    assert_eq!(asked[1].value("resourceVersion"), "5");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_cut_each_time_is_asked_for_more_and_more_seldom() {
    let (client, asks) = client(|_| line("ADDED", &object(1)));
    let (_, asked) = watch(client, asks, 6).await;
    let waits = asked.windows(2).map(|pair| pair[1].at - pair[0].at);
    for (wait, least) in waits.zip([1, 2, 4, 8, 16]) {
        assert!(wait >= BACKOFF_MIN.mul_f32(0.5) * least, "{wait:?}");
    }
}
