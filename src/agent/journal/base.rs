//! The base: a second ConfigMap, with the rows as of some write of the journal.
//!
//! The head, which is the journal's own ConfigMap, holds what the rows differ from the base in. So a change writes a small
//! head, and the base with all rows is written only when the delta has grown. The head names a *generation* of the base,
//! and its delta is complete with that generation and with the next:
//!
//! ```text
//! head: generation 4, delta D         base: generation 4, rows R
//! head: generation 4, delta D         base: generation 5, rows R with D     the base is written
//! head: generation 5, delta of since  base: generation 5                    the next head is written
//! ```
//!
//! Nothing but what a head already holds is written to a base. So a crash between the two writes changes nothing: the
//! delta has been applied, and is applied once more. A base is fenced as the head is, by its resourceVersion. A write of an
//! earlier term that arrives late either changes nothing in the same way, or is refused since the term has written a base.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

use super::codec::{self, CorruptJournal, DecodedBase};
use super::rows::PackedRows;
use super::state::JournalHead;
use super::store::{self, BASE_NAME, JournalStore};

/// The annotation of the base.
const DESCRIPTION: &str = "A part of the journal of kamaji-telemetry's agent, with the ConfigMap kamaji-telemetry: which \
                           changes of tenant control planes were reported. Deleting it is deleting the journal: the agent \
                           starts over with a new UUID.";

/// A base as it was last read or written.
pub(super) struct Base {
    installation: Uuid,
    /// The metadata as last written, with the resourceVersion that fences the next write.
    metadata: Box<ObjectMeta>,
    pub(super) generation: u64,
    pub(super) rows: PackedRows,
}

/// The relation of a ConfigMap that was found in the place of the base to a head.
pub(super) enum FoundBase {
    /// It is what the head is complete with.
    Own(Base),
    /// There is none of this installation, and none is needed: the rows are in the head.
    NotNeeded,
    /// It is gone.
    Missing,
    /// It is of another installation or of another generation.
    Other,
}

impl FoundBase {
    /// Reads the base of `head`.
    pub(super) fn of(head: &JournalHead, found: Option<&ConfigMap>) -> Result<Self, CorruptJournal> {
        let is_needed = head.generation > 0;
        let Some(found) = found else {
            return Ok(if is_needed { Self::Missing } else { Self::NotNeeded });
        };
        let DecodedBase { installation, generation, rows } = codec::decode_base(store::content(found))?;
        if installation != head.installation {
            // Two agents that begin at the same time replace each other's.
            return Ok(if is_needed { Self::Other } else { Self::NotNeeded });
        }
        if ![head.generation, head.generation.wrapping_add(1)].contains(&generation) {
            return Ok(Self::Other);
        }
        Ok(Self::Own(Base { installation, metadata: Box::new(found.metadata.clone()), generation, rows }))
    }
}

impl Base {
    /// Creates the base of an installation, without rows. Bases are created only where a term begins, so that no write of
    /// an earlier one brings back what was deleted.
    pub(super) async fn create(store: &JournalStore, installation: Uuid) -> Result<Self, kube::Error> {
        let mut base = Self { installation, metadata: Box::default(), generation: 0, rows: PackedRows::default() };
        base.put(store, 0, &PackedRows::default()).await?;
        Ok(base)
    }

    /// Writes the next generation with these rows. Returns the size of the write in bytes.
    pub(super) async fn replace(&mut self, store: &JournalStore, rows: PackedRows) -> Result<usize, kube::Error> {
        let generation = self.generation.wrapping_add(1);
        let size = self.put(store, generation, &rows).await?;
        (self.generation, self.rows) = (generation, rows);
        Ok(size)
    }

    async fn put(&mut self, store: &JournalStore, generation: u64, rows: &PackedRows) -> Result<usize, kube::Error> {
        let metadata = store.merge_metadata(BASE_NAME, DESCRIPTION, ObjectMeta::clone(&self.metadata));
        let encoded = codec::encode_base(self.installation, generation, rows);
        let (written, size) = store.put(&metadata, encoded).await?;
        *self.metadata = ObjectMeta { uid: written.uid, resource_version: written.resource_version, ..metadata };
        Ok(size)
    }
}
