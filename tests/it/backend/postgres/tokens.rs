//! Tokens and sessions of one backend, which the other knows.

use std::time::{Duration, Instant};

use super::super::harness::{Reply, request};
use super::scene::Scene;
use crate::program::Backend;
use crate::program::command::{run, text};
use crate::servers::postgres::TestDatabase;
use crate::servers::within;

/// The time within which a token that was revoked is refused everywhere.
const MAX_DELAY: Duration = Duration::from_secs(1);

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Returns the status of an answer to the holder of a token.
async fn status(backend: &Backend, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    request(backend.http(), "GET", "/api/v1/insights/overview", &[("authorization", &authorization)], &[]).await.status
}

async fn front_page(backend: &Backend, cookie: &str) -> Reply {
    request(backend.http(), "GET", "/", &[("cookie", cookie)], &[]).await
}

fn is_signed_in(page: &Reply) -> bool {
    page.status == 200 && !page.text().contains("action=\"/sign-in\"")
}

/// Signs in, and returns the cookie.
async fn sign_in(backend: &Backend, token: &str) -> String {
    let origin = format!("http://{}", backend.http());
    let body = format!("token={token}");
    let reply = request(backend.http(), "POST", "/sign-in", &[FORM, ("origin", &origin)], body.as_bytes()).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    reply.header("set-cookie").unwrap().split_once("; ").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_session_of_one_backend_are_known_to_the_other_until_the_token_is_revoked() {
    let database = TestDatabase::create().await;
    let scene = Scene::start(database.address().to_owned()).await;
    let [first, second] = &scene.backends[..] else { unreachable!("a scene has two backends") };
    let token = first.token("alice");
    assert_eq!([status(first, &token).await, status(second, &token).await], [200, 200]);
    let cookie = sign_in(first, &token).await;
    assert!(is_signed_in(&front_page(first, &cookie).await) && is_signed_in(&front_page(second, &cookie).await));
    let store = format!("--store={}", database.address());
    let revoked = run(&["backend", "token", "revoke", "alice", &store], &[]).await;
    assert!(revoked.status.success(), "{}", text(&revoked));
    let start = Instant::now();
    within(MAX_DELAY, "both to refuse the token", async || {
        let statuses = [status(first, &token).await, status(second, &token).await];
        (statuses == [401, 401]).then_some(())
    })
    .await;
    let delay = start.elapsed();
    assert!(!is_signed_in(&front_page(first, &cookie).await) && !is_signed_in(&front_page(second, &cookie).await));
    let figure =
        format!("a token that was revoked by a command is refused by two backends after {} ms", delay.as_millis());
    super::super::figures("postgres-tokens", &figure);
}
