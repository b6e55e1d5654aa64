//! Tests of `keepWhenDisabled`: an opt-out that a tool can apply which does not prune.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::helm::{Helm, NAMESPACE};
use super::pod::{JOURNAL, NAME, Pod, deployment, journal};
use super::snapshots;
use crate::servers::{ApiServer, documents, eventually, tcp};

/// Verb, API group, resource and name of each right that the chart grants, and whether it stays while telemetry is off.
const RIGHTS: [(&str, &str, &str, &str, bool); 16] = [
    ("list", "kamaji.clastix.io", "tenantcontrolplanes", "", false),
    ("watch", "kamaji.clastix.io", "tenantcontrolplanes", "", false),
    ("list", "kamaji.clastix.io", "datastores", "", false),
    ("list", "apps", "deployments", "", false),
    ("get", "apps", "deployments", NAME, true),
    ("create", "", "configmaps", "", false),
    ("get", "", "configmaps", JOURNAL, true),
    ("update", "", "configmaps", JOURNAL, false),
    ("create", "coordination.k8s.io", "leases", "", false),
    ("update", "coordination.k8s.io", "leases", JOURNAL, false),
    ("delete", "", "configmaps", JOURNAL, true),
    ("get", "", "configmaps", "kamaji-telemetry-base", false),
    ("update", "", "configmaps", "kamaji-telemetry-base", false),
    ("delete", "", "configmaps", "kamaji-telemetry-base", true),
    ("delete", "", "configmaps", "kamaji-telemetry-quarantine", true),
    ("delete", "", "configmaps", "kamaji-telemetry-base-quarantine", true),
];

async fn is_allowed(cluster: &ApiServer, (verb, group, resource, name): (&str, &str, &str, &str)) -> bool {
    let attributes = ResourceAttributes {
        namespace: Some(NAMESPACE.to_owned()),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        name: Some(name.to_owned()).filter(|name| !name.is_empty()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{NAMESPACE}:{NAME}")),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(cluster.admin().clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

/// Waits until exactly the rights that are expected are in effect: the API server's authorizer follows with a delay.
async fn assert_rights(cluster: &ApiServer, is_on: bool) {
    for (verb, group, resource, name, stays) in RIGHTS {
        let expected = is_on || stays;
        let right = (verb, group, resource, name);
        let is_as_expected = async || (is_allowed(cluster, right).await == expected).then_some(());
        eventually(&format!("{right:?} to be allowed: {expected}"), is_as_expected).await;
    }
}

/// Values of a release whose every right is granted.
fn values() -> Value {
    json!({
        "replicas": 2,
        "telemetry": {"extended": true, "exportInterval": "1s"},
        "extraEnv": [{"name": "KAMAJI_TELEMETRY_ERASE_INTERVAL", "value": "1s"}],
    })
}

fn off() -> Value {
    let mut off = values();
    super::merge(&mut off, json!({"telemetry": {"disabled": true}, "keepWhenDisabled": true}));
    off
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn applied_without_pruning_it_stops_the_relay_deletes_the_state_and_takes_back_every_other_right() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.create(tcp("a")).await;
    let helm = Helm::offline();
    cluster.apply(&helm.manifests(&values()).await).await;
    assert_rights(&cluster, true).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.ready().await;
    eventually("the journal", async || journal(&cluster).await).await;
    drop(pod);

    cluster.apply(&helm.manifests(&off()).await).await;
    assert_eq!(deployment(&cluster).await.expect("the Deployment stays").spec.replicas, Some(1));
    assert_rights(&cluster, false).await;

    let requests = cluster.requests_of_account(NAMESPACE, NAME).len();
    let pod = Pod::start(&cluster).await;
    assert!(pod.relay.is_none());
    pod.agent.logged("the journal is deleted, and the installation's UUID with it").await;
    pod.agent.ready().await;
    assert_eq!(journal(&cluster).await, None);
    let since = || cluster.requests_of_account(NAMESPACE, NAME).split_off(requests);
    eventually("repeated deletions", async || (since().len() >= 4).then_some(())).await;
    assert!(since().iter().all(crate::servers::Request::is_erasure), "{:?}", since());
    assert!(!pod.agent.log().contains("WARN"), "{}", pod.agent.log());
    drop(pod);

    cluster.apply(&helm.manifests(&values()).await).await;
    assert_rights(&cluster, true).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.ready().await;
    assert!(pod.relay.is_some(), "telemetry is on again");
}

/// The other tool owns no field of the objects, and takes those that it applies.
#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn applied_over_an_installation_of_helm_it_sends_nothing_and_takes_back_the_rights() {
    let cluster = ApiServer::start_for_a_chart().await;
    let helm = Helm::of(&cluster);
    helm.upgrade(&values()).await;
    assert_rights(&cluster, true).await;
    cluster.apply(&helm.manifests(&off()).await).await;
    assert_rights(&cluster, false).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.logged("telemetry is off; nothing is watched and nothing is sent").await;
    pod.agent.ready().await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn it_renders_no_relay_and_nothing_of_an_egress_whatever_else_is_set() {
    let helm = Helm::offline();
    for (name, mut values) in snapshots::all() {
        super::merge(&mut values, json!({"disabled": true, "keepWhenDisabled": true}));
        let opt_outs = json!([{"name": "KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "value": "false"}]);
        super::merge(&mut values, json!({"extraEnv": opt_outs, "networkPolicy": {"enabled": true}}));
        let rendered = helm.template(&values).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let objects = documents(&rendered);
        let text = json!(objects).to_string();
        for part in ["telemetry.example.org", "proxy.example.org", "collector.example.org", "relay", "4317", "OTEL_"] {
            assert!(!text.contains(part), "{name}: {part}: {text}");
        }
        let policy = objects.iter().find(|object| object["kind"] == "NetworkPolicy").unwrap();
        assert_eq!(policy["spec"]["egress"].as_array().unwrap().len(), 2, "{name}: DNS and the API server");
        let agent = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let variables = agent["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        let mut opt_outs = variables.iter().filter(|it| it["name"] == "KAMAJI_TELEMETRY_DISABLE_TELEMETRY");
        assert_eq!((opt_outs.next().unwrap()["value"].as_str(), opt_outs.next()), (Some("true"), None), "{name}");
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn by_itself_it_changes_nothing() {
    let helm = Helm::offline();
    let kept = helm.template(&json!({"keepWhenDisabled": true})).await.unwrap();
    assert_eq!(kept, helm.template(&json!({})).await.unwrap());
}
