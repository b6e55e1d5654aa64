//! A demo on one machine: a simulated cluster with a fleet of control planes, the real agent, the real backend with
//! half a year of simulated history, and optionally a real collector between them.
//!
//! ```text
//! fleet ──▶ cluster ──HTTP──▶ agent ──OTLP──▶ (collector) ──▶ backend ◀── history
//! ```
//!
//! Everything listens on loopback, and all data is deleted at the end unless a directory is given.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::relay::Relay;
use super::simulated_cluster::{ClusterOptions, SimulatedCluster};
use super::{fleet, history};
use crate::agent::consent::{KamajiOptOut, OptOut};
use crate::agent::export::connection::ExporterConfig;
use crate::agent::kubernetes::operator::OperatorLocation;
use crate::backend::auth::token;
use crate::backend::store::{AuthStore, OverviewQuery, Role, SqliteStore, Store};
use crate::backend::{self, Listeners, ServeSettings, Stores};
use crate::{agent, process};

/// The default address of the page: the port of OTLP over HTTP, which the backend serves as well.
const DEFAULT_HTTP_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4_318);

/// A free port of loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The number of control planes in the cluster: as many as fit on a screen.
const FLEET_SIZE: usize = 25;

/// The seed of fleet and history, constant so that every demo is the same.
const SEED: u64 = 1;

/// The interval of the gauges: short, so that the page follows the output in the terminal.
const EXPORT_INTERVAL: Duration = Duration::from_secs(3);

/// The interval of the agent's other periodic work, scaled down as the export interval is.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The timeout of a request to the backend: on one machine, only a heavy load would exceed it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the token for the page.
const TOKEN_NAME: &str = "demo";

/// The lifetime of the token: the page stays accessible if the demo is left running.
const TOKEN_DAYS: u16 = 30;

/// The configuration of the demo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The directory of the backend's data; `None` for a temporary one, which is deleted at the end.
    pub data: Option<PathBuf>,
    /// The program of a collector to run between agent and backend.
    pub collector: Option<PathBuf>,
    /// The address of the page; `None` for port 4318 of loopback, or another port if that one is in use.
    pub http_addr: Option<SocketAddr>,
}

/// Runs the demo until the shutdown.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let demo = Demo::start(config, shutdown).await?;
    print_introduction(demo.page, &demo.token, &demo.folder);
    demo.wait().await
}

/// A running demo.
#[derive(Debug)]
struct Demo {
    folder: DataFolder,
    page: SocketAddr,
    /// The token that grants access to the page.
    token: String,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Demo {
    async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let Config { data, collector, http_addr } = config;
        let folder = DataFolder::open(data)?;
        let store = open_store(folder.path()).await?;
        fill(store.as_ref()).await?;
        let token = create_token(store.as_ref()).await?;
        let listeners =
            Listeners { grpc: TcpListener::bind(ANY).await?, http: listen_for_page(http_addr).await?, health: None };
        let (otlp, page) = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
        // The simulated cluster and the backend outlive the agent, so that it can deliver its last events.
        let agent_ended = CancellationToken::new();
        let stores = Stores::from(store);
        let mut tasks = JoinSet::new();
        let settings = ServeSettings { insights_max_age: EXPORT_INTERVAL, ..ServeSettings::default() };
        tasks.spawn(backend::serve(listeners, stores, settings, agent_ended.clone()));
        let endpoint = match collector {
            None => format!("http://{otlp}"),
            Some(collector) => start_relay(&mut tasks, &collector, page, &agent_ended).await?,
        };
        let api_server = start_cluster(&mut tasks, &agent_ended, &shutdown).await?;
        let config = agent_config(api_server, endpoint)?;
        tasks.spawn(async move {
            let _ended = agent_ended.drop_guard();
            agent::run(config, shutdown).await
        });
        Ok(Self { folder, page, token, tasks })
    }

    async fn wait(self) -> anyhow::Result<()> {
        let Self { folder, page: _, token: _, tasks } = self;
        let ended = process::shutdown::supervise(tasks).await;
        folder.close().and(ended)
    }
}

/// The directory of the backend's data.
#[derive(Debug)]
enum DataFolder {
    Temporary(TempDir),
    Persistent(PathBuf),
}

impl DataFolder {
    fn open(data: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(data) = data else {
            let folder = tempfile::Builder::new().prefix("kamaji-telemetry-demo-").tempdir();
            return Ok(Self::Temporary(
                folder.context("can't create a temporary directory: set TMPDIR or give --data DIR")?,
            ));
        };
        let created = std::fs::create_dir_all(&data);
        created.with_context(|| {
            format!("--data {}: expected a directory that exists or can be created", data.display())
        })?;
        Ok(Self::Persistent(data))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Persistent(path) => path,
        }
    }

    fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Temporary(folder) => folder.close().context("the demo's temporary directory can't be deleted"),
            Self::Persistent(_) => Ok(()),
        }
    }
}

async fn open_store(folder: &Path) -> anyhow::Result<Arc<SqliteStore>> {
    let path = folder.join("telemetry.db");
    Ok(Arc::new(tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await??))
}

/// Creates the token for the page. It replaces the token of an earlier demo with the same directory, which is not
/// stored.
async fn create_token(auth_store: &dyn AuthStore) -> anyhow::Result<String> {
    auth_store.revoke_token(TOKEN_NAME.to_owned(), Timestamp::now()).await?;
    let (_, text) = token::create(auth_store, TOKEN_NAME.parse()?, Role::Admin, TOKEN_DAYS).await?;
    Ok(text)
}

/// Writes the history into a store that is empty.
async fn fill(store: &dyn Store) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let query =
        OverviewQuery { now, versions: 0, min_installations: 0, dimensions: 0, installations: 0, events: 0, days: 0 };
    if store.overview(query).await?.month.active > 0 {
        print_line("The directory has a history already.");
        return Ok(());
    }
    let started = Instant::now();
    let history::WrittenHistory { installations, snapshots, events } = history::write(store, SEED, now).await?;
    let seconds = started.elapsed().as_secs_f32();
    print_line(&format!(
        "Half a year of {installations} simulated installations is in the store after {seconds:.1} s: {snapshots} daily \
         snapshots and {events} events."
    ));
    Ok(())
}

async fn listen_for_page(http: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let address = http.unwrap_or(DEFAULT_HTTP_ADDR);
    match TcpListener::bind(address).await {
        Err(error) if http.is_none() && error.kind() == ErrorKind::AddrInUse => Ok(TcpListener::bind(ANY).await?),
        bound => bound.with_context(|| format!("can't listen on {address}: give another address with --http-addr")),
    }
}

/// Starts the collector and returns its OTLP endpoint.
async fn start_relay(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    collector: &Path,
    backend: SocketAddr,
    agent_ended: &CancellationToken,
) -> anyhow::Result<String> {
    let relay = Relay::start(collector, backend).await?;
    print_line(&format!("A real collector, {}, forwards from agent to backend.", collector.display()));
    let endpoint = relay.endpoint();
    tasks.spawn(relay.run(agent_ended.clone()));
    Ok(endpoint)
}

/// Starts the simulated cluster with its fleet and returns the address of its API.
async fn start_cluster(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    agent_ended: &CancellationToken,
    shutdown: &CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let fleet = Fleet::new(SEED, FLEET_SIZE, Timestamp::now());
    let cluster = SimulatedCluster::new(ClusterOptions::default(), agent_ended.clone());
    fleet::install(&cluster, &fleet)?;
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    let (api, shutdown) = (cluster.clone(), shutdown.clone());
    tasks.spawn(async move { api.serve(listener).await.context("the simulated API failed") });
    let print_action =
        |action: &fleet::Action| print_line(&format!("{}  {action}", Timestamp::now().strftime("%H:%M:%S")));
    tasks.spawn(async move {
        fleet::run(fleet, cluster, print_action, shutdown).await.context("the fleet can't be changed")
    });
    Ok(address)
}

fn agent_config(api_server: SocketAddr, endpoint: String) -> anyhow::Result<agent::Config> {
    Ok(agent::Config {
        exporter: ExporterConfig {
            endpoint,
            timeout: REQUEST_TIMEOUT,
            gzip: true,
            headers: http::HeaderMap::new(),
            ca: None,
            identity: None,
        },
        export_interval: EXPORT_INTERVAL,
        operator_poll_interval: POLL_INTERVAL,
        erase_interval: POLL_INTERVAL,
        retry_max_interval: EXPORT_INTERVAL,
        operator_location: OperatorLocation { namespace: fleet::KAMAJI_NAMESPACE.to_owned(), deployment: None },
        kamaji_opt_out: KamajiOptOut::Ignore,
        kamaji_version: None,
        namespace: Some(fleet::KAMAJI_NAMESPACE.to_owned()),
        owner_deployment: None,
        extended: true,
        election: None,
        health_addr: None,
        // Nothing leaves the machine, so the switches of the environment do not apply.
        opt_out: OptOut::default(),
        cluster: Some(kube::Config::new(format!("http://{api_server}").parse()?)),
    })
}

fn print_introduction(page: SocketAddr, token: &str, folder: &DataFolder) {
    let end = match folder {
        DataFolder::Temporary(_) => "Ctrl-C ends the demo and deletes its data.".to_owned(),
        DataFolder::Persistent(path) => format!("Ctrl-C ends the demo; its data stays in {}.", path.display()),
    };
    print_line(&format!(
        "The real agent watches a simulated cluster of {FLEET_SIZE} control planes, and exports every {EXPORT_INTERVAL:?}.\n\
         Its events are on the page at once; its counts only once an installation is confirmed, on another day.\n\
         {end}\n\n    The page:  http://{page}/\n    Its token: {token}\n    \
         As JSON:   curl -H \"Authorization: Bearer {token}\" http://{page}/api/v1/insights/overview\n"
    ));
}

/// Writes a line to standard output. A closed terminal does not end the demo.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::time::{sleep, timeout};

    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);

    async fn overview(demo: &Demo) -> Value {
        let base = format!("http://{}", demo.page).parse().unwrap();
        let client = kube::Client::try_from(kube::Config::new(base)).unwrap();
        let request = http::Request::get("/api/v1/insights/overview")
            .header("authorization", format!("Bearer {}", demo.token))
            .body(Vec::new())
            .unwrap();
        client.request(request).await.unwrap()
    }

    /// Waits until the overview has an event with extended attributes, which the history lacks and the agent sends.
    async fn until_the_agent_has_reported(demo: &Demo) -> Value {
        let is_extended = |event: &Value| event.get("cluster_api").is_some();
        let reported = async {
            loop {
                let overview = overview(demo).await;
                if overview["events"].as_array().is_some_and(|events| events.iter().any(is_extended)) {
                    return overview;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, reported).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_shows_history_and_fleet_and_the_data_is_deleted_at_the_end() {
        let shutdown = CancellationToken::new();
        let demo = Demo::start(Config { http_addr: Some(ANY), ..Config::default() }, shutdown.clone()).await.unwrap();
        let folder = demo.folder.path().to_owned();
        let overview = until_the_agent_has_reported(&demo).await;
        assert!(overview["current"]["installations"].as_u64().unwrap() > 100, "{overview}");
        assert!(folder.exists());
        shutdown.cancel();
        timeout(DEADLINE, demo.wait()).await.unwrap().unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_given_directory_is_kept_and_filled_once() {
        let data = tempfile::tempdir().unwrap();
        let config = || Config { data: Some(data.path().join("demo")), http_addr: Some(ANY), ..Config::default() };
        let mut installations = Vec::new();
        for _ in 0..2 {
            let shutdown = CancellationToken::new();
            let demo = Demo::start(config(), shutdown.clone()).await.unwrap();
            installations.push(overview(&demo).await["days"].as_array().unwrap().len());
            shutdown.cancel();
            timeout(DEADLINE, demo.wait()).await.unwrap().unwrap();
        }
        assert!(data.path().join("demo/telemetry.db").exists());
        assert_eq!(installations[0], installations[1]);
    }

    #[tokio::test]
    async fn a_missing_collector_is_named_in_the_error() {
        let missing = Path::new("/no/such/collector");
        let error = Relay::start(missing, ANY).await.unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/collector"), "{error:#}");
    }
}
