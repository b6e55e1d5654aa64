//! A store that moves into a database and back: all rows, all keys and every answer are what they were.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::insights::parameters::QuestionName;
use kamaji_telemetry::backend::store::fold::LatestRow;
use kamaji_telemetry::backend::store::{
    AuthStore, Day, Digest, EventFilter, GaugeSnapshot, Hour, HourRange, InstallationFilter, InstallationRow,
    PublicWeekStore, Role, SqliteStore, Store, StoredWeek, Token,
};
use kamaji_telemetry::testkit::history;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::super::conformance::equality::answers;
use super::super::conformance::{Shared, created, hours_ago, of_events, of_snapshots, snapshot};
use super::balancer::Balancer;
use super::load::{Ledger, Load};
use super::stored;
use crate::program::command::{run, text};
use crate::program::{Backend, PROGRAM, UNLIMITED};
use crate::servers::eventually;
use crate::servers::postgres::{TestDatabase, psql};

/// The number of kills of the command.
const KILLS: usize = 10;

/// The tables of a file that don't move.
const LEFT_BEHIND: &str = "'inbox', 'last_flush', 'sessions', 'moves', 'refinery_schema_history', 'sqlite_sequence'";

/// A store in a file.
struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("telemetry.db")
    }

    fn location(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn open(&self) -> Shared {
        std::sync::Arc::new(SqliteStore::open(&self.path()).unwrap())
    }
}

fn token(name: &str, prefix: &str) -> Token {
    Token {
        prefix: prefix.to_owned(),
        name: name.to_owned(),
        role: Role::Viewer,
        created: hours_ago(1),
        expires: hours_ago(-1_000),
        revoked: None,
    }
}

/// Adds one of everything that is not a report: erased and blanked rows, tokens of one name, the audit log and a published week.
async fn add_others(path: &Path) {
    let store = SqliteStore::open(path).unwrap();
    let until = Some(Hour::of(Timestamp::now() - SignedDuration::from_hours(3_000)));
    let old = EventFilter { time: HourRange { from: None, until }, ..EventFilter::default() };
    store.erase_events(old).await.unwrap();
    let gone = store.installations(InstallationFilter::default(), 1).await.unwrap().listed;
    for installation in gone {
        store.erase(installation.uuid).await.unwrap();
    }
    store.create_token(token("alice@example.org", "ktt_00000009"), Digest::of("first")).await.unwrap();
    store.revoke_token("alice@example.org".to_owned(), hours_ago(0)).await.unwrap();
    // In the order of the keys before the one that has the same name.
    store.create_token(token("alice@example.org", "ktt_00000001"), Digest::of("second")).await.unwrap();
    let monday = Day::of("2026-11-16".parse().unwrap());
    let week = StoredWeek { monday, content: "{\"week\":\"2026-11-16\"}".to_owned() };
    assert!(store.publish_week(week).await.unwrap());
    store.checkpoint().await.unwrap();
}

/// Returns all rows of the tables that move, a line each.
fn rows(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables =
        format!("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ({LEFT_BEHIND}) ORDER BY 1");
    let mut select = connection.prepare(&tables).unwrap();
    let tables: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut all = Vec::new();
    for table in tables {
        let mut select = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = select.column_count();
        let line = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|column| row.get::<_, Value>(column)).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("{table} {values:?}"))
        };
        all.extend(select.query_map([], line).unwrap().map(Result::unwrap));
    }
    all.sort_unstable();
    all
}

/// Asserts that two stores hold the same rows.
fn assert_equal(left: &[String], right: &[String]) {
    let differing: Vec<_> = left.iter().zip(right).filter(|(left, right)| left != right).take(5).collect();
    assert!(differing.is_empty(), "{differing:?}");
    assert_eq!(left.len(), right.len());
}

async fn migrate(from: &str, to: &str) -> Output {
    run(&["backend", "migrate", "--from", from, "--to", to], &[]).await
}

async fn migrated(from: &str, to: &str) -> String {
    let output = migrate(from, to).await;
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Asserts that the command has found a backend that serves the source, and returns what it prints.
async fn incomplete(from: &str, to: &str) -> String {
    let output = migrate(from, to).await;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    text(&output)
}

async fn refused(from: &str, to: &str) -> String {
    let output = migrate(from, to).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    String::from_utf8(output.stderr).unwrap()
}

/// Returns what the command prints of each question, without the time of the answer.
async fn insights(store: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for question in QuestionName::ALL {
        let words = ["backend", "insights", question.as_str(), "--store", store, "--format=json"];
        let output = run(&words, &[]).await;
        assert!(output.status.success(), "{question}: {}", text(&output));
        let mut json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["generated_at"] = serde_json::Value::Null;
        answers.push(json.to_string());
    }
    answers
}

async fn position(database: &TestDatabase) -> String {
    psql(database.address(), &["SELECT position FROM moves"]).await.unwrap()
}

/// Changes a row of the first table that moves in batches, which lies behind a position in a later table.
async fn change_behind(position: &str, file: &File) {
    assert!(!position.contains("\"latest\"") && !position.contains("\"words\""), "{position}");
    let store = file.open();
    let InstallationRow { uuid, latest } =
        store.installations(InstallationFilter::default(), 1).await.unwrap().listed.remove(0);
    let LatestRow { last_seen, mut report, .. } = latest;
    report.counts.running += 1;
    store.write(of_snapshots(vec![GaugeSnapshot { installation: uuid, received: last_seen, report }])).await.unwrap();
    store.checkpoint().await.unwrap();
}

/// Starts the command and kills it once its position is another one. Returns false if it ended before.
async fn kill_on_the_way(from: &str, database: &TestDatabase) -> bool {
    let before = position(database).await;
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(["backend", "migrate", "--from", from, "--to", database.address()]).env_clear().kill_on_drop(true);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut was_killed = false;
    eventually("the command to go on or to end", async || {
        if child.try_wait().unwrap().is_some() {
            return Some(());
        }
        was_killed = position(database).await != before;
        was_killed.then_some(())
    })
    .await;
    child.kill().await.unwrap();
    was_killed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_moves_there_through_ten_kills_and_back_and_every_answer_stays() {
    let (file, back, database) = (File::new(), File::new(), TestDatabase::create().await);
    history::write(&SqliteStore::open(&file.path()).unwrap(), 1, Timestamp::now()).await.unwrap();
    add_others(&file.path()).await;
    let (mut kills, start) = (0, Instant::now());
    while kills < KILLS && kill_on_the_way(&file.location(), &database).await {
        kills += 1;
    }
    assert_eq!(kills, KILLS);
    let error = refused(database.address(), &back.location()).await;
    assert!(error.contains("a move into the store of --from is not complete"), "{error}");
    let serve = run(&["backend", "serve", "--store", database.address()], &[]).await;
    assert!(text(&serve).contains("the move is not complete"), "{}", text(&serve));
    let there = start.elapsed();
    change_behind(&position(&database).await, &file).await;
    let (expected, expected_answers) = (rows(&file.path()), answers(&file.open()).await);
    let (expected_insights, start) = (insights(&file.location()).await, Instant::now());
    let output = migrated(&file.location(), database.address()).await;
    assert!(output.contains("The move is complete"), "{output}");
    let there = there + start.elapsed();
    let again = migrated(&file.location(), database.address()).await;
    assert!(again.contains("Wrote 0 rows") && again.contains("The move is complete"), "{again}");
    assert_eq!(insights(database.address()).await, expected_insights);
    let store = database.open().await;
    assert_eq!(answers(&(store.clone() as Shared)).await, expected_answers);
    assert_eq!(stored::differences(database.address()).await, Vec::<String>::new());
    assert_eq!(store.tokens().await.unwrap().len(), 2);
    let error = refused(&file.location(), database.address()).await;
    assert!(error.contains("a backend serves the store of --to"), "{error}");
    drop(store);
    let error = refused(&file.location(), database.address()).await;
    assert!(error.contains("was served since rows were moved into it"), "{error}");
    let start = Instant::now();
    let output = migrated(database.address(), &back.location()).await;
    assert!(output.contains("The move is complete"), "{output}");
    // The backend that has served the database in between has added an entry.
    let is_of_move = |row: &String| row.starts_with("audit_log ") && row.contains("backend migrate");
    let (of_move, others): (Vec<_>, Vec<_>) = rows(&back.path()).into_iter().partition(is_of_move);
    assert_eq!(of_move.len(), 1, "{of_move:?}");
    assert_equal(&others, &expected);
    assert_eq!(
        std::fs::read(back.0.path().join("telemetry.db.published-week")).unwrap(),
        std::fs::read(file.0.path().join("telemetry.db.published-week")).unwrap()
    );
    assert_eq!(insights(&back.location()).await, expected_insights);
    assert_eq!(answers(&back.open()).await, expected_answers);
    super::super::figures(
        "postgres-move",
        &format!(
            "{} rows moved into PostgreSQL in {} s with {KILLS} kills on the way, and back in {} s; every row and answer is equal",
            expected.len(),
            there.as_secs(),
            start.elapsed().as_secs()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_moves_while_it_is_served_and_once_more_after_it_is_stopped() {
    let (mut backend, database) = (Backend::start_with(&UNLIMITED).await, TestDatabase::create().await);
    let from = format!("sqlite:{}", backend.file().display());
    let (mut ledger, load) = (Ledger::default(), Load::start(Balancer::start(vec![backend.http()]).await));
    load.goes_on(50).await;
    let output = incomplete(&from, database.address()).await;
    assert!(
        output.contains("The move is not complete") && output.contains("a backend serves the store of --from: stop it")
    );
    load.goes_on(50).await;
    load.end(&mut ledger).await;
    assert_eq!(backend.end("TERM").await, Some(0));
    let output = migrated(&from, database.address()).await;
    assert!(output.contains("The move is complete"), "{output}");
    stored::check(database.address(), &ledger).await;
    let backend = Backend::start_on(database.address(), &UNLIMITED).await;
    let balancer = Balancer::start(vec![backend.http()]).await;
    let load = Load::start(balancer);
    load.goes_on(20).await;
    load.end(&mut ledger).await;
    stored::check(database.address(), &ledger).await;
    let (back, error) = (File::new(), refused(&from, database.address()).await);
    assert!(error.contains("a backend serves the store of --to"), "{error}");
    incomplete(database.address(), &back.location()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_lost_or_mixed_up_is_refused() {
    let (one, other, database) = (File::new(), File::new(), TestDatabase::create().await);
    for file in [&one, &other] {
        file.open().write(of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 1)])).await.unwrap();
    }
    migrated(&one.location(), database.address()).await;
    for (from, to, expected) in [
        (other.location(), database.address().to_owned(), "another key of pseudonyms"),
        (other.location(), one.location(), "another key of pseudonyms"),
        (one.location(), one.location(), "the same store"),
        ("sqlite:/nowhere/telemetry.db".to_owned(), database.address().to_owned(), "there is no such file"),
        (one.location(), "mysql://localhost/telemetry".to_owned(), "--to: unknown store"),
    ] {
        let error = refused(&from, &to).await;
        assert!(error.contains(expected), "{from} {to}: {error}");
    }
    let copy = File::new();
    migrated(&one.location(), &copy.location()).await;
    let served = copy.open();
    let error = refused(&one.location(), &copy.location()).await;
    assert!(error.contains("a backend serves the store of --to"), "{error}");
    drop(served);
    let error = refused(&one.location(), &copy.location()).await;
    assert!(error.contains("was served since"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_does_not_arrive_is_printed_and_an_error_until_a_run_has_moved_it() {
    let (file, database) = (File::new(), TestDatabase::create().await);
    let store = file.open();
    store.write(of_snapshots((0..3).map(|_| snapshot(Uuid::new_v4(), hours_ago(1), 1)).collect())).await.unwrap();
    store.write(of_events(vec![created(Uuid::new_v4(), "v1.35.1")])).await.unwrap();
    drop(store);
    let swallow = [
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION swallow()",
    ];
    psql(database.address(), &swallow).await.unwrap();
    let output = migrate(&file.location(), database.address()).await;
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output);
    assert!(printed.contains("events  2026-11-23  1          0") && printed.contains("the stores differ"), "{printed}");
    psql(database.address(), &["DROP TRIGGER swallow ON events"]).await.unwrap();
    let printed = migrated(&file.location(), database.address()).await;
    assert!(printed.contains("Wrote 1 row.") && printed.contains("The move is complete"), "{printed}");
    let change =
        "UPDATE latest SET running = 9 WHERE installation = (SELECT min(installation::text)::uuid FROM latest)";
    psql(database.address(), &[change]).await.unwrap();
    let printed = migrated(&file.location(), database.address()).await;
    assert!(printed.contains("Wrote 1 row."), "{printed}");
}

/// Returns the output of commands that change a store.
async fn changes(store: &str) -> Vec<Output> {
    let store = format!("--store={store}");
    let uuid = Uuid::new_v4().to_string();
    let mut outputs = Vec::new();
    for words in [
        &["erase", &uuid][..],
        &["erase", "installations", "--bulk=true"],
        &["erase", "events", "--bulk=true"],
        &["token", "create", "--name=carol"],
        &["token", "revoke", "carol"],
    ] {
        outputs.push(run(&[&["backend"], words, &[&*store]].concat(), &[]).await);
    }
    outputs
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_changes_the_target_before_a_backend_has_served_it() {
    let (file, copy, database) = (File::new(), File::new(), TestDatabase::create().await);
    file.open().write(of_snapshots(vec![snapshot(Uuid::new_v4(), hours_ago(1), 1)])).await.unwrap();
    for (to, serve) in [(copy.location(), true), (database.address().to_owned(), false)] {
        migrated(&file.location(), &to).await;
        for output in changes(&to).await {
            let error = text(&output);
            assert_eq!(output.status.code(), Some(1), "{error}");
            assert!(
                error.contains("no backend has served it since") && error.contains("started on it first"),
                "{error}"
            );
        }
        for words in [&["token", "list"][..], &["erase", "events", "--bulk=true", "--dry-run"]] {
            let output = run(&[&["backend"], words, &[&*format!("--store={to}")]].concat(), &[]).await;
            assert!(output.status.success(), "{}", text(&output));
        }
        let again = migrated(&file.location(), &to).await;
        assert!(again.contains("Wrote 0 rows"), "{again}");
        let audit_log = if serve {
            copy.open();
            SqliteStore::open_existing(&copy.path()).unwrap().audit_log(10).await.unwrap()
        } else {
            database.open().await.audit_log(10).await.unwrap()
        };
        let actions: Vec<_> = audit_log.iter().map(|entry| (entry.action.as_str(), entry.count)).collect();
        assert_eq!(actions, [("backend migrate", 1)]);
        for output in changes(&to).await {
            assert!(output.status.success(), "{}", text(&output));
        }
    }
}
