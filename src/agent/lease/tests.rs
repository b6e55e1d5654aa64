//! Candidates for a Lease in a simulated API server, with the clock paused.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use super::*;
use crate::testkit::in_process::ApiServer;
use crate::testkit::simulated_cluster::Kind;

const DURATION: Duration = Duration::from_secs(15);
const NAMESPACE: &str = "kamaji-telemetry";

fn candidate(server: &ApiServer, identity: &str) -> Lease {
    let store = JournalStore { client: server.client(), namespace: NAMESPACE.to_owned(), owner: None };
    Lease::new(store, identity.to_owned(), DURATION)
}

fn holder(server: &ApiServer) -> Option<String> {
    let lease = server.cluster.read(Kind::Lease, NAMESPACE, NAME).unwrap();
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

/// Returns a holder of the Lease, and the time at which it acquired it.
async fn acquired(server: &ApiServer, identity: &str) -> (Lease, Instant) {
    let mut lease = candidate(server, identity);
    let acquired_at = lease.acquire(|| panic!("nobody else holds it")).await;
    (lease, acquired_at)
}

#[tokio::test(start_paused = true)]
async fn a_candidate_stands_by_while_the_holder_renews() {
    let server = ApiServer::start();
    let (mut a, acquired_at) = acquired(&server, "a").await;
    let stands_by = Arc::new(AtomicBool::new(false));
    let mut b = candidate(&server, "b");
    tokio::select! {
        () = a.renew_until_lost(acquired_at) => panic!("it was lost"),
        _ = b.acquire(|| stands_by.store(true, Ordering::SeqCst)) => panic!("it was taken over"),
        () = sleep(DURATION * 20) => {}
    }
    assert!(stands_by.load(Ordering::SeqCst));
    assert_eq!(holder(&server).as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_released_is_taken_at_once() {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    let mut b = candidate(&server, "b");
    assert!(!b.try_acquire_or_renew().await);
    a.release().await;
    assert_eq!(holder(&server), None);
    assert!(b.try_acquire_or_renew().await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_holder_died_is_taken_over_within_its_duration() {
    let server = ApiServer::start();
    for wait in 0..10 {
        let (mut a, acquired_at) = acquired(&server, "a").await;
        let mut b = candidate(&server, "b");
        tokio::select! {
            () = a.renew_until_lost(acquired_at) => panic!("it was lost"),
            _ = b.acquire(|| {}) => panic!("it was taken over"),
            () = sleep(DURATION * wait / 7) => {}
        }
        let died = Instant::now();
        b.acquire(|| {}).await;
        assert!(died.elapsed() <= DURATION, "{:?}", died.elapsed());
        b.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_restarts_under_its_identity_acquires_at_once() {
    let server = ApiServer::start();
    drop(acquired(&server, "a").await);
    let started = Instant::now();
    acquired(&server, "a").await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_before_another_takes_over() {
    let server = ApiServer::start();
    let (mut a, acquired_at) = acquired(&server, "a").await;
    let mut b = candidate(&server, "b");
    let cut_off = ApiServer::start();
    cut_off.set_down(true);
    a.store.client = cut_off.client();
    tokio::select! {
        () = a.renew_until_lost(acquired_at) => {}
        _ = b.acquire(|| {}) => panic!("it was taken over from a holder that had not given up"),
    }
    b.acquire(|| {}).await;
    assert_eq!(holder(&server).as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_api_server_does_not_end_a_leadership() {
    let server = ApiServer::start();
    let (mut a, acquired_at) = acquired(&server, "a").await;
    let outage = async {
        for _ in 0..10 {
            sleep(DURATION).await;
            server.set_down(true);
            sleep(DURATION / 5).await;
            server.set_down(false);
        }
    };
    tokio::select! {
        () = a.renew_until_lost(acquired_at) => panic!("it was lost"),
        () = outage => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_frozen_past_the_duration_finds_that_it_has_lost() {
    let server = ApiServer::start();
    let (mut a, acquired_at) = acquired(&server, "a").await;
    let mut b = candidate(&server, "b");
    b.acquire(|| {}).await;
    a.renew_until_lost(acquired_at).await;
    assert_eq!(holder(&server).as_deref(), Some("b"));
    a.release().await;
    assert_eq!(holder(&server).as_deref(), Some("b"), "only what one holds can be released");
}

/// Returns what is logged from level info on while a holder whose requests are answered with `status` releases the Lease.
async fn log_of_release(status: StatusCode) -> String {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    server.fail_with(Some(status));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let make_writer = move || writer.try_clone().unwrap();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(make_writer).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    a.release().await;
    // Closes the writer, so that the reader comes to an end.
    drop(guard);
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    log
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_removed_with_its_roles_before_the_agent_ends_is_not_worth_a_line() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
        assert_eq!(log_of_release(status).await, "", "{status}");
    }
    let log = log_of_release(StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(log.contains("INFO") && log.contains("failed to release the Lease"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn the_times_in_a_lease_are_ignored() {
    for time in ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let server = ApiServer::start();
        drop(acquired(&server, "a").await);
        let set = |lease: &mut serde_json::Value| lease["spec"]["renewTime"] = time.into();
        server.cluster.change(Kind::Lease, NAMESPACE, NAME, set).unwrap();
        let mut b = candidate(&server, "b");
        let started = Instant::now();
        b.acquire(|| {}).await;
        assert!((DURATION / 2..=DURATION).contains(&started.elapsed()), "{time}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_was_lost_does_not_prevent_a_release() {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    // The API server renews it, and its answer is lost.
    let observed = a.observed.take();
    assert!(a.try_acquire_or_renew().await);
    a.observed = observed;
    a.release().await;
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn a_holder_with_a_longer_duration_is_waited_for() {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    a.duration = DURATION * 10;
    assert!(a.try_acquire_or_renew().await);
    let mut b = candidate(&server, "b");
    let started = Instant::now();
    b.acquire(|| {}).await;
    assert!(started.elapsed() >= DURATION * 5, "{:?}", started.elapsed());
}
