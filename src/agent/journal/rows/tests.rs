use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::agent::journal::codec::pack_rows;
use crate::agent::observe::PersistedRow;
use crate::catalog::{KubernetesVersion, Status};

fn row(uid: u8, minor: u8) -> PersistedRow {
    PersistedRow {
        uid: Uuid::from_u128(u128::from(uid) << 64),
        reported: KubernetesVersion::normalize(&format!("v1.{minor}.0")),
        status: Status::Ready,
        deleted_reported: false,
    }
}

/// Returns rows of a few control planes with a few versions, so that a row is often as it was before.
fn rows() -> impl Strategy<Value = PackedRows> {
    prop::collection::btree_map(0..8u8, 0..3u8, 0..8)
        .prop_map(|rows| pack_rows(rows.into_iter().map(|(uid, minor)| row(uid, minor)).collect()))
}

/// Returns the delta of each write of a history since its first, the base.
fn deltas(history: &[PackedRows]) -> Vec<Delta> {
    let mut deltas = vec![Delta::default()];
    for rows in &history[1..] {
        deltas.push(Delta::between(&history[0], rows, &deltas[deltas.len() - 1]));
    }
    deltas
}

proptest! {
    #[test]
    fn a_delta_completes_the_base_and_all_that_was_written_from_it_since(
        history in prop::collection::vec(rows(), 1..8),
    ) {
        for (later, delta) in deltas(&history).iter().enumerate() {
            for earlier in &history[..=later] {
                prop_assert_eq!(&delta.apply(earlier), &history[later]);
            }
        }
    }

    #[test]
    fn a_delta_names_nothing_that_never_differed(history in prop::collection::vec(rows(), 1..8)) {
        let deltas = deltas(&history);
        for uid in deltas[deltas.len() - 1].uids() {
            prop_assert!(history.iter().any(|rows| rows.get(uid) != history[0].get(uid)));
        }
    }
}

/// Returns the bytes of rows that are written for each of many changes of one control plane, and the number of bases.
fn write_changes(count: u16) -> (usize, usize) {
    let rows = |changed: u32| {
        let row = |uid: u16| {
            let version = KubernetesVersion::normalize(&format!("v1.{}.0", u32::from(u32::from(uid) < changed)));
            PersistedRow { uid: Uuid::from_u128(uid.into()), reported: version, ..row(0, 0) }
        };
        pack_rows((0..count).map(row).collect())
    };
    let (mut base, mut delta) = (rows(0), Delta::default());
    let (mut bytes, mut bases) = (0, 0);
    for change in 1..=u32::from(count) {
        if delta.is_worth_a_base(&base) {
            base = delta.apply(&base);
            (bytes, bases, delta) = (bytes + base.0.len(), bases + 1, Delta::default());
        }
        delta = Delta::between(&base, &rows(change), &delta);
        bytes += delta.changed.0.len();
    }
    (bytes / usize::from(count), bases)
}

#[test]
fn a_change_of_a_large_cluster_writes_few_rows_and_a_small_cluster_has_no_base() {
    assert_eq!(write_changes(64).1, 0);
    let (bytes, bases) = write_changes(2_000);
    // The root of 4,000 is above 63, so that the bound is 65 records: 33 in a delta on average, and 2,000 / 65 of a base.
    assert!(bytes < (33 + 31) * ROW_BYTES, "{bytes}");
    assert!((25..=31).contains(&bases), "{bases}");
}
