//! Each limit on clients, on real sockets: the response to the client that meets it, and that other clients are served.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use kamaji_telemetry::backend::{Limits, TrustedProxies, parse_network};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::{RpcStatusExt, StatusExt};
use uuid::Uuid;

use super::harness::{
    Backend, JSON, PROTOBUF, Reply, connect_from, converse, request_from, try_converse, try_request, unlimited,
};
use super::kamaji::stats;
use super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program;
use crate::servers::eventually;

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 2);

/// The burst of a rate, in seconds.
const BURST: u64 = 20;

fn event() -> Vec<u8> {
    logs_request(vec![created(Uuid::new_v4(), now())]).encode_to_vec()
}

async fn send(backend: &Backend, from: Ipv4Addr, headers: &[(&str, &str)]) -> Option<Reply> {
    let headers = [&[PROTOBUF], headers].concat();
    request_from(from, backend.http, "POST", "/v1/logs", &headers, &event()).await
}

/// Returns the seconds to wait that a response asks for, the same in its head and in its body.
fn retry_after(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 429, "{reply:?}");
    let seconds = reply.header("retry-after").unwrap().parse().unwrap();
    let status = tonic_types::pb::Status::decode(reply.body.as_slice()).unwrap();
    assert_eq!(status.code, i32::from(Code::ResourceExhausted));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(seconds)));
    seconds
}

#[tokio::test]
async fn a_client_that_sends_too_often_gets_a_time_to_retry_after_and_others_are_served() {
    let backend = Backend::limited(Limits { requests: 1, ..unlimited() }).await;
    let mut stream = connect_from(ONE, backend.http).await.unwrap();
    let mut stored = 0;
    let rejected = loop {
        let reply = converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &event()).await;
        if reply.status != 200 {
            break reply;
        }
        stored += 1;
    };
    assert!(retry_after(&rejected) <= 2);
    assert!(stored >= BURST, "{stored}");
    assert_eq!(backend.count("events"), stored);
    assert_eq!(send(&backend, OTHER, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_connects_too_often_is_closed_unread() {
    let backend = Backend::limited(Limits { requests: 1, ..unlimited() }).await;
    let mut open = Vec::new();
    let is_closed = async || {
        let mut stream = connect_from(ONE, backend.http).await.ok()?;
        match try_converse(&mut stream, "GET", "/livez", &[], &[]).await {
            Some(_) => open.push(stream),
            None => return Some(()),
        }
        None
    };
    eventually("a connection to be closed unread", is_closed).await;
    assert_eq!(send(&backend, OTHER, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn grpc_gets_the_time_in_retry_info() {
    let backend = Backend::limited(Limits { requests: 1, ..unlimited() }).await;
    let mut client = backend.logs_client_from(ONE).await;
    let rejected = async {
        loop {
            if let Err(status) = client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await {
                return status;
            }
        }
    };
    let status = rejected.await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() >= Duration::from_secs(1));
    backend.logs_client_from(OTHER).await.export(logs_request(vec![created(Uuid::new_v4(), now())])).await.unwrap();
}

#[tokio::test]
async fn items_are_owed_by_the_next_request() {
    let backend = Backend::limited(Limits { items: 10, ..unlimited() }).await;
    let many = || logs_request((0..500).map(|_| created(Uuid::new_v4(), now())).collect()).encode_to_vec();
    let reply = request_from(ONE, backend.http, "POST", "/v1/logs", &[PROTOBUF], &many()).await.unwrap();
    assert_eq!((reply.status, backend.count("events")), (200, 500));
    // 500 at 10 a second, of which 20 s may come at once.
    let mut stream = connect_from(OTHER, backend.http).await.unwrap();
    assert_eq!(converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &many()).await.status, 200);
    let rejected = converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &event()).await;
    assert!((1..=31).contains(&retry_after(&rejected)), "{rejected:?}");
    assert_eq!(backend.count("events"), 1_000);
}

#[tokio::test]
async fn the_bytes_of_one_client_that_are_stored_in_a_day_are_bounded() {
    // An event and a new word count as 192 bytes each.
    let backend = Backend::limited(Limits { bytes_per_day: 15 * 192, ..unlimited() }).await;
    let repeated = logs_request(vec![created(Uuid::new_v4(), now())]).encode_to_vec();
    let some = || logs_request((0..11).map(|_| created(Uuid::new_v4(), now())).collect()).encode_to_vec();
    let post =
        async |path, header, body: &[u8]| request_from(ONE, backend.http, "POST", path, &[header], body).await.unwrap();
    // What is not stored takes nothing of the day's bytes: malformed bodies, and repeats.
    for _ in 0..20 {
        assert_eq!(post("/v1/logs", PROTOBUF, b"garbage").await.status, 400);
        assert_eq!(post("/v1/logs", PROTOBUF, &repeated).await.status, 200);
    }
    assert_eq!(post("/v1/logs", PROTOBUF, &some()).await.status, 200);
    // Twelve events and four words, which is one fifteenth of a day too much. A byte accrues in 30 s.
    let fifteenth = 24 * 3_600 / 15;
    let wait = retry_after(&post("/v1/logs", PROTOBUF, &event()).await);
    assert!((fifteenth..=fifteenth + 32).contains(&wait), "{wait}");
    let gauges = metrics_request(Uuid::new_v4(), state_gauges([1, 2, 3, 4], now())).encode_to_vec();
    retry_after(&post("/v1/metrics", PROTOBUF, &gauges).await);
    assert_eq!(post("/stats", JSON, stats(Uuid::new_v4()).as_bytes()).await.status, 429);
    assert_eq!(backend.rows(), 12);
    assert_eq!(send(&backend, OTHER, &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_costs_as_many_items_as_would_be_as_long() {
    let backend = Backend::limited(Limits { items: 10, ..unlimited() }).await;
    let mut stream = connect_from(ONE, backend.http).await.unwrap();
    let garbage = converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], b"garbage").await;
    assert_eq!(garbage.status, 400);
    assert_eq!(converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &event()).await.status, 200);
    let garbage = converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &b"a".repeat(400_000)).await;
    assert_eq!(garbage.status, 400);
    retry_after(&converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &event()).await);
}

#[tokio::test]
async fn probes_and_readers_are_answered_when_the_items_of_their_address_are_used_up() {
    let backend = Backend::limited(Limits { items: 10, ..unlimited() }).await;
    let mut stream = connect_from(ONE, backend.http).await.unwrap();
    converse(&mut stream, "POST", "/v1/logs", &[PROTOBUF], &b"a".repeat(400_000)).await;
    let mut ask = async |method, path| converse(&mut stream, method, path, &[PROTOBUF], &[]).await.status;
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(ask("POST", "/v1/logs").await, 429);
    for path in ["/livez", "/readyz", "/"] {
        assert_eq!(ask("GET", path).await, 200, "{path}");
    }
}

#[tokio::test]
async fn probes_are_answered_when_the_requests_of_their_address_are_used_up() {
    let backend = Backend::limited(Limits { requests: 1, ..unlimited() }).await;
    eventually("it to be ready", async || (backend.get("/readyz").await.status == 200).then_some(())).await;
    let mut stream = connect_from(ONE, backend.http).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", backend.grpc)).unwrap().local_address(Some(ONE.into()));
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    while converse(&mut stream, "GET", "/", &[], &[]).await.status == 200 {}
    for _ in 0..2 * BURST {
        for path in ["/livez", "/readyz"] {
            assert_eq!(converse(&mut stream, "GET", path, &[], &[]).await.status, 200, "{path}");
        }
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert_eq!(converse(&mut stream, "GET", "/", &[], &[]).await.status, 429);
}

#[tokio::test]
async fn one_installation_is_limited_without_its_client() {
    let backend = Backend::limited(Limits { snapshots: 1, ..unlimited() }).await;
    let installation = Uuid::new_v4();
    let gauges = |installation| metrics_request(installation, state_gauges([1, 2, 3, 4], now())).encode_to_vec();
    let post =
        async |path, header, body: &[u8]| request_from(ONE, backend.http, "POST", path, &[header], body).await.unwrap();
    for _ in 0..BURST {
        post("/v1/metrics", PROTOBUF, &gauges(installation)).await;
    }
    let rejected =
        async || Some(post("/v1/metrics", PROTOBUF, &gauges(installation)).await).filter(|reply| reply.status != 200);
    retry_after(&eventually("an installation to be limited", rejected).await);
    assert_eq!(post("/v1/metrics", PROTOBUF, &gauges(Uuid::new_v4())).await.status, 200);
    let cluster = Uuid::new_v4();
    let rejected =
        async || Some(post("/stats", JSON, stats(cluster).as_bytes()).await).filter(|reply| reply.status != 200);
    let rejected = eventually("an installation of Kamaji's built-in telemetry to be limited", rejected).await;
    assert_eq!(rejected.status, 429);
    assert!(rejected.header("retry-after").is_some() && rejected.text().contains("try again later"), "{rejected:?}");
}

#[tokio::test]
async fn a_forwarded_address_is_trusted_of_a_proxy_only() {
    let networks = vec![parse_network("127.0.1.1").unwrap()];
    let trusted_proxies = TrustedProxies { networks, ..TrustedProxies::default() };
    let backend = Backend::limited(Limits { requests: 1, trusted_proxies, ..unlimited() }).await;
    let forwarded = |address| [("x-forwarded-for", address)];
    let exhaust = async |from, headers: &[(&str, &str)]| {
        let limited =
            async || send(&backend, from, headers).await.is_none_or(|reply| reply.status == 429).then_some(());
        eventually("a client to be limited", limited).await;
    };
    exhaust(ONE, &forwarded("192.0.2.1")).await;
    // The proxy wrote the last of two addresses.
    let reply = send(&backend, ONE, &forwarded("192.0.2.2, 192.0.2.1")).await.unwrap();
    assert_eq!(reply.status, 429);
    assert_eq!(send(&backend, ONE, &forwarded("192.0.2.1, 192.0.2.2")).await.unwrap().status, 200);
    // The header changes nothing for a peer that is not a proxy.
    let mut stream = connect_from(OTHER, backend.http).await.unwrap();
    while converse(&mut stream, "GET", "/", &[], &[]).await.status == 200 {}
    assert_eq!(converse(&mut stream, "GET", "/", &forwarded("192.0.2.3"), &[]).await.status, 429);
    assert_eq!(send(&backend, ONE, &forwarded("192.0.2.3")).await.unwrap().status, 200);
}

#[tokio::test]
async fn one_header_is_read_and_a_quoted_text_in_it_is_no_address() {
    let flags = ["--trusted-proxy=127.0.0.1", "--trusted-header=Forwarded", "--rate-limit-requests=1"];
    let backend = program::Backend::start_with(&flags).await;
    let get =
        async |headers: &[(&str, &str)]| try_request(backend.http(), "GET", "/", headers, &[]).await.unwrap().status;
    let mut served = 0;
    // The client chooses the host, which the proxy quotes, and another header.
    while get(&[
        ("forwarded", &format!("for=192.0.2.1;host=\"a,for=192.0.3.{served}\"")),
        ("x-forwarded-for", "192.0.2.9"),
    ])
    .await
        == 200
    {
        served += 1;
        assert!(served < 100, "each host is another client");
    }
    assert_eq!(get(&[("forwarded", "for=192.0.2.2")]).await, 200);
    assert_eq!(get(&[("forwarded", "for=192.0.2.1")]).await, 429);
}

#[tokio::test]
async fn a_public_url_without_a_proxy_is_warned_of() {
    let backend = program::Backend::start_with(&["--public-url=https://telemetry.example.org"]).await;
    backend.logged("all that comes through a proxy is limited as one client").await;
}

/// Opens a connection with a request in flight, whose body is missing.
async fn hold(backend: &Backend, from: Ipv4Addr) -> TcpStream {
    let mut stream = connect_from(from, backend.http).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: a\r\n{}: {}\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        PROTOBUF.0, PROTOBUF.1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn connections_of_one_client_and_of_all_are_bounded() {
    let limits = Limits { max_connections: 3, max_connections_per_client: 2, ..unlimited() };
    let backend = Backend::limited(limits).await;
    let held = [hold(&backend, ONE).await, hold(&backend, ONE).await];
    assert!(send(&backend, ONE, &[]).await.is_none());
    assert_eq!(send(&backend, OTHER, &[]).await.unwrap().status, 200);
    let third = hold(&backend, OTHER).await;
    assert!(send(&backend, Ipv4Addr::new(127, 0, 1, 3), &[]).await.is_none());
    drop(held);
    eventually("their slots to be free", async || send(&backend, ONE, &[]).await).await;
    drop(third);
}

#[tokio::test]
async fn an_idle_connection_is_evicted_for_a_new_one() {
    let limits = Limits { max_connections: 3, max_connections_per_client: 2, ..unlimited() };
    let backend = Backend::limited(limits).await;
    let idle = async |from| {
        let mut stream = connect_from(from, backend.http).await.unwrap();
        assert_eq!(converse(&mut stream, "GET", "/livez", &[], &[]).await.status, 200);
        stream
    };
    let (first, second) = (idle(ONE).await, idle(ONE).await);
    let mut other = idle(OTHER).await;
    // A client at its bound evicts a connection of its own.
    let mut third = idle(ONE).await;
    assert_eq!(closed(first).await, b"");
    // If all slots are taken, a connection of the client with the most is evicted.
    let mut newcomer = idle(Ipv4Addr::new(127, 0, 1, 3)).await;
    assert_eq!(closed(second).await, b"");
    for stream in [&mut other, &mut third, &mut newcomer] {
        assert_eq!(converse(stream, "GET", "/livez", &[], &[]).await.status, 200);
    }
}

#[tokio::test]
async fn a_health_watch_is_evicted_for_a_new_connection() {
    let backend = Backend::limited(Limits { max_connections_per_client: 1, ..unlimited() }).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", backend.grpc)).unwrap().local_address(Some(ONE.into()));
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    assert_eq!(send(&backend, ONE, &[]).await.unwrap().status, 200);
    while let Ok(Some(_)) = watch.message().await {}
}

/// Waits for the other end to close the connection, and returns what it sent before.
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut response = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut response).await;
    response
}

/// Sends `begin` and no more, and returns the response up to the end of the connection, which is to come within two minutes
/// of a paused clock. Such a clock advances whenever all tasks wait, for the network too, and stands still while a blocking
/// thread runs.
async fn response_in_time(address: SocketAddr, begin: &str) -> Vec<u8> {
    let mut client = std::net::TcpStream::connect(address).unwrap();
    client.write_all(begin.as_bytes()).unwrap();
    // A later connection gets its response at once: by then the bytes of the first were read.
    let later = tokio::task::spawn_blocking(move || {
        let mut later = std::net::TcpStream::connect(address).unwrap();
        later.write_all(b"nonsense\r\n\r\nnonsense\r\n\r\n").unwrap();
        rest(&mut later)
    });
    assert!(later.await.unwrap().is_some(), "a client that comes after {begin:?} is not rejected");
    client.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(client).unwrap();
    let mut response = Vec::new();
    let end = async { while stream.read_buf(&mut response).await.is_ok_and(|read| read > 0) {} };
    let _ = tokio::time::timeout(Duration::from_mins(2), end).await;
    // The last bytes may still be on their way.
    let on_its_way = tokio::task::spawn_blocking(move || {
        let mut client = stream.into_std().unwrap();
        client.set_nonblocking(false).unwrap();
        rest(&mut client)
    });
    response.extend(on_its_way.await.unwrap().unwrap_or_else(|| panic!("{begin:?} is still waited for")));
    response
}

/// Returns the rest of a response; `None` if it does not end.
fn rest(stream: &mut std::net::TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(crate::servers::DEADLINE)).unwrap();
    let mut response = Vec::new();
    // A reset is an end too.
    let end = stream.read_to_end(&mut response);
    (!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)).then_some(response)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_or_half_of_a_request_is_not_waited_for() {
    let backend = Backend::start().await;
    let half_a_body =
        format!("POST /v1/logs HTTP/1.1\r\nhost: a\r\n{}: {}\r\ncontent-length: 9\r\n\r\nhalf", PROTOBUF.0, PROTOBUF.1);
    let half_a_form = half_a_body.replace("/v1/logs", "/stats").replace(PROTOBUF.1, JSON.1);
    for (address, begin, expected) in [
        (backend.http, "", ""),
        (backend.http, "GET /livez HTTP/1.1\r\nho", ""),
        (backend.http, "PRI * HTTP/2.0\r\n", ""),
        (backend.http, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ""),
        (backend.http, "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK"),
        (backend.http, half_a_body.as_str(), "HTTP/1.1 503 Service Unavailable"),
        (backend.http, half_a_form.as_str(), "HTTP/1.1 408 Request Timeout"),
        (backend.grpc, "", ""),
        (backend.grpc, "PRI * HTTP/2.0\r\n", ""),
        (backend.grpc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ""),
    ] {
        let response = response_in_time(address, begin).await;
        let response = String::from_utf8_lossy(&response);
        assert!(response.starts_with(expected), "{begin:?}: {response}");
        // The sender learns when to send again.
        assert!(!expected.contains(" 503 ") || response.contains("retry-after: 2\r\n"), "{response}");
    }
}

#[tokio::test]
async fn a_client_whose_idle_connection_was_closed_sends_again_as_if_it_were_open() {
    let backend = Backend::start().await;
    let mut client = backend.logs_client().await;
    let mut export = async || client.export(logs_request(vec![created(Uuid::new_v4(), now())])).await;
    export().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(40)).await;
    tokio::time::resume();
    // The response comes after the end of the idle connection.
    assert_eq!(backend.get("/livez").await.status, 200);
    export().await.unwrap();
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let backend = Backend::limited(unlimited()).await;
    // POST, http, /, and the host "a", as HPACK writes them.
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    for address in [backend.http, backend.grpc] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        // More than may be reset, and so few that all of them are read before the connection is closed: a reset of it could
        // arrive before the GOAWAY.
        for request in 0..200 {
            let stream = 2 * request + 1;
            bytes.extend(frame(1, 4, stream, &head));
            bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
        }
        stream.write_all(&bytes).await.unwrap();
        let response = tokio::time::timeout(crate::servers::DEADLINE, closed(stream)).await.unwrap();
        // GOAWAY with ENHANCE_YOUR_CALM.
        let calm = 11_u32.to_be_bytes();
        assert!(response.windows(17).any(|window| window[3] == 7 && window[13..] == calm), "{response:?}");
    }
    assert_eq!(backend.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_rejected() {
    let backend = Backend::start().await;
    let long = "a".repeat(32 * 1024);
    let reply = try_request(backend.http, "GET", "/livez", &[("x-long", &long)], &[]).await;
    assert!(reply.is_none_or(|reply| reply.status == 431));
    let fields: Vec<_> = (0..200).map(|_| ("x-field", "a")).collect();
    let reply = try_request(backend.http, "GET", "/livez", &fields, &[]).await;
    assert!(reply.is_none_or(|reply| reply.status == 431));
    assert_eq!(backend.get("/livez").await.status, 200);
}

#[tokio::test]
async fn more_records_than_a_request_may_have_are_rejected_so_that_the_sender_splits_them() {
    let backend = Backend::start().await;
    let bare = |count| {
        let mut request = logs_request(vec![]);
        request.resource_logs[0].scope_logs[0].log_records =
            vec![opentelemetry_proto::tonic::logs::v1::LogRecord::default(); count];
        request
    };
    let rejected =
        |status: &tonic::Status| status.code() == Code::InvalidArgument && status.message().contains("at most 2000");
    let mut client = backend.logs_client().await;
    assert!(rejected(&client.export(bare(2_001)).await.unwrap_err()));
    let status = client.export(bare(2_000)).await.unwrap_err();
    assert!(!rejected(&status) && status.message().starts_with("2000 rejected"), "{status:?}");
    assert_eq!(backend.post("/v1/logs", &[PROTOBUF], &bare(2_001).encode_to_vec()).await.status, 400);
    assert_eq!(backend.rows(), 0);
}
