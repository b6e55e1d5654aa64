//! The table of the server that answered Kamaji's built-in telemetry before.
//!
//! It is `events(uuid, event_type, payload, created_at)`: each event under a random UUID, and the last state of an installation
//! under the UID of its cluster.

use std::error::Error;

use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::address::PostgresAddress;
use super::connection::{PostgresError, connect};

/// The number of rows that are read at once: 3 MB of the largest that Kamaji sends.
const PAGE_ROWS: u16 = 5_000;

/// Begins a transaction that reads one state and writes nothing. The server waits for as long as a page takes to be stored.
const BEGIN: &str = "
    BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0";

/// Rows of the table, of one state of it.
pub struct HistoryTable {
    address: PostgresAddress,
    client: Client,
    next: Statement,
}

/// A row of the table. Texts are as the server sent them, which need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryRow {
    /// The key.
    pub uuid: Option<Vec<u8>>,
    /// The kind of the payload.
    pub event_type: Option<Vec<u8>>,
    /// The payload as JSON; `None` also if it is too large.
    pub payload: Option<Vec<u8>>,
    /// True if the payload is larger than the bound, and was not read.
    pub is_too_large: bool,
    /// The time of the receipt in seconds since 1970; `None` also if it is infinite.
    pub created_at: Option<i64>,
}

/// An error of the table or of the connection to it.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the table of the v1 server in {address}: {error}{}", hint(.error))]
pub struct HistoryError {
    address: PostgresAddress,
    error: PostgresError,
}

/// A text in the encoding of its server.
struct RawText<'a>(&'a [u8]);

impl<'a> FromSql<'a> for RawText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(of_column: &Type) -> bool {
        *of_column == Type::TEXT
    }
}

fn hint(error: &PostgresError) -> &'static str {
    match error.code() {
        Some(&(SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN)) => {
            "; expected the database of the v1 server, with its table events(uuid, event_type, payload, created_at)"
        }
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "; expected a user who may read the table events",
        _ => "",
    }
}

/// Returns the declaration of a cursor over the rows, without payloads of more than `max_payload` bytes. In the order of the key:
/// the order of arrival is not read.
fn declare(max_payload: usize) -> String {
    format!(
        "DECLARE history NO SCROLL CURSOR FOR
         SELECT uuid::text AS uuid, event_type::text AS event_type,
                CASE WHEN octet_length(payload::text) <= {max_payload} THEN payload::text END AS payload,
                coalesce(octet_length(payload::text) > {max_payload}, false) AS is_too_large,
                CASE WHEN isfinite(created_at) THEN floor(extract(epoch FROM created_at))::bigint END AS created_at
         FROM events ORDER BY uuid"
    )
}

impl HistoryTable {
    /// Connects to the database, also to a standby, and begins to read. Payloads of more than `max_payload` bytes are left out.
    pub async fn open(address: &PostgresAddress, max_payload: usize) -> Result<Self, HistoryError> {
        let opened = Self::try_open(address, max_payload).await;
        opened.map_err(|error| HistoryError { address: address.clone(), error })
    }

    async fn try_open(address: &PostgresAddress, max_payload: usize) -> Result<Self, PostgresError> {
        let (client, _) = connect(address, TargetSessionAttrs::Any).await?;
        client.batch_execute(&format!("{BEGIN}; {}", declare(max_payload))).await?;
        let next = client.prepare(&format!("FETCH FORWARD {PAGE_ROWS} FROM history")).await?;
        Ok(Self { address: address.clone(), client, next })
    }

    /// Reads the next rows; there are none after the last.
    pub async fn next_rows(&mut self) -> Result<Vec<HistoryRow>, HistoryError> {
        let read = self.try_next_rows().await;
        read.map_err(|error| HistoryError { address: self.address.clone(), error })
    }

    async fn try_next_rows(&mut self) -> Result<Vec<HistoryRow>, PostgresError> {
        let rows = self.client.query(&self.next, &[]).await?;
        rows.iter().map(row).collect()
    }
}

fn row(row: &Row) -> Result<HistoryRow, PostgresError> {
    let text = |column| row.try_get::<_, Option<RawText<'_>>>(column).map(|text| text.map(|text| text.0.to_vec()));
    Ok(HistoryRow {
        uuid: text("uuid")?,
        event_type: text("event_type")?,
        payload: text("payload")?,
        is_too_large: row.try_get("is_too_large")?,
        created_at: row.try_get("created_at")?,
    })
}
