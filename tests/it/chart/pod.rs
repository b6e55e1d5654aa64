//! A pod of the chart's Deployment: what a kubelet would run of it, as processes with a token of its service account.

use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container};
use kube::Api;
use tokio::process::Command;

use super::helm::NAMESPACE;
use super::kubelet::{Files, Variables, replace, variables};
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
        let files = Files::mount(cluster, &spec, None).await;
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
