//! The records of a fixed length that a commit appends to the inbox, one for each event.

use rusqlite::Result;
use uuid::Uuid;

use super::columns::corrupt;
use crate::backend::store::encoding::{EventColumns, EventWords, WordId};

/// The bytes of a record.
pub(super) const RECORD_BYTES: usize = 54;

/// The bytes of a record before its words: source, hour, uid and `cluster_api`.
const HEAD_BYTES: usize = 22;

/// Appends the record of an event to `bytes`. Numbers are little-endian.
pub(super) fn append(columns: &EventColumns, bytes: &mut Vec<u8>) {
    let EventColumns { source, hour, uid, cluster_api, words } = columns;
    bytes.push(source.to_le_bytes()[0]);
    bytes.extend(hour.to_le_bytes());
    bytes.extend(uid.as_bytes());
    bytes.push(*cluster_api);
    for id in words.ids() {
        bytes.extend(id.to_le_bytes());
    }
}

/// Reads the records of a blob. Fails if its length is not that of records.
pub(super) fn parse_all(bytes: &[u8]) -> Result<Vec<EventColumns>> {
    match bytes.as_chunks::<RECORD_BYTES>() {
        (records, []) => Ok(records.iter().map(parse).collect()),
        (_, rest) => Err(corrupt("inbox", TornRecord(rest.len()))),
    }
}

fn parse(record: &[u8; RECORD_BYTES]) -> EventColumns {
    let word = |position: usize| {
        let start = HEAD_BYTES + 4 * position;
        WordId::from_le_bytes(std::array::from_fn(|byte| record[start + byte]))
    };
    EventColumns {
        source: record[0].into(),
        hour: i32::from_le_bytes(std::array::from_fn(|byte| record[1 + byte])),
        uid: Uuid::from_bytes(std::array::from_fn(|byte| record[5 + byte])),
        cluster_api: record[21],
        words: EventWords::from_ids(std::array::from_fn(word)),
    }
}

/// The error of a blob that ends within a record.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are left, expected records of {RECORD_BYTES} bytes")]
struct TornRecord(usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_appended_and_a_torn_one_is_refused() {
        let ids = std::array::from_fn(|position| u32::MAX - u32::try_from(position).unwrap());
        let columns = |hour| EventColumns {
            source: 2,
            hour,
            uid: Uuid::new_v4(),
            cluster_api: 2,
            words: EventWords::from_ids(ids),
        };
        let all = [columns(-1), columns(498_740)];
        let mut bytes = Vec::new();
        for columns in &all {
            append(columns, &mut bytes);
        }
        assert_eq!(bytes.len(), all.len() * RECORD_BYTES);
        assert_eq!(parse_all(&bytes).unwrap(), all);
        let error = parse_all(&bytes[1..]).unwrap_err().to_string();
        assert!(error.contains("53 bytes"), "{error}");
    }
}
