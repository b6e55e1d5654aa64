//! The backend as a process that is killed while it merges its inbox: every acknowledged event is stored once, and the
//! rollups are what the rows come to.
//!
//! The backend logs the begin and the end of a merge. It is suspended in between, and killed only if the log has no end
//! by then, so each kill is within a merge.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use rusqlite::Connection;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::harness::{PROTOBUF, try_request};
use super::rollups;
use super::samples::{created, deleted, logs_request, now, updated};
use crate::program::{Backend, UNLIMITED};
use crate::servers::{DEADLINE, store};

/// The number of kills.
const KILLS: usize = 50;

/// The number of kills before a merge's commit after which the test ends once it has taken [`MAX_DURATION`].
const MIN_KILLS: usize = 10;

/// The time after which no further kill begins, so that a busy machine's test run stays short.
const MAX_DURATION: Duration = Duration::from_secs(40);

/// Senders at once. Their batches come to a merge after a few commits.
const SENDERS: usize = 4;

/// The number of events in a batch: as many as an agent sends at once.
const EVENTS: usize = 500;

/// The hours over which events are spread. The more pages a merge changes, the more it writes, and some of that before
/// its commit.
const HOURS: u64 = 29 * 24;

const LOG: &str = "kamaji_telemetry=info,kamaji_telemetry::backend::store::sqlite::inbox=debug";

/// The log's lines of the begin and the end of a merge.
const BEGIN: &str = "merging the inbox";
const END: &str = "merged the inbox";

/// The interval at which the log is read: a small part of a merge.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// A request of events.
struct EventRequest {
    uids: Vec<Uuid>,
    body: Vec<u8>,
}

/// The outcome of a sender.
struct SenderEnd {
    acknowledged: Vec<Uuid>,
    /// The request that was not answered, which may be stored or not. An agent sends it again.
    unanswered: EventRequest,
}

/// The moment within a merge at which the backend is suspended.
#[derive(Debug, Clone, Copy)]
enum MergeMoment {
    /// After this part of the usual duration.
    Part(f64),
    /// Once the merge has written to the write-ahead log.
    Written,
}

/// The state of the files at a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CrashState {
    /// True if the merge had committed, and not logged that yet: it had written, and nothing is uncommitted.
    has_committed: bool,
    /// True if the write-ahead log ends with pages of a transaction that had not committed.
    has_uncommitted_pages: bool,
}

/// The events that were sent, and the kills so far.
#[derive(Default)]
struct KillHistory {
    acknowledged: Vec<Uuid>,
    unanswered: Vec<EventRequest>,
    kills: Vec<CrashState>,
    /// Merges that had ended before the backend was suspended.
    missed: usize,
    /// The duration of a merge.
    usual: Duration,
}

impl EventRequest {
    fn new() -> Self {
        let uids: Vec<_> = (0..EVENTS).map(|_| Uuid::new_v4()).collect();
        let record = |uid: &Uuid| {
            let time = now() - fastrand::u64(0..HOURS) * 3_600 * 1_000_000_000;
            [created, updated, deleted][fastrand::usize(0..3)](*uid, time)
        };
        let body = logs_request(uids.iter().map(record).collect()).encode_to_vec();
        Self { uids, body }
    }
}

/// Sends `unanswered` and then new requests, until one is not answered.
async fn send(address: SocketAddr, unanswered: Option<EventRequest>) -> SenderEnd {
    let mut acknowledged = Vec::new();
    let mut request = unanswered.unwrap_or_else(EventRequest::new);
    while let Some(reply) = try_request(address, "POST", "/v1/logs", &[PROTOBUF], &request.body).await {
        assert_eq!(reply.status, 200, "{reply:?}");
        acknowledged.extend(request.uids);
        request = EventRequest::new();
    }
    SenderEnd { acknowledged, unanswered: request }
}

/// Returns the number of merges that have begun.
fn begun(backend: &Backend) -> usize {
    backend.log().matches(BEGIN).count()
}

/// Returns whether the log's last line about a merge is its begin.
fn is_merging(backend: &Backend) -> bool {
    let log = backend.log();
    log.rfind(BEGIN) > log.rfind(END)
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn wal(file: &Path) -> PathBuf {
    file.with_file_name("telemetry.db-wal")
}

/// Returns what changes when something is written to the write-ahead log, which is written from its start again after a
/// checkpoint.
fn wal_version(file: &Path) -> Option<(u64, SystemTime)> {
    let metadata = wal(file).metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Waits for a merge that begins after the first `before`, and for this moment within it. Returns earlier if the merge
/// ends. Returns the version of the write-ahead log at the merge's begin.
async fn reach(backend: &Backend, before: usize, moment: MergeMoment, usual: Duration) -> Option<(u64, SystemTime)> {
    wait_for("a merge", || begun(backend) > before).await;
    let (start, version) = (Instant::now(), wal_version(backend.file()));
    let is_reached = || match moment {
        MergeMoment::Part(part) => start.elapsed() >= usual.mul_f64(part),
        MergeMoment::Written => wal_version(backend.file()) != version,
    };
    wait_for("the moment within a merge", || is_reached() || !is_merging(backend)).await;
    version
}

/// Returns the duration of the next merge.
async fn duration_of_merge(backend: &Backend) -> Duration {
    let before = begun(backend);
    wait_for("a merge", || begun(backend) > before).await;
    let start = Instant::now();
    wait_for("the end of a merge", || !is_merging(backend)).await;
    start.elapsed()
}

/// Suspends the backend within a merge. Returns whether the merge has written to the write-ahead log, and the number of merges
/// that ended too early.
async fn suspend_within_merge(backend: &Backend, moment: MergeMoment, usual: Duration) -> (bool, usize) {
    let mut before = begun(backend);
    for missed in 0.. {
        let version = reach(backend, before, moment, usual).await;
        backend.suspend().await;
        if is_merging(backend) {
            return (wal_version(backend.file()) != version, missed);
        }
        before = begun(backend);
        backend.unsuspend();
    }
    unreachable!("the numbers do not end")
}

impl CrashState {
    /// Checks a copy of the files as a crash left them, without merging the inbox.
    fn of(file: &Path, has_written: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("telemetry.db");
        fs::copy(file, &copy).unwrap();
        fs::copy(wal(file), wal(&copy)).unwrap();
        let has_uncommitted_pages = uncommitted_pages(&fs::read(wal(&copy)).unwrap()) > 0;
        let connection = Connection::open(&copy).unwrap();
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        Self { has_committed: has_written && !has_uncommitted_pages, has_uncommitted_pages }
    }
}

/// Returns the number of pages after the last commit of a write-ahead log, in the format of `SQLite`'s documentation.
/// Frames that an earlier round of the log left have other salts than its header.
fn uncommitted_pages(log: &[u8]) -> usize {
    let Some((header, frames)) = log.split_at_checked(32) else { return 0 };
    let page = u32::from_be_bytes(header[8..12].try_into().unwrap());
    let frames = frames.chunks_exact(24 + page as usize).take_while(|frame| frame[8..16] == header[16..24]);
    // The size of the database after a commit is not zero.
    frames.fold(0, |pages, frame| if frame[4..8] == [0; 4] { pages + 1 } else { 0 })
}

impl KillHistory {
    /// Loads the backend, kills it within a merge, and starts it again.
    async fn kill(&mut self, backend: &mut Backend, moment: MergeMoment) {
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(backend.http(), self.unanswered.pop()));
        }
        if self.usual.is_zero() {
            self.usual = duration_of_merge(backend).await;
        }
        let (has_written, missed) = suspend_within_merge(backend, moment, self.usual).await;
        self.missed += missed;
        backend.kill();
        for SenderEnd { acknowledged, unanswered } in senders.join_all().await {
            self.acknowledged.extend(acknowledged);
            self.unanswered.push(unanswered);
        }
        self.kills.push(CrashState::of(backend.file(), has_written));
        backend.restart().await;
        self.check(backend.file());
    }

    /// Checks that each acknowledged event is stored, each stored one was sent, none is stored twice, and the rollups
    /// equal a recount.
    fn check(&self, file: &Path) {
        let connection = store::open(file);
        let mut select = connection.prepare("SELECT uid FROM events").unwrap();
        let all: Vec<Uuid> = select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let stored: HashSet<_> = all.iter().copied().collect();
        assert_eq!(stored.len(), all.len(), "an event is stored twice");
        let missing = self.acknowledged.iter().filter(|uid| !stored.contains(uid)).count();
        assert_eq!(missing, 0, "acknowledged events are not stored");
        let unanswered = self.unanswered.iter().flat_map(|request| &request.uids);
        let unanswered = unanswered.filter(|uid| stored.contains(uid)).count();
        assert_eq!(stored.len(), self.acknowledged.len() + unanswered, "events are stored that nobody sent");
        assert_eq!(rollups::differences(file), Vec::<String>::new());
    }

    /// Sends what was not answered, as agents do.
    async fn send_unanswered(&mut self, address: SocketAddr) {
        for EventRequest { uids, body } in self.unanswered.drain(..) {
            let reply = try_request(address, "POST", "/v1/logs", &[PROTOBUF], &body).await.unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
            self.acknowledged.extend(uids);
        }
    }

    fn count(&self, is_counted: impl Fn(&CrashState) -> bool) -> usize {
        self.kills.iter().filter(|state| is_counted(state)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_within_merges_lose_and_repeat_nothing() {
    let start = Instant::now();
    let mut backend = Backend::start_with_log(&UNLIMITED, LOG).await;
    let mut history = KillHistory::default();
    let is_before_commit = |state: &CrashState| !state.has_committed;
    while history.count(is_before_commit) < MIN_KILLS || (history.kills.len() < KILLS && start.elapsed() < MAX_DURATION)
    {
        let is_late = history.kills.len().is_multiple_of(2);
        let moment = if is_late { MergeMoment::Written } else { MergeMoment::Part(fastrand::f64()) };
        history.kill(&mut backend, moment).await;
    }
    history.send_unanswered(backend.http()).await;
    history.check(backend.file());
    let KillHistory { acknowledged, kills, missed, usual, .. } = &history;
    let before_commit = history.count(is_before_commit);
    super::figures(
        "merge-kills",
        &format!(
            "killed {} times within a merge, which takes {} ms: {before_commit} before its commit, {} of them \
             with pages of it in the write-ahead log, and {} after it; {missed} merges had ended too early; {} \
             events acknowledged, none of them missing, none stored twice, rollups equal to a recount",
            kills.len(),
            usual.as_millis(),
            history.count(|state| state.has_uncommitted_pages),
            kills.len() - before_commit,
            acknowledged.len(),
        ),
    );
}
