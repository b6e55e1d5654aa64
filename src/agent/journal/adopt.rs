//! The state that a term begins with, from the ConfigMaps that it finds: its own journal, or a new installation in place
//! of anything else.
//!
//! A journal belongs to one ConfigMap, whose UID is written into it. A copy and a restored backup have the UID of the
//! original. To go on from one would report another cluster's control planes as deleted, and make two agents report as
//! one installation. The base belongs to one installation, and to two generations of its head: where one of the two
//! ConfigMaps was restored, the rows are of no moment that ever was.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Preconditions;

use super::base::{Base, FoundBase};
use super::codec::{self, CorruptJournal, KEY_ROWS};
use super::quarantine;
use super::state::{JournalHead, JournalState};
use super::store::{self, BASE_NAME, JournalStore, NAME};

/// The key of the UID of the ConfigMap that a head was written to.
pub(super) const KEY_UID: &str = "uid";

/// The origin of a head that was found.
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
    /// The head of `state` as it was found.
    pub(super) head: JournalHead,
    /// The metadata of the head's ConfigMap to replace; empty if it has to be created.
    pub(super) metadata: ObjectMeta,
    pub(super) base: Base,
    /// The reason if a journal that was found is replaced by that of a new installation.
    pub(super) replaced: Option<Replaced>,
}

/// The reason for which a journal is not gone on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It is a copy of one that was written to the ConfigMap with this UID.
    Copy(String),
    /// Its base is missing.
    BaseMissing,
    /// Its base is of another moment.
    OtherBase,
}

/// Decodes the content of the head's ConfigMap.
pub(super) fn decode(found: &ConfigMap) -> Result<(JournalHead, Origin), CorruptJournal> {
    let content = store::content(found);
    let uid = content.data.get(KEY_UID).cloned();
    let head = codec::decode_head(content)?;
    let origin = match uid {
        Some(uid) if found.metadata.uid.as_ref() == Some(&uid) => Origin::Own,
        None if head.is_blank() => Origin::New,
        _ => Origin::Copy,
    };
    Ok((head, origin))
}

impl Adopted {
    /// Reads both ConfigMaps. The head is read first: whoever truncates its delta after that has written it, so that the
    /// first write of this term is a conflict.
    pub(super) async fn find(store: &JournalStore) -> Result<Self, kube::Error> {
        let head = store.get(NAME).await?;
        let base = store.get(BASE_NAME).await?;
        let Some(found) = head else { return Self::begin(store, ObjectMeta::default(), base, None).await };
        match decode(&found) {
            Ok((head, Origin::Own)) => Self::complete(store, head, found, base).await,
            Ok((_, Origin::New)) => Self::begin_in_place(store, found, base, None).await,
            Ok((_, Origin::Copy)) => {
                let original = found.data.as_ref().and_then(|data| data.get(KEY_UID)).cloned();
                let replaced = Replaced::Copy(original.unwrap_or_else(|| "unknown".to_owned()));
                Self::begin_in_place(store, found, base, Some(replaced)).await
            }
            Err(error) => {
                quarantine::move_away(store, NAME, found, &error).await?;
                Self::begin(store, ObjectMeta::default(), base, None).await
            }
        }
    }

    /// Completes the head with the rows of its base.
    async fn complete(
        store: &JournalStore,
        head: JournalHead,
        found: ConfigMap,
        found_base: Option<ConfigMap>,
    ) -> Result<Self, kube::Error> {
        let base = match FoundBase::of(&head, found_base.as_ref()) {
            Ok(FoundBase::Own(base)) => base,
            Ok(FoundBase::NotNeeded) => {
                if let Some(other) = &found_base {
                    delete(store, BASE_NAME, &other.metadata).await?;
                }
                Base::create(store, head.installation).await?
            }
            Ok(FoundBase::Missing | FoundBase::Other) if is_outdated(store, &found).await? => {
                return Box::pin(Self::find(store)).await;
            }
            Ok(FoundBase::Missing) => {
                return Self::begin_in_place(store, found, found_base, Some(Replaced::BaseMissing)).await;
            }
            Ok(FoundBase::Other) => {
                return Self::begin_in_place(store, found, found_base, Some(Replaced::OtherBase)).await;
            }
            Err(_) => return Self::begin_in_place(store, found, found_base, None).await,
        };
        match (codec::unpack_rows(KEY_ROWS, &head.delta.apply(&base.rows)), found_base) {
            (Ok(rows), _) => {
                let state = head.clone().with_rows(rows);
                Ok(Self { state, head, metadata: found.metadata, base, replaced: None })
            }
            (Err(error), Some(found_base)) => {
                quarantine::move_away(store, BASE_NAME, found_base, &error).await?;
                Self::begin_in_place(store, found, None, None).await
            }
            // The rows of a delta alone were unpacked before.
            (Err(_), None) => Self::begin_in_place(store, found, None, None).await,
        }
    }

    /// Begins a new installation in place of a head that is not gone on from.
    async fn begin_in_place(
        store: &JournalStore,
        found: ConfigMap,
        found_base: Option<ConfigMap>,
        replaced: Option<Replaced>,
    ) -> Result<Self, kube::Error> {
        let metadata = if found.immutable == Some(true) {
            delete(store, NAME, &found.metadata).await?;
            ObjectMeta::default()
        } else {
            // An owner in another cluster would have the garbage collector of this one delete the journal.
            ObjectMeta { owner_references: None, ..found.metadata }
        };
        Self::begin(store, metadata, found_base, replaced).await
    }

    /// Begins a new installation, with a new base. What was found in its place is deleted, so that nothing of it is left;
    /// what is no base is copied to the quarantine first.
    async fn begin(
        store: &JournalStore,
        metadata: ObjectMeta,
        found_base: Option<ConfigMap>,
        replaced: Option<Replaced>,
    ) -> Result<Self, kube::Error> {
        if let Some(found) = found_base {
            match codec::decode_base(store::content(&found)) {
                Ok(_) => delete(store, BASE_NAME, &found.metadata).await?,
                Err(error) => quarantine::move_away(store, BASE_NAME, found, &error).await?,
            }
        }
        let head = JournalHead::new();
        let base = Base::create(store, head.installation).await?;
        Ok(Self { state: head.clone().with_rows(Vec::new()), head, metadata, base, replaced })
    }
}

impl Replaced {
    /// Logs the reason, with the UID of the ConfigMap that holds the new journal.
    pub(super) fn log(&self, namespace: &str, uid: Option<&str>) {
        match self {
            Self::Copy(copied_from) => tracing::warn!(
                name = NAME,
                namespace,
                uid,
                copied_from,
                "the journal was copied or restored from a backup: its ConfigMap has another UID than the one that it \
                 was written to; beginning a new installation"
            ),
            Self::BaseMissing => tracing::warn!(
                name = BASE_NAME,
                namespace,
                "a part of the journal was deleted; beginning a new installation"
            ),
            Self::OtherBase => tracing::warn!(
                name = BASE_NAME,
                namespace,
                "a part of the journal was restored from a backup without the other; beginning a new installation"
            ),
        }
    }
}

/// Returns whether another term has written the head since it was read. The base that was read after it may be that term's, which
/// is deleted where a new installation begins.
async fn is_outdated(store: &JournalStore, found: &ConfigMap) -> Result<bool, kube::Error> {
    let head = store.get(NAME).await?;
    Ok(head.and_then(|head| head.metadata.resource_version) != found.metadata.resource_version)
}

/// Deletes a ConfigMap as it was found.
async fn delete(store: &JournalStore, name: &str, found: &ObjectMeta) -> Result<(), kube::Error> {
    let ObjectMeta { uid, resource_version, .. } = found.clone();
    store.delete(name, Some(Preconditions { uid, resource_version })).await.map(drop)
}
