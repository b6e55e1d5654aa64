//! A real kube-apiserver with RBAC, on its own etcd.

mod access;
mod files;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde::Deserialize as _;
use serde_json::{Value, json};

use self::files::Files;
use super::process::{Launch, Process, free_address, tool_path};
use super::{Etcd, Request, audit, eventually, fixture, web};

/// The definition of a control plane of this project.
const DEFINITION: &str = "tenantcontrolplanes.yaml";

const WITHOUT_STREAMING: &[&str] = &["--feature-gates=WatchList=false"];

/// A user of the API server. The RBAC of `tests/fixtures/agent.yaml` is for [`User::Agent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// An administrator.
    Admin,
    /// The user `agent`, with the rights of the applied manifests.
    Agent,
    /// A user without rights.
    Stranger,
}

/// A running API server without controllers: garbage and the contents of a deleted namespace are not removed.
pub(crate) struct ApiServer {
    process: Process,
    launched: Launched,
    admin: kube::Client,
    /// Dropped after the API server, which uses it.
    etcd: Etcd,
}

struct Launched {
    address: SocketAddr,
    files: Files,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::Agent, Self::Stranger];

    /// Returns the name in RBAC and in the audit log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent => "agent",
            Self::Stranger => "stranger",
        }
    }

    fn groups(self) -> &'static str {
        match self {
            Self::Admin => "system:masters",
            Self::Agent | Self::Stranger => "",
        }
    }
}

impl ApiServer {
    /// Starts an empty API server and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[&str]) -> Self {
        let etcd = Etcd::start().await;
        let launch = |folder: &Path| {
            let launched = Launched { address: free_address(), files: Files::write(folder) };
            let mut arguments = arguments(&etcd, &launched);
            arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
            (Launch { program: tool_path("kubernetes/kube-apiserver"), arguments, environment: Vec::new() }, launched)
        };
        let (process, launched) = Process::start(launch, async |launched: &Launched| is_ready(launched).await).await;
        let admin = launched.client(User::Admin);
        Self { process, launched, admin, etcd }
    }

    /// Starts an API server with this project's definitions, Kamaji's operator, and the rights of the agent.
    pub(crate) async fn start_with_kamaji() -> Self {
        Self::start_with_definition(&fixture(DEFINITION)).await
    }

    /// Starts an API server with another definition of a control plane, Kamaji's operator, and the rights of the agent.
    pub(crate) async fn start_with_definition(definition: &str) -> Self {
        Self::start().await.with_kamaji(definition).await
    }

    /// Starts an API server with Kamaji that can't stream a list, as all before Kubernetes 1.27 and many before 1.34.
    pub(crate) async fn start_without_streaming() -> Self {
        Self::start_with(WITHOUT_STREAMING).await.with_kamaji(&fixture(DEFINITION)).await
    }

    /// Starts an API server with Kamaji that never compacts its etcd, so that the whole history can be read.
    pub(crate) async fn start_uncompacted(definition: &str) -> Self {
        Self::start_with(&["--etcd-compaction-interval=0"]).await.with_kamaji(definition).await
    }

    /// Starts an API server with Kamaji, but without the objects that the agent's chart creates.
    pub(crate) async fn start_for_a_chart() -> Self {
        Self::start().await.with_operator(&fixture(DEFINITION)).await
    }

    /// Starts an API server for a chart that can't stream a list.
    pub(crate) async fn start_for_a_chart_without_streaming() -> Self {
        Self::start_with(WITHOUT_STREAMING).await.with_operator(&fixture(DEFINITION)).await
    }

    async fn with_kamaji(self, definition: &str) -> Self {
        let cluster = self.with_operator(definition).await;
        cluster.apply(&fixture("agent.yaml")).await;
        cluster
    }

    async fn with_operator(self, definition: &str) -> Self {
        self.apply(definition).await;
        for manifest in ["datastores.yaml", "operator.yaml"] {
            self.apply(&fixture(manifest)).await;
        }
        self
    }

    /// Returns the client of the administrator.
    pub(crate) fn admin(&self) -> &kube::Client {
        &self.admin
    }

    /// Returns a client of `user`.
    pub(crate) fn client(&self, user: User) -> kube::Client {
        self.launched.client(user)
    }

    /// Writes a kubeconfig file for `user`.
    pub(crate) fn kubeconfig(&self, user: User) -> PathBuf {
        self.kubeconfig_at(user, self.launched.address)
    }

    /// Writes a kubeconfig file for `user` with another address.
    pub(crate) fn kubeconfig_at(&self, user: User, address: SocketAddr) -> PathBuf {
        self.launched.files.kubeconfig(user, address)
    }

    /// Returns the requests of `user` so far.
    pub(crate) fn requests_of(&self, user: User) -> Vec<Request> {
        self.requests_by(user.name())
    }

    /// Applies every document of `manifests` by server-side apply, and waits until new resources are served.
    pub(crate) async fn apply(&self, manifests: &str) {
        for manifest in documents(manifests) {
            self.apply_one(&manifest).await;
        }
    }

    /// Applies an object.
    pub(crate) async fn apply_one(&self, manifest: &Value) {
        self.apply_with(manifest, &PatchParams::apply("tests").force()).await.expect("it can be applied");
        if manifest["kind"] == "CustomResourceDefinition" {
            self.served(&manifest["spec"]).await;
        }
    }

    /// Deletes an existing object.
    pub(crate) async fn remove(&self, manifest: &Value) {
        let (api, name) = self.api_of(manifest);
        api.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
    }

    /// Applies an object as a dry run, with strict validation of its fields.
    pub(crate) async fn dry_run(&self, manifest: &Value) -> Result<(), kube::Error> {
        self.apply_with(manifest, &PatchParams::apply("tests").force().dry_run().validation_strict()).await
    }

    async fn apply_with(&self, manifest: &Value, params: &PatchParams) -> Result<(), kube::Error> {
        let (api, name) = self.api_of(manifest);
        api.patch(&name, params, &Patch::Apply(manifest)).await.map(drop)
    }

    /// Returns the API and the name of an object.
    fn api_of(&self, manifest: &Value) -> (Api<DynamicObject>, String) {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).expect("a manifest is an object");
        let (types, metadata) = (object.types.expect("a manifest has a kind"), object.metadata);
        (self.api(&types, metadata.namespace.as_deref()), metadata.name.expect("a manifest has a name"))
    }

    /// Returns the API of a kind with a regular plural.
    pub(crate) fn api(&self, types: &TypeMeta, namespace: Option<&str>) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::try_from(types).expect("apiVersion is group and version");
        let resource = ApiResource::from_gvk(&gvk);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
            None => Api::all_with(self.admin.clone(), &resource),
        }
    }

    async fn served(&self, definition: &Value) {
        let part =
            |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).expect("a definition is complete");
        let (group, version, plural) = (part("/group"), part("/versions/0/name"), part("/names/plural"));
        let path = format!("/apis/{group}/{version}/{plural}");
        eventually(&path, async || web::is_ok(&self.admin, &path).await.then_some(())).await;
    }

    /// Kills the API server.
    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// Stops the API server and etcd, copies etcd's data into a folder of this name, and starts both again. Returns the
    /// folder.
    pub(crate) async fn back_up(&mut self, name: &str) -> PathBuf {
        self.stop();
        self.etcd.stop();
        let backup = self.etcd.back_up(name);
        self.etcd.resume().await;
        self.resume().await;
        backup
    }

    /// Stops the API server and etcd, replaces etcd's data with a backup, and starts both again. `bump` is added to the
    /// revision in between, as `etcdutl snapshot restore --bump-revision` does.
    pub(crate) async fn restore(&mut self, backup: &Path, bump: usize) {
        self.stop();
        self.etcd.stop();
        self.etcd.restore(backup);
        self.etcd.resume().await;
        for _ in 0..bump {
            self.query_etcd("/v3/kv/put", &json!({"key": "YnVtcA==", "value": ""})).await;
        }
        self.resume().await;
    }

    /// Starts the API server again on the same port with the same data, and waits until it is ready.
    pub(crate) async fn resume(&mut self) {
        self.process.resume(async || is_ready(&self.launched).await).await;
        // Custom resources are served some time after that.
        let definitions: Api<CustomResourceDefinition> = Api::all(self.admin.clone());
        for definition in definitions.list(&ListParams::default()).await.expect("definitions can be listed") {
            self.served(&serde_json::to_value(definition.spec).expect("a definition is JSON")).await;
        }
    }
}

/// Returns the documents of a YAML file that are not empty.
pub(crate) fn documents(manifests: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(manifests);
    let values = documents.map(|document| Value::deserialize(document).expect("a manifest is YAML"));
    values.filter(|value| !value.is_null()).collect()
}

impl Launched {
    fn client(&self, user: User) -> kube::Client {
        self.client_with(Some(self.files.token(user)))
    }

    fn client_with(&self, token: Option<String>) -> kube::Client {
        let mut config =
            kube::Config::new(format!("https://{}", self.address).parse().expect("an address makes a URI"));
        config.root_cert_file = Some(self.files.certificate());
        config.auth_info.token = token.map(Into::into);
        // A test sees each answer, and waits itself.
        config.default_retry = false;
        kube::Client::try_from(config).expect("the files are valid")
    }
}

/// Returns whether the server is ready and its start hook has created the namespaces.
async fn is_ready(launched: &Launched) -> bool {
    let admin = launched.client(User::Admin);
    web::is_ok(&admin, "/readyz").await && web::is_ok(&admin, "/api/v1/namespaces/default").await
}

fn arguments(etcd: &Etcd, Launched { address, files }: &Launched) -> Vec<String> {
    let path = |path: PathBuf| path.display().to_string();
    vec![
        format!("--etcd-servers={}", etcd.url()),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        // A loopback address can't be advertised, and nobody looks for it.
        format!("--advertise-address={}", address.ip()),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        format!("--tls-cert-file={}", path(files.certificate())),
        format!("--tls-private-key-file={}", path(files.key())),
        format!("--token-auth-file={}", path(files.tokens())),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", path(files.service_account_key())),
        format!("--service-account-key-file={}", path(files.service_account_public_key())),
        format!("--audit-policy-file={}", path(files.audit_policy())),
        format!("--audit-log-path={}", path(files.audit_log())),
        // A request is in the log before it is answered.
        "--audit-log-mode=blocking-strict".to_owned(),
        "--profiling=false".to_owned(),
    ]
}
