//! The backend as a process that is killed, and one whose disk is full, both under load: what was acknowledged stays.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use rusqlite::Connection;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::harness::{JSON, PROTOBUF, Reply, try_request};
use super::samples::{created, logs_request, metrics_request, now, state_gauges};
use crate::program::Backend;
use crate::servers::{eventually, store};

/// The number of kills.
const KILLS: usize = 50;

/// The time after which no further kill begins, so that a busy machine's test run stays short.
const MAX_DURATION: Duration = Duration::from_secs(40);

/// Senders at once: a commit holds the rows of several.
const SENDERS: usize = 8;

/// The content of one request, by which it is found again.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// An event of an agent.
    Event(Uuid),
    /// The gauges of an installation.
    Gauges(Uuid),
    /// An event of Kamaji's built-in telemetry, which has no identity to be found by.
    Kamaji,
}

/// The requests that were sent and acknowledged over the whole test.
#[derive(Debug, Default)]
struct Load {
    sent: Vec<Sent>,
    acknowledged: Vec<Sent>,
}

impl Sent {
    fn new(position: usize) -> Self {
        match position % 3 {
            0 => Self::Event(Uuid::new_v4()),
            1 => Self::Gauges(Uuid::new_v4()),
            _ => Self::Kamaji,
        }
    }

    /// The answer; `None` where there was none.
    async fn send(self, address: SocketAddr) -> Option<Reply> {
        let (path, header, body) = match self {
            Self::Event(uid) => ("/v1/logs", PROTOBUF, logs_request(vec![created(uid, now())]).encode_to_vec()),
            Self::Gauges(installation) => {
                let request = metrics_request(installation, state_gauges([1, 2, 3, 4], now()));
                ("/v1/metrics", PROTOBUF, request.encode_to_vec())
            }
            Self::Kamaji => {
                let body = r#"{"tcp_version": "v1.35.1", "kamaji_version": "v1.0.0", "kubernetes_version": "v1.35.1"}"#;
                ("/create", JSON, body.into())
            }
        };
        try_request(address, "POST", path, &[header], &body).await
    }
}

impl Load {
    fn merge(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.acknowledged.extend(other.acknowledged);
    }

    /// Checks that each acknowledged row is in `file`, and that the file is sound; gives the number of rows.
    fn check(&self, file: &Path) -> usize {
        // The file is opened as the crash left it, and checked, before its inbox is merged.
        let connection = Connection::open(file).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        drop(connection);
        let connection = store::open(file);
        let mut event = connection.prepare("SELECT count(*) FROM events WHERE uid = ?1").unwrap();
        let mut gauges = connection
            .prepare("SELECT count(*) FROM latest JOIN days USING (installation) WHERE installation = ?1")
            .unwrap();
        for sent in &self.acknowledged {
            let found: Option<i64> = match sent {
                Sent::Event(uid) => Some(event.query_row([uid], |row| row.get(0)).unwrap()),
                Sent::Gauges(installation) => Some(gauges.query_row([installation], |row| row.get(0)).unwrap()),
                Sent::Kamaji => None,
            };
            assert!(found.is_none_or(|found| found == 1), "{sent:?} was acknowledged, and is there {found:?} times");
        }
        let count =
            |sql| -> usize { connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap() };
        let kamaji = count("SELECT count(*) FROM events WHERE source IN (2, 4)");
        let of_kamaji = |all: &[Sent]| all.iter().filter(|sent| matches!(sent, Sent::Kamaji)).count();
        assert!((of_kamaji(&self.acknowledged)..=of_kamaji(&self.sent)).contains(&kamaji), "{kamaji}");
        count("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM latest)")
    }
}

/// Sends without a pause until `address` no longer answers; counts what is acknowledged into `progress`.
async fn load(address: SocketAddr, progress: Arc<watch::Sender<usize>>) -> Load {
    let mut load = Load::default();
    for position in 0.. {
        let sent = Sent::new(position);
        load.sent.push(sent);
        let Some(reply) = sent.send(address).await else { break };
        assert_eq!(reply.status, 200, "{reply:?}");
        load.acknowledged.push(sent);
        progress.send_modify(|count| *count += 1);
    }
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_kills_at_random_moments() {
    let began = Instant::now();
    let mut backend = Backend::start().await;
    let mut load_so_far = Load::default();
    let mut starts = Vec::new();
    while starts.len() < KILLS && began.elapsed() < MAX_DURATION {
        let progress = Arc::new(watch::Sender::new(0));
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(load(backend.http(), Arc::clone(&progress)));
        }
        let moment = fastrand::usize(1..200);
        progress.subscribe().wait_for(|count| *count >= moment).await.unwrap();
        backend.kill();
        for load in senders.join_all().await {
            load_so_far.merge(load);
        }
        let start = Instant::now();
        backend.restart().await;
        starts.push(start.elapsed());
        load_so_far.check(backend.file());
    }
    let stored = load_so_far.check(backend.file());
    let Load { sent, acknowledged } = &load_so_far;
    starts.sort_unstable();
    let (median, slowest) = (starts[starts.len() / 2].as_millis(), starts[starts.len() - 1].as_millis());
    super::figures(
        "kills",
        &format!(
            "killed {} times under load: {} requests sent, {} acknowledged, {stored} stored, none of those acknowledged missing; ready again after {median} ms (median), {slowest} ms (slowest)",
            starts.len(),
            sent.len(),
            acknowledged.len(),
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_with_a_time_to_try_again_and_goes_on_when_there_is_room() {
    let backend = Backend::start_with_limits().await;
    let mut load = Load::default();
    let position = AtomicUsize::new(0);
    let send = async |load: &mut Load| {
        let sent = Sent::new(position.fetch_add(1, Ordering::Relaxed));
        load.sent.push(sent);
        let reply = sent.send(backend.http()).await.unwrap();
        if reply.status == 200 {
            load.acknowledged.push(sent);
        }
        reply
    };
    assert_eq!(send(&mut load).await.status, 200);
    // Room for some writes in the log, and no more.
    backend.limit_files("524288");
    let refused = loop {
        let reply = send(&mut load).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")), "{refused:?}");
    // Some small commits may still fit where a larger one did not.
    let mut client = backend.logs_client().await;
    let status = loop {
        let request = logs_request(vec![created(Uuid::new_v4(), now())]);
        if let Err(status) = client.export(request).await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    load.check(backend.file());

    backend.limit_files("unlimited");
    eventually("the backend to store again", async || (sent_ok(&backend).await).then_some(())).await;
    let before = load.acknowledged.len();
    for _ in 0..100 {
        assert_eq!(send(&mut load).await.status, 200);
    }
    let stored = load.check(backend.file());
    backend.logged("failed to write to the store").await;
    backend.logged("the store can write again").await;
    super::figures(
        "full-disk",
        &format!(
            "disk full after {before} acknowledged requests, room again: {} acknowledged, {stored} stored",
            load.acknowledged.len()
        ),
    );
}

async fn sent_ok(backend: &Backend) -> bool {
    Sent::Event(Uuid::new_v4()).send(backend.http()).await.is_some_and(|reply| reply.status == 200)
}
