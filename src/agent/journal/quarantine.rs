//! The quarantine: a copy of what was found in place of a ConfigMap of the journal and can't be read as one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Preconditions;

use super::codec::CorruptJournal;
use super::store::{DESCRIPTION, JournalStore};

const TEXT: &str = "What the agent of kamaji-telemetry found in a ConfigMap of its journal and could not read; its log says why. Nothing \
     reads this: delete it when you have looked. Where telemetry is off, the agent deletes it.";

/// Returns the name of the copy. There is only one of each ConfigMap: it replaces an earlier copy.
pub(super) fn name(original: &str) -> String {
    format!("{original}-quarantine")
}

/// Copies the content of the ConfigMap `original` as it was found, and deletes it, since an immutable one can't be
/// replaced.
pub(super) async fn move_away(
    store: &JournalStore,
    original: &str,
    found: ConfigMap,
    error: &CorruptJournal,
) -> Result<(), kube::Error> {
    let (copy, namespace) = (name(original), &store.namespace);
    let mut metadata = store.metadata(&copy);
    metadata.annotations = Some(BTreeMap::from([(DESCRIPTION.to_owned(), TEXT.to_owned())]));
    let ConfigMap { data, binary_data, metadata: found, .. } = found;
    store.delete(&copy, None).await?;
    store.create(&ConfigMap { metadata, data, binary_data, ..ConfigMap::default() }).await?;
    let preconditions = Preconditions { uid: found.uid, resource_version: found.resource_version };
    store.delete(original, Some(preconditions)).await?;
    tracing::error!(
        %error,
        name = original,
        namespace,
        copy,
        "the ConfigMap is no journal of this program; beginning a new installation"
    );
    Ok(())
}
