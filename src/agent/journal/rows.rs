//! Packed rows, as a ConfigMap holds them, and the delta between two sets of them.
//!
//! Both are lists of records of a fixed length that begin with a UID, in the order of the UIDs. So two lists are compared
//! in one pass, without unpacking them.

use std::cmp::Ordering;

/// The bytes of a UID.
pub(super) const UID_BYTES: usize = 16;
/// The bytes of a row: UID, version, status, flags.
pub(super) const ROW_BYTES: usize = UID_BYTES + 8 + 1 + 1;

/// The number of records up to which a delta is written with each change, whatever the number of rows. Their base64 has
/// 2.2 kB, as much as the rest of a small ConfigMap.
const MIN_DELTA: usize = 64;

/// Records of `SIZE` bytes in the order of the UIDs that they begin with. No UID is there twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SortedRecords<const SIZE: usize>(Vec<u8>);

/// Rows.
pub(super) type PackedRows = SortedRecords<ROW_BYTES>;

/// UIDs alone.
pub(super) type PackedUids = SortedRecords<UID_BYTES>;

/// The difference of rows from a base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Rows that replace those of the base, or are added to it.
    pub(super) changed: PackedRows,
    /// UIDs of rows that are gone.
    pub(super) removed: PackedUids,
}

impl<const SIZE: usize> SortedRecords<SIZE> {
    /// Takes bytes of whole records, or returns `None` if these are not in order.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (records, rest) = bytes.as_chunks::<SIZE>();
        let is_in_order = records.is_sorted_by(|one, next| uid(one) < uid(next));
        (is_in_order && rest.is_empty()).then_some(Self(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() / SIZE
    }

    fn records(&self) -> &[[u8; SIZE]] {
        self.0.as_chunks().0
    }

    fn get(&self, wanted: &[u8; UID_BYTES]) -> Option<&[u8; SIZE]> {
        let records = self.records();
        records.binary_search_by(|record| uid(record).cmp(&wanted[..])).ok().map(|at| &records[at])
    }

    /// Sorts records, of which those with the same UID are equal.
    fn collect(mut records: Vec<&[u8; SIZE]>) -> Self {
        records.sort_unstable();
        records.dedup();
        let mut bytes = Vec::with_capacity(records.len() * SIZE);
        for record in records {
            bytes.extend_from_slice(record);
        }
        Self(bytes)
    }
}

impl Delta {
    /// Returns what `rows` differ from `base` in, with a record for each UID of `before`, the delta that this one
    /// replaces.
    ///
    /// A base that was written from an earlier delta has what that delta says, and the head may still hold a later one. So
    /// a row that is again as in the base stays in the delta until the next base: its record undoes the earlier one.
    pub(super) fn between(base: &PackedRows, rows: &PackedRows, before: &Self) -> Self {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (old, new) in join(base, rows).filter(|(old, new)| old != new) {
            match new {
                Some(new) => changed.push(new),
                None => removed.extend(old.map(uid_of_row)),
            }
        }
        for uid in before.uids() {
            match rows.get(uid) {
                Some(row) => changed.push(row),
                None => removed.push(uid),
            }
        }
        Self { changed: SortedRecords::collect(changed), removed: SortedRecords::collect(removed) }
    }

    /// Returns the rows of `base` with this delta. Where the base has some of it already, the result is the same.
    pub(super) fn apply(&self, base: &PackedRows) -> PackedRows {
        let mut rows = Vec::with_capacity(base.0.len() + self.changed.0.len());
        for (old, new) in join(base, &self.changed) {
            let kept = old.filter(|old| self.removed.get(uid_of_row(old)).is_none());
            rows.extend_from_slice(new.or(kept).map_or(&[], |row| row));
        }
        SortedRecords(rows)
    }

    /// Returns whether a new base is worth its bytes, instead of a delta that is written with each further change.
    ///
    /// With a bound of L records and N rows, a change of one row writes L / 2 records of the delta on average, and its
    /// share N / L of the next base. The sum is least with L² = 2 N: 141 records with 10,000 rows, or 7 kB a change
    /// instead of 350.
    pub(super) fn is_worth_a_base(&self, base: &PackedRows) -> bool {
        let (records, rows) = (self.len(), base.len() + self.changed.len());
        records > MIN_DELTA && records.saturating_mul(records) > 2 * rows
    }

    fn len(&self) -> usize {
        self.changed.len() + self.removed.len()
    }

    fn uids(&self) -> impl Iterator<Item = &[u8; UID_BYTES]> {
        self.changed.records().iter().map(uid_of_row).chain(self.removed.records())
    }
}

fn uid<const SIZE: usize>(record: &[u8; SIZE]) -> &[u8] {
    &record[..UID_BYTES]
}

fn uid_of_row(row: &[u8; ROW_BYTES]) -> &[u8; UID_BYTES] {
    row.first_chunk().expect("a row begins with a UID")
}

/// Joins two lists by UID, in its order.
fn join<'a>(
    one: &'a PackedRows,
    other: &'a PackedRows,
) -> impl Iterator<Item = (Option<&'a [u8; ROW_BYTES]>, Option<&'a [u8; ROW_BYTES]>)> {
    let (mut one, mut other) = (one.records().iter().peekable(), other.records().iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => uid(one).cmp(uid(other)),
        };
        Some((one.next_if(|_| order.is_le()), other.next_if(|_| order.is_ge())))
    })
}

#[cfg(test)]
mod tests;
