//! The statements of a move, which convert the columns of a table on their way: numbers go as `bigint`, and UUIDs as bytes.

use tokio_postgres::types::ToSql;

use super::rollups::COMMON_SLOT;
use crate::backend::store::transfer::{MovedColumn, MovedColumnKind, MovedTable, MovedValue};

/// The values of a column.
#[derive(Debug)]
pub(super) enum ColumnArray {
    Numbers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl ColumnArray {
    fn new<'a>(kind: MovedColumnKind, cells: impl Iterator<Item = &'a MovedValue>) -> Self {
        match kind {
            MovedColumnKind::Text => Self::Texts(
                cells.map(|cell| if let MovedValue::Text(text) = cell { Some(text.clone()) } else { None }).collect(),
            ),
            MovedColumnKind::Bytes | MovedColumnKind::Uuid => Self::Bytes(
                cells
                    .map(|cell| if let MovedValue::Bytes(bytes) = cell { Some(bytes.clone()) } else { None })
                    .collect(),
            ),
            _ => Self::Numbers(
                cells.map(|cell| if let MovedValue::Integer(number) = cell { Some(*number) } else { None }).collect(),
            ),
        }
    }

    pub(super) fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Numbers(column) => column,
            Self::Texts(column) => column,
            Self::Bytes(column) => column,
        }
    }
}

/// Returns some columns of rows, each as an array.
pub(super) fn arrays(table: &MovedTable, columns: &[usize], rows: &[&[MovedValue]]) -> Vec<ColumnArray> {
    let array =
        |column: &usize| ColumnArray::new(table.columns[*column].kind, rows.iter().filter_map(|row| row.get(*column)));
    columns.iter().map(array).collect()
}

/// Returns a value of a key.
pub(super) fn parameter(cell: &MovedValue) -> Option<&(dyn ToSql + Sync)> {
    match cell {
        MovedValue::Null => None,
        MovedValue::Integer(number) => Some(number),
        MovedValue::Text(text) => Some(text),
        MovedValue::Bytes(bytes) => Some(bytes),
    }
}

/// Returns the type of a value on its way.
const fn transfer_type(kind: MovedColumnKind) -> &'static str {
    match kind {
        MovedColumnKind::Text => "text",
        MovedColumnKind::Bytes | MovedColumnKind::Uuid => "bytea",
        _ => "bigint",
    }
}

/// Returns a column as a value on its way. An id of a word may be above the largest signed number.
fn sent(kind: MovedColumnKind, column: &str) -> String {
    match kind {
        MovedColumnKind::Small | MovedColumnKind::Int | MovedColumnKind::Long => format!("{column}::bigint"),
        MovedColumnKind::Word => format!("({column}::bigint & 4294967295)"),
        MovedColumnKind::Bool => format!("{column}::int::bigint"),
        MovedColumnKind::Uuid => format!("uuid_send({column})"),
        MovedColumnKind::Bytes | MovedColumnKind::Text => column.to_owned(),
        MovedColumnKind::Time => format!("round(extract(epoch FROM {column}) * 1000)::bigint"),
    }
}

/// Returns a value on its way as a column.
fn received(kind: MovedColumnKind, value: &str) -> String {
    match kind {
        MovedColumnKind::Small => format!("{value}::smallint"),
        MovedColumnKind::Int => format!("{value}::int"),
        MovedColumnKind::Word => {
            format!("(CASE WHEN {value} > 2147483647 THEN {value} - 4294967296 ELSE {value} END)::int")
        }
        MovedColumnKind::Bool => format!("({value} <> 0)"),
        MovedColumnKind::Uuid => format!("encode({value}, 'hex')::uuid"),
        MovedColumnKind::Long | MovedColumnKind::Bytes | MovedColumnKind::Text => value.to_owned(),
        MovedColumnKind::Time => format!("to_timestamp({value} / 1000.0)"),
    }
}

/// Returns the names under which the rows of a table lie.
fn tables(table: &MovedTable) -> &[&'static str] {
    const EVENTS: [&str; 2] = ["events", "arrivals"];
    if table.name == "events" { &EVENTS } else { std::slice::from_ref(&table.name) }
}

fn sent_columns(table: &MovedTable) -> String {
    let column = |name: &str, kind| format!("{} AS \"{name}\"", sent(kind, &format!("t.\"{name}\"")));
    table.columns.iter().map(|of_table| column(of_table.name, of_table.kind)).collect::<Vec<_>>().join(", ")
}

/// Returns the sums over the slots, without those that come to nothing.
fn sums(table: &MovedTable) -> String {
    let (keys, sums) = table.columns.split_at(table.key);
    let key = |name: &str| format!("{} AS \"{name}\"", sent(MovedColumnKind::Word, &format!("t.\"{name}\"")));
    let keys: Vec<_> = keys.iter().map(|column| key(column.name)).collect();
    let added: Vec<_> = sums.iter().map(|sum| format!("sum(t.\"{0}\")::bigint AS \"{0}\"", sum.name)).collect();
    let any: Vec<_> = sums.iter().map(|sum| format!("sum(t.\"{}\") <> 0", sum.name)).collect();
    let places: Vec<_> = (1..=table.key).map(|place| place.to_string()).collect();
    format!(
        "SELECT {}, {} FROM {} AS t GROUP BY {} HAVING {}",
        keys.join(", "),
        added.join(", "),
        table.name,
        places.join(", "),
        any.join(" OR ")
    )
}

/// Returns a query of all rows.
fn all(table: &MovedTable) -> String {
    if table.is_rollup {
        return sums(table);
    }
    let columns = sent_columns(table);
    let rows = tables(table).iter().map(|name| format!("SELECT {columns} FROM {name} AS t"));
    rows.collect::<Vec<_>>().join(" UNION ALL ")
}

/// Returns a query of rows in the order of the key, after a key or from the first on. The last parameter is their number.
pub(super) fn read(table: &MovedTable, is_after: bool) -> String {
    let limit = if is_after { table.key + 1 } else { 1 };
    if table.is_rollup {
        return format!("{} LIMIT ${limit}", sums(table));
    }
    let key: Vec<_> = table.key_columns().iter().map(|column| format!("t.\"{}\"", column.name)).collect();
    let value = |(column, place): (&MovedColumn, usize)| {
        received(column.kind, &format!("${place}::{}", transfer_type(column.kind)))
    };
    let values: Vec<_> = table.key_columns().iter().zip(1..).map(value).collect();
    let key = key.join(", ");
    let after = if is_after { format!("WHERE ({key}) > ({})", values.join(", ")) } else { String::new() };
    let columns = sent_columns(table);
    let rows = |name: &&str| format!("(SELECT {columns} FROM {name} AS t {after} ORDER BY {key} LIMIT ${limit})");
    tables(table).iter().map(rows).collect::<Vec<_>>().join(" UNION ALL ")
}

/// Returns a query of the rows of one day, after an installation unless that is null. The last parameter is their number.
pub(super) fn read_day(table: &MovedTable) -> String {
    format!(
        "SELECT {} FROM days AS t WHERE t.day = $1::int
            AND t.installation >= coalesce(encode($2::bytea, 'hex'), '00000000-0000-0000-0000-000000000000')::uuid
            AND t.installation IS DISTINCT FROM encode($2::bytea, 'hex')::uuid
         ORDER BY t.installation LIMIT $3::bigint",
        sent_columns(table)
    )
}

/// Returns the tables from which rows are deleted, and the columns of their keys.
pub(super) fn deleted_from(table: &MovedTable) -> Vec<(&'static str, Vec<usize>)> {
    const UID: usize = 2;
    let key = if table.name == "events" { vec![UID] } else { (0..table.key).collect() };
    tables(table).iter().map(|name| (*name, key.clone())).collect()
}

/// Returns the deletion of rows by some columns, which are arrays.
pub(super) fn delete(table: &MovedTable, name: &str, columns: &[usize]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| &table.columns[*column]).collect();
    let array = |(kind, place): (MovedColumnKind, usize)| format!("${place}::{}[]", transfer_type(kind));
    let arrays: Vec<_> = columns.iter().map(|column| column.kind).zip(1..).map(array).collect();
    let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let is_gone = columns.iter().map(|column| {
        format!("t.\"{}\" = {}", column.name, received(column.kind, &format!("gone.\"{}\"", column.name)))
    });
    format!(
        "DELETE FROM {name} AS t USING unnest({}) AS gone ({}) WHERE {}",
        arrays.join(", "),
        names.join(", "),
        is_gone.collect::<Vec<_>>().join(" AND ")
    )
}

/// Returns the insertion of rows, whose columns are arrays.
pub(super) fn insert(table: &MovedTable) -> String {
    let array = |(kind, place): (MovedColumnKind, usize)| format!("${place}::{}[]", transfer_type(kind));
    let arrays: Vec<_> = table.columns.iter().map(|column| column.kind).zip(1..).map(array).collect();
    let names: Vec<_> = table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let values: Vec<_> =
        table.columns.iter().map(|column| received(column.kind, &format!("new.\"{}\"", column.name))).collect();
    let (slot, of_slot) = if table.is_rollup { (", slot", format!(", {COMMON_SLOT}")) } else { ("", String::new()) };
    let names = names.join(", ");
    format!(
        "INSERT INTO {} ({names}{slot}) SELECT {}{of_slot} FROM unnest({}) AS new ({names})",
        table.name,
        values.join(", "),
        arrays.join(", ")
    )
}

/// Returns a query of the number of rows by day, and a sum over them.
pub(super) fn count(table: &MovedTable) -> String {
    let day = table.day.as_deref().unwrap_or("NULL::bigint");
    format!(
        "SELECT ({day})::bigint, count(*), coalesce(sum({}), 0)::bigint FROM ({}) AS counted GROUP BY 1 ORDER BY 1",
        table.sum,
        all(table)
    )
}
