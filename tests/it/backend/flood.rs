//! Floods, each from one client, while other clients send and are served.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use uuid::Uuid;

use super::harness::{GZIP, PROTOBUF, connect_from, gzip, request_from};
use super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program::Backend;
use crate::servers::{eventually, store};

/// The clients of connections without a request, of requests without a pause, and of bodies without an end.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const EAGER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);
const SLOW: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 3);

/// The connections of `SILENT` and of `SLOW`: more than one client may have.
const HELD: usize = 200;

/// The pause before a closed connection is opened again: hundreds of connections a second in all, which leave time for the
/// rest.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// Concurrent senders without a pause.
const SENDERS: usize = 8;

/// The senders that send as an agent does, and their requests over each transport.
const HONEST: u8 = 10;
const EACH: usize = 10;

/// The counts of a flood.
#[derive(Debug, Default)]
struct Flood {
    connections: AtomicUsize,
    closed: AtomicUsize,
    requests: AtomicUsize,
    acknowledged: AtomicUsize,
    limited: AtomicUsize,
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn read(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

fn event(uid: Uuid) -> Vec<u8> {
    logs_request(vec![created(uid, now())]).encode_to_vec()
}

/// Opens a connection, sends `begin`, holds it until the other end closes it, and starts again.
async fn hold(flood: Arc<Flood>, from: Ipv4Addr, address: SocketAddr, begin: &'static str) {
    loop {
        let Ok(mut stream) = connect_from(from, address).await else { continue };
        add(&flood.connections);
        let _ = stream.write_all(begin.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        add(&flood.closed);
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

/// Sends requests without a pause.
async fn press(flood: Arc<Flood>, address: SocketAddr) {
    loop {
        add(&flood.requests);
        let body = event(Uuid::new_v4());
        match request_from(EAGER, address, "POST", "/v1/logs", &[PROTOBUF], &body).await.map(|reply| reply.status) {
            Some(200) => add(&flood.acknowledged),
            Some(429) | None => add(&flood.limited),
            Some(status) => panic!("{status}"),
        }
    }
}

/// Sends as an agent does, from an address of its own; returns the slowest response, the events and the installation.
async fn honest(from: Ipv4Addr, http: SocketAddr, grpc: SocketAddr) -> (Duration, Vec<Uuid>, Uuid) {
    let (mut slowest, mut uids, installation) = (Duration::ZERO, Vec::new(), Uuid::new_v4());
    let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap().local_address(Some(from.into()));
    let mut client = LogsServiceClient::new(endpoint.connect().await.unwrap());
    for _ in 0..EACH {
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        let began = Instant::now();
        client.export(logs_request(vec![created(one, now())])).await.unwrap();
        let gauges = metrics_request(installation, state_gauges([1, 2, 3, 4], now())).encode_to_vec();
        for (path, body) in [("/v1/logs", event(other)), ("/v1/metrics", gauges)] {
            let reply = request_from(from, http, "POST", path, &[PROTOBUF], &body).await.expect("the server responds");
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        slowest = slowest.max(began.elapsed());
        uids.extend([one, other]);
    }
    (slowest, uids, installation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_one_client_leaves_the_others_served() {
    // A fifth of the default, which a busy machine could be too slow to exceed.
    let backend = Backend::start_with(&["--rate-limit-requests=20"]).await;
    let (http, grpc) = (backend.http(), backend.grpc());
    let (silent, eager, slow) = (Arc::<Flood>::default(), Arc::<Flood>::default(), Arc::<Flood>::default());
    let mut floods = JoinSet::new();
    for position in 0..HELD {
        let address = if position % 2 == 0 { http } else { grpc };
        floods.spawn(hold(Arc::clone(&silent), SILENT, address, ""));
        let half = "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9999\r\n\r\nhalf";
        floods.spawn(hold(Arc::clone(&slow), SLOW, http, half));
    }
    for _ in 0..SENDERS {
        floods.spawn(press(Arc::clone(&eager), http));
    }
    eventually("every flood to meet a limit", async || {
        (read(&silent.closed) > 0 && read(&slow.closed) > 0 && read(&eager.limited) > 0).then_some(())
    })
    .await;

    let (began, limited) = (Instant::now(), read(&eager.limited));
    let mut senders = JoinSet::new();
    for last in 1..=HONEST {
        senders.spawn(honest(Ipv4Addr::new(127, 0, 2, last), http, grpc));
    }
    let (mut slowest, mut uids, mut installations) = (Duration::ZERO, Vec::new(), Vec::new());
    for (took, events, installation) in senders.join_all().await {
        slowest = slowest.max(took);
        uids.extend(events);
        installations.push(installation);
    }
    let took = began.elapsed();
    // The flood went on meanwhile.
    eventually("the flood to be limited still", async || (read(&eager.limited) > limited).then_some(())).await;
    floods.shutdown().await;

    let connection = store::open(backend.file());
    let count = |sql: &str, id: &Uuid| connection.query_row(sql, [id], |row| row.get::<_, i64>(0)).unwrap();
    assert!(uids.iter().all(|uid| count("SELECT count(*) FROM events WHERE uid = ?1", uid) == 1));
    assert!(installations.iter().all(|id| count("SELECT count(*) FROM latest WHERE installation = ?1", id) == 1));
    let acknowledged = usize::from(HONEST) * EACH * 3;
    super::figures(
        "flood",
        &format!(
            "flood: {} silent connections, {} closed at once; {} requests without a pause, {} acknowledged, {} limited; \
             {} half bodies, {} closed at once; meanwhile {acknowledged} requests of {HONEST} other clients sent, \
             {acknowledged} acknowledged, all stored, in {} ms, three of them in at most {} ms",
            read(&silent.connections),
            read(&silent.closed),
            read(&eager.requests),
            read(&eager.acknowledged),
            read(&eager.limited),
            read(&slow.connections),
            read(&slow.closed),
            took.as_millis(),
            slowest.as_millis(),
        ),
    );
}

/// Returns half a MiB of empty records, each of which takes a hundred times its size once it is decoded.
fn bomb() -> Arc<Vec<u8>> {
    let records = logs_request(vec![LogRecord::default(); 250_000]).encode_to_vec();
    assert!(records.len() < 512 * 1024, "{}", records.len());
    Arc::new(gzip(&records))
}

/// Bodies that are decoded at once, before their client is charged for any.
const READ_AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn bombs_that_wait_behind_those_of_their_client_are_not_decoded() {
    let backend = Backend::start_with_workers(2 * READ_AT_ONCE).await;
    let bomb = bomb();
    let (last, first) = bomb.split_last().unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: a\r\n{}: {}\r\n{}: {}\r\ncontent-length: {}\r\n\r\n",
        PROTOBUF.0,
        PROTOBUF.1,
        GZIP.0,
        GZIP.1,
        bomb.len(),
    );
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = connect_from(EAGER, backend.http()).await.unwrap();
        stream.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
        streams.push(stream);
    }
    // All bodies are complete before the first is decoded.
    for stream in &mut streams {
        stream.write_all(&[*last]).await.unwrap();
    }
    let mut responses = Vec::new();
    for mut stream in streams {
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        responses.push(String::from_utf8_lossy(&status[9..]).parse::<u16>().unwrap());
    }
    let read = responses.iter().filter(|status| **status == 400).count();
    assert!((1..=READ_AT_ONCE).contains(&read), "{responses:?}");
    assert_eq!(responses.iter().filter(|status| **status == 429).count(), responses.len() - read);
}

/// The senders of bombs, and the bombs of each.
const BOMBERS: u8 = 64;
const BOMBS: usize = 4;

/// The memory that the process may take: 256 MiB for four messages that are decoded at once, as much again for what the allocator has
/// not given back of those before, and its own.
const MEMORY: u64 = 640 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn bombs_from_many_clients_at_once_take_bounded_memory() {
    // The workers of a machine with many processors, each of which could decode a message.
    let backend = Backend::start_with_workers(usize::from(BOMBERS)).await;
    let bomb = bomb();
    let mut bombers = JoinSet::new();
    for last in 1..=BOMBERS {
        let (bomb, http) = (Arc::clone(&bomb), backend.http());
        bombers.spawn(async move {
            let mut responses = Vec::new();
            for _ in 0..BOMBS {
                let from = Ipv4Addr::new(127, 0, 3, last);
                responses.push(request_from(from, http, "POST", "/v1/logs", &[PROTOBUF, GZIP], &bomb).await);
            }
            responses
        });
    }
    let responses = bombers.join_all().await.concat();
    // The first of each is read; then its client has used up its items, and is limited.
    let rejected = responses.iter().flatten().filter(|reply| reply.status == 400).count();
    assert_eq!(rejected, usize::from(BOMBERS));
    let limited = responses.iter().filter(|response| response.as_ref().is_none_or(|reply| reply.status == 429)).count();
    assert_eq!(rejected + limited, responses.len());
    let peak = backend.peak_memory();
    super::figures(
        "bombs",
        &format!(
            "{} bombs of {} kB, 250,000 records each, from {BOMBERS} clients at once, {rejected} read and rejected, {limited} limited: at most {} MB of memory",
            responses.len(),
            bomb.len() / 1_000,
            peak / 1_000_000,
        ),
    );
    assert!(peak < MEMORY, "{peak}");
}
