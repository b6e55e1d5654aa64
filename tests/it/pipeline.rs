//! The pipeline from an operator's control planes to the maintainers' API: a real API server, the agent, the real
//! collector as relay, and the backend.

use serde_json::Value;

use crate::program::{AgentOptions, Backend};
use crate::servers::store::{self, Installation};
use crate::servers::{ApiServer, Collector, Tcp, checkout, eventually, tcp, upstream, web};

/// The backend, as read by the maintainers.
struct Maintainers {
    backend: Backend,
    token: String,
}

impl Maintainers {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let token = backend.admin_token("maintainers");
        Self { backend, token }
    }

    async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&web::get_as(&self.token, self.backend.url(), path).await).unwrap()
    }

    async fn all_events(&self) -> Vec<Value> {
        self.get("/api/v1/events").await["events"].as_array().unwrap().clone()
    }

    /// Waits until the only installation satisfies `is`, and returns it. It is not shown before it is confirmed.
    async fn installation(&self, what: &str, is: impl Fn(&Installation) -> bool) -> Installation {
        eventually(what, async || {
            let installations = store::installations(self.backend.file());
            assert!(installations.len() <= 1, "one agent is one installation: {installations:?}");
            installations.into_iter().find(|installation| is(installation))
        })
        .await
    }

    async fn events(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} events"), async || {
            let events = self.all_events().await;
            assert!(events.len() <= count, "{events:?}");
            (events.len() == count).then_some(events)
        })
        .await
    }
}

fn only(events: &[Value], name: &str) -> Value {
    let named: Vec<_> = events.iter().filter(|event| event["name"] == name).collect();
    assert_eq!(named.len(), 1, "one {name}: {events:?}");
    named[0].clone()
}

fn keys(event: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Checks the whole pipeline with control planes that `clone` creates.
async fn check_pipeline(cluster: ApiServer, clone: impl Fn(&str) -> Tcp) {
    let maintainers = Maintainers::start().await;
    let relay = checkout("otel-collector/relay.yaml");
    let relay = Collector::start(&relay, &[("RELAY_ENDPOINT", maintainers.backend.url())], &[]).await;
    cluster.create(clone("one").status("Ready")).await;
    cluster.create(clone("two").status("Sleeping")).await;

    let mut agent = AgentOptions::new(&cluster, &relay.endpoint()).argument("--export-interval=1s").start().await;
    let first = maintainers.installation("the first gauges", |_| true).await;
    assert_eq!(first.counts, [1, 1, 0, 0]);
    assert_eq!((first.kamaji_version.as_str(), first.kubernetes_version.as_str()), ("v1.0.0", "v1.36.3"));
    let overview = maintainers.get("/api/v1/insights/overview").await;
    let active = overview["rows"].as_array().unwrap().iter().find(|row| row["table"] == "active").unwrap();
    assert_eq!([&active["installations"], &active["not_confirmed"], &active["bulk"]], [0, 1, 0], "{active}");
    assert_eq!(
        maintainers.all_events().await,
        Vec::<Value>::new(),
        "an existing control plane is not reported as created"
    );

    cluster.create_dry_run(clone("never")).await;
    cluster.create(clone("three").version("v1.35.1-acme.7").status("Ready").held()).await;
    cluster.relabel("three", "customer", "acme").await;
    cluster.report("three", "NotReady").await;
    cluster.upgrade("three", "v1.36.0").await;
    cluster.report("three", "Upgrading").await;
    maintainers.installation("the upgrade to be counted", |counted| counted.counts == [1, 1, 0, 1]).await;
    cluster.delete("three").await;
    cluster.report("three", "NotReady").await;
    cluster.release("three").await;
    maintainers.installation("the end to be counted", |counted| counted.counts == [1, 1, 0, 0]).await;

    let events = maintainers.events(3).await;
    let created = only(&events, "kamaji.tcp.created");
    assert_eq!(created["tcp_version"], "v1.35.1", "the private suffix is cut");
    let updated = only(&events, "kamaji.tcp.updated");
    assert_eq!((&updated["old_tcp_version"], &updated["new_tcp_version"]), (&"v1.35.1".into(), &"v1.36.0".into()));
    let deleted = only(&events, "kamaji.tcp.deleted");
    assert_eq!((&deleted["status"], &deleted["tcp_version"]), (&"Upgrading".into(), &"v1.36.0".into()));
    let common = ["bulk", "kamaji_version", "kubernetes_version", "name", "source", "tcp_version", "time"];
    assert_eq!(keys(&created), common, "neither extended attributes, which are off, nor the installation");
    let versions = ["new_tcp_version", "old_tcp_version", "source", "time"];
    assert_eq!(keys(&updated), [&["bulk", "kamaji_version", "kubernetes_version", "name"][..], &versions].concat());
    let status = ["source", "status", "tcp_version", "time"];
    assert_eq!(keys(&deleted), [&["bulk", "kamaji_version", "kubernetes_version", "name"][..], &status].concat());
    assert_eq!(agent.terminate().await, Some(0), "{}", agent.log());
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn control_planes_arrive_as_counts_and_events() {
    check_pipeline(ApiServer::start_with_kamaji().await, tcp).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn control_planes_of_kamajis_own_definition_arrive_too() {
    let files = ["crds/kamaji.clastix.io_tenantcontrolplanes.yaml", "tenantcontrolplane.json"].map(upstream);
    let [Some(definition), Some(captured)] = files else {
        // Upstream's files are optional.
        return;
    };
    let cluster = ApiServer::start_with_definition(&definition).await;
    let captured: Value = serde_json::from_str(&captured).unwrap();
    check_pipeline(cluster, |name| Tcp::clone_of(&captured, name)).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn log_records_do_not_name_the_installation_and_have_no_further_fields() {
    let cluster = ApiServer::start_with_kamaji().await;
    let relay = Collector::start(&checkout("otel-collector/debug.yaml"), &[], &[]).await;
    let named = "service.name=acme,cluster=acme-production,k8s.namespace.name=acme";
    let agent = AgentOptions::new(&cluster, &relay.endpoint()).variable("OTEL_RESOURCE_ATTRIBUTES", named);
    let agent = agent.variable("OTEL_SERVICE_NAME", "acme").start().await;
    agent.ready().await;
    cluster.create(tcp("acme-tenant").version("v1.35.1-acme").label("customer", "acme").status("AcmeSpecial")).await;
    let shown = eventually("the record to be shown", async || {
        Some(relay.output()).filter(|output| output.contains("LogRecord #0"))
    })
    .await;
    let (before, record) = shown.split_once("LogRecord #0").unwrap();
    let resource = &before[before.rfind("ResourceLog #0").unwrap()..];
    assert!(resource.contains("service.name: Str(kamaji-telemetry)"), "{resource}");
    assert!(!resource.contains("service.instance.id"), "{resource}");
    assert!(record.contains("EventName: kamaji.tcp.created"), "{record}");
    assert_eq!(record.matches("     -> ").count(), 4, "{record}");
    assert!(!shown.contains("acme") && !shown.contains("Acme"), "{shown}");
}
