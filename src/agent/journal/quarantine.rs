//! The quarantine: a copy of what was found in place of the journal and can't be read as one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::store::JournalStore;

/// The name of the copy. There is only one: it replaces an earlier copy.
pub(super) const NAME: &str = "kamaji-telemetry-quarantine";

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "What the agent of kamaji-telemetry found in the ConfigMap kamaji-telemetry and could not read as its journal; its \
     log says why. Nothing reads this: delete it when you have looked. Where telemetry is off, the agent deletes it.",
);

/// Copies the content of `found` to [`NAME`].
pub(super) async fn copy(store: &JournalStore, found: ConfigMap) -> Result<(), kube::Error> {
    let (key, text) = DESCRIPTION;
    let mut metadata = store.metadata(NAME);
    metadata.annotations = Some(BTreeMap::from([(key.to_owned(), text.to_owned())]));
    let ConfigMap { data, binary_data, .. } = found;
    store.delete(NAME, None).await?;
    store.create(&ConfigMap { metadata, data, binary_data, ..ConfigMap::default() }).await?;
    Ok(())
}
