//! The tables that go from one store into another, and their columns.
//!
//! Sessions, leases and the names of flushes stay behind: they end within a day.

use std::sync::LazyLock;

use crate::backend::store::encoding::{RollupTable, TABLES};

/// The kind of a column, by which the stores convert it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::store) enum MovedColumnKind {
    /// A number of 16 bits.
    Small,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// The id of a word, or any other number of 32 bits that is not negative.
    Word,
    Bool,
    Uuid,
    Bytes,
    Text,
    /// A time in milliseconds.
    Time,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::store) struct MovedColumn {
    pub(in crate::backend::store) name: &'static str,
    pub(in crate::backend::store) kind: MovedColumnKind,
}

/// The number of rows that are compared at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::store) enum MoveExtent {
    /// All, in one transaction: the table is bounded, or a row depends on others.
    Whole,
    /// A batch of [`super::MAX_BATCH_ROWS`].
    Batches,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::store) struct MovedTable {
    pub(in crate::backend::store) name: &'static str,
    /// Those of the key first.
    pub(in crate::backend::store) columns: Vec<MovedColumn>,
    /// The number of columns of the key.
    pub(in crate::backend::store) key: usize,
    pub(in crate::backend::store) extent: MoveExtent,
    /// True if the rows are sums over several slots where the store has slots.
    pub(in crate::backend::store) is_rollup: bool,
    /// The day of a row as an expression over the columns, by which rows are counted; `None` if it has no day.
    pub(in crate::backend::store) day: Option<String>,
    /// A number of a row as an expression over the columns, whose sum is compared.
    pub(in crate::backend::store) sum: String,
}

/// All tables, in the order in which they go. The keys are first: by them another run knows that it continues the move.
pub(in crate::backend::store) static MOVED_TABLES: LazyLock<Vec<MovedTable>> = LazyLock::new(|| {
    let mut tables = vec![keys(), words(), latest(), days(), events()];
    tables.extend([bulk_events(), refusals(), served_hours(), public_weeks(), tokens(), audit_log()]);
    tables.extend(TABLES.iter().map(rollup));
    tables
});

use MovedColumnKind::{Bool, Bytes, Int, Long, Small, Text, Time, Uuid, Word};

type Columns<'a> = &'a [(&'static str, MovedColumnKind)];

/// The control planes of a report.
const CONTROL_PLANES: &str = "running + sleeping + not_ready + upgrading";

/// The columns of a report, in `latest` and in `days`.
const REPORT: [(&str, MovedColumnKind); 8] = [
    ("running", Int),
    ("sleeping", Int),
    ("not_ready", Int),
    ("upgrading", Int),
    ("agent", Word),
    ("kamaji", Word),
    ("kubernetes", Word),
    ("dimensions", Bytes),
];

fn table(name: &'static str, key: Columns<'_>, others: Columns<'_>, day: Option<&str>, sum: &str) -> MovedTable {
    let column = |(name, kind): &(&'static str, MovedColumnKind)| MovedColumn { name, kind: *kind };
    MovedTable {
        name,
        columns: key.iter().chain(others).map(column).collect(),
        key: key.len(),
        extent: MoveExtent::Whole,
        is_rollup: false,
        day: day.map(str::to_owned),
        sum: sum.to_owned(),
    }
}

impl MovedTable {
    fn in_batches(self) -> Self {
        Self { extent: MoveExtent::Batches, ..self }
    }

    /// Returns the columns of the key.
    pub(in crate::backend::store) fn key_columns(&self) -> &[MovedColumn] {
        &self.columns[..self.key]
    }
}

fn keys() -> MovedTable {
    table("keys", &[("name", Text)], &[("key", Bytes)], None, "length(key)")
}

fn words() -> MovedTable {
    let others = [("word", Text), ("first_used", Int), ("last_used", Int)];
    table("words", &[("id", Word)], &others, None, "length(word)")
}

fn latest() -> MovedTable {
    let mut others =
        vec![("source", Small), ("first_seen", Int), ("confirmed", Int), ("last_seen", Int), ("bulk", Bool)];
    others.extend([("previous_day", Int), ("previous_not_ready", Bool), ("previous_upgrading", Bool)]);
    others.extend(REPORT);
    table("latest", &[("installation", Uuid)], &others, Some("last_seen / 24"), CONTROL_PLANES).in_batches()
}

fn days() -> MovedTable {
    let mut others = vec![("source", Small), ("standing", Small), ("young", Bool), ("stuck", Bool)];
    others.push(("upgrading_long", Bool));
    others.extend(REPORT);
    table("days", &[("day", Int), ("installation", Uuid)], &others, Some("day"), CONTROL_PLANES).in_batches()
}

fn events() -> MovedTable {
    let mut others = vec![("cluster_api", Small)];
    let words =
        ["kind", "agent", "kamaji", "kubernetes", "tcp_version", "old_tcp_version", "status", "network_profile"];
    others.extend(words.map(|word| (word, Word)));
    table("events", &[("source", Small), ("hour", Int), ("uid", Uuid)], &others, Some("hour / 24"), "source")
        .in_batches()
}

fn bulk_events() -> MovedTable {
    table("bulk_events", &[("day", Int)], &[("events", Long)], Some("day"), "events")
}

fn refusals() -> MovedTable {
    table("refusals", &[("day", Int), ("reason", Text)], &[("records", Long)], Some("day"), "records")
}

fn served_hours() -> MovedTable {
    // A remainder, since the sum of a day's masks of 60 bits may have more than 64.
    table("served_hours", &[("hour", Int)], &[("minutes", Long)], Some("hour / 24"), "minutes % 1000000007")
}

fn public_weeks() -> MovedTable {
    table("public_weeks", &[("week", Int)], &[("content", Text)], Some("week"), "length(content)")
}

fn tokens() -> MovedTable {
    let others =
        [("digest", Bytes), ("name", Text), ("role", Text), ("created", Time), ("expires", Time), ("revoked", Time)];
    table("tokens", &[("prefix", Text)], &others, None, "coalesce(revoked, 0) / 1000")
}

fn audit_log() -> MovedTable {
    let mut others = vec![("time", Time), ("token", Text), ("name", Text), ("action", Text), ("status", Int)];
    others.extend([("count", Long), ("is_logged", Bool)]);
    table("audit_log", &[("number", Long)], &others, Some("\"time\" / 86400000"), "\"count\"").in_batches()
}

/// Returns a table of sums. The day of its rows is that of the row's own time.
fn rollup(RollupTable { name, keys, sums }: &RollupTable) -> MovedTable {
    let key: Vec<_> = keys.iter().map(|key| (*key, Word)).collect();
    let others: Vec<_> = sums.iter().map(|sum| (*sum, Long)).collect();
    let day = keys.iter().find_map(|key| match *key {
        "day" | "week" => Some(*key),
        "hour" => Some("hour / 24"),
        _ => None,
    });
    let sum = sums.iter().map(|sum| format!("\"{sum}\"")).collect::<Vec<_>>().join(" + ");
    MovedTable { is_rollup: true, ..table(name, &key, &others, day, &sum) }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The tables that stay behind, and those of a move itself.
    const LEFT_BEHIND: [&str; 5] = ["inbox", "last_flush", "sessions", "moves", "sqlite_sequence"];

    #[test]
    fn every_table_and_column_of_a_file_goes_or_is_known_to_stay() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../sqlite/migrations/V1__schema.sql")).unwrap();
        let names = |sql: &str| -> Vec<String> {
            let mut select = connection.prepare(sql).unwrap();
            let names = select.query_map([], |row| row.get(0)).unwrap();
            names.map(Result::unwrap).collect()
        };
        let of_file = names("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name");
        let mut going: Vec<_> = MOVED_TABLES.iter().map(|table| table.name).collect();
        going.sort_unstable();
        let expected: Vec<_> = of_file.iter().filter(|name| !LEFT_BEHIND.contains(&name.as_str())).collect();
        assert_eq!(going.iter().collect::<Vec<_>>(), expected);
        for table in MOVED_TABLES.iter() {
            let mut columns: Vec<_> = table.columns.iter().map(|column| column.name).collect();
            columns.sort_unstable();
            let sql = format!("SELECT name FROM pragma_table_info('{}') ORDER BY name COLLATE BINARY", table.name);
            assert_eq!(columns, names(&sql), "{}", table.name);
        }
    }
}
