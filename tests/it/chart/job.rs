//! End-to-end test of the agent as Helm installs it: arguments, environment, and a token of its service account.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use serde_json::json;

use super::helm::{Helm, NAMESPACE};
use super::pod::{JOURNAL, Pod, deployment, journal};
use crate::servers::{ApiServer, eventually, tcp};

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_installed_agent_exports_previews_and_follows_kamajis_opt_out() {
    let cluster = ApiServer::start_for_a_chart().await;
    cluster.create(tcp("before").status("Ready")).await;
    let store = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "DataStore",
        "metadata": {"name": "default"},
        "spec": {"driver": "etcd"},
    });
    cluster.apply_one(&store).await;
    let values = json!({
        "replicas": 2,
        "telemetry": {"extended": true, "exportInterval": "1s"},
        "extraArgs": ["--operator-poll-interval=1s"],
    });
    Helm::of(&cluster).upgrade(&values).await;
    let pod = Pod::start(&cluster).await;
    pod.agent.ready().await;
    let relay = pod.relay.as_ref().expect("there is a relay");
    let printed =
        async |text: &str| eventually(text, async || Some(relay.output()).filter(|output| output.contains(text))).await;
    printed("Name: kamaji.tcp.running").await;
    printed("Name: kamaji.datastore.count").await;
    cluster.create(tcp("after").version("v1.35.1-acme")).await;
    let output = printed("EventName: kamaji.tcp.created").await;
    assert_eq!(output.matches("EventName").count(), 1, "earlier control planes are the baseline: {output}");

    // The agent's state is garbage collected with its Deployment.
    let uid = deployment(&cluster).await.unwrap().metadata.uid.unwrap();
    let is_owned = |metadata: ObjectMeta| {
        let owners = metadata.owner_references.unwrap_or_default();
        assert!(matches!(&owners[..], [owner] if owner.uid == uid), "{owners:?}");
    };
    is_owned(journal(&cluster).await.expect("there is a journal").metadata);
    let leases: Api<Lease> = Api::namespaced(cluster.admin().clone(), NAMESPACE);
    is_owned(leases.get(JOURNAL).await.unwrap().metadata);

    // The commands in the notes.
    let preview = pod.exec("preview").await;
    assert!(preview.contains("kamaji.tcp.by_version"), "with the agent's own settings: {preview}");
    let status = pod.exec("status").await;
    assert!(status.starts_with("Telemetry is on, as far as can be seen.\n\nKamaji's operator "), "{status}");

    cluster.run_kamaji_with(&["manager", "--disable-telemetry"]).await;
    pod.agent.logged("the journal is deleted").await;
    assert_eq!(journal(&cluster).await, None);
    let log = pod.agent.log();
    assert!(!log.contains("refuses") && !log.contains("ERROR"), "{log}");
}
