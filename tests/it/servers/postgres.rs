//! PostgreSQL: a primary and a standby of it, which a commit waits for.

mod database;
mod programs;
mod row_lock;
mod server;
mod watchdog;

use std::path::Path;

use tokio::sync::OnceCell;

pub(crate) use database::TestDatabase;

pub(crate) use programs::psql;
pub(crate) use row_lock::RowLock;
pub(crate) use server::{PostgresServer, Rejoined};
use watchdog::Watchdog;

use super::eventually;

/// The user of the backends, who owns their databases and is no superuser.
pub(crate) const USER: &str = "telemetry";

/// The seconds that a promotion may take.
const PROMOTION_SECONDS: u32 = 20;

/// Two servers, one of which is the primary.
pub(crate) struct PostgresServers {
    /// Dropped first, before the folders that the watchdog would remove.
    servers: [PostgresServer; 2],
    /// The position of the primary.
    primary: usize,
    template: OnceCell<()>,
    _watchdog: Watchdog,
}

impl PostgresServers {
    /// Returns the pair of the whole test run, which the first test starts. It ends with the process.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<PostgresServers> = OnceCell::const_new();
        SHARED.get_or_init(Self::start_pair).await
    }

    /// Starts a pair, for a test that kills it.
    pub(crate) async fn start_pair() -> Self {
        let primary = PostgresServer::start("a").await;
        primary.sql(&[&format!("CREATE ROLE {USER} LOGIN")]).await;
        let standby = PostgresServer::start_standby("b", &primary).await;
        let watchdog = Watchdog::start(&[primary.data(), standby.data()]);
        let pair = Self { servers: [primary, standby], primary: 0, template: OnceCell::new(), _watchdog: watchdog };
        pair.require_standby().await;
        pair
    }

    /// Returns the primary.
    pub(crate) fn primary(&self) -> &PostgresServer {
        &self.servers[self.primary]
    }

    /// Returns the primary, to end it and to start it again.
    pub(crate) fn primary_mut(&mut self) -> &mut PostgresServer {
        &mut self.servers[self.primary]
    }

    /// Returns the other server.
    pub(crate) fn standby(&self) -> &PostgresServer {
        &self.servers[1 - self.primary]
    }

    /// Returns the other server, to end it and to start it again.
    pub(crate) fn standby_mut(&mut self) -> &mut PostgresServer {
        &mut self.servers[1 - self.primary]
    }

    /// Makes the other server the primary, after the primary was killed. Commits wait for no standby then.
    pub(crate) async fn promote(&mut self) {
        self.primary = 1 - self.primary;
        let promoted = self.primary().sql(&[&format!("SELECT pg_promote(true, {PROMOTION_SECONDS})")]).await;
        assert_eq!(promoted, "t", "the standby was not promoted in {PROMOTION_SECONDS} s");
        let reset = ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"];
        self.primary().sql(&reset).await;
    }

    /// Starts the server that was killed again, as a standby that commits wait for.
    pub(crate) async fn rejoin(&mut self) -> Rejoined {
        let rejoined = self.standby().follow(self.primary()).await;
        self.servers[1 - self.primary].resume().await;
        self.require_standby().await;
        rejoined
    }

    /// Lets the backends' user in from other addresses, with a password and over TLS only, for which the primary starts again.
    pub(crate) async fn admit_others(&mut self, password: &str, certificate: &Path, key: &Path) {
        self.primary_mut().admit_others(USER, password, certificate, key).await;
        self.caught_up().await;
    }

    /// Lets commits wait for the standby, once it has caught up.
    async fn require_standby(&self) {
        let (primary, name) = (self.primary(), self.standby().name());
        let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'");
        primary.sql(&[&set, "SELECT pg_reload_conf()"]).await;
        self.caught_up().await;
    }

    /// Waits until the standby has caught up, and commits wait for it.
    pub(crate) async fn caught_up(&self) {
        let name = self.standby().name();
        let state = format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{name}'");
        let is_synchronous = async || (self.primary().sql(&[&state]).await == "sync").then_some(());
        eventually("the standby to be synchronous", is_synchronous).await;
    }

    /// Returns the number of commits that wait for the standby.
    pub(crate) async fn waiting_commits(&self) -> usize {
        self.count("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await
    }

    /// Cancels the commits that wait for the standby, and returns their number.
    pub(crate) async fn cancel_waiting_commits(&self) -> usize {
        self.count("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await
    }

    /// Returns the number of connections of the backends' user.
    pub(crate) async fn connections(&self) -> usize {
        self.count(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'")).await
    }

    async fn count(&self, sql: &str) -> usize {
        self.primary().sql(&[sql]).await.parse().expect("a count is a number")
    }

    /// Returns the address of a database on whichever server is the primary, for a backend.
    pub(crate) fn address(&self, database: &str) -> String {
        let [first, second] = self.servers.each_ref().map(PostgresServer::address);
        format!("postgres://{USER}@{first},{second}/{database}?target_session_attrs=read-write&sslmode=disable")
    }

    /// Creates an empty database and returns its address.
    pub(crate) async fn empty_database(&self, name: &str) -> String {
        self.primary().sql(&[&format!("CREATE DATABASE {name} OWNER {USER}")]).await;
        self.address(name)
    }
}
