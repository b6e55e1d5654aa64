//! `backend import`: what the server of Kamaji's built-in telemetry has stored, into either store.

use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use kamaji_telemetry::backend::admin::import;
use kamaji_telemetry::backend::store::{
    Batch, Day, EventFilter, GaugeSnapshot, Hour, HourRange, InstallationFilter, PostgresAddress, PostgresStore,
    SourceKind, SqliteStore, Store, StoreLocation, Stores,
};
use kamaji_telemetry::backend::{Retention, SecurityConfig};
use serde_json::{Value, json};
use uuid::Uuid;

use super::harness::{Backend, JSON, stored_bytes, today};
use super::kamaji::stats;
use super::{postgres, rollups};
use crate::program::PROGRAM;
use crate::program::command::{self, text};
use crate::servers::postgres::{TestDatabase, psql};
use crate::servers::{eventually, store};

/// The statement by which the v1 server makes its table.
const TABLE: &str = "CREATE TABLE events (
    uuid varchar(36) NOT NULL, event_type varchar NOT NULL, payload jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL, PRIMARY KEY (uuid))";

/// The number of events of one kind, which is more than one read takes.
const MANY: u64 = 6_000;

/// A table of the v1 server.
struct V1Table(TestDatabase);

impl V1Table {
    /// Creates an empty table.
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let table = Self(database);
        table.sql(&["DROP TABLE IF EXISTS arrivals, events CASCADE", TABLE]).await;
        table
    }

    async fn sql(&self, statements: &[&str]) {
        psql(self.0.address(), statements).await.unwrap();
    }

    async fn insert(&self, uuid: &str, event_type: &str, payload: &str, created_at: &str) {
        let payload = payload.replace('\'', "''");
        let insert = format!("INSERT INTO events VALUES ('{uuid}', '{event_type}', '{payload}', {created_at})");
        self.sql(&[&insert]).await;
    }

    /// Adds a row of an installation, as the v1 server replaces it.
    async fn receive_stats(&self, cluster: Uuid, days_ago: i64) {
        let (payload, time) = (stats(cluster), ago(days_ago));
        let upsert = format!(
            "INSERT INTO events VALUES ('{cluster}', 'stats', '{payload}', '{time}')
             ON CONFLICT (uuid) DO UPDATE SET payload = excluded.payload, created_at = excluded.created_at"
        );
        self.sql(&[&upsert]).await;
    }

    async fn receive_event(&self, event_type: &str, own: &Value, days_ago: i64) {
        let payload = event(own).to_string();
        self.insert(&Uuid::new_v4().to_string(), event_type, &payload, &format!("'{}'", ago(days_ago))).await;
    }

    /// Adds what cannot be used, each for a reason of its own.
    async fn fill_with_bad_rows(&self) {
        let new = || Uuid::new_v4().to_string();
        let good = event(&json!({"tcp_version": "v1.35.1"})).to_string();
        let huge = event(&json!({"tcp_version": "v1.35.1", "acme": "a".repeat(5_000)})).to_string();
        for (uuid, event_type, payload, created_at) in [
            (new().as_str(), "restart", good.as_str(), "now()"),
            ("acmebank", "create", &good, "now()"),
            (&new(), "create", &good, "'2019-12-31'"),
            (&new(), "create", &good, "'-infinity'"),
            (&new(), "create", &good, "now() + interval '1 hour'"),
            (&new(), "create", &good, "'294276-12-31'"),
            (&new(), "create", &good, "now() - interval '401 days'"),
            (&new(), "create", &huge, "now()"),
            (&new(), "create", "null", "now()"),
            (&new(), "create", "[1, 2]", "now()"),
            (&new(), "stats", &good, "now()"),
            (
                &new(),
                "update",
                &event(&json!({"old_tcp_version": "v1.35.1", "new_tcp_version": "v1.35.1"})).to_string(),
                "now()",
            ),
        ] {
            self.insert(uuid, event_type, payload, created_at).await;
        }
        self.sql(&[
            "ALTER TABLE events ALTER payload DROP NOT NULL, ALTER created_at DROP NOT NULL",
            &format!("INSERT INTO events VALUES ('{}', 'delete', NULL, now())", new()),
            &format!("INSERT INTO events VALUES ('{}', 'delete', '{{}}', NULL)", new()),
        ])
        .await;
    }

    async fn import_into(&self, store: &StoreLocation) -> String {
        let from: PostgresAddress = self.0.address().parse().unwrap();
        let cutoffs = Retention::default().cutoffs(Timestamp::now());
        import::import(&from, store.clone(), cutoffs).await.unwrap()
    }
}

/// Returns a time that stays the same while the tests run.
fn ago(days: i64) -> Timestamp {
    static NOW: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);
    *NOW - SignedDuration::from_hours(days * 24)
}

fn event(own: &Value) -> Value {
    let mut payload = json!({"kamaji_version": "v1.0.0", "kubernetes_version": "v1.35.1"});
    payload.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    payload
}

/// Returns the columns of a line of the report.
fn line<'a>(report: &'a str, first: &str) -> Vec<&'a str> {
    let columns = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    report.lines().map(columns).find(|columns| columns.first() == Some(&first)).unwrap_or_default()
}

/// A store to import into.
struct Target {
    location: StoreLocation,
    folder: tempfile::TempDir,
    database: Option<TestDatabase>,
}

impl Target {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = StoreLocation::Sqlite(folder.path().join("telemetry.db"));
        Self { location, folder, database: None }
    }

    async fn postgres() -> Self {
        let database = TestDatabase::create().await;
        let location = database.address().parse().unwrap();
        Self { location, folder: tempfile::tempdir().unwrap(), database: Some(database) }
    }

    async fn open(&self) -> Stores {
        match &self.location {
            StoreLocation::Sqlite(path) => Arc::new(SqliteStore::open(path).unwrap()).into(),
            StoreLocation::Postgres(address) => Arc::new(PostgresStore::open(address).await.unwrap()).into(),
        }
    }

    /// Returns what is only in a rollup, or only in the rows.
    async fn differences(&self) -> Vec<String> {
        match (&self.location, &self.database) {
            (StoreLocation::Sqlite(path), _) => rollups::differences(path),
            (_, Some(database)) => postgres::differences(database.address()).await,
            (_, None) => unreachable!("it has a database"),
        }
    }
}

async fn latest(store: &dyn Store, cluster: Uuid) -> kamaji_telemetry::backend::store::fold::LatestRow {
    let installation = store.pseudonym_key().await.unwrap().pseudonym(cluster);
    let all = store.installations(InstallationFilter::default(), 1_000).await.unwrap().listed;
    all.into_iter().find(|row| row.uuid == installation).expect("it is stored").latest
}

async fn the_history_is_imported_once_and_what_cannot_be_used_is_left_out(target: Target) {
    let old = V1Table::create().await;
    let cluster = Uuid::new_v4();
    old.receive_stats(cluster, 10).await;
    old.receive_stats(Uuid::new_v4(), 40).await;
    old.receive_event("update", &json!({"old_tcp_version": "v1.34.2", "new_tcp_version": "v1.35.1"}), 50).await;
    old.receive_event("delete", &json!({"tcp_version": "v1.35.1", "status": "Ready"}), 399).await;
    let many = format!(
        "INSERT INTO events SELECT gen_random_uuid()::text, 'create', '{}', now() - number * interval '1 hour'
         FROM generate_series(1, {MANY}) AS number",
        event(&json!({"tcp_version": "v1.35.1", "cluster_api": true, "network_profile": "ingress"}))
    );
    old.sql(&[&many]).await;
    old.fill_with_bad_rows().await;
    let report = old.import_into(&target.location).await;
    assert!(report.starts_with(&format!("Read {} rows of postgres://", MANY + 4 + 14)), "{report}");
    for (kind, numbers) in [
        ("stats", ["3", "2", "0", "1"]),
        ("create", ["6009", "6000", "0", "9"]),
        ("update", ["2", "1", "0", "1"]),
        ("delete", ["3", "1", "0", "2"]),
        ("other", ["1", "0", "0", "1"]),
    ] {
        assert_eq!(line(&report, kind).get(1..), Some(&numbers[..]), "{kind}: {report}");
    }
    for (reason, rows) in [
        ("event_type is none of", 1),
        ("a column is null", 3),
        ("uuid is no UUID", 1),
        ("created_at is before 2020", 1),
        ("created_at is in the future", 2),
        ("older than --retention-events", 1),
        ("payload is larger than 4096 bytes", 1),
        ("payload is none that Kamaji sends", 3),
        ("update without a change of version", 1),
    ] {
        let found = report.lines().find(|line| line.contains(reason));
        assert!(found.is_some_and(|line| line.starts_with(&format!("{rows}  "))), "{reason}: {report}");
    }
    assert!(!report.contains("acme") && !report.contains(&cluster.to_string()), "{report}");
    let again = old.import_into(&target.location).await;
    assert_eq!(line(&again, "stats")[1..], ["3", "0", "2", "1"], "{again}");
    assert_eq!(line(&again, "create")[1..], ["6009", "0", "6000", "9"], "{again}");
    let Stores { rows: store, auth } = target.open().await;
    let audit_log = auth.audit_log(10).await.unwrap();
    assert!(audit_log.iter().all(|entry| entry.action == "backend import" && entry.actor.is_none()), "{audit_log:?}");
    assert_eq!(audit_log.iter().map(|entry| entry.count).sum::<u64>(), 2);
    drop(auth);
    let events = store.events(EventFilter::default(), 100_000).await.unwrap();
    assert_eq!(events.len() as u64, MANY + 2);
    assert!(events.iter().all(|event| event.source.kind() == SourceKind::Kamaji && !event.bulk));
    assert_eq!(latest(store.as_ref(), cluster).await.first_seen, Hour::of(ago(10)));
    assert_eq!(target.differences().await, Vec::<String>::new());
    let time = HourRange { from: None, until: Some(Hour::of(ago(100))) };
    let erased = store.erase_events(EventFilter { time, ..EventFilter::default() }).await.unwrap().events;
    assert!(erased > 1_000, "{erased}");
    drop(store);
    old.import_into(&target.location).await;
    let left = target.open().await.rows.count_events(EventFilter::default()).await.unwrap().events;
    assert_eq!(left, MANY + 2 - erased, "what was erased does not come back");
    assert_eq!(target.differences().await, Vec::<String>::new());
    let bytes = stored_bytes(target.folder.path());
    assert!(!bytes.windows(16).any(|part| part == cluster.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_imported_into_sqlite_once_and_what_cannot_be_used_is_left_out() {
    the_history_is_imported_once_and_what_cannot_be_used_is_left_out(Target::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_imported_into_postgresql_once_and_what_cannot_be_used_is_left_out() {
    the_history_is_imported_once_and_what_cannot_be_used_is_left_out(Target::postgres().await).await;
}

async fn an_imported_installation_is_confirmed_by_its_next_receipt(target: Target) {
    let old = V1Table::create().await;
    let (imported, silent, reporting) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    for (cluster, days) in [(imported, 40), (silent, 3), (reporting, 60)] {
        old.receive_stats(cluster, days).await;
    }
    let report = old.import_into(&target.location).await;
    assert_eq!(line(&report, "stats")[1..], ["3", "3", "0", "0"], "{report}");
    let stores = target.open().await;
    let rows = Arc::clone(&stores.rows);
    for cluster in [imported, silent] {
        let row = latest(rows.as_ref(), cluster).await;
        assert_eq!((row.confirmed, row.bulk, row.last_seen), (None, false, row.first_seen));
    }
    let backend = Backend::serve(target.folder, stores, Retention::default(), SecurityConfig::default()).await;
    let is_active = async || backend.overview("kamaji", "active").await.remove(0)["installations"].clone();
    assert_eq!(is_active().await, 0);
    for cluster in [imported, reporting] {
        assert_eq!(backend.post("/stats", &[JSON], stats(cluster).as_bytes()).await.status, 200);
    }
    assert_eq!(is_active().await, 2, "none waits for a second day");
    let row = latest(rows.as_ref(), imported).await;
    assert_eq!((row.first_seen, row.last_seen.day()), (Hour::of(ago(40)), today()));
    assert_eq!(row.confirmed, Some(row.last_seen));
    assert!(!row.is_young(), "it weighs what it has");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_imported_into_sqlite_is_confirmed_by_its_next_receipt() {
    an_imported_installation_is_confirmed_by_its_next_receipt(Target::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_imported_into_postgresql_is_confirmed_by_its_next_receipt() {
    an_imported_installation_is_confirmed_by_its_next_receipt(Target::postgres().await).await;
}

async fn an_installation_that_reports_already_is_not_set_back(target: Target) {
    let old = V1Table::create().await;
    let clusters: Vec<Uuid> = (0..100).map(|_| Uuid::new_v4()).collect();
    for cluster in &clusters {
        old.receive_stats(*cluster, 50).await;
    }
    let received = Hour::of(Timestamp::now());
    let store = target.open().await.rows;
    let key = store.pseudonym_key().await.unwrap();
    let snapshots: Vec<_> = clusters.iter().map(|cluster| reported(key.pseudonym(*cluster), received)).collect();
    store.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
    drop(store);
    let report = old.import_into(&target.location).await;
    assert_eq!(line(&report, "stats")[1..], ["100", "0", "100", "0"], "{report}");
    assert!(report.contains("Of 100 installations that the store knew, the first receipt is earlier."), "{report}");
    let again = old.import_into(&target.location).await;
    assert!(!again.contains("is earlier"), "{again}");
    assert_eq!(target.differences().await, Vec::<String>::new());
    let store = target.open().await.rows;
    for cluster in clusters {
        let row = latest(store.as_ref(), cluster).await;
        assert_eq!((row.first_seen, row.confirmed), (Hour::of(ago(50)), Some(received)));
        assert_eq!((row.last_seen, row.report.counts.running), (received, 77));
    }
    let intake = store.intake(Day::of(Hour::of(ago(50)).day().date())).await.unwrap();
    assert_eq!(intake.today.installations, 100);
}

/// Returns a snapshot of a cluster that says something else than the table.
fn reported(installation: Uuid, received: Hour) -> GaugeSnapshot {
    use kamaji_telemetry::backend::store::{Report, Source, StateCounts};
    let report = Report {
        counts: StateCounts { running: 77, ..StateCounts::default() },
        source: Source::Kamaji,
        kamaji_version: "v1.0.0".parse().unwrap(),
        kubernetes_version: "v1.35.1".parse().unwrap(),
        dimensions: vec![],
    };
    GaugeSnapshot { installation, received, report }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_reports_into_sqlite_already_is_not_set_back() {
    an_installation_that_reports_already_is_not_set_back(Target::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_that_reports_into_postgresql_already_is_not_set_back() {
    an_installation_that_reports_already_is_not_set_back(Target::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_writes_nothing_into_the_old_table_and_says_what_stands_in_its_way() {
    let (old, target) = (V1Table::create().await, Target::sqlite());
    old.receive_stats(Uuid::new_v4(), 10).await;
    let StoreLocation::Sqlite(path) = &target.location else { unreachable!("it is a file") };
    let store = format!("sqlite:{}", path.display());
    let run = async |from: &str| {
        let output = command::run(&["backend", "import", "--from", from, "--store", &store], &[]).await;
        (output.status.success(), text(&output))
    };
    let served = SqliteStore::open(path).unwrap();
    let (is_done, output) = run(old.0.address()).await;
    assert!(!is_done && output.contains("has to be stopped first"), "{output}");
    drop(served);
    let (is_done, output) = run(old.0.address()).await;
    assert!(is_done && line(&output, "stats")[1..] == ["1", "1", "0", "0"], "{output}");
    let empty = TestDatabase::create().await;
    psql(empty.address(), &["DROP TABLE IF EXISTS events CASCADE"]).await.unwrap();
    let (is_done, output) = run(empty.address()).await;
    assert!(!is_done && output.contains("expected the database of the v1 server"), "{output}");
    let (is_done, output) = run("postgres://acme:hunter2@db/old").await;
    assert!(!is_done && output.contains("--from: ") && !output.contains("hunter2"), "{output}");
    let rows = psql(
        old.0.address(),
        &[
            "SELECT count(*) FROM events",
            "SELECT n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname = 'events'",
        ],
    )
    .await;
    assert_eq!(rows.unwrap(), "1\n0");
}

/// Kills imports as soon as they have written something, and repeats them.
async fn an_import_that_is_killed_goes_on_when_it_is_repeated(
    target: Target,
    address: &str,
    count: impl AsyncFn() -> u64,
) {
    const INSTALLATIONS: u64 = 3_000;
    let old = V1Table::create().await;
    let fill = format!(
        "INSERT INTO events SELECT id, 'stats', jsonb_set('{}', '{{uuid}}', to_jsonb(id)), now() - number % 20 * interval '1 day'
         FROM (SELECT gen_random_uuid()::text AS id, number FROM generate_series(1, {INSTALLATIONS}) AS number) AS new",
        stats(Uuid::nil())
    );
    old.sql(&[&fill]).await;
    for _ in 0..3 {
        let before = count().await;
        let mut import = tokio::process::Command::new(PROGRAM);
        import
            .args(["backend", "import", "--from", old.0.address(), "--store", address])
            .env_clear()
            .kill_on_drop(true);
        let mut import = import.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("rows to be imported", async || {
            let has_ended = import.try_wait().unwrap().is_some();
            (has_ended || count().await > before).then_some(())
        })
        .await;
        let _ = import.kill().await;
    }
    let report = old.import_into(&target.location).await;
    assert_eq!(line(&report, "stats")[1], INSTALLATIONS.to_string(), "{report}");
    assert_eq!(count().await, INSTALLATIONS);
    assert_eq!(target.differences().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_sqlite_that_is_killed_goes_on_when_it_is_repeated() {
    let target = Target::sqlite();
    drop(target.open().await);
    let path = target.folder.path().join("telemetry.db");
    let (address, count) = (format!("sqlite:{}", path.display()), async || store::count(&path, "latest"));
    an_import_that_is_killed_goes_on_when_it_is_repeated(target, &address, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_postgresql_that_is_killed_goes_on_when_it_is_repeated() {
    let target = Target::postgres().await;
    drop(target.open().await);
    let address = target.database.as_ref().unwrap().address().to_owned();
    let count = async || psql(&address, &["SELECT count(*) FROM latest"]).await.unwrap().parse().unwrap();
    an_import_that_is_killed_goes_on_when_it_is_repeated(target, &address, count).await;
}
