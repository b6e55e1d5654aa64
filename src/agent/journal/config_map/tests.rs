use std::convert::Infallible;

use http::{Method, Request as HttpRequest, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tower::service_fn;

use super::*;

/// Opens a new journal, which the simulated API server writes as resourceVersion 10. Its checks find `versions`, one
/// after the other, or no journal.
async fn journal<const N: usize>(versions: [Option<&'static str>; N]) -> FencedJournal {
    let mut finds = std::iter::once(None).chain(versions);
    let service = service_fn(move |request: HttpRequest<Body>| {
        let found = match (request.method(), request.uri().path().ends_with(BASE_NAME)) {
            (&Method::GET, false) => finds.next().flatten(),
            (&Method::GET, true) => None,
            _ => Some("10"),
        };
        let (status, body) = match found {
            Some(version) => (StatusCode::OK, json!({"metadata": {"resourceVersion": version}})),
            None => {
                (StatusCode::NOT_FOUND, json!({"kind": "Status", "code": 404, "message": "", "reason": "NotFound"}))
            }
        };
        let response = Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let store = JournalStore { client: Client::new(service, "default"), namespace: "default".to_owned(), owner: None };
    store.open("http://127.0.0.1:1").await.unwrap().0
}

#[tokio::test]
async fn a_journal_that_is_older_twice_in_succession_ends_the_term() {
    let mut journal = journal([Some("9"), Some("10"), Some("9"), Some("9")]).await;
    for _ in 0..3 {
        journal.check().await.unwrap();
    }
    assert_eq!(journal.check().await, Err(JournalWriteError::Fenced(OLDER)));
}

#[tokio::test]
async fn a_journal_that_is_newer_or_has_no_order_ends_the_term_at_once() {
    for version in ["11", "100", "some-token"] {
        let checked = journal([Some(version)]).await.check().await;
        assert_eq!(checked, Err(JournalWriteError::Fenced(WRITTEN)), "{version}");
    }
    assert_eq!(journal([None]).await.check().await, Err(JournalWriteError::Fenced(DELETED)));
}
