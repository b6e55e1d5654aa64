//! The weeks of the public page in the database.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio_postgres::Row;

use super::PostgresStore;
use super::age::sum;
use super::connection::{PostgresConnection, PostgresError};
use super::rollups::int;
use crate::backend::store::encoding::{parse_size, parse_word, source};
use crate::backend::store::hour::Day;
use crate::backend::store::{PublicKey, PublicWeekStore, ReadError, SourceKind, StoredWeek, WeekCounts, WriteError};
use crate::catalog::{KamajiVersion, KubernetesVersion};

/// Stores a week, unless one that is not earlier is stored.
const PUBLISH: &str = "
    INSERT INTO public_weeks (week, content)
    SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM public_weeks WHERE week >= $1) ON CONFLICT (week) DO NOTHING";

/// The rows of established installations that were last received in a week.
const IN_WEEK: &str = "source = $1 AND next_day > $2 AND day BETWEEN $3 AND $2 AND established = 1";

impl PublicWeekStore for PostgresStore {
    fn week_counts(&self, monday: Day) -> BoxFuture<'_, Result<WeekCounts, ReadError>> {
        self.ask(move |connection| week_counts(connection, monday).boxed()).boxed()
    }

    fn public_key(&self) -> BoxFuture<'_, Result<PublicKey, ReadError>> {
        ready(Ok(self.public_key.clone())).boxed()
    }

    fn last_public_week(&self) -> BoxFuture<'_, Result<Option<Day>, ReadError>> {
        self.read(|connection| {
            async move {
                let last = connection.query_one("SELECT max(week) FROM public_weeks", &[]).await?;
                Ok(last.try_get::<_, Option<i32>>(0)?.map(Day::from_number))
            }
            .boxed()
        })
        .boxed()
    }

    fn publish_week(&self, week: StoredWeek) -> BoxFuture<'_, Result<bool, WriteError>> {
        self.change(move |connection| {
            let week = week.clone();
            async move {
                connection.begin().await?;
                let rows = connection.execute(PUBLISH, &[&week.monday.number(), &week.content]).await?;
                connection.commit().await?;
                Ok(rows == 1)
            }
            .boxed()
        })
        .boxed()
    }

    fn public_weeks(&self) -> BoxFuture<'_, Result<Vec<StoredWeek>, ReadError>> {
        self.read(|connection| {
            async move {
                let rows = connection.query("SELECT week, content FROM public_weeks ORDER BY week DESC", &[]).await?;
                let week = |row: &Row| {
                    let monday = Day::from_number(row.try_get("week")?);
                    Ok(StoredWeek { monday, content: row.try_get("content")? })
                };
                rows.iter().map(week).collect()
            }
            .boxed()
        })
        .boxed()
    }
}

/// Counts the installations of a week, each by its last row of it.
async fn week_counts(connection: &mut PostgresConnection, monday: Day) -> Result<WeekCounts, PostgresError> {
    let of_agents = int(source(SourceKind::Agent));
    let (sunday, monday) = (monday.plus(6).number(), monday.number());
    let pairs = format!(
        "SELECT kamaji, kubernetes, sum(installations)::bigint AS installations FROM active_pair_rollup WHERE {IN_WEEK}
         GROUP BY 1, 2 HAVING sum(installations) > 0"
    );
    let rows = connection.query(&pairs, &[&of_agents, &sunday, &monday]).await?;
    let mut ids = Vec::new();
    for row in &rows {
        for column in ["kamaji", "kubernetes"] {
            ids.push(row.try_get::<_, i32>(column)?.cast_unsigned());
        }
    }
    let mut known = connection.read_words(ids.iter().copied()).await?;
    let mut pairs = Vec::new();
    for (row, id) in rows.iter().zip(ids.chunks(2)) {
        let kamaji = parse_word::<KamajiVersion, _>(&mut known, id[0], "kamaji")?.to_minor();
        let kubernetes = parse_word::<KubernetesVersion, _>(&mut known, id[1], "kubernetes")?.to_minor();
        pairs.push((kamaji, kubernetes, sum(row, "installations")?));
    }
    let sizes = format!(
        "SELECT size, sum(installations)::bigint AS installations FROM active_condition_rollup WHERE {IN_WEEK}
         GROUP BY 1 HAVING sum(installations) > 0"
    );
    let rows = connection.query(&sizes, &[&of_agents, &sunday, &monday]).await?;
    let size = |row: &Row| Ok((parse_size(row.try_get::<_, i32>("size")?.into())?, sum(row, "installations")?));
    let sizes = rows.iter().map(size).collect::<Result<Vec<_>, PostgresError>>()?;
    Ok(WeekCounts::new(pairs, sizes))
}
