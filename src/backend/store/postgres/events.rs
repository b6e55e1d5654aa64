//! Events: their columns, and the statements that read and write many at once.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{PostgresConnection, PostgresError};
use super::rows::small;
use crate::backend::store::EventRow;
use crate::backend::store::encoding::{EventColumns, EventWords};

/// Writers of events and the job that moves them take locks that exclude each other: the uid of a repeat is in one of the two tables
/// for as long as a transaction looks for it.
pub(super) const LOCK_TO_ADD: &str = "LOCK TABLE arrivals IN ROW EXCLUSIVE MODE";
pub(super) const LOCK_TO_MOVE: &str = "LOCK TABLE arrivals IN SHARE ROW EXCLUSIVE MODE";

/// Reads which uids are stored.
pub(super) const KNOWN: &str = "
    SELECT uid FROM arrivals WHERE uid = ANY($1) UNION ALL SELECT uid FROM events WHERE uid = ANY($1)";

/// Inserts events that are new. One that another backend has inserted meanwhile is left out.
pub(super) const INSERT: &str = "
    INSERT INTO arrivals (uid, hour, source, kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status,
                          network_profile, cluster_api)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::smallint[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[],
                         $10::int[], $11::int[], $12::smallint[])
    ON CONFLICT (uid) DO NOTHING";

/// The columns of an event in both tables.
pub(super) const COLUMNS: &str = "uid, hour, source, kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, \
                                  cluster_api, network_profile";

/// The columns of events, each an array.
#[derive(Debug, Default)]
pub(super) struct EventArrays {
    uid: Vec<Uuid>,
    hour: Vec<i32>,
    source: Vec<i16>,
    words: [Vec<i32>; 8],
    cluster_api: Vec<i16>,
}

impl EventArrays {
    /// Returns the columns of events in the order of their uids, in which two writers don't wait for each other.
    pub(super) fn new(mut events: Vec<EventColumns>) -> Self {
        events.sort_unstable_by_key(|event| event.uid);
        let mut arrays = Self::default();
        for EventColumns { source, hour, uid, cluster_api, words } in events {
            let EventWords { kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile } =
                words;
            arrays.uid.push(uid);
            arrays.hour.push(hour);
            arrays.source.push(small(source));
            arrays.cluster_api.push(cluster_api.into());
            let ids = [kind, agent, kamaji, kubernetes, tcp_version, old_tcp_version, status, network_profile];
            for (column, id) in arrays.words.iter_mut().zip(ids) {
                column.push(id.cast_signed());
            }
        }
        arrays
    }

    pub(super) fn len(&self) -> usize {
        self.uid.len()
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&self.uid, &self.hour, &self.source];
        parameters.extend(self.words.iter().map(|ids| ids as &(dyn ToSql + Sync)));
        parameters.push(&self.cluster_api);
        parameters
    }
}

/// Reads the columns of an event.
pub(super) fn columns(row: &Row) -> Result<EventColumns, PostgresError> {
    let word = |column| row.try_get::<_, i32>(column).map(i32::cast_unsigned);
    Ok(EventColumns {
        source: row.try_get::<_, i16>("source")?.into(),
        hour: row.try_get("hour")?,
        uid: row.try_get("uid")?,
        cluster_api: u8::try_from(row.try_get::<_, i16>("cluster_api")?).unwrap_or_default(),
        words: EventWords {
            kind: word("kind")?,
            agent: word("agent")?,
            kamaji: word("kamaji")?,
            kubernetes: word("kubernetes")?,
            tcp_version: word("tcp_version")?,
            old_tcp_version: word("old_tcp_version")?,
            status: word("status")?,
            network_profile: word("network_profile")?,
        },
    })
}

/// Reads events that have not lost their content, in the order of `rows`.
pub(super) async fn event_rows(
    connection: &mut PostgresConnection,
    rows: &[Row],
) -> Result<Vec<(EventColumns, EventRow)>, PostgresError> {
    let columns = rows.iter().map(columns).collect::<Result<Vec<_>, _>>()?;
    let mut words = connection.read_words(columns.iter().flat_map(|columns| columns.words.ids())).await?;
    columns.into_iter().map(|columns| Ok((columns, columns.event(&mut words)?))).collect()
}
