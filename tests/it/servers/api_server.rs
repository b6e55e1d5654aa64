//! A real kube-apiserver with RBAC, on its own etcd.

mod access;
mod files;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde::Deserialize as _;
use serde_json::Value;

use self::files::Files;
use super::process::{Launch, Process, free_address, tool_path};
use super::{Etcd, Request, audit, eventually, fixture, web};

/// Our own definition of a control plane.
const DEFINITION: &str = "tenantcontrolplanes.yaml";

const WITHOUT_STREAMING: &[&str] = &["--feature-gates=WatchList=false"];

/// Who asks the API server. RBAC of `tests/fixtures/agent.yaml` is for [`User::Agent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// May do everything.
    Admin,
    /// May do what the manifests applied give to the user `agent`.
    Agent,
    /// May do nothing.
    Stranger,
}

/// An API server without controllers: nothing collects garbage or deletes the contents of a namespace.
pub(crate) struct ApiServer {
    process: Process,
    place: Place,
    admin: kube::Client,
    /// After the process that uses it.
    etcd: Etcd,
}

struct Place {
    address: SocketAddr,
    files: Files,
}

impl User {
    const ALL: [Self; 3] = [Self::Admin, Self::Agent, Self::Stranger];

    /// The name in RBAC and in the audit log.
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
    /// Starts it empty, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[&str]) -> Self {
        let etcd = Etcd::start().await;
        let launch = |folder: &Path| {
            let place = Place { address: free_address(), files: Files::write(folder) };
            let mut arguments = arguments(&etcd, &place);
            arguments.extend(settings.iter().map(|setting| (*setting).to_owned()));
            (Launch { program: tool_path("kube-apiserver"), arguments, environment: Vec::new() }, place)
        };
        let (process, place) = Process::start(launch, async |place: &Place| is_ready(place).await).await;
        let admin = place.client(User::Admin);
        Self { process, place, admin, etcd }
    }

    /// Starts it with our own custom resource definitions, Kamaji's operator, and the agent's rights.
    pub(crate) async fn start_with_kamaji() -> Self {
        Self::start_with_definition(&fixture(DEFINITION)).await
    }

    /// The same with another definition of a control plane than our own.
    pub(crate) async fn start_with_definition(definition: &str) -> Self {
        Self::start().await.with_kamaji(definition).await
    }

    /// The same, of a server that can't stream a list, as all were before Kubernetes 1.27 and many were until 1.34.
    pub(crate) async fn start_without_streaming() -> Self {
        Self::start_with(WITHOUT_STREAMING).await.with_kamaji(&fixture(DEFINITION)).await
    }

    /// The same, of a server that never compacts its etcd, so that its whole history can be read there.
    pub(crate) async fn start_uncompacted(definition: &str) -> Self {
        Self::start_with(&["--etcd-compaction-interval=0"]).await.with_kamaji(definition).await
    }

    /// Starts it with Kamaji, and with nothing of the agent's: a chart is to bring that.
    pub(crate) async fn start_for_a_chart() -> Self {
        Self::start().await.with_operator(&fixture(DEFINITION)).await
    }

    /// The same, of a server that can't stream a list.
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

    /// A client that may do everything.
    pub(crate) fn admin(&self) -> &kube::Client {
        &self.admin
    }

    /// A client for `user`.
    pub(crate) fn client(&self, user: User) -> kube::Client {
        self.place.client(user)
    }

    /// A kubeconfig file for `user`.
    pub(crate) fn kubeconfig(&self, user: User) -> PathBuf {
        self.kubeconfig_at(user, self.place.address)
    }

    /// A kubeconfig file for `user` that names another address for this server.
    pub(crate) fn kubeconfig_at(&self, user: User, address: SocketAddr) -> PathBuf {
        self.place.files.kubeconfig(user, address)
    }

    /// What `user` asked so far; see [`Request`].
    pub(crate) fn requests_of(&self, user: User) -> Vec<Request> {
        self.requests_by(user.name())
    }

    /// Applies every document of `manifests` by server-side apply, and waits until a new resource is served.
    pub(crate) async fn apply(&self, manifests: &str) {
        for manifest in documents(manifests) {
            self.apply_one(&manifest).await;
        }
    }

    /// The same for one object.
    pub(crate) async fn apply_one(&self, manifest: &Value) {
        self.apply_with(manifest, &PatchParams::apply("tests").force()).await.expect("it can be applied");
        if manifest["kind"] == "CustomResourceDefinition" {
            self.served(&manifest["spec"]).await;
        }
    }

    /// Deletes an object, which is there.
    pub(crate) async fn remove(&self, manifest: &Value) {
        let (api, name) = self.place_of(manifest);
        api.delete(&name, &DeleteParams::default()).await.expect("it can be deleted");
    }

    /// Says whether it would take an object as it is, each field known and each value allowed, and changes nothing.
    pub(crate) async fn dry_run(&self, manifest: &Value) -> Result<(), kube::Error> {
        self.apply_with(manifest, &PatchParams::apply("tests").force().dry_run().validation_strict()).await
    }

    async fn apply_with(&self, manifest: &Value, params: &PatchParams) -> Result<(), kube::Error> {
        let (api, name) = self.place_of(manifest);
        api.patch(&name, params, &Patch::Apply(manifest)).await.map(drop)
    }

    /// Where an object belongs: what has no namespace is not of one.
    fn place_of(&self, manifest: &Value) -> (Api<DynamicObject>, String) {
        let object: DynamicObject = serde_json::from_value(manifest.clone()).expect("a manifest is an object");
        let (types, metadata) = (object.types.expect("a manifest has a kind"), object.metadata);
        (self.api(&types, metadata.namespace.as_deref()), metadata.name.expect("a manifest has a name"))
    }

    /// The objects of a kind whose plural is the regular one.
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

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again on the same port with the same data, and waits until it is ready.
    pub(crate) async fn resume(&mut self) {
        self.process.resume(async || is_ready(&self.place).await).await;
        // Custom resources are served some time after that.
        let definitions: Api<CustomResourceDefinition> = Api::all(self.admin.clone());
        for definition in definitions.list(&ListParams::default()).await.expect("definitions can be listed") {
            self.served(&serde_json::to_value(definition.spec).expect("a definition is JSON")).await;
        }
    }
}

/// The documents of a YAML file that are not empty.
pub(crate) fn documents(manifests: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(manifests);
    let values = documents.map(|document| Value::deserialize(document).expect("a manifest is YAML"));
    values.filter(|value| !value.is_null()).collect()
}

impl Place {
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

/// Ready, and past the start hook that makes the namespaces.
async fn is_ready(place: &Place) -> bool {
    let admin = place.client(User::Admin);
    web::is_ok(&admin, "/readyz").await && web::is_ok(&admin, "/api/v1/namespaces/default").await
}

fn arguments(etcd: &Etcd, Place { address, files }: &Place) -> Vec<String> {
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
