//! What stands where the journal belongs and is none, kept for inspection.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::config_map::JournalStore;

/// The name of the ConfigMap. There is one: what was set aside before goes.
pub(super) const NAME: &str = "kamaji-telemetry-set-aside";

const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "What the agent of kamaji-telemetry found in the ConfigMap kamaji-telemetry and could not read as its journal; its \
     log says why. Nothing reads this: delete it when you have looked. Where telemetry is off, the agent deletes it.",
);

/// Keeps the content of `found` under [`NAME`].
pub(super) async fn set_aside(place: &JournalStore, found: ConfigMap) -> Result<(), kube::Error> {
    let (key, text) = DESCRIPTION;
    let mut metadata = place.metadata(NAME);
    metadata.annotations = Some(BTreeMap::from([(key.to_owned(), text.to_owned())]));
    let ConfigMap { data, binary_data, .. } = found;
    place.delete(NAME, None).await?;
    place.create(&ConfigMap { metadata, data, binary_data, ..ConfigMap::default() }).await?;
    Ok(())
}
