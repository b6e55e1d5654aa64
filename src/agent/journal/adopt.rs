//! The state that a term begins with, from the ConfigMap that it finds: its own journal, or a new installation in place of
//! anything else.
//!
//! A journal belongs to one ConfigMap, whose UID is written into it. A copy and a restored backup have the UID of the
//! original. To go on from one would report another cluster's control planes as deleted, and make two agents report as
//! one installation.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Preconditions;

use super::codec::{self, CorruptJournal, EncodedJournal};
use super::quarantine;
use super::state::JournalState;
use super::store::{JournalStore, NAME};

/// The key of the UID of the ConfigMap that a state was written to.
pub(super) const KEY_UID: &str = "uid";

/// The origin of a state that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was written to the ConfigMap that holds it.
    Own,
    /// The ConfigMap was created and not written again, so that nothing was sent under its identity yet.
    New,
    /// It was written to another ConfigMap: in another cluster or namespace, or before a backup was restored.
    Copy,
}

/// The beginning of a term.
pub(super) struct Adopted {
    pub(super) state: JournalState,
    /// The metadata of the ConfigMap to replace; empty if it has to be created.
    pub(super) metadata: ObjectMeta,
    /// The UID in a copy that is to be replaced, if it has one.
    pub(super) copied_from: Option<String>,
}

/// Decodes the content of a ConfigMap.
pub(super) fn decode(found: &ConfigMap) -> Result<(JournalState, Origin), CorruptJournal> {
    let ConfigMap { data, binary_data, metadata, .. } = found;
    let binary_data = binary_data.iter().flatten().map(|(key, ByteString(bytes))| (key.clone(), bytes.clone()));
    let data = data.clone().unwrap_or_default();
    let encoded = EncodedJournal { data, binary_data: binary_data.collect() };
    let state = codec::decode(&encoded)?;
    let origin = match encoded.data.get(KEY_UID) {
        Some(uid) if metadata.uid.as_ref() == Some(uid) => Origin::Own,
        None if state.is_blank() => Origin::New,
        _ => Origin::Copy,
    };
    Ok((state, origin))
}

impl Adopted {
    /// Begins a new installation without a ConfigMap.
    pub(super) fn nothing() -> Self {
        Self { state: JournalState::new(), metadata: ObjectMeta::default(), copied_from: None }
    }

    /// Reads the state of an existing ConfigMap. A copy is replaced in place. What is no journal is copied to the
    /// quarantine first, and deleted rather than replaced.
    pub(super) async fn from(store: &JournalStore, found: ConfigMap) -> Result<Self, kube::Error> {
        match decode(&found) {
            Ok((state, Origin::Own)) => Ok(Self { state, metadata: found.metadata, copied_from: None }),
            Ok((_, origin)) => {
                let original = found.data.as_ref().and_then(|data| data.get(KEY_UID)).cloned();
                let copied_from = (origin == Origin::Copy).then(|| original.unwrap_or_else(|| "unknown".to_owned()));
                let metadata = if found.immutable == Some(true) {
                    delete(store, &found.metadata).await?;
                    ObjectMeta::default()
                } else {
                    // An owner in another cluster would have the garbage collector of this one delete the journal.
                    ObjectMeta { owner_references: None, ..found.metadata }
                };
                Ok(Self { metadata, copied_from, ..Self::nothing() })
            }
            Err(error) => {
                let metadata = found.metadata.clone();
                quarantine::copy(store, found).await?;
                delete(store, &metadata).await?;
                tracing::error!(
                    %error,
                    name = NAME,
                    namespace = store.namespace,
                    copy = quarantine::NAME,
                    "the ConfigMap is no journal of this program; beginning a new installation"
                );
                Ok(Self::nothing())
            }
        }
    }
}

/// Deletes the ConfigMap as it was found, since an immutable one can't be replaced.
async fn delete(store: &JournalStore, found: &ObjectMeta) -> Result<(), kube::Error> {
    let ObjectMeta { uid, resource_version, .. } = found.clone();
    store.delete(NAME, Some(Preconditions { uid, resource_version })).await.map(drop)
}
