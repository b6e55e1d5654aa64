//! The agent and its relay on the node.

mod crashes;
mod dependency;
mod disruption;
mod figures;
mod gitops;
mod interfaces;
mod leader;
mod modes;
mod network_policy;
mod opt_out;
mod shutdown;

use super::scene::{Pod, Scene, Workload};

/// Returns the event of each control plane that was created at one of these patches.
fn created(patches: impl IntoIterator<Item = u32>) -> Vec<String> {
    patches.into_iter().map(|patch| format!("created v1.30.{patch}")).collect()
}

impl Scene {
    /// Returns what a container has logged since its last start.
    pub(super) async fn logged(&self, pod: &Pod, container: &str) -> String {
        self.in_namespace(&["logs", pod.name(), "--container", container]).await.unwrap_or_default()
    }

    /// Returns a metric of a pod, by its name with its labels.
    pub(super) async fn metric(&self, pod: &Pod, name: &str) -> Option<f64> {
        let metrics = self.metrics(pod).await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Asserts that telemetry is on, or off, in a pod of the agent.
    pub(super) async fn assert_enabled(&self, pod: &Pod, is_enabled: bool) {
        let enabled = self.metric(pod, "kamaji_telemetry_agent_enabled").await;
        assert_eq!(enabled, Some(f64::from(u8::from(is_enabled))), "{}", pod.name());
    }

    /// Waits until exactly the events of these patches are stored: each control plane was created once.
    pub(super) async fn created(&self, patches: impl IntoIterator<Item = u32>) {
        self.stored(&created(patches).iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    /// Returns the identity that holds the Lease, which is the name of a pod, once that is none of `others`.
    async fn leader_but(&self, others: &[&str]) -> String {
        self.until(&format!("a leader that is none of {others:?}"), async || {
            let lease = self.object(&["lease", "kamaji-telemetry"]).await?;
            let holder = lease["spec"]["holderIdentity"].as_str()?;
            (!others.contains(&holder)).then(|| holder.to_owned())
        })
        .await
    }

    /// Returns a pod by its name.
    async fn named(&self, name: &str) -> Pod {
        Pod(self.object(&["pod", name]).await.unwrap_or_else(|| panic!("there is no pod {name}")))
    }

    /// Waits until there is no pod of the agent, none that is being deleted either.
    async fn no_agent(&self) {
        let label = format!("--selector=app.kubernetes.io/name={}", Workload::Agent.name());
        self.until("the agent's pods to be gone", async || {
            let pods = self.object(&["pods", &label]).await?;
            pods["items"].as_array()?.is_empty().then_some(())
        })
        .await;
    }
}
