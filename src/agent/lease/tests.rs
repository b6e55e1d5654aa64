//! Candidates for a Lease in a simulated API server, on a clock that stands still until all wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::testkit::api_server::ApiServer;
use crate::testkit::cluster::Kind;

const DURATION: Duration = Duration::from_secs(15);
const NAMESPACE: &str = "kamaji-telemetry";

fn candidate(server: &ApiServer, identity: &str) -> Lease {
    let place = JournalStore { client: server.client(), namespace: NAMESPACE.to_owned(), owner: None };
    Lease::new(place, identity.to_owned(), DURATION)
}

fn holder(server: &ApiServer) -> Option<String> {
    let lease = server.cluster.read(Kind::Lease, NAMESPACE, NAME).unwrap();
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

/// A holder of the Lease, and as of when it holds it.
async fn acquired(server: &ApiServer, identity: &str) -> (Lease, Instant) {
    let mut lease = candidate(server, identity);
    let held = lease.acquire(|| panic!("nobody else holds it")).await;
    (lease, held)
}

#[tokio::test(start_paused = true)]
async fn a_candidate_stands_by_while_the_holder_renews() {
    let server = ApiServer::start();
    let (mut a, held) = acquired(&server, "a").await;
    let stands_by = Arc::new(AtomicBool::new(false));
    let mut b = candidate(&server, "b");
    tokio::select! {
        () = a.keep(held) => panic!("it was lost"),
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
    assert!(!b.try_to_hold().await);
    a.release().await;
    assert_eq!(holder(&server), None);
    assert!(b.try_to_hold().await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_holder_died_is_taken_over_within_its_duration() {
    let server = ApiServer::start();
    for wait in 0..10 {
        let (mut a, held) = acquired(&server, "a").await;
        let mut b = candidate(&server, "b");
        tokio::select! {
            () = a.keep(held) => panic!("it was lost"),
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
async fn a_holder_that_comes_back_under_its_name_waits_for_nothing() {
    let server = ApiServer::start();
    drop(acquired(&server, "a").await);
    let begun = Instant::now();
    acquired(&server, "a").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_before_another_takes_over() {
    let server = ApiServer::start();
    let (mut a, held) = acquired(&server, "a").await;
    let mut b = candidate(&server, "b");
    let cut_off = ApiServer::start();
    cut_off.set_down(true);
    a.place.client = cut_off.client();
    tokio::select! {
        () = a.keep(held) => {}
        _ = b.acquire(|| {}) => panic!("it was taken over from a holder that had not given up"),
    }
    b.acquire(|| {}).await;
    assert_eq!(holder(&server).as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_api_server_does_not_end_a_leadership() {
    let server = ApiServer::start();
    let (mut a, held) = acquired(&server, "a").await;
    let outage = async {
        for _ in 0..10 {
            sleep(DURATION).await;
            server.set_down(true);
            sleep(DURATION / 5).await;
            server.set_down(false);
        }
    };
    tokio::select! {
        () = a.keep(held) => panic!("it was lost"),
        () = outage => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_was_frozen_past_the_duration_finds_that_it_has_lost() {
    let server = ApiServer::start();
    let (mut a, held) = acquired(&server, "a").await;
    let mut b = candidate(&server, "b");
    b.acquire(|| {}).await;
    a.keep(held).await;
    assert_eq!(holder(&server).as_deref(), Some("b"));
    a.release().await;
    assert_eq!(holder(&server).as_deref(), Some("b"), "only what one holds can be released");
}

#[tokio::test(start_paused = true)]
async fn the_times_in_a_lease_are_not_believed() {
    for time in ["1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        let server = ApiServer::start();
        drop(acquired(&server, "a").await);
        let set = |lease: &mut serde_json::Value| lease["spec"]["renewTime"] = time.into();
        server.cluster.change(Kind::Lease, NAMESPACE, NAME, set).unwrap();
        let mut b = candidate(&server, "b");
        let begun = Instant::now();
        b.acquire(|| {}).await;
        assert!((DURATION / 2..=DURATION).contains(&begun.elapsed()), "{time}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_was_under_way_does_not_keep_a_lease_from_being_released() {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    // Renewed by the API server, and unheard of here.
    let seen = a.seen.take();
    assert!(a.try_to_hold().await);
    a.seen = seen;
    a.release().await;
    assert_eq!(holder(&server), None);
}

#[tokio::test(start_paused = true)]
async fn a_holder_with_a_longer_duration_is_waited_for() {
    let server = ApiServer::start();
    let (mut a, _) = acquired(&server, "a").await;
    a.duration = DURATION * 10;
    assert!(a.try_to_hold().await);
    let mut b = candidate(&server, "b");
    let begun = Instant::now();
    b.acquire(|| {}).await;
    assert!(begun.elapsed() >= DURATION * 5, "{:?}", begun.elapsed());
}
