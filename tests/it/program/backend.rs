//! The backend, as a process with a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::PROGRAM;
use crate::servers::{Launch, Process, eventually, free_address, web};

/// The name of a store that is a file.
const FILE: &str = "telemetry.db";

/// A running backend.
pub(crate) struct Backend {
    process: Process,
    addresses: Addresses,
}

/// The flags of a backend whose senders all have one address, and send as fast as they can.
pub(crate) const UNLIMITED: [&str; 8] = [
    "--rate-limit-requests=0",
    "--rate-limit-items=0",
    "--rate-limit-bytes-per-day=0",
    "--rate-limit-snapshots=0",
    "--max-counted-events=0",
    "--max-bulk-events=0",
    "--max-counted-installations=0",
    "--max-new-installations=0",
];

struct Addresses {
    url: String,
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
    /// The path of a store that is a file.
    file: PathBuf,
    /// The location of the store.
    store: String,
}

impl Backend {
    /// Starts an empty backend and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts an empty backend with further flags and waits until it is ready.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::launch(flags, PROGRAM, &[], &[]).await
    }

    /// Starts a backend with a store that is no file of its own, and further flags, and waits until it is ready.
    pub(crate) async fn start_on(store: &str, flags: &[&str]) -> Self {
        let launch = |folder: &Path| launch_on(store.to_owned(), folder, flags, PROGRAM, &[], &[]);
        let (process, addresses) =
            Process::start(launch, async |addresses: &Addresses| is_ready(addresses).await).await;
        Self { process, addresses }
    }

    /// Starts an empty backend as on a machine with `workers` processors and waits until it is ready.
    pub(crate) async fn start_with_workers(workers: usize) -> Self {
        Self::launch(&[], PROGRAM, &[], &[("TOKIO_WORKER_THREADS", &workers.to_string())]).await
    }

    /// Starts an empty backend with further flags that logs what `filter` selects and waits until it is ready.
    pub(crate) async fn start_with_log(flags: &[&str], filter: &str) -> Self {
        Self::launch(flags, PROGRAM, &[], &[("RUST_LOG", filter)]).await
    }

    /// Starts a backend for which a write beyond [`Backend::limit_files`] fails, as on a full disk, instead of ending
    /// the process.
    pub(crate) async fn start_with_limits() -> Self {
        Self::launch(&[], "/bin/sh", &["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM], &[]).await
    }

    async fn launch(flags: &[&str], program: &str, before: &[&str], environment: &[(&str, &str)]) -> Self {
        let launch = |folder: &Path| launch(folder, flags, program, before, environment);
        let (process, addresses) =
            Process::start(launch, async |addresses: &Addresses| is_ready(addresses).await).await;
        Self { process, addresses }
    }

    /// Starts a backend with the file that `prepare` creates and waits until it is alive, but not until it is ready.
    pub(crate) async fn start_with_file(prepare: impl Fn(&Path)) -> Self {
        Self::start_alive(&[], &[], prepare).await
    }

    /// Starts a backend with the file that `prepare` creates and further flags and variables, and waits until it is alive, but
    /// not until it is ready.
    pub(crate) async fn start_alive(flags: &[&str], environment: &[(&str, &str)], prepare: impl Fn(&Path)) -> Self {
        let launch = |folder: &Path| {
            let (launch, addresses) = launch(folder, flags, PROGRAM, &[], environment);
            prepare(&addresses.file);
            (launch, addresses)
        };
        let is_alive =
            async |addresses: &Addresses| web::answers_ok(&format!("http://{}", addresses.health), "/livez").await;
        let (process, addresses) = Process::start(launch, is_alive).await;
        Self { process, addresses }
    }

    /// Returns the URL of OTLP/HTTP.
    pub(crate) fn url(&self) -> &str {
        &self.addresses.url
    }

    /// Returns the address of OTLP/HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Returns the address of OTLP/gRPC.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// Returns the address of the probes.
    pub(crate) fn health(&self) -> SocketAddr {
        self.addresses.health
    }

    /// Waits until the backend is ready.
    pub(crate) async fn ready(&self) {
        eventually("the backend to be ready", async || is_ready(&self.addresses).await.then_some(())).await;
    }

    /// Sends a signal, by its name without `SIG`, waits for the end, and returns the exit code.
    pub(crate) async fn end(&mut self, signal: &str) -> Option<i32> {
        self.process.signal(signal);
        eventually("the backend to end", async || self.process.exited()).await.code()
    }

    /// Suspends the process, and returns once none of its threads runs.
    pub(crate) async fn suspend(&self) {
        self.process.suspend().await;
    }

    /// Lets a suspended process run again.
    pub(crate) fn unsuspend(&self) {
        self.process.signal("CONT");
    }

    /// Returns the log so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// Returns the peak of resident memory, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.memory("VmHWM")
    }

    /// Returns a client of OTLP/gRPC.
    pub(crate) async fn logs_client(&self) -> LogsServiceClient<Channel> {
        LogsServiceClient::new(self.channel().await)
    }

    /// Sets the largest size of a file that the process may write, in bytes.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let process = format!("--pid={}", self.process.id());
        let limited = Command::new("prlimit").args([process, format!("--fsize={bytes}:")]).status();
        assert!(limited.expect("`prlimit` is there").success(), "the size of files can't be limited");
    }

    /// Returns the metrics in the format of Prometheus.
    pub(crate) async fn metrics(&self) -> String {
        web::get(&format!("http://{}", self.addresses.health), "/metrics").await
    }

    /// Connects to the gRPC port.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.addresses.grpc)).expect("an address makes a URI");
        endpoint.connect().await.expect("a backend that is ready takes connections")
    }

    /// Creates a token of a viewer with the command of the program.
    pub(crate) fn token(&self, name: &str) -> String {
        self.token_of(name, "viewer")
    }

    /// Creates a token of an admin with the command of the program.
    pub(crate) fn admin_token(&self, name: &str) -> String {
        self.token_of(name, "admin")
    }

    fn token_of(&self, name: &str, role: &str) -> String {
        let store = format!("--store={}", self.addresses.store);
        let arguments = ["backend", "token", "create", "--name", name, "--role", role, &store];
        let created = Command::new(PROGRAM).args(arguments).env_clear().output().expect("the program starts");
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        String::from_utf8(created.stdout).expect("a token is text").trim().to_owned()
    }

    /// Returns the path of the store.
    pub(crate) fn file(&self) -> &Path {
        &self.addresses.file
    }

    /// Waits until the backend has logged `text`.
    pub(crate) async fn logged(&self, text: &str) {
        let log = async || self.process.output().contains(text).then_some(());
        eventually(&format!("the backend to log {text:?}"), log).await;
    }

    /// Kills the backend, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.stop();
    }

    /// Starts the backend again with the same file.
    pub(crate) async fn restart(&mut self) {
        let Self { process, addresses } = self;
        process.resume(async || is_ready(addresses).await).await;
    }
}

fn launch(
    folder: &Path,
    flags: &[&str],
    program: &str,
    before: &[&str],
    environment: &[(&str, &str)],
) -> (Launch, Addresses) {
    let store = format!("sqlite:{}", folder.join(FILE).display());
    launch_on(store, folder, flags, program, before, environment)
}

fn launch_on(
    store: String,
    folder: &Path,
    flags: &[&str],
    program: &str,
    before: &[&str],
    environment: &[(&str, &str)],
) -> (Launch, Addresses) {
    let (grpc, http, health) = (free_address(), free_address(), free_address());
    let file = folder.join(FILE);
    let mut arguments: Vec<_> = before.iter().chain(&["backend", "serve"]).map(|word| (*word).to_owned()).collect();
    arguments.extend([format!("--grpc-addr={grpc}"), format!("--http-addr={http}"), format!("--health-addr={health}")]);
    arguments.push(format!("--store={store}"));
    arguments.push("--insights-max-age=1s".to_owned());
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let addresses = Addresses { url: format!("http://{http}"), grpc, http, health, file, store };
    (Launch { program: program.into(), arguments, environment }, addresses)
}

/// Returns whether the backend is ready. The port of the probes never has TLS.
async fn is_ready(addresses: &Addresses) -> bool {
    web::answers_ok(&format!("http://{}", addresses.health), "/readyz").await
}
