//! The weeks of the public page in the store's file.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::columns::{self, sum};
use super::published_week::PublishedWeekFile;
use super::words::Words;
use crate::backend::store::encoding::{parse_size, source};
use crate::backend::store::hour::Day;
use crate::backend::store::{PublicKey, PublicWeekStore, ReadError, SourceKind, StoredWeek, WeekCounts, WriteError};
use crate::catalog::{KamajiVersion, KubernetesVersion};

impl PublicWeekStore for SqliteStore {
    fn week_counts(&self, monday: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>> {
        self.insights.run_with_words(move |connection, words| week_counts(connection, words, monday)).boxed()
    }

    fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>> {
        ready(Ok(self.public_key.clone())).boxed()
    }

    fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>> {
        async move {
            let stored = self.reader.run(|connection| {
                connection.query_row("SELECT max(week) FROM public_weeks", [], |row| row.get::<_, Option<i32>>(0))
            });
            let (stored, file) = (stored.await?.map(Day::from_number), PublishedWeekFile::of(&self.path));
            let read = tokio::task::spawn_blocking(move || file.last(stored)).await;
            let read = read.map_err(|error| ReadError(error.to_string().into()))?;
            read.map_err(|error| ReadError(error.to_string().into()))
        }
        .boxed()
    }

    fn publish_week(&self, week: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>> {
        async move {
            let unavailable = |error: &dyn std::error::Error| WriteError::Unavailable(error.to_string().into());
            // Before the file is written, so that a week is not lost to a store that was moved.
            self.check_file()?;
            let last = self.last_public_week().await.map_err(|error| unavailable(&error))?;
            if last.is_some_and(|last| week.monday <= last) {
                return Ok(false);
            }
            let (file, monday) = (PublishedWeekFile::of(&self.path), week.monday);
            let written = tokio::task::spawn_blocking(move || file.write(monday)).await;
            written.map_err(|error| unavailable(&error))?.map_err(|error| unavailable(&error))?;
            // A crash here loses the week. The other order could publish it twice: a store may be restored between the
            // two.
            let insert = move |connection: &mut Connection| {
                let row = params![week.monday.number(), week.content];
                connection
                    .execute("INSERT INTO public_weeks (week, content) VALUES (?1, ?2) ON CONFLICT DO NOTHING", row)
            };
            Ok(self.run(insert).await? == 1)
        }
        .boxed()
    }

    fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>> {
        self.insights
            .run(|connection| {
                let mut select =
                    connection.prepare_cached("SELECT week, content FROM public_weeks ORDER BY week DESC")?;
                let week =
                    |row: &Row<'_>| Ok(StoredWeek { monday: columns::day(row, "week")?, content: row.get("content")? });
                select.query_map([], week)?.collect()
            })
            .boxed()
    }
}

/// Counts the installations of a week, each by its last row of it.
fn week_counts(connection: &mut Connection, words: &mut Words, monday: Day) -> rusqlite::Result<WeekCounts> {
    let transaction = connection.transaction()?;
    let sunday = monday.plus(6);
    let week = params![source(SourceKind::Agent), sunday.number(), monday.number()];
    let mut select = transaction.prepare_cached(
        "SELECT kamaji, kubernetes, sum(installations) AS installations FROM active_pair_rollup
         WHERE source = ?1 AND next_day > ?2 AND day BETWEEN ?3 AND ?2 AND established = 1 GROUP BY 1, 2",
    )?;
    let (mut rows, mut pairs) = (select.query(week)?, Vec::new());
    while let Some(row) = rows.next()? {
        let kamaji = columns::word::<KamajiVersion>(words, &transaction, row, "kamaji")?.to_minor();
        let kubernetes = columns::word::<KubernetesVersion>(words, &transaction, row, "kubernetes")?.to_minor();
        pairs.push((kamaji, kubernetes, sum(row, "installations")?));
    }
    let mut select = transaction.prepare_cached(
        "SELECT size, sum(installations) AS installations FROM active_condition_rollup
         WHERE source = ?1 AND next_day > ?2 AND day BETWEEN ?3 AND ?2 AND established = 1 GROUP BY 1",
    )?;
    let size = |row: &Row<'_>| Ok((parse_size(row.get("size")?)?, sum(row, "installations")?));
    let sizes: Vec<_> = select.query_map(week, size)?.collect::<rusqlite::Result<_>>()?;
    Ok(WeekCounts::new(pairs, sizes))
}
