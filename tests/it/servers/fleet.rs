//! Control planes in a real API server, with a builder.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::ApiServer;

/// Kamaji's finalizer, which delays the deletion of an object until the operator removes it.
const FINALIZER: &str = "finalizer.kamaji.clastix.io";

/// The namespace of the control planes.
const NAMESPACE: &str = "default";

/// A control plane to create.
#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    body: Value,
    status: Option<Value>,
}

/// Returns a control plane of version v1.35.1 with a Service of type `ClusterIP` and without a status.
pub(crate) fn tcp(name: &str) -> Tcp {
    let body = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "dataStore": "default",
            "controlPlane": {"service": {"serviceType": "ClusterIP"}},
            "kubernetes": {"version": "v1.35.1", "kubelet": {"cgroupfs": "systemd"}},
        },
    });
    Tcp { body, status: None }
}

impl Tcp {
    /// Returns a control plane with the spec, labels and status of `object` under another name.
    pub(crate) fn clone_of(object: &Value, name: &str) -> Self {
        let mut clone = tcp(name);
        clone.body["spec"] = object["spec"].clone();
        clone.body["metadata"]["labels"] = object["metadata"]["labels"].clone();
        clone.status = object.get("status").cloned();
        clone
    }

    /// Sets the desired Kubernetes version.
    pub(crate) fn version(mut self, version: &str) -> Self {
        self.body["spec"]["kubernetes"]["version"] = version.into();
        self
    }

    /// Sets the status, which may be one that Kamaji does not define.
    pub(crate) fn status(mut self, word: &str) -> Self {
        self.status.get_or_insert_with(|| json!({}))["kubernetesResources"]["version"]["status"] = word.into();
        self
    }

    /// Sets a label.
    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.body["metadata"]["labels"][key] = value.into();
        self
    }

    /// Adds Kamaji's finalizer, which [`ApiServer::release`] removes.
    pub(crate) fn held(mut self) -> Self {
        self.body["metadata"]["finalizers"] = json!([FINALIZER]);
        self
    }

    /// Sets the type of the Service.
    pub(crate) fn service(mut self, service_type: &str) -> Self {
        self.body["spec"]["controlPlane"]["service"]["serviceType"] = service_type.into();
        self
    }

    /// Returns the object to create, without its status.
    pub(crate) fn object(&self) -> DynamicObject {
        serde_json::from_value(self.body.clone()).expect("the builder makes an object")
    }

    fn name(&self) -> &str {
        self.body["metadata"]["name"].as_str().expect("a control plane has a name")
    }
}

impl ApiServer {
    /// Returns the API of the control planes, for requests without a method here.
    pub(crate) fn tcps(&self) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk("kamaji.clastix.io", "v1alpha1", "TenantControlPlane");
        Api::namespaced_with(self.admin().clone(), NAMESPACE, &ApiResource::from_gvk(&gvk))
    }

    /// Creates `tcp` and then its status, as the operator does.
    pub(crate) async fn create(&self, tcp: Tcp) {
        self.tcps().create(&PostParams::default(), &tcp.object()).await.expect("it can be created");
        if let Some(status) = &tcp.status {
            self.set_status(tcp.name(), status).await;
        }
    }

    /// Creates `tcp` as a dry run.
    pub(crate) async fn create_dry_run(&self, tcp: Tcp) {
        let dry_run = PostParams { dry_run: true, field_manager: None };
        self.tcps().create(&dry_run, &tcp.object()).await.expect("it can be tried");
    }

    /// Changes the desired version.
    pub(crate) async fn upgrade(&self, name: &str, version: &str) {
        self.merge(name, &json!({"spec": {"kubernetes": {"version": version}}})).await;
    }

    /// Changes a label.
    pub(crate) async fn relabel(&self, name: &str, key: &str, value: &str) {
        self.merge(name, &json!({"metadata": {"labels": {key: value}}})).await;
    }

    /// Changes the status.
    pub(crate) async fn report(&self, name: &str, word: &str) {
        self.set_status(name, &json!({"kubernetesResources": {"version": {"status": word}}})).await;
    }

    /// Deletes the control plane; see [`Tcp::held`].
    pub(crate) async fn delete(&self, name: &str) {
        self.tcps().delete(name, &DeleteParams::default()).await.expect("it can be deleted");
    }

    /// Removes the finalizer, as the operator does.
    pub(crate) async fn release(&self, name: &str) {
        self.merge(name, &json!({"metadata": {"finalizers": null}})).await;
    }

    /// Sets the arguments of Kamaji's operator.
    pub(crate) async fn run_kamaji_with(&self, arguments: &[&str]) {
        let deployments: Api<Deployment> = Api::namespaced(self.admin().clone(), "kamaji-system");
        let image = "docker.io/clastix/kamaji:v1.0.0";
        let container = json!({"name": "manager", "image": image, "args": arguments});
        let change = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let patch = Patch::Strategic(change);
        deployments.patch("kamaji", &PatchParams::default(), &patch).await.expect("it can be changed");
    }

    async fn merge(&self, name: &str, change: &Value) {
        let patch = Patch::Merge(change);
        self.tcps().patch(name, &PatchParams::default(), &patch).await.expect("it can be changed");
    }

    async fn set_status(&self, name: &str, status: &Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.tcps().patch_status(name, &PatchParams::default(), &patch).await.expect("its status can be changed");
    }
}
