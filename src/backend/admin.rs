//! What is done to a store by hand: erasing an installation, copying the store, putting a copy back, and its tokens.
//!
//! Each answers with a line that says what was done, and never repeats an identity.

pub mod token;

use std::path::PathBuf;

use anyhow::Context;
use jiff::Timestamp;
use uuid::Uuid;

use super::store::sqlite::backup::{self, folder::BackupFolder};
use super::store::{AuditLogEntry, AuthStore, ERASE, Erased, SqliteStore, Store, StoreLocation};

/// Deletes all rows of an installation, given by its UUID or, where today's Kamaji reports it, by the UID that this
/// reports: of the cluster's Service `default/kubernetes`. The backend may serve the store meanwhile.
///
/// The audit log says before that there was an erasure, and not of what. Fails where there is no store.
pub async fn erase(store: StoreLocation, installation: Uuid) -> anyhow::Result<String> {
    let store = open(store).await?;
    let entry = AuditLogEntry { time: Timestamp::now(), who: None, what: ERASE.to_owned(), status: None, count: 1 };
    store.record(vec![entry]).await?;
    let erased = erase_from(&store, installation).await?;
    if erased == Erased::default() {
        return Ok("Nothing is stored of this installation.\n".into());
    }
    let Erased { latest, days, dimensions } = erased;
    let latest = if latest { "its latest state" } else { "no latest state" };
    let [days, points] = [plural(days, "day"), plural(dimensions, "point")];
    Ok(format!(
        "Erased {latest}, {days} and {points} of extended gauges. What it sends from now on is stored again, and backups \
         still hold what they held.\n"
    ))
}

/// Deletes all rows of an installation, by its UUID or by the UID that today's Kamaji reports.
pub(super) async fn erase_from(store: &dyn Store, installation: Uuid) -> anyhow::Result<Erased> {
    let pseudonym = store.pseudonym_key().await?.pseudonym(installation);
    let [by_uuid, by_cluster] = [store.erase(installation).await?, store.erase(pseudonym).await?];
    Ok(Erased {
        latest: by_uuid.latest || by_cluster.latest,
        days: by_uuid.days + by_cluster.days,
        dimensions: by_uuid.dimensions + by_cluster.dimensions,
    })
}

/// Copies a store, in use or not, into a new file.
pub async fn backup(store: StoreLocation, file: PathBuf) -> anyhow::Result<String> {
    let StoreLocation::Sqlite(path) = store;
    let done = format!("Copied {} to {}, and checked the copy.\n", path.display(), file.display());
    tokio::task::spawn_blocking(move || backup::backup(&path, &file)).await?.context("no backup was made")?;
    Ok(done)
}

/// Copies a store, in use or not, into a folder, and deletes the oldest copies there, so that `keep` are left.
pub async fn backup_into(store: StoreLocation, directory: PathBuf, keep: u16) -> anyhow::Result<String> {
    let StoreLocation::Sqlite(path) = store;
    tokio::task::spawn_blocking(move || {
        let folder = BackupFolder::open(&directory, &path).context("no backup was made")?;
        let copy = folder.add(Timestamp::now()).context("no backup was made")?;
        let done = format!("Copied {} to {}, and checked the copy.\n", path.display(), copy.display());
        let deleted = folder.keep(&copy, keep.into()).with_context(|| {
            format!("{} was made, but older copies beyond {keep} could not all be deleted", copy.display())
        })?;
        let deleted = deleted.into_iter().map(|name| format!("Deleted {name}: {keep} are kept.\n"));
        Ok(std::iter::once(done).chain(deleted).collect())
    })
    .await?
}

/// Puts a copy in the place of a store that is not in use.
pub async fn restore(store: StoreLocation, file: PathBuf) -> anyhow::Result<String> {
    let StoreLocation::Sqlite(path) = store;
    let done = format!("Checked {}, and put it in the place of {}.\n", file.display(), path.display());
    tokio::task::spawn_blocking(move || backup::restore(&file, &path)).await?.context("nothing was put back")?;
    Ok(done)
}

/// The store that a backend made, and may be serving.
async fn open(store: StoreLocation) -> anyhow::Result<SqliteStore> {
    let StoreLocation::Sqlite(path) = store;
    Ok(tokio::task::spawn_blocking(move || SqliteStore::open_existing(&path)).await??)
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
