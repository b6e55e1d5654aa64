//! Databases of tests.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kamaji_telemetry::backend::store::PostgresStore;
use uuid::Uuid;

use super::super::eventually;
use super::programs::{program, psql};
use super::{PostgresServers, USER};

/// The environment variable with the address of a server to use instead of the tests' own.
const GIVEN: &str = "KAMAJI_TELEMETRY_TEST_POSTGRES";

/// The database that others are copied from.
const TEMPLATE: &str = "template_of_tests";

/// A database of one test, with the tables of a store or without any.
pub(crate) struct TestDatabase {
    address: String,
    /// The server and the name of a database to remove. The tests' own servers end with the test run.
    to_remove: Option<(String, String)>,
}

impl TestDatabase {
    /// Creates a database: on the pair of the test run, or on the server that the environment names.
    pub(crate) async fn create() -> Self {
        match std::env::var(GIVEN) {
            Ok(server) if !server.is_empty() => Self::create_on(server).await,
            _ => Self { address: PostgresServers::shared().await.database().await, to_remove: None },
        }
    }

    /// Creates a database on a server that may be of another kind, which may have no templates.
    async fn create_on(server: String) -> Self {
        let name = format!("kamaji_telemetry_test_{}", Uuid::new_v4().simple());
        if let Err(error) = psql(&server, &[&format!("CREATE DATABASE {name}")]).await {
            panic!(
                "{GIVEN} names a server on which no database can be created: expected the address of a server whose user may \
                 create databases, such as postgres://USER@HOST/postgres: {error}"
            );
        }
        Self { address: with_database(&server, &name), to_remove: Some((server, name)) }
    }

    /// Opens it as a store.
    pub(crate) async fn open(&self) -> Arc<PostgresStore> {
        Arc::new(open(&self.address).await)
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.to_remove {
            let mut command = Command::new(program("psql"));
            command.args(["--no-psqlrc", "--quiet", "--no-password", &format!("--dbname={server}")]);
            command.arg(format!("--command=DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            // A database that stays is a nuisance, and no failure of what was tested.
            drop(command.stdout(Stdio::null()).status());
        }
    }
}

impl PostgresServers {
    /// Creates a database with the tables of a store, and returns its address.
    pub(crate) async fn database(&self) -> String {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        self.template.get_or_init(|| self.create_template()).await;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.primary().sql(&[&format!("CREATE DATABASE {name} OWNER {USER} TEMPLATE {TEMPLATE}")]).await;
        self.address(&name)
    }

    /// Creates the database that others are copied from, which is possible without connections to it only.
    async fn create_template(&self) {
        let address = self.empty_database(TEMPLATE).await;
        drop(open(&address).await);
        let connections = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{TEMPLATE}'");
        let is_left = async || (self.primary().sql(&[&connections]).await == "0").then_some(());
        eventually("the connections to the template to end", is_left).await;
    }
}

/// Opens a database as a store, and makes its tables if there are none.
async fn open(address: &str) -> PostgresStore {
    let address = address.parse().expect("the address is one of a store");
    PostgresStore::open(&address).await.expect("the database can be opened as a store")
}

/// Returns an address with another database.
fn with_database(address: &str, database: &str) -> String {
    let (path, query) = address.split_once('?').map_or((address, None), |(path, query)| (path, Some(query)));
    let (scheme, rest) = path.split_once("://").unwrap_or(("postgres", path));
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}/{database}{query}")
}

#[test]
fn an_address_gets_another_database() {
    for (address, expected) in [
        ("postgres://kt@db/postgres?sslmode=disable", "postgres://kt@db/test?sslmode=disable"),
        ("postgres://kt@a:1,b:2", "postgres://kt@a:1,b:2/test"),
        ("postgresql://kt@db/", "postgresql://kt@db/test"),
    ] {
        assert_eq!(with_database(address, "test"), expected);
    }
}
