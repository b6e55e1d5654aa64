//! The backend as a process with a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::PROGRAM;
use crate::servers::{Launch, Process, eventually, free_address, web};

/// A running backend.
pub(crate) struct Backend {
    process: Process,
    addresses: Addresses,
}

struct Addresses {
    url: String,
    grpc: SocketAddr,
    http: SocketAddr,
    health: SocketAddr,
    file: PathBuf,
}

impl Backend {
    /// Starts it empty, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it empty with more flags, and waits until it is ready.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        Self::launch(flags, PROGRAM, &[], &[]).await
    }

    /// Starts it empty as on a machine with so many processors, and waits until it is ready.
    pub(crate) async fn start_with_workers(workers: usize) -> Self {
        Self::launch(&[], PROGRAM, &[], &[("TOKIO_WORKER_THREADS", &workers.to_string())]).await
    }

    /// Starts it so that a write beyond the largest size of a file fails, as on a full disk, rather than ends it.
    pub(crate) async fn start_with_limits() -> Self {
        Self::launch(&[], "/bin/sh", &["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM], &[]).await
    }

    async fn launch(flags: &[&str], program: &str, before: &[&str], environment: &[(&str, &str)]) -> Self {
        let launch = |folder: &Path| launch(folder, flags, program, before, environment);
        let (process, addresses) =
            Process::start(launch, async |addresses: &Addresses| is_ready(addresses).await).await;
        Self { process, addresses }
    }

    /// Starts it with the file that `prepare` makes, and waits until it is alive, ready or not.
    pub(crate) async fn start_with_file(prepare: impl Fn(&Path)) -> Self {
        let launch = |folder: &Path| {
            let (launch, addresses) = launch(folder, &[], PROGRAM, &[], &[]);
            prepare(&addresses.file);
            (launch, addresses)
        };
        let is_alive =
            async |addresses: &Addresses| web::answers_ok(&format!("http://{}", addresses.health), "/livez").await;
        let (process, addresses) = Process::start(launch, is_alive).await;
        Self { process, addresses }
    }

    /// Where it takes OTLP over HTTP.
    pub(crate) fn url(&self) -> &str {
        &self.addresses.url
    }

    /// The same as an address.
    pub(crate) fn http(&self) -> SocketAddr {
        self.addresses.http
    }

    /// Where it takes OTLP over gRPC.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.addresses.grpc
    }

    /// Where it answers probes.
    pub(crate) fn health(&self) -> SocketAddr {
        self.addresses.health
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually("the backend to be ready", async || is_ready(&self.addresses).await.then_some(())).await;
    }

    /// Sends a signal, by its name without `SIG`, waits for its end, and gives its exit code.
    pub(crate) async fn end(&mut self, signal: &str) -> Option<i32> {
        self.process.signal(signal);
        eventually("the backend to end", async || self.process.exited()).await.code()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }

    /// The most memory that it had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.process.memory("VmHWM")
    }

    /// A client of its OTLP over gRPC.
    pub(crate) async fn logs_client(&self) -> LogsServiceClient<Channel> {
        LogsServiceClient::new(self.channel().await)
    }

    /// Sets the largest size of a file that it may write, in bytes.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let process = format!("--pid={}", self.process.id());
        let limited = Command::new("prlimit").args([process, format!("--fsize={bytes}:")]).status();
        assert!(limited.expect("`prlimit` is there").success(), "the size of files can't be limited");
    }

    /// Its own accounts, as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> String {
        web::get(&format!("http://{}", self.addresses.health), "/metrics").await
    }

    /// A connection to its gRPC port.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint =
            Endpoint::from_shared(format!("http://{}", self.addresses.grpc)).expect("an address makes a URI");
        endpoint.connect().await.expect("a backend that is ready takes connections")
    }

    /// A new token that reads the insights, made by the program beside it.
    pub(crate) fn token(&self, name: &str) -> String {
        let store = format!("--store=sqlite:{}", self.addresses.file.display());
        let arguments = ["backend", "token", "create", "--name", name, &store];
        let made = Command::new(PROGRAM).args(arguments).env_clear().output().expect("the program starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).expect("a token is text").trim().to_owned()
    }

    /// Where it stores.
    pub(crate) fn file(&self) -> &Path {
        &self.addresses.file
    }

    /// Waits until it has logged `text`.
    pub(crate) async fn logged(&self, text: &str) {
        let log = async || self.process.output().contains(text).then_some(());
        eventually(&format!("the backend to log {text:?}"), log).await;
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.stop();
    }

    /// Starts it again with the same file.
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
    let (grpc, http, health) = (free_address(), free_address(), free_address());
    let file = folder.join("telemetry.db");
    let mut arguments: Vec<_> = before.iter().chain(&["backend", "serve"]).map(|word| (*word).to_owned()).collect();
    arguments.extend([format!("--grpc-addr={grpc}"), format!("--http-addr={http}"), format!("--health-addr={health}")]);
    arguments.push(format!("--store=sqlite:{}", file.display()));
    arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let addresses = Addresses { url: format!("http://{http}"), grpc, http, health, file };
    (Launch { program: program.into(), arguments, environment }, addresses)
}

/// Asked where there is never TLS.
async fn is_ready(addresses: &Addresses) -> bool {
    web::answers_ok(&format!("http://{}", addresses.health), "/readyz").await
}
