//! A journal that was copied or restored is not the installation that wrote it.

use k8s_openapi::api::core::v1::ConfigMap;
use kamaji_telemetry::agent::journal::JournalState;
use kamaji_telemetry::agent::journal::config_map::{BASE_NAME, NAME};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use super::*;

const WARNING: &str = "the journal was copied or restored from a backup";

/// Returns the content of a journal as a backup has it: what the API server alone sets is left out, and the UID with it.
fn backup(journal: ConfigMap) -> ConfigMap {
    let mut copy = journal;
    let metadata = &mut copy.metadata;
    (metadata.uid, metadata.resource_version, metadata.creation_timestamp) = (None, None, None);
    metadata.managed_fields = None;
    copy
}

async fn restore(cluster: &ApiServer, copy: &ConfigMap) {
    config_maps(cluster).create(&PostParams::default(), copy).await.unwrap();
}

/// Starts a cluster with this number of control planes in front of an agent.
async fn cluster_of(count: usize, name: &str) -> ApiServer {
    let cluster = ApiServer::start_with_kamaji().await;
    for number in 0..count {
        cluster.create(tcp(&format!("{name}-{number}")).status("Ready")).await;
    }
    cluster
}

/// Waits for gauges, and returns the installations that the collector has printed.
async fn installations(collector: &Collector) -> BTreeSet<String> {
    let printed = async || {
        let output = collector.output();
        let ids = output.lines().filter_map(|line| line.split_once("service.instance.id: Str("));
        Some(ids.map(|(_, id)| id.trim_end_matches(')').to_owned()).collect::<BTreeSet<_>>())
            .filter(|ids| !ids.is_empty())
    };
    eventually("gauges to be printed", printed).await
}

fn is_owned_by_its_uid(journal: &ConfigMap) -> bool {
    Some(data(journal, "uid")) == journal.metadata.uid
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_in_another_cluster_begins_a_new_installation_there_and_invents_nothing() {
    let (original, other) = tokio::join!(cluster_of(5, "mine"), cluster_of(8, "other"));
    // What waits in the outbox is copied as well.
    let mut agent = AgentOptions::new(&original, "http://127.0.0.1:1").start().await;
    agent.ready().await;
    original.upgrade("mine-0", "v1.36.0").await;
    let waiting = async || {
        let view = store(&original).read().await.unwrap()?;
        (view.state.outbox.len() == 1).then(|| view.state.installation.to_string())
    };
    let installation = eventually("an event to wait", waiting).await;
    restore(&other, &backup(journal(&original).await)).await;
    agent.kill();

    let status = run(&other, &["status"]).await;
    assert!(status.contains("is a copy") && !status.contains(&installation), "{status}");
    let status: Value = serde_json::from_str(&run(&other, &["status", "--output=json"]).await).unwrap();
    let copied = json!([true, null, 0]);
    assert_eq!(json!([status["copied"], status["installation"], status["pending"]]), copied, "{status}");
    let preview = run(&other, &["preview"]).await;
    assert!(preview.contains("(all zero: the journal is a copy"), "{preview}");

    let (here, there) = tokio::join!(collector(), collector());
    let agent = AgentOptions::new(&original, &here.endpoint()).start().await;
    let mut copied = AgentOptions::new(&other, &there.endpoint()).start().await;
    tokio::join!(agent.ready(), copied.ready());
    other.create(tcp("new").version("v1.34.0")).await;
    let (here_printed, there_printed) = tokio::join!(printed(&here, 1), printed(&there, 1));
    assert!(here_printed.contains("kamaji.tcp.updated"), "the original goes on: {here_printed}");
    assert!(there_printed.contains("tcp_version: Str(v1.34.0)"), "what is observed is reported: {there_printed}");
    let new = data(&journal(&other).await, "installation");
    assert_ne!(new, installation);
    assert_eq!(installations(&here).await, BTreeSet::from([installation]));
    assert_eq!(installations(&there).await, BTreeSet::from([new.clone()]));
    assert!(is_owned_by_its_uid(&journal(&other).await));
    assert_eq!(copied.log().matches(WARNING).count(), 1, "{}", copied.log());
    assert!(!agent.log().contains(WARNING), "{}", agent.log());

    assert_eq!(copied.terminate().await, Some(0));
    copied.restart().await;
    copied.ready().await;
    assert_eq!(data(&journal(&other).await, "installation"), new);
    assert_eq!(copied.log().matches(WARNING).count(), 1, "{}", copied.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_that_is_restored_under_a_running_agent_begins_a_new_installation() {
    let cluster = cluster_of(1, "mine").await;
    let collector = collector().await;
    let options = AgentOptions::new(&cluster, &collector.endpoint()).argument("--operator-poll-interval=24h");
    let agent = options.start().await;
    agent.ready().await;
    cluster.upgrade("mine-0", "v1.36.0").await;
    printed(&collector, 1).await;
    let copy = backup(journal(&cluster).await);
    cluster.upgrade("mine-0", "v1.37.0").await;
    printed(&collector, 2).await;
    // Otherwise it might create one first.
    agent.signal("STOP");
    config_maps(&cluster).delete(NAME, &DeleteParams::default()).await.unwrap();
    restore(&cluster, &copy).await;
    agent.signal("CONT");
    agent.logged(WARNING).await;
    let another = async || {
        let journal = config_maps(&cluster).get_opt(NAME).await.unwrap()?;
        let is_new = data(&journal, "installation") != data(&copy, "installation");
        (is_new && data(&journal, "baseline") == "true").then_some(())
    };
    eventually("another installation", another).await;
    cluster.upgrade("mine-0", "v1.38.0").await;
    let output = printed(&collector, 3).await;
    assert!(output.contains("old_tcp_version: Str(v1.37.0)"), "it begins with what is there: {output}");
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn only_a_journal_with_the_uid_of_its_own_config_map_is_continued() {
    let cluster = ApiServer::start_with_kamaji().await;
    let (mut fenced, state) = store(&cluster).open("").await.unwrap();
    let row = PersistedRow {
        uid: Uuid::new_v4(),
        reported: KubernetesVersion::normalize("v1.36.0"),
        status: Status::Ready,
        deleted_reported: false,
    };
    let used = JournalState { rows: vec![row], baseline: true, ..state.clone() };
    fenced.write(used.clone()).await.unwrap();
    let used_copy = backup(journal(&cluster).await);
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone", "uid": Uuid::new_v4()}]);
    let with = |uid: Option<&str>, is_blank: bool, immutable: bool| {
        let mut copy = serde_json::to_value(&used_copy).unwrap();
        copy["metadata"]["ownerReferences"] = owner.clone();
        copy["immutable"] = immutable.into();
        copy["data"]["uid"] = uid.map_or(Value::Null, Into::into);
        if uid.is_none() {
            copy["data"].as_object_mut().unwrap().remove("uid");
        }
        if is_blank {
            copy["data"]["baseline"] = "false".into();
            copy["binaryData"] = json!({});
        }
        serde_json::from_value(copy).unwrap()
    };
    let another = Uuid::new_v4().to_string();
    let cases: [(&str, ConfigMap, bool); 7] = [
        ("restored", used_copy.clone(), true),
        ("of another", with(Some(&another), false, false), true),
        ("blank, of another", with(Some(&another), true, false), true),
        ("immutable", with(Some(&another), false, true), true),
        ("empty uid", with(Some(""), false, false), true),
        ("no uid", with(None, false, false), true),
        ("just created", with(None, true, false), false),
    ];
    for (name, copy, is_copy) in cases {
        config_maps(&cluster).delete(NAME, &DeleteParams::default()).await.unwrap();
        restore(&cluster, &copy).await;
        let view = store(&cluster).read().await.unwrap();
        assert_eq!(view.map(|view| view.is_copy), is_copy.then_some(true), "{name}");
        let (_, opened) = store(&cluster).open("").await.unwrap();
        assert_ne!(opened.installation, state.installation, "{name}");
        let expected = JournalState { installation: opened.installation, epoch: 1, ..JournalState::new() };
        assert_eq!(opened, expected, "{name}: nothing of it is kept");
        let view = store(&cluster).read().await.unwrap().unwrap();
        assert_eq!(
            (view.state.installation, view.state.epoch, view.is_copy),
            (opened.installation, 1, false),
            "{name}"
        );
        let written = journal(&cluster).await;
        assert!(is_owned_by_its_uid(&written) && written.metadata.owner_references.is_none(), "{name}: {written:?}");
        let (_, again) = store(&cluster).open("").await.unwrap();
        assert_eq!(
            (again.installation, again.epoch),
            (opened.installation, 2),
            "{name}: what was written is continued"
        );
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn forgetting_a_copy_does_not_have_its_original_erased() {
    let cluster = ApiServer::start_with_kamaji().await;
    let (mut fenced, state) = store(&cluster).open("").await.unwrap();
    fenced.write(JournalState { baseline: true, ..state.clone() }).await.unwrap();
    let mut copy = backup(journal(&cluster).await);
    copy.metadata.namespace = Some("default".to_owned());
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.admin().clone(), "default");
    elsewhere.create(&PostParams::default(), &copy).await.unwrap();
    let output = Command::new(PROGRAM)
        .args(["forget", "--namespace=default"])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig(User::Admin))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("It was a copy") && text.contains("have nothing erased"), "{text}");
    assert!(text.contains(&state.installation.to_string()), "{text}");
    assert!(elsewhere.get_opt(NAME).await.unwrap().is_none());
}

fn row(uid: u128, version: &str) -> PersistedRow {
    let reported = KubernetesVersion::normalize(version);
    PersistedRow { uid: Uuid::from_u128(uid), reported, status: Status::Ready, deleted_reported: false }
}

/// Writes a journal with a base of generation 1, and one row that differs from it. Returns the state.
async fn write_with_base(cluster: &ApiServer) -> JournalState {
    let (mut fenced, state) = store(cluster).open("").await.unwrap();
    let rows: Vec<_> = (0..100).map(|uid| row(uid, "v1.35.0")).collect();
    fenced.write(JournalState { rows: rows.clone(), baseline: true, ..state.clone() }).await.unwrap();
    let rows = rows.into_iter().map(|old| if old.uid.is_nil() { row(0, "v1.36.0") } else { old }).collect();
    let state = JournalState { rows, baseline: true, ..state };
    fenced.write(state.clone()).await.unwrap();
    state
}

async fn base(cluster: &ApiServer) -> ConfigMap {
    config_maps(cluster).get(BASE_NAME).await.unwrap()
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_journal_is_continued_with_its_own_base_and_not_with_another() {
    let cluster = ApiServer::start_with_kamaji().await;
    let written = write_with_base(&cluster).await;
    let (head, original) = (journal(&cluster).await, base(&cluster).await);
    assert_eq!((data(&head, "generation"), data(&original, "generation")), ("1".to_owned(), "1".to_owned()));
    assert_eq!(head.binary_data.as_ref().unwrap()["changed"].0.len(), 26, "the row that differs");
    let (_, opened) = store(&cluster).open("").await.unwrap();
    assert_eq!(opened, JournalState { epoch: 2, ..written.clone() });
    // A base that was restored belongs to another generation, or to another installation.
    let other = |key: &str, value: &str| {
        let mut other = original.clone();
        other.metadata.resource_version = None;
        other.data.as_mut().unwrap().insert(key.to_owned(), value.to_owned());
        other
    };
    let another = Uuid::new_v4().to_string();
    for other in
        [None, Some(other("generation", "0")), Some(other("generation", "3")), Some(other("installation", &another))]
    {
        match &other {
            None => drop(config_maps(&cluster).delete(BASE_NAME, &DeleteParams::default()).await.unwrap()),
            Some(other) => {
                let mut other = other.clone();
                other.metadata.uid = base(&cluster).await.metadata.uid;
                config_maps(&cluster).replace(BASE_NAME, &PostParams::default(), &other).await.unwrap();
            }
        }
        let before = data(&journal(&cluster).await, "installation");
        let (_, opened) = store(&cluster).open("").await.unwrap();
        assert_ne!(opened.installation.to_string(), before, "{other:?}");
        assert!(opened.rows.is_empty() && !opened.baseline && opened.outbox.is_empty(), "{opened:?}");
        assert_eq!(data(&base(&cluster).await, "installation"), opened.installation.to_string());
        store(&cluster).erase().await.unwrap();
        write_with_base(&cluster).await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn a_base_that_is_none_is_quarantined_and_all_of_it_is_erased() {
    let cluster = ApiServer::start_with_kamaji().await;
    let written = write_with_base(&cluster).await;
    let mut foreign = base(&cluster).await;
    (foreign.data, foreign.binary_data) = (Some([("mine".to_owned(), "a".to_owned())].into()), None);
    foreign.metadata.resource_version = None;
    config_maps(&cluster).replace(BASE_NAME, &PostParams::default(), &foreign).await.unwrap();
    let (_, opened) = store(&cluster).open("").await.unwrap();
    assert!(opened.installation != written.installation && opened.rows.is_empty());
    let copy = config_maps(&cluster).get(&format!("{BASE_NAME}-quarantine")).await.unwrap();
    assert_eq!(copy.data, foreign.data);
    assert!(store(&cluster).erase().await.unwrap());
    let left = config_maps(&cluster).list(&ListParams::default()).await.unwrap();
    let left: Vec<_> = left.items.iter().filter_map(|left| left.metadata.name.as_deref()).collect();
    assert!(left.iter().all(|name| !name.starts_with(NAME)), "{left:?}");
}
