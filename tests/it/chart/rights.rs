//! The rights that the chart gives: each of them is needed, and none is spare.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::{Value, json};

use super::helm::{AGENT, Helm};
use super::pod::NAME;
use crate::program::{Agent, AgentOptions};
use crate::servers::{ApiServer, Request, documents, eventually, tcp};

/// Stands in what is rendered for the namespace of the agent that gets it.
const PLACE: &str = "the-agents-namespace";

/// One verb of one rule of a role, for the objects of these names or for all.
#[derive(Debug, Clone)]
struct Right {
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

/// Every right that is given.
fn rights(objects: &[Value]) -> Vec<Right> {
    let mut rights = Vec::new();
    for object in objects {
        for (rule, content) in object["rules"].as_array().into_iter().flatten().enumerate() {
            let [resource] = &texts(&content["resources"])[..] else { panic!("one resource a rule: {content}") };
            for verb in texts(&content["verbs"]) {
                let (resource, names) = (resource.clone(), texts(&content["resourceNames"]));
                rights.push(Right { role: role_of(object), rule, verb, resource, names });
            }
        }
    }
    rights
}

impl Right {
    /// Takes it out of the role that gives it. A rule needs a verb.
    fn drop_from(&self, object: &mut Value) {
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

    /// Says whether a line of a log tells that it lacks.
    fn lacks(&self, line: &str) -> bool {
        let named = self.names.first().is_none_or(|name| line.contains(&format!("{name:?} is forbidden")));
        named && line.contains(&format!("cannot {} resource {:?}", self.verb, self.resource))
    }
}

/// An agent in a namespace of its own, with what the chart gives but for one right.
struct Case {
    namespace: String,
    without: Option<Right>,
}

impl Case {
    /// What is rendered, for this namespace; what lies outside of it gets a name of its own.
    fn objects(&self, rendered: &[Value]) -> Vec<Value> {
        let mut objects = rendered.to_vec();
        for object in &mut objects {
            if let Some(right) = &self.without {
                right.drop_from(object);
            }
            let text = object.to_string().replace(PLACE, &self.namespace);
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

    /// Installs it, over what an earlier agent has left and nobody can read.
    async fn install(&self, cluster: &ApiServer, rendered: &[Value]) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        cluster.apply_one(&namespace).await;
        for object in self.objects(rendered) {
            cluster.apply_one(&object).await;
        }
        for name in [NAME, "kamaji-telemetry-set-aside"] {
            let metadata = json!({"name": name, "namespace": self.namespace});
            let left = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}});
            cluster.apply_one(&left).await;
        }
    }

    async fn start(&self, cluster: &ApiServer) -> Agent {
        let kubeconfig = cluster.service_account(&self.namespace, NAME).await;
        // Nobody listens there: what is sent needs no right.
        let agent = AgentOptions::with_kubeconfig(&kubeconfig, "http://127.0.0.1:1");
        let agent = [
            "--extended",
            "--leader-elect",
            "--lease-duration=2s",
            "--export-interval=1s",
            "--operator-poll-interval=1s",
        ]
        .into_iter()
        .fold(agent, AgentOptions::argument);
        let agent = agent.variable("POD_NAMESPACE", &self.namespace).variable("POD_NAME", "one");
        agent.variable("KAMAJI_TELEMETRY_OWNER_DEPLOYMENT", NAME).start().await
    }
}

/// Everything that needs a right.
async fn rendered() -> Vec<Value> {
    let values = "--set=replicas=2,telemetry.extended=true,telemetry.kamajiNamespace=kamaji-system";
    let chart = AGENT.path();
    let arguments = ["template", AGENT.release, &chart, "--namespace", PLACE, values];
    let mut objects = documents(&Helm::offline().run(&arguments).await.unwrap());
    objects.retain(|object| object["kind"] != "ConfigMap" && object["kind"] != "PodDisruptionBudget");
    objects
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn each_right_is_needed_and_none_is_spare() {
    // Where nothing can be streamed, both verbs on control planes are needed.
    let cluster = ApiServer::start_for_a_chart_without_streaming().await;
    cluster.create(tcp("a")).await;
    let rendered = rendered().await;
    let rights = rights(&rendered);
    let cases = rights.iter().cloned().map(Some).chain([None]).enumerate();
    let cases = cases.map(|(number, without)| Case { namespace: format!("agent-{number}"), without });
    let cases: Vec<_> = cases.collect();
    join_all(cases.iter().map(|case| case.install(&cluster, &rendered))).await;
    let agents = join_all(cases.iter().map(|case| case.start(&cluster))).await;

    let (all, agent) = (cases.last().unwrap(), agents.last().unwrap());
    agent.ready().await;
    let asked = || cluster.requests_of_account(&all.namespace, NAME);
    for right in &rights {
        let used = async || asked().iter().any(|request| right.allows(request)).then_some(());
        eventually(&format!("{right:?} to be used, without which it is spare"), used).await;
    }
    for (case, agent) in cases.iter().zip(&agents) {
        let Some(right) = &case.without else { continue };
        let said = async || agent.log().lines().any(|line| right.lacks(line)).then_some(());
        eventually(&format!("the log to say that this lacks: {right:?}"), said).await;
    }

    cluster.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    agent.logged("the journal is deleted").await;
    let refused: Vec<_> = asked().into_iter().filter(|request| request.code == 403).collect();
    assert_eq!(refused, [], "what has all of them lacks none");
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), &all.namespace);
    assert_eq!(config_maps.get_opt(NAME).await.unwrap(), None);
}
