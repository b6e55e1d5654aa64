//! A pod of the agent's Deployment, run as local processes with a token of its service account.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec};
use kube::Api;
use serde_json::Value;
use tokio::process::Command;

use super::helm::NAMESPACE;
use super::kubelet::{Files, Variables, replace, variables};
use crate::program::{Agent, AgentOptions, PROGRAM};
use crate::servers::{ApiServer, Collector};

/// Name of the objects of the agent's chart.
pub(super) const NAME: &str = "kamaji-telemetry-agent";

/// Name of the agent's own `ConfigMap` and Lease, which the program defines.
pub(super) const JOURNAL: &str = "kamaji-telemetry";

/// A running pod.
pub(super) struct Pod {
    /// Declared before the relay, so that it is dropped first: it exports through the relay until its end.
    pub(super) agent: Agent,
    pub(super) relay: Option<Collector>,
    pub(super) environment: Variables,
    kubeconfig: PathBuf,
    _files: Files,
}

/// Returns the agent's Deployment in `cluster`.
pub(super) async fn deployment(cluster: &ApiServer) -> Option<Deployment> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    deployments.get_opt(NAME).await.unwrap()
}

/// Returns the agent's journal in `cluster`.
pub(super) async fn journal(cluster: &ApiServer) -> Option<ConfigMap> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    config_maps.get_opt(JOURNAL).await.unwrap()
}

impl Pod {
    /// Starts the pod of the Deployment in `cluster`: the relay, and then, once that is healthy, the agent.
    pub(super) async fn start(cluster: &ApiServer) -> Self {
        let deployment = deployment(cluster).await.expect("the chart is installed");
        let spec = deployment.spec.template.spec.unwrap();
        let files = Files::mount(cluster, &spec, None).await;
        let relay = match spec.init_containers.as_deref().unwrap_or_default() {
            [] => None,
            [relay] => Some(start_relay(cluster, relay, &files).await),
            containers => panic!("more than one sidecar: {containers:?}"),
        };
        let [container] = &spec.containers[..] else { panic!("not one container: {:?}", spec.containers) };
        let mut environment = variables(cluster, container, &files).await;
        if let Some(relay) = &relay {
            // The relay listens on a free port instead of the pod's own loopback.
            assert_eq!(
                replace(&mut environment, "OTEL_EXPORTER_OTLP_ENDPOINT", relay.endpoint()),
                "http://127.0.0.1:4317"
            );
        }
        let account = spec.service_account_name.as_deref().expect("the pod has a ServiceAccount");
        let kubeconfig = cluster.service_account(NAMESPACE, account).await;
        let mut options = AgentOptions::with_kubeconfig(&kubeconfig, "");
        let (command, arguments) =
            container.args.as_deref().unwrap().split_first().expect("the container has arguments");
        assert_eq!(command, "agent");
        for argument in arguments {
            options = options.argument(argument);
        }
        for (name, value) in &environment {
            options = options.variable(name, value);
        }
        Self { agent: options.start().await, relay, environment, kubeconfig, _files: files }
    }

    /// Runs a pod of one container to its end, and returns its standard output.
    pub(super) async fn run_alone(cluster: &ApiServer, pod: &Value) -> String {
        let spec: PodSpec = serde_json::from_value(pod["spec"].clone()).unwrap();
        let files = Files::mount(cluster, &spec, None).await;
        let [container] = &spec.containers[..] else { panic!("not one container: {:?}", spec.containers) };
        let account = spec.service_account_name.as_deref().expect("the pod has a ServiceAccount");
        let kubeconfig = cluster.service_account(NAMESPACE, account).await;
        let mut program = Command::new(PROGRAM);
        program.args(container.args.as_deref().unwrap()).env_clear().env("KUBECONFIG", kubeconfig);
        output(program.envs(variables(cluster, container, &files).await)).await
    }

    /// Runs another command in the agent's container, and returns its standard output.
    pub(super) async fn exec(&self, command: &str) -> String {
        let mut program = Command::new(PROGRAM);
        output(program.arg(command).env_clear().envs(self.environment.clone()).env("KUBECONFIG", &self.kubeconfig))
            .await
    }
}

/// Runs a program that must succeed, and returns its standard output.
async fn output(program: &mut Command) -> String {
    let output = program.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn start_relay(cluster: &ApiServer, container: &Container, files: &Files) -> Collector {
    assert_eq!(container.restart_policy.as_deref(), Some("Always"), "a sidecar");
    let arguments = container.args.as_deref().unwrap();
    let values_of = |flag| arguments.iter().filter_map(move |argument| argument.strip_prefix(flag));
    let (configs, settings): (Vec<_>, Vec<_>) =
        (values_of("--config=").map(|path| files.localize(path)).collect(), values_of("--set=").collect());
    assert_eq!(configs.len() + settings.len(), arguments.len(), "{arguments:?}");
    let configs: Vec<_> = configs.iter().map(Path::new).collect();
    let mut environment = variables(cluster, container, files).await;
    environment.retain(|(name, _)| name != "RELAY_HEALTH_LISTEN");
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    Collector::start_merged(&configs, &environment, &settings).await
}
