//! The few fields of a Deployment that the agent reads: of Kamaji's operator, and of its own.
//!
//! The types of `k8s_openapi` would decode every field of a pod, and their code would be a part of the program. What is
//! read here is decoded strictly: a Deployment with a field of another type fails the request.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::{ObjectList, Request};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The decoded part of a Deployment. A field that is absent has its default, as in Kubernetes' own clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    /// The metadata.
    pub(in crate::agent) metadata: DeploymentMetadata,
    spec: DeploymentSpec,
}

/// The decoded part of a Deployment's metadata.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::agent) struct DeploymentMetadata {
    pub(in crate::agent) name: Option<String>,
    pub(in crate::agent) labels: Option<BTreeMap<String, String>>,
    uid: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct DeploymentSpec {
    template: PodTemplate,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodTemplate {
    spec: Option<PodSpec>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

/// The decoded part of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub(in crate::agent) image: Option<String>,
    pub(in crate::agent) command: Option<Vec<String>>,
    pub(in crate::agent) args: Option<Vec<String>>,
    pub(in crate::agent) env: Option<Vec<EnvVar>>,
    /// The sources of further variables, of which only the presence matters.
    env_from: Option<Vec<IgnoredAny>>,
    restart_policy: Option<String>,
}

/// A variable of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::agent) struct EnvVar {
    pub(in crate::agent) name: String,
    pub(in crate::agent) value: Option<String>,
    /// The source of the value in another object, of which only the presence matters.
    value_from: Option<IgnoredAny>,
}

impl Deployment {
    /// Returns the value of a label.
    pub(in crate::agent) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// Returns the containers that run for as long as a pod of the Deployment does: init containers end before them,
    /// except for sidecars, which are init containers that are restarted.
    pub(in crate::agent) fn containers(&self) -> impl Iterator<Item = &Container> {
        let spec = self.spec.template.spec.as_ref();
        let init_containers = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let sidecars = init_containers.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        spec.into_iter().flat_map(|spec| spec.containers.iter().flatten()).chain(sidecars)
    }

    /// Returns a reference to the Deployment as the garbage collector needs it, or `None` if it has no name or no UID.
    pub(super) fn owner_reference(self) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: self.metadata.name?,
            uid: self.metadata.uid?,
            ..OwnerReference::default()
        })
    }
}

impl Container {
    /// Returns whether the container has variables of all keys of another object.
    pub(in crate::agent) fn has_env_from(&self) -> bool {
        self.env_from.as_ref().is_some_and(|sources| !sources.is_empty())
    }
}

impl EnvVar {
    /// Returns whether the value comes from another object.
    pub(in crate::agent) fn is_reference(&self) -> bool {
        self.value_from.is_some()
    }
}

/// Requests the Deployment `name` in `namespace`.
pub(super) async fn get(client: &Client, namespace: &str, name: &str) -> Result<Deployment, kube::Error> {
    let request = Request::new(path(namespace)).get(name, &GetParams::default());
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

/// Requests a page of the Deployments in `namespace`.
pub(super) async fn list(
    client: &Client,
    namespace: &str,
    params: &ListParams,
) -> Result<ObjectList<Deployment>, kube::Error> {
    let request = Request::new(path(namespace)).list(params);
    client.request(request.map_err(kube::Error::BuildRequest)?).await
}

fn path(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(deployment: &Value) -> serde_json::Result<Deployment> {
        serde_json::from_str(&deployment.to_string())
    }

    fn of_pod(pod: &Value) -> Value {
        json!({"metadata": {"name": "a", "uid": "b"}, "spec": {"template": {"spec": pod}}})
    }

    #[test]
    fn an_absent_field_and_null_are_the_default() {
        for empty in [
            json!({}),
            json!({"metadata": {}, "spec": {}}),
            json!({"metadata": {"name": null, "labels": null}, "spec": {"template": {}}}),
            of_pod(&json!(null)),
            of_pod(&json!({})),
            of_pod(&json!({"containers": null, "initContainers": null})),
        ] {
            let deployment = read(&empty).unwrap();
            assert_eq!(deployment.containers().count(), 0, "{empty}");
            assert_eq!(deployment.label("a"), None, "{empty}");
        }
        let bare = read(&of_pod(&json!({"containers": [{}]}))).unwrap();
        let container = bare.containers().next().unwrap();
        assert!(container.command.is_none() && container.args.is_none() && !container.has_env_from());
    }

    #[test]
    fn a_field_of_another_type_is_an_error() {
        for strange in [
            json!("text"),
            json!({"metadata": "a"}),
            json!({"metadata": {"name": 1}}),
            json!({"metadata": {"labels": {"a": 1}}}),
            json!({"spec": {"template": true}}),
            of_pod(&json!("text")),
            of_pod(&json!({"containers": {}})),
            of_pod(&json!({"containers": [null]})),
            of_pod(&json!({"containers": [{"image": ["kamaji"]}]})),
            of_pod(&json!({"containers": [{"args": "manager"}]})),
            of_pod(&json!({"containers": [{"args": [true]}]})),
            of_pod(&json!({"containers": [{"command": [["manager"]]}]})),
            of_pod(&json!({"containers": [{"env": [{"name": "A", "value": 1}]}]})),
            of_pod(&json!({"containers": [{"env": {"A": "1"}}]})),
            of_pod(&json!({"containers": [{"envFrom": "a"}]})),
            of_pod(&json!({"initContainers": [{"restartPolicy": 1}]})),
        ] {
            assert!(read(&strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn a_variable_is_a_reference_whatever_its_source_is() {
        for (source, expected) in [(json!(null), false), (json!({}), true), (json!({"fileKeyRef": {}}), true)] {
            let container = json!({"env": [{"name": "A", "valueFrom": source}]});
            let deployment = read(&of_pod(&json!({"containers": [container]}))).unwrap();
            let variable = deployment.containers().flat_map(|container| container.env.iter().flatten()).next();
            assert_eq!(variable.unwrap().is_reference(), expected, "{source}");
        }
    }

    #[test]
    fn an_owner_has_a_name_and_a_uid() {
        let owner = read(&of_pod(&json!({}))).unwrap().owner_reference().unwrap();
        let expected = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "uid": "b"});
        assert_eq!(serde_json::to_value(owner).unwrap(), expected);
        assert!(read(&json!({"metadata": {"name": "a"}})).unwrap().owner_reference().is_none());
    }
}
