//! Emulation of a kubelet: directories for the volumes of a pod, and values of its environment variables.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, KeyToPath, PodSpec, Secret, Volume};
use kube::Api;
use tempfile::TempDir;

use super::helm::NAMESPACE;
use crate::servers::ApiServer;

/// Mounted volumes, a local directory for each mount path of the pod.
pub(super) struct Files {
    _folder: TempDir,
    mounts: Vec<(String, String)>,
}

/// Names and values of environment variables.
pub(super) type Variables = Vec<(String, String)>;

/// Sets an existing variable, and returns its previous value.
pub(super) fn replace(environment: &mut Variables, name: &str, value: String) -> String {
    let variable = environment.iter_mut().find(|variable| variable.0 == name);
    std::mem::replace(&mut variable.unwrap_or_else(|| panic!("{name} is set")).1, value)
}

/// Returns the environment variables of a container, with mount paths replaced by local ones.
pub(super) async fn variables(cluster: &ApiServer, container: &Container, files: &Files) -> Variables {
    let mut variables = Vec::new();
    for variable in container.env.iter().flatten() {
        variables.push((variable.name.clone(), files.localize(&value(cluster, variable).await)));
    }
    variables
}

async fn value(cluster: &ApiServer, variable: &EnvVar) -> String {
    let Some(source) = &variable.value_from else { return variable.value.clone().unwrap_or_default() };
    match (&source.field_ref, &source.secret_key_ref) {
        (Some(field), None) if field.field_path == "metadata.namespace" => NAMESPACE.to_owned(),
        (Some(field), None) if field.field_path == "metadata.name" => "pod".to_owned(),
        (None, Some(key)) => secret(cluster, &key.name).await.remove(&key.key).expect("the Secret has the key"),
        _ => panic!("unsupported source of a variable: {source:?}"),
    }
}

impl Files {
    /// Creates a directory for each volume of a pod. Those of claims are in `claims`, by name, and outlive the pod.
    pub(super) async fn mount(cluster: &ApiServer, spec: &PodSpec, claims: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut folders = BTreeMap::new();
        for volume in spec.volumes.iter().flatten() {
            let claim = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str());
            let path = match claim {
                None => folder.path().join(&volume.name),
                Some(claim) => claims.expect("the test provides claims").join(claim),
            };
            fs::create_dir_all(&path).unwrap();
            for (file, content) in content(cluster, volume).await {
                fs::write(path.join(file), content).unwrap();
            }
            folders.insert(&*volume.name, path.display().to_string());
        }
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
        let mounts = mounts.map(|mount| (mount.mount_path.clone(), folders[&*mount.name].clone())).collect();
        Self { _folder: folder, mounts }
    }

    /// Returns `text` with mount paths replaced by local ones.
    pub(super) fn localize(&self, text: &str) -> String {
        self.mounts.iter().fold(text.to_owned(), |text, (path, folder)| text.replace(path, folder))
    }
}

/// Returns the files of a volume. The projected volume is the token, which the tests replace by a kubeconfig; a claim has no
/// files of its own.
async fn content(cluster: &ApiServer, volume: &Volume) -> BTreeMap<String, String> {
    match (&volume.config_map, &volume.secret, &volume.projected) {
        (Some(source), None, None) => {
            let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
            let config_map = config_maps.get(&source.name).await.unwrap();
            items(config_map.data.unwrap(), source.items.as_deref())
        }
        (None, Some(source), None) => {
            items(secret(cluster, source.secret_name.as_deref().unwrap()).await, source.items.as_deref())
        }
        (None, None, Some(_)) => BTreeMap::new(),
        (None, None, None) if volume.persistent_volume_claim.is_some() => BTreeMap::new(),
        _ => panic!("unsupported volume: {volume:?}"),
    }
}

fn items(mut content: BTreeMap<String, String>, items: Option<&[KeyToPath]>) -> BTreeMap<String, String> {
    let Some(items) = items else { return content };
    let mut take = |item: &KeyToPath| (item.path.clone(), content.remove(&item.key).expect("the source has the key"));
    items.iter().map(&mut take).collect()
}

async fn secret(cluster: &ApiServer, name: &str) -> BTreeMap<String, String> {
    let secrets: Api<Secret> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let data = secrets.get(name).await.unwrap().data.unwrap();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}
