//! Rendering and server-side apply without pruning, as Argo CD does by default.

use serde_json::{Value, json};

use crate::node::scene::{Scene, Workload, merge};
use crate::servers::{checkout, documents};

/// The manager of the fields, as Argo CD names itself.
const MANAGER: &str = "--field-manager=argocd-controller";

impl Scene {
    /// Renders the agent's chart and applies every object. Prunes nothing.
    async fn render_and_apply(&self, values: &Value) {
        let mut all = json!({"telemetry": {"endpoint": self.endpoint(), "exportInterval": "1s"}});
        merge(&mut all, values);
        let (file, chart) = (self.values("argocd", &all), checkout("charts/kamaji-telemetry-agent"));
        let render = ["template", "telemetry", &chart.display().to_string(), "--namespace", &self.namespace];
        // Argo CD passes the version of its cluster, too.
        let rendered = self.helm(&[&render[..], &["--kube-version=1.36", "--values", &file]].concat()).await.unwrap();
        let hook = |object: &Value| object["metadata"]["annotations"]["helm.sh/hook"].is_string();
        let objects: Vec<_> = documents(&rendered).into_iter().filter(|object| !hook(object)).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = self.file("rendered.json", &list.to_string());
        self.kubectl(&["apply", "--server-side", MANAGER, "--filename", &file]).await.unwrap();
    }

    /// Returns the generation of the Deployment and the resourceVersions of the objects that no controller writes to.
    async fn versions(&self) -> Vec<Value> {
        let name = Workload::Agent.name();
        let mut versions = vec![self.object(&["deployment", name]).await.unwrap()["metadata"]["generation"].clone()];
        let cluster_wide = self.get(&["clusterrole", name]).await.unwrap();
        versions.push(cluster_wide["metadata"]["resourceVersion"].clone());
        for kind in ["serviceaccount", "role", "rolebinding"] {
            let object = self.object(&[kind, name]).await.unwrap();
            versions.push(object["metadata"]["resourceVersion"].clone());
        }
        versions
    }

    /// Waits until the Deployment has only pods of its latest generation, and all of them are ready.
    async fn rolled_out(&self) {
        let name = format!("deployment/{}", Workload::Agent.name());
        self.in_namespace(&["rollout", "status", &name, "--timeout=4m"]).await.unwrap();
        self.pod(Workload::Agent).await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs a node: run `make test`")]
async fn without_pruning_the_kept_deployment_deletes_the_state_and_sends_nothing() {
    let scene = Scene::new().await;
    scene.install_backend(&json!({})).await;
    let off = json!({"disabled": true, "keepWhenDisabled": true});
    let mut installations = Vec::new();
    for patch in [1, 3] {
        scene.render_and_apply(&json!({})).await;
        scene.rolled_out().await;
        installations.push(scene.installation().await);
        scene.tenant(patch, patch).await;
        scene.created((1..=patch).step_by(2)).await;
        assert_applied_again(&scene, &json!({})).await;

        scene.render_and_apply(&off).await;
        scene.rolled_out().await;
        scene.no_state(&["configmaps"]).await;
        let pod = scene.pod(Workload::Agent).await;
        assert_eq!(pod.0["spec"]["initContainers"], Value::Null, "there is no relay");
        scene.assert_enabled(&pod, false).await;
        // It is never reported.
        scene.tenant(patch + 1, patch + 1).await;
        assert_applied_again(&scene, &off).await;
        assert_no_rights(&scene).await;
    }
    assert_ne!(installations[0], installations[1], "a UUID of before is used again");
}

/// Applies once more, and asserts that nothing has changed, the pod included.
async fn assert_applied_again(scene: &Scene, values: &Value) {
    let (versions, pod) = (scene.versions().await, scene.pod(Workload::Agent).await);
    scene.render_and_apply(values).await;
    assert_eq!(scene.versions().await, versions, "{values}");
    let after = scene.pod(Workload::Agent).await;
    assert_eq!((after.name(), after.restarts("agent")), (pod.name(), pod.restarts("agent")));
}

/// Asserts that the agent may do nothing but delete its state.
async fn assert_no_rights(scene: &Scene) {
    let user = format!("--as=system:serviceaccount:{}:{}", scene.namespace, Workload::Agent.name());
    let may =
        async |verb: &str, object: &str| scene.in_namespace(&["auth", "can-i", verb, object, &user]).await.is_ok();
    for name in ["kamaji-telemetry", "kamaji-telemetry-base"] {
        assert!(may("delete", &format!("configmaps/{name}")).await);
    }
    let others = [
        ("list", "tenantcontrolplanes.kamaji.clastix.io"),
        ("watch", "tenantcontrolplanes.kamaji.clastix.io"),
        ("create", "configmaps"),
        ("update", "configmaps/kamaji-telemetry"),
        ("list", "deployments.apps"),
    ];
    for (verb, object) in others {
        assert!(!may(verb, object).await, "{verb} {object}");
    }
}
