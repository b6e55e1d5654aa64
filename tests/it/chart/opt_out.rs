//! Tests of every opt-out with the chart and the real relay: which connections the backend gets, and which requests the API
//! server. Each round starts and ends with telemetry on, which verifies the counters themselves.

use serde_json::{Value, json};

use super::helm::{Helm, NAMESPACE};
use super::pod::{JOURNAL, NAME, Pod, deployment, journal};
use super::release::assert_objects;
use crate::program::Backend;
use crate::servers::{ApiServer, CountingProxy, Request, definition, documents, eventually, store, tcp, web};

/// The tool that installs the chart.
#[derive(Clone, Copy)]
enum Installer {
    Helm,
    /// `kubectl apply` and `kubectl delete` of the output of `helm template`.
    Kubectl,
}

/// A way for an operator to switch telemetry off.
#[derive(Clone, Copy)]
enum OptOut {
    /// An argument of the agent.
    Argument(&'static str),
    /// A variable of the agent.
    Variable(&'static str, &'static str),
    /// The chart's value `telemetry.disabled`.
    Chart,
    /// The chart's value `disabled`, which is Kamaji's `telemetry.disabled` where this chart is its dependency.
    Alias,
    /// The chart's value `telemetry.disabled` with `keepWhenDisabled`.
    Kept,
    /// The chart's value `global.telemetry.disabled`.
    Global,
    /// The flag `--disable-telemetry` of Kamaji's operator, as Kamaji's chart sets it.
    Kamaji,
    /// `kubectl delete` of the applied objects.
    Removal,
}

/// A cluster with Kamaji, and the maintainers' backend behind a proxy that counts connections.
struct Scene {
    cluster: ApiServer,
    helm: Helm,
    installer: Installer,
    backend: Backend,
    /// The token of an admin of the backend.
    token: String,
    listener: CountingProxy,
    /// The number of events that the backend should have stored.
    events: usize,
}

impl Scene {
    async fn start(installer: Installer) -> Self {
        let cluster = ApiServer::start_for_a_chart().await;
        cluster.apply(&definition("monitoring.coreos.com_servicemonitors")).await;
        cluster.create(tcp("a").version("v1.30.0").status("Ready")).await;
        let backend = Backend::start().await;
        let token = backend.admin_token("maintainers");
        let listener = CountingProxy::start(Some(backend.http())).await;
        Self { helm: Helm::of(&cluster), installer, cluster, backend, token, listener, events: 0 }
    }

    /// Returns the chart's values with one opt-out, if any. The intervals are short, so that tests wait for requests instead of a
    /// fixed time.
    fn values(&self, opt_out: Option<OptOut>) -> Value {
        let mut variables =
            vec![("KAMAJI_TELEMETRY_OPERATOR_POLL_INTERVAL", "1s"), ("KAMAJI_TELEMETRY_ERASE_INTERVAL", "1s")];
        let mut values = json!({"telemetry": {"endpoint": self.listener.url(), "exportInterval": "1s"}});
        match opt_out {
            None | Some(OptOut::Kamaji | OptOut::Removal) => {}
            Some(OptOut::Argument(argument)) => values["extraArgs"] = json!([argument]),
            Some(OptOut::Variable(name, value)) => variables.push((name, value)),
            Some(OptOut::Chart) => values["telemetry"]["disabled"] = true.into(),
            Some(OptOut::Alias) => values["disabled"] = true.into(),
            Some(OptOut::Kept) => {
                values["telemetry"]["disabled"] = true.into();
                values["keepWhenDisabled"] = true.into();
            }
            Some(OptOut::Global) => values["global"]["telemetry"]["disabled"] = true.into(),
        }
        let variables = variables.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
        values["extraEnv"] = variables.collect();
        values
    }

    async fn apply(&self, opt_out: Option<OptOut>) {
        let kamaji_arguments = match opt_out {
            Some(OptOut::Kamaji) => &["manager", "--disable-telemetry"][..],
            _ => &["manager"],
        };
        self.cluster.run_kamaji_with(kamaji_arguments).await;
        let values = self.values(opt_out);
        match (self.installer, opt_out) {
            (Installer::Helm, _) => drop(self.helm.upgrade(&values).await),
            (Installer::Kubectl, Some(OptOut::Removal)) => {
                for object in documents(&self.helm.manifests(&values).await) {
                    self.cluster.remove(&object).await;
                }
                assert_objects(&self.cluster, &[], "removed").await;
            }
            (Installer::Kubectl, _) => self.cluster.apply(&self.helm.manifests(&values).await).await,
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.cluster.requests_of_account(NAMESPACE, NAME)
    }

    async fn stored_events(&self) -> Vec<Value> {
        let list: Value =
            serde_json::from_str(&web::get_as(&self.token, self.backend.url(), "/api/v1/events").await).unwrap();
        list["events"].as_array().unwrap().clone()
    }

    /// Switches telemetry on, waits until its gauges are stored by the backend, and returns the pod and the UUID.
    async fn switch_on(&self) -> (Pod, String) {
        let before = self.listener.connections();
        self.apply(None).await;
        let pod = Pod::start(&self.cluster).await;
        let uuid = eventually("the journal", async || {
            let journal = journal(&self.cluster).await?;
            Some(journal.data?.remove("installation").unwrap())
        })
        .await;
        let stored = async || {
            let installations = store::installations(self.backend.file());
            installations.iter().any(|row| row.uuid.to_string() == uuid).then_some(())
        };
        eventually("the gauges of this installation", stored).await;
        assert!(self.listener.connections() > before, "telemetry that is on connects to the backend");
        assert!(self.requests().iter().any(|request| request.resource == "tenantcontrolplanes"));
        (pod, uuid)
    }

    /// Makes changes that would be reported if telemetry were on.
    async fn change_control_planes(&self, round: &str) {
        self.cluster.upgrade("a", &format!("v1.31.{}", self.events)).await;
        self.cluster.create(tcp(&format!("{round}-stays"))).await;
        self.cluster.create(tcp(&format!("{round}-goes"))).await;
        self.cluster.delete(&format!("{round}-goes")).await;
    }

    /// Switches telemetry off after the previous pod has stopped, and asserts that the next pod neither connects to the backend
    /// nor sends requests to the API server other than those of the opt-out itself.
    async fn assert_off(&self, opt_out: OptOut, round: &str) {
        self.apply(Some(opt_out)).await;
        let (connections, requests) = (self.listener.connections(), self.requests().len());
        let since = || self.requests().split_off(requests);
        if deployment(&self.cluster).await.is_none() {
            self.collect_garbage().await;
            self.change_control_planes(round).await;
            assert_eq!(since(), [], "without a pod there are no requests");
        } else {
            let pod = Pod::start(&self.cluster).await;
            pod.agent.logged("telemetry is off").await;
            pod.agent.ready().await;
            self.change_control_planes(round).await;
            let repeated = async || (since().iter().filter(|request| request.is_erasure()).count() >= 8).then_some(());
            eventually("repeated deletions", repeated).await;
            let follows_kamaji = matches!(opt_out, OptOut::Kamaji);
            let mut others = since();
            others.retain(|request| !(request.is_erasure() || follows_kamaji && request.is_operator_read()));
            assert_eq!(others, [], "{round}: other requests to the API server");
        }
        assert_eq!(journal(&self.cluster).await, None, "{round}: the state is deleted");
        assert_eq!(self.listener.connections(), connections, "{round}: connections to the backend");
    }

    /// Deletes the state that the Deployment owns, as the garbage collector would: the tests' cluster has no controllers.
    async fn collect_garbage(&self) {
        let owners = journal(&self.cluster).await.unwrap().metadata.owner_references.unwrap_or_default();
        assert!(matches!(&owners[..], [owner] if owner.kind == "Deployment" && owner.name == NAME), "{owners:?}");
        let metadata = json!({"name": JOURNAL, "namespace": NAMESPACE});
        self.cluster.remove(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})).await;
    }

    /// Switches telemetry off and on again. Changes in between must not be reported, and later ones must be.
    async fn round(&mut self, (running, before): (Pod, String), name: &str, opt_out: OptOut) -> (Pod, String) {
        drop(running);
        self.assert_off(opt_out, name).await;
        let (pod, after) = self.switch_on().await;
        assert_ne!(before, after, "{name}: a new installation");
        self.events += 1;
        self.cluster.upgrade("a", &format!("v1.32.{}", self.events)).await;
        let events = eventually("the upgrade", async || {
            let events = self.stored_events().await;
            (events.len() >= self.events).then_some(events)
        })
        .await;
        assert_eq!(events.len(), self.events, "{name}: changes while telemetry was off are reported: {events:?}");
        assert!(json!(events).to_string().contains(&format!("\"v1.32.{}\"", self.events)), "{events:?}");
        (pod, after)
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_agents_own_switches_leave_no_trace() {
    let mut scene = Scene::start(Installer::Helm).await;
    let mut running = scene.switch_on().await;
    running = scene.round(running, "flag", OptOut::Argument("--disable-telemetry")).await;
    running = scene.round(running, "flag-true", OptOut::Argument("--disable-telemetry=true")).await;
    running = scene.round(running, "do-not-track", OptOut::Variable("DO_NOT_TRACK", "1")).await;
    running = scene.round(running, "variable", OptOut::Variable("KAMAJI_TELEMETRY_DISABLE_TELEMETRY", "true")).await;
    scene.round(running, "otel-sdk-disabled", OptOut::Variable("OTEL_SDK_DISABLED", "true")).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_charts_switches_and_kamajis_opt_out_leave_no_trace() {
    let mut scene = Scene::start(Installer::Helm).await;
    let mut running = scene.switch_on().await;
    running = scene.round(running, "chart", OptOut::Chart).await;
    running = scene.round(running, "alias", OptOut::Alias).await;
    running = scene.round(running, "kept", OptOut::Kept).await;
    running = scene.round(running, "global", OptOut::Global).await;
    scene.round(running, "kamajis", OptOut::Kamaji).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn an_installation_without_helm_leaves_no_trace_when_it_is_switched_off_or_removed() {
    let mut scene = Scene::start(Installer::Kubectl).await;
    let mut running = scene.switch_on().await;
    running = scene.round(running, "flag-true", OptOut::Argument("--disable-telemetry=true")).await;
    running = scene.round(running, "kept", OptOut::Kept).await;
    scene.round(running, "removal", OptOut::Removal).await;
}
