//! Permissions that the chart grants to the agent: each is used, and each is needed.

use std::cell::Cell;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};

use super::helm::{AGENT, Helm};
use super::pod::{JOURNAL, NAME};
use crate::program::{Agent, AgentOptions};
use crate::servers::{ApiServer, Request, documents, eventually, tcp};

/// Placeholder in the rendered objects for the namespace of an agent.
const NAMESPACE_PLACEHOLDER: &str = "the-agents-namespace";

/// A verb of a rule of a role, for the objects of these names, or for all if there are none.
#[derive(Debug, Clone)]
struct Permission {
    role: String,
    rule: usize,
    verb: String,
    resource: String,
    names: Vec<String>,
}

fn texts(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap_or_default()
}

fn role_of(object: &Value) -> String {
    format!("{} {}", object["kind"], object["metadata"]["name"])
}

/// Returns every permission that the roles grant.
fn permissions(objects: &[Value]) -> Vec<Permission> {
    let mut permissions = Vec::new();
    for object in objects {
        for (rule, content) in object["rules"].as_array().into_iter().flatten().enumerate() {
            let [resource] = &texts(&content["resources"])[..] else { panic!("one resource a rule: {content}") };
            for verb in texts(&content["verbs"]) {
                let (resource, names) = (resource.clone(), texts(&content["resourceNames"]));
                permissions.push(Permission { role: role_of(object), rule, verb, resource, names });
            }
        }
    }
    permissions
}

impl Permission {
    /// Removes the permission from its role. A rule without verbs is invalid and removed as well.
    fn remove_from(&self, object: &mut Value) {
        if role_of(object) == self.role {
            let rules = object["rules"].as_array_mut().unwrap();
            let verbs = rules[self.rule]["verbs"].as_array_mut().unwrap();
            verbs.retain(|verb| verb != &self.verb);
            if verbs.is_empty() {
                rules.remove(self.rule);
            }
        }
    }

    fn allows(&self, request: &Request) -> bool {
        let named = self.names.is_empty() || self.names.contains(&request.name);
        named && self.verb == request.verb && self.resource == request.resource
    }

    /// Returns whether a line of the log reports that this permission is missing.
    fn is_missing_in(&self, line: &str) -> bool {
        // A field that is a string is logged with escaped quotes.
        let line = line.replace("\\\"", "\"");
        let is_named = self.names.first().is_none_or(|name| line.contains(&format!("{name:?} is forbidden")));
        is_named && line.contains(&format!("cannot {} resource {:?}", self.verb, self.resource))
    }
}

/// An agent in its own namespace, with the chart's permissions except one.
struct Case {
    namespace: String,
    removed: Option<Permission>,
}

impl Case {
    /// Returns the rendered objects for this namespace. Objects outside of it get a unique name.
    fn objects(&self, rendered: &[Value]) -> Vec<Value> {
        let mut objects = rendered.to_vec();
        for object in &mut objects {
            if let Some(permission) = &self.removed {
                permission.remove_from(object);
            }
            let text = object.to_string().replace(NAMESPACE_PLACEHOLDER, &self.namespace);
            *object = serde_json::from_str(&text).unwrap();
            if object["metadata"]["namespace"] != *self.namespace {
                for pointer in ["/metadata/name", "/roleRef/name"] {
                    if let Some(Value::String(name)) = object.pointer_mut(pointer) {
                        name.push_str(&self.namespace);
                    }
                }
            }
        }
        objects
    }

    /// Installs the objects, and state of an earlier agent that can't be decoded.
    async fn install(&self, cluster: &ApiServer, rendered: &[Value]) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        cluster.apply_one(&namespace).await;
        for object in self.objects(rendered) {
            cluster.apply_one(&object).await;
        }
        for name in
            [JOURNAL, "kamaji-telemetry-base", "kamaji-telemetry-quarantine", "kamaji-telemetry-base-quarantine"]
        {
            let metadata = json!({"name": name, "namespace": self.namespace});
            let state = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
            cluster.apply_one(&state).await;
        }
    }

    async fn start(&self, cluster: &ApiServer, argument: Option<&str>) -> Agent {
        let kubeconfig = cluster.service_account(&self.namespace, NAME).await;
        // No collector listens there: exports need no permission.
        let agent = AgentOptions::with_kubeconfig(&kubeconfig, "http://127.0.0.1:1");
        let agent = [
            "--extended",
            "--leader-elect",
            "--lease-duration=2s",
            "--export-interval=1s",
            "--operator-poll-interval=1s",
        ]
        .into_iter()
        .chain(argument)
        .fold(agent, AgentOptions::argument);
        let agent = agent.variable("POD_NAMESPACE", &self.namespace).variable("POD_NAME", "one");
        agent.variable("KAMAJI_TELEMETRY_OWNER_DEPLOYMENT", NAME).start().await
    }
}

/// Renders the roles, and the objects that they need, with values that grant every permission and with `more` of them.
async fn rendered(more: &str) -> Vec<Value> {
    let values = format!("--set=replicas=2,telemetry.extended=true,telemetry.kamajiNamespace=kamaji-system{more}");
    let chart = AGENT.path();
    let arguments = ["template", AGENT.release, &chart, "--namespace", NAMESPACE_PLACEHOLDER, &values];
    let mut objects = documents(&Helm::offline().run(&arguments).await.unwrap());
    objects.retain(|object| !["ConfigMap", "PodDisruptionBudget", "Pod"].iter().any(|kind| object["kind"] == *kind));
    objects
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_permission_is_used_and_needed() {
    // Without streaming lists, the agent needs both verbs on TenantControlPlanes.
    let cluster = ApiServer::start_for_a_chart_without_streaming().await;
    // More than the journal holds without a base.
    for number in 0..70 {
        cluster.create(tcp(&format!("tenant-{number}"))).await;
    }
    let changes = Cell::new(35);
    let change = async |permission: &Permission| {
        if permission.names == ["kamaji-telemetry-base"] {
            changes.set(changes.get() + 1);
            cluster.upgrade("tenant-0", &format!("v1.{}.0", changes.get())).await;
        }
    };
    let rendered = rendered("").await;
    let permissions = permissions(&rendered);
    let cases = permissions.iter().cloned().map(Some).chain([None]).enumerate();
    let cases = cases.map(|(number, removed)| Case { namespace: format!("agent-{number}"), removed });
    let cases: Vec<_> = cases.collect();
    join_all(cases.iter().map(|case| case.install(&cluster, &rendered))).await;
    let agents = join_all(cases.iter().map(|case| case.start(&cluster, None))).await;

    let (all, agent) = (cases.last().unwrap(), agents.last().unwrap());
    agent.ready().await;
    let requests = || cluster.requests_of_account(&all.namespace, NAME);
    for permission in &permissions {
        let used = async || {
            change(permission).await;
            requests().iter().any(|request| permission.allows(request)).then_some(())
        };
        eventually(&format!("the use of {permission:?}"), used).await;
    }
    for (case, agent) in cases.iter().zip(&agents) {
        let Some(permission) = &case.removed else { continue };
        let reported = async || {
            change(permission).await;
            agent.log().lines().any(|line| permission.is_missing_in(line)).then_some(())
        };
        eventually(&format!("a log line about the missing {permission:?}"), reported).await;
    }

    cluster.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    agent.logged("the journal is deleted").await;
    let forbidden: Vec<_> = requests().into_iter().filter(|request| request.code == 403).collect();
    assert_eq!(forbidden, [], "with all permissions, no request is forbidden");
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), &all.namespace);
    assert_eq!(config_maps.get_opt(JOURNAL).await.unwrap(), None);
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn with_a_name_only_that_deployment_of_kamaji_may_be_read() {
    let cluster = ApiServer::start_with_kamaji().await;
    let rendered = rendered(",telemetry.kamajiDeployment=kamaji").await;
    let of_kamaji = |permission: &Permission| permission.role.contains("-kamaji\"");
    let permissions: Vec<_> = permissions(&rendered).into_iter().filter(of_kamaji).collect();
    let [permission] = &permissions[..] else { panic!("{permissions:?}") };
    assert_eq!((&*permission.verb, &permission.names[..]), ("get", &["kamaji".to_owned()][..]));
    let case = Case { namespace: "agent-named".to_owned(), removed: None };
    case.install(&cluster, &rendered).await;
    let agent = case.start(&cluster, Some("--kamaji-deployment=kamaji")).await;
    agent.ready().await;
    agent.logged("telemetry is on; gauges").await;
    let requests = cluster.requests_of_account(&case.namespace, NAME);
    assert!(requests.iter().any(|request| permission.allows(request)), "{requests:?}");
    let forbidden: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}
