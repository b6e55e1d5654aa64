//! Off means off, with what the chart renders and the real relay: who connects to the backend, and what the API server is
//! asked. Each round begins and ends with telemetry on, which shows that the counters count.

use serde_json::{Value, json};

use super::helm::{Helm, NAMESPACE};
use super::pod::{NAME, Pod, deployment, journal};
use super::release::consists_of;
use crate::program::Backend;
use crate::servers::{ApiServer, CountingProxy, Request, definition, documents, eventually, tcp, web};

/// Who brings what the chart renders into the cluster.
#[derive(Clone, Copy)]
enum Installer {
    Helm,
    /// Applies what Helm renders elsewhere, and deletes it.
    Kubectl,
}

/// What an operator switches.
#[derive(Clone, Copy)]
enum Switch {
    /// An argument of the agent.
    Argument(&'static str),
    /// A variable of the agent.
    Variable(&'static str, &'static str),
    /// The chart's value `telemetry.disabled`.
    Chart,
    /// The chart's value `global.telemetry.disabled`.
    Global,
    /// Kamaji's own telemetry, by the flag of its operator, as Kamaji's chart sets it.
    Kamajis,
    /// `kubectl delete` of what was applied.
    Removal,
}

/// A cluster with Kamaji in it, and the maintainers' backend with a counter before it.
struct Scene {
    cluster: ApiServer,
    helm: Helm,
    installer: Installer,
    backend: Backend,
    /// To read what the backend holds.
    token: String,
    listener: CountingProxy,
    /// How many events are to have been stored.
    events: usize,
}

impl Scene {
    async fn set(installer: Installer) -> Self {
        let cluster = ApiServer::start_for_a_chart().await;
        cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
        cluster.create(tcp("a").version("v1.30.0").status("Ready")).await;
        let backend = Backend::start().await;
        let token = backend.token("maintainers");
        let listener = CountingProxy::start(Some(backend.http())).await;
        Self { helm: Helm::of(&cluster), installer, cluster, backend, token, listener, events: 0 }
    }

    /// What the chart is installed with. It looks and deletes often, so that a test waits for what is asked rather than for
    /// time.
    fn values(&self, off: Option<Switch>) -> Value {
        let mut variables =
            vec![("KAMAJI_TELEMETRY_OPERATOR_POLL_INTERVAL", "1s"), ("KAMAJI_TELEMETRY_ERASE_INTERVAL", "1s")];
        let mut values = json!({"telemetry": {"endpoint": self.listener.url(), "interval": "1s"}});
        match off {
            None | Some(Switch::Kamajis | Switch::Removal) => {}
            Some(Switch::Argument(argument)) => values["extraArgs"] = json!([argument]),
            Some(Switch::Variable(name, value)) => variables.push((name, value)),
            Some(Switch::Chart) => values["telemetry"]["disabled"] = true.into(),
            Some(Switch::Global) => values["global"]["telemetry"]["disabled"] = true.into(),
        }
        let variables = variables.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
        values["extraEnv"] = variables.collect();
        values
    }

    async fn switch(&self, off: Option<Switch>) {
        let kamajis = match off {
            Some(Switch::Kamajis) => &["manager", "--disable-telemetry"][..],
            _ => &["manager"],
        };
        self.cluster.run_kamaji_with(kamajis).await;
        let values = self.values(off);
        match (self.installer, off) {
            (Installer::Helm, _) => drop(self.helm.upgrade(&values).await),
            (Installer::Kubectl, Some(Switch::Removal)) => {
                for object in documents(&self.helm.template(&values).await.unwrap()) {
                    self.cluster.remove(&object).await;
                }
                consists_of(&self.cluster, &[], "removed").await;
            }
            (Installer::Kubectl, _) => self.cluster.apply(&self.helm.template(&values).await.unwrap()).await,
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.cluster.requests_of_account(NAMESPACE, NAME)
    }

    async fn overview(&self) -> Value {
        let overview = web::get_as(&self.token, self.backend.url(), "/api/v1/insights/overview").await;
        serde_json::from_str(&overview).unwrap()
    }

    /// Switches it on, and gives the pod once its counts have come through the listener and are stored, with the UUID.
    async fn on(&self) -> (Pod, String) {
        let before = self.listener.connections();
        self.switch(None).await;
        let pod = Pod::start(&self.cluster).await;
        let uuid = eventually("the journal", async || {
            let journal = journal(&self.cluster).await?;
            Some(journal.data?.remove("installation").unwrap())
        })
        .await;
        let stored = async || {
            let installations = self.overview().await["installations"].to_string();
            installations.contains(&uuid).then_some(())
        };
        eventually("the counts of this installation", stored).await;
        assert!(self.listener.connections() > before, "what is on connects");
        assert!(self.requests().iter().any(|request| request.resource == "tenantcontrolplanes"));
        (pod, uuid)
    }

    /// Things happen that would all be reported.
    async fn live_on(&self, round: &str) {
        self.cluster.upgrade("a", &format!("v1.31.{}", self.events)).await;
        self.cluster.create(tcp(&format!("{round}-stays"))).await;
        self.cluster.create(tcp(&format!("{round}-goes"))).await;
        self.cluster.delete(&format!("{round}-goes")).await;
    }

    /// Switches it off with the pod that was on gone, and holds both sides to nothing from the next pod's start.
    async fn stays_off(&self, off: Switch, round: &str) {
        self.switch(Some(off)).await;
        let (connections, requests) = (self.listener.connections(), self.requests().len());
        let since = || self.requests().split_off(requests);
        if deployment(&self.cluster).await.is_none() {
            self.collect_garbage().await;
            self.live_on(round).await;
            assert_eq!(since(), [], "nobody is there to ask for anything");
        } else {
            let pod = Pod::start(&self.cluster).await;
            pod.agent.logged("telemetry is off").await;
            pod.agent.ready().await;
            self.live_on(round).await;
            let again = async || (since().iter().filter(|request| request.is_erasure()).count() >= 4).then_some(());
            eventually("the deletion to be asked for again", again).await;
            let follows = matches!(off, Switch::Kamajis);
            let mut others = since();
            others.retain(|request| !(request.is_erasure() || follows && request.is_look()));
            assert_eq!(others, [], "{round}: the API server was asked for something else");
        }
        assert_eq!(journal(&self.cluster).await, None, "{round}: the state is gone");
        assert_eq!(self.listener.connections(), connections, "{round}: somebody connected to the backend");
    }

    /// What the controllers of a cluster do, which these tests' has none of: what goes with the Deployment goes.
    async fn collect_garbage(&self) {
        let owners = journal(&self.cluster).await.unwrap().metadata.owner_references.unwrap_or_default();
        assert!(matches!(&owners[..], [owner] if owner.kind == "Deployment" && owner.name == NAME), "{owners:?}");
        let metadata = json!({"name": NAME, "namespace": NAMESPACE});
        self.cluster.remove(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    }

    /// On, off and on again: what happened in between is not reported, and what happens then is.
    async fn round(&mut self, (on, before): (Pod, String), name: &str, off: Switch) -> (Pod, String) {
        drop(on);
        self.stays_off(off, name).await;
        let (pod, after) = self.on().await;
        assert_ne!(before, after, "{name}: it is another installation");
        self.events += 1;
        self.cluster.upgrade("a", &format!("v1.32.{}", self.events)).await;
        let events = eventually("the upgrade", async || {
            let events = self.overview().await["events"].as_array().unwrap().clone();
            (events.len() >= self.events).then_some(events)
        })
        .await;
        assert_eq!(events.len(), self.events, "{name}: what happened meanwhile is reported: {events:?}");
        assert!(json!(events).to_string().contains(&format!("\"v1.32.{}\"", self.events)), "{events:?}");
        (pod, after)
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_agents_own_switches_leave_no_trace() {
    let mut scene = Scene::set(Installer::Helm).await;
    let mut on = scene.on().await;
    on = scene.round(on, "flag", Switch::Argument("--disable-telemetry")).await;
    on = scene.round(on, "flag-true", Switch::Argument("--disable-telemetry=true")).await;
    on = scene.round(on, "do-not-track", Switch::Variable("DO_NOT_TRACK", "1")).await;
    on = scene.round(on, "variable", Switch::Variable("KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "true")).await;
    scene.round(on, "otel-sdk-disabled", Switch::Variable("OTEL_SDK_DISABLED", "true")).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_charts_switches_and_kamajis_leave_no_trace() {
    let mut scene = Scene::set(Installer::Helm).await;
    let mut on = scene.on().await;
    on = scene.round(on, "chart", Switch::Chart).await;
    on = scene.round(on, "global", Switch::Global).await;
    scene.round(on, "kamajis", Switch::Kamajis).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_installation_without_helm_leaves_no_trace_when_it_is_switched_off_or_removed() {
    let mut scene = Scene::set(Installer::Kubectl).await;
    let mut on = scene.on().await;
    on = scene.round(on, "flag-true", Switch::Argument("--disable-telemetry=true")).await;
    scene.round(on, "removal", Switch::Removal).await;
}
