//! A pod of the chart's Deployment: what a kubelet would run of it, as processes with a token of its service account.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, KeyToPath, PodSpec, Secret, Volume};
use kube::Api;
use tempfile::TempDir;
use tokio::process::Command;

use super::helm::NAMESPACE;
use crate::program::{Agent, AgentOptions, PROGRAM};
use crate::servers::{ApiServer, Collector};

/// What everything of the chart's is called, and what its agent keeps.
pub(super) const NAME: &str = "kamaji-telemetry";

/// A running pod.
pub(super) struct Pod {
    /// First, as in a pod: it delivers through the relay to the last.
    pub(super) agent: Agent,
    pub(super) relay: Option<Collector>,
    pub(super) environment: Variables,
    kubeconfig: PathBuf,
    _files: Files,
}

/// What is mounted, as a folder for each path in the pod.
struct Files {
    _folder: TempDir,
    mounts: Vec<(String, String)>,
}

type Variables = Vec<(String, String)>;

/// The Deployment, as it is in `cluster`.
pub(super) async fn deployment(cluster: &ApiServer) -> Option<Deployment> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    deployments.get_opt(NAME).await.unwrap()
}

/// What its agent keeps in `cluster`.
pub(super) async fn journal(cluster: &ApiServer) -> Option<ConfigMap> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    config_maps.get_opt(NAME).await.unwrap()
}

impl Pod {
    /// Starts what `cluster` has of the Deployment: the relay, and once that is healthy the agent.
    pub(super) async fn start(cluster: &ApiServer) -> Self {
        let deployment = deployment(cluster).await.expect("the chart is installed");
        let spec = deployment.spec.template.spec.unwrap();
        let files = Files::mount(cluster, &spec).await;
        let relay = match spec.init_containers.as_deref().unwrap_or_default() {
            [] => None,
            [relay] => Some(start_relay(cluster, relay, &files).await),
            more => panic!("one sidecar: {more:?}"),
        };
        let [container] = &spec.containers[..] else { panic!("one container: {:?}", spec.containers) };
        let mut environment = variables(cluster, container, &files).await;
        if let Some(relay) = &relay {
            // The port of the pod's own loopback is one that is free here.
            assert_eq!(
                replace(&mut environment, "OTEL_EXPORTER_OTLP_ENDPOINT", relay.endpoint()),
                "http://127.0.0.1:4317"
            );
        }
        let account = spec.service_account_name.as_deref().expect("it has a ServiceAccount of its own");
        let kubeconfig = cluster.service_account(NAMESPACE, account).await;
        let mut options = AgentOptions::with_kubeconfig(&kubeconfig, "");
        let (command, arguments) = container.args.as_deref().unwrap().split_first().expect("it has arguments");
        assert_eq!(command, "agent");
        for argument in arguments {
            options = options.argument(argument);
        }
        for (name, value) in &environment {
            options = options.variable(name, value);
        }
        Self { agent: options.start().await, relay, environment, kubeconfig, _files: files }
    }

    /// What another command prints in the agent's container.
    pub(super) async fn exec(&self, command: &str) -> String {
        let mut program = Command::new(PROGRAM);
        program.arg(command).env_clear().envs(self.environment.clone()).env("KUBECONFIG", &self.kubeconfig);
        let output = program.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn start_relay(cluster: &ApiServer, container: &Container, files: &Files) -> Collector {
    assert_eq!(container.restart_policy.as_deref(), Some("Always"), "it is a sidecar");
    let arguments = container.args.as_deref().unwrap();
    let all = |flag| arguments.iter().filter_map(move |argument| argument.strip_prefix(flag));
    let (configs, settings): (Vec<_>, Vec<_>) =
        (all("--config=").map(|path| files.here(path)).collect(), all("--set=").collect());
    assert_eq!(configs.len() + settings.len(), arguments.len(), "{arguments:?}");
    let configs: Vec<_> = configs.iter().map(Path::new).collect();
    let mut environment = variables(cluster, container, files).await;
    environment.retain(|(name, _)| name != "RELAY_HEALTH_LISTEN");
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    Collector::start_merged(&configs, &environment, &settings).await
}

/// Sets a variable, and gives what it was.
fn replace(environment: &mut Variables, name: &str, value: String) -> String {
    let variable = environment.iter_mut().find(|variable| variable.0 == name);
    std::mem::replace(&mut variable.unwrap_or_else(|| panic!("{name} is set")).1, value)
}

async fn variables(cluster: &ApiServer, container: &Container, files: &Files) -> Variables {
    let mut variables = Vec::new();
    for variable in container.env.iter().flatten() {
        variables.push((variable.name.clone(), files.here(&value(cluster, variable).await)));
    }
    variables
}

async fn value(cluster: &ApiServer, variable: &EnvVar) -> String {
    let Some(source) = &variable.value_from else { return variable.value.clone().unwrap_or_default() };
    match (&source.field_ref, &source.secret_key_ref) {
        (Some(field), None) if field.field_path == "metadata.namespace" => NAMESPACE.to_owned(),
        (Some(field), None) if field.field_path == "metadata.name" => format!("{NAME}-0"),
        (None, Some(key)) => secret(cluster, &key.name).await.remove(&key.key).expect("the Secret has the key"),
        _ => panic!("a source that no kubelet of these tests knows: {source:?}"),
    }
}

impl Files {
    async fn mount(cluster: &ApiServer, spec: &PodSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for volume in spec.volumes.iter().flatten() {
            let path = folder.path().join(&volume.name);
            fs::create_dir(&path).unwrap();
            for (file, content) in content(cluster, volume).await {
                fs::write(path.join(file), content).unwrap();
            }
        }
        let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mounts = containers.flat_map(|container| container.volume_mounts.iter().flatten());
        let here = |name: &str| folder.path().join(name).display().to_string();
        let mounts = mounts.map(|mount| (mount.mount_path.clone(), here(&mount.name))).collect();
        Self { _folder: folder, mounts }
    }

    /// `text` with paths of the pod replaced by those of this machine.
    fn here(&self, text: &str) -> String {
        self.mounts.iter().fold(text.to_owned(), |text, (path, folder)| text.replace(path, folder))
    }
}

/// A volume's files. The projected one is the token, which a kubeconfig stands for.
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
        _ => panic!("a volume that no kubelet of these tests knows: {volume:?}"),
    }
}

fn items(mut content: BTreeMap<String, String>, items: Option<&[KeyToPath]>) -> BTreeMap<String, String> {
    let Some(items) = items else { return content };
    let mut take = |item: &KeyToPath| (item.path.clone(), content.remove(&item.key).expect("it has the key"));
    items.iter().map(&mut take).collect()
}

async fn secret(cluster: &ApiServer, name: &str) -> BTreeMap<String, String> {
    let secrets: Api<Secret> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    let data = secrets.get(name).await.unwrap().data.unwrap();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}
