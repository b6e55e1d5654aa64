//! The data of which the pages are looked at.

#[path = "../../../benches/insights/fill.rs"]
mod fill;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use kamaji_telemetry::backend::auth::token;
use kamaji_telemetry::backend::store::{
    AuthStore, Batch, GaugeSnapshot, Hour, Report, Role, Source, SqliteStore, StateCounts, Store,
};
use kamaji_telemetry::backend::{SecurityConfig, ServeSettings};
use kamaji_telemetry::catalog::SERVICE_VERSION;
use kamaji_telemetry::testkit::history;
use rusqlite::Connection;
use uuid::Uuid;

use super::job::{Site, Tokens};
use crate::backend::harness::{Backend, unlimited};

/// The seed of the simulated history.
const SEED: u64 = 1;

/// The days on which the one installation reported: more than a week, so that there are weeks to compare.
const DAYS: i32 = 20;

/// The days of a million installations: more than the longest chart by day.
const FILLED_DAYS: i64 = 100;

/// A kind of data.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dataset {
    /// None.
    Empty,
    /// One confirmed installation.
    One,
    /// The history of the demo.
    Demo,
    /// The rollups of a million installations.
    Million,
}

impl Dataset {
    pub(super) const ALL: [Self; 4] = [Self::Empty, Self::One, Self::Demo, Self::Million];

    /// Starts a backend with the data. Without limits, since all readers share an address.
    pub(super) async fn serve(self) -> (Backend, Site) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("telemetry.db");
        self.prepare(&file);
        let store = Arc::new(SqliteStore::open(&file).unwrap());
        self.fill(store.as_ref()).await;
        let security = SecurityConfig { limits: unlimited(), ..SecurityConfig::default() };
        let settings = ServeSettings { security, public_page: true, ..ServeSettings::default() };
        let backend = Backend::serve_with(folder, store.into(), settings).await;
        let tokens = Tokens {
            viewer: create_token(backend.auth.as_ref(), "alice", Role::Viewer).await,
            admin: create_token(backend.auth.as_ref(), "bob", Role::Admin).await,
        };
        let origin = format!("http://{}", backend.http);
        let site = Site { dataset: self.name(), origin, tokens, has_data: matches!(self, Self::Demo | Self::Million) };
        (backend, site)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::One => "one",
            Self::Demo => "demo",
            Self::Million => "million",
        }
    }

    /// Writes what is no row, while no store is open.
    fn prepare(self, file: &Path) {
        if matches!(self, Self::Million) {
            drop(SqliteStore::open(file).unwrap());
            let today = Hour::of(Timestamp::now()).day().number();
            fill::fill(&mut Connection::open(file).unwrap(), 1_000_000, FILLED_DAYS, today.into()).unwrap();
        }
    }

    async fn fill(self, store: &dyn Store) {
        let now = Timestamp::now();
        match self {
            Self::Empty | Self::Million => {}
            Self::One => store.write(one_installation(now)).await.unwrap(),
            Self::Demo => drop(history::write(store, SEED, now).await.unwrap()),
        }
    }
}

async fn create_token(auth: &dyn AuthStore, name: &str, role: Role) -> String {
    token::create(auth, name.parse().unwrap(), role, 1).await.unwrap().1
}

/// Returns a snapshot a day of one installation.
fn one_installation(now: Timestamp) -> Batch {
    let snapshot = |age| GaugeSnapshot {
        installation: Uuid::from_u128(1),
        received: Hour::of(now).minus(24 * age),
        report: Report {
            counts: StateCounts { running: 3, sleeping: 1, ..StateCounts::default() },
            source: Source::Agent(SERVICE_VERSION.parse().unwrap()),
            kamaji_version: "v1.1.1".parse().unwrap(),
            kubernetes_version: "v1.35.4".parse().unwrap(),
            dimensions: Vec::new(),
        },
    };
    Batch { snapshots: (0..DAYS).rev().map(snapshot).collect(), ..Batch::default() }
}
