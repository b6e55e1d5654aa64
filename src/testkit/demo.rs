//! A demo on one machine: a simulated cluster with a fleet that lives, the real agent, the real backend with some
//! months of simulated history, and, if wished, a real collector between them.
//!
//! ```text
//! fleet ──▶ cluster ──HTTP──▶ agent ──OTLP──▶ (collector) ──▶ backend ◀── history
//! ```
//!
//! All of it listens on loopback, and nothing is left behind unless a folder is given.

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

use super::cluster::{Cluster, ClusterOptions};
use super::fleet::Fleet;
use super::relay::Relay;
use super::{fleet, history};
use crate::agent::consent::{KamajiOptOut, OptOut};
use crate::agent::export::connection::ExporterConfig;
use crate::backend::auth::token;
use crate::backend::store::{AuthStore, OverviewQuery, Role, SqliteStore, Store};
use crate::backend::{self, Listeners, Retention, SecurityConfig, Stores};
use crate::{agent, process};

/// The default address of the page: the port of OTLP over HTTP, which the backend serves as well.
const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4_318);

/// Any free port of loopback.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Control planes in the cluster: as many as fit on a screen.
const FLEET: usize = 25;

/// The demo is the same each time, so that what somebody saw can be shown again.
const SEED: u64 = 1;

/// How often gauges are sent, so that the page follows what the terminal says. An agent's default is five minutes.
const INTERVAL: Duration = Duration::from_secs(3);

/// How often the agent looks at the operator; as a share of the interval what it is by default.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// How long one request to the backend may take: on one machine a second is an eternity, but the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The name of the demo's token, and its days: a demo that is left running goes on showing its page.
const TOKEN: &str = "demo";
const TOKEN_DAYS: u16 = 30;

/// What `kamaji-telemetry demo` is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Where the backend's data stays; none for a temporary folder, which goes with the demo.
    pub data: Option<PathBuf>,
    /// A collector's binary to run between agent and backend.
    pub collector: Option<PathBuf>,
    /// Where the page is; none for a fixed port of loopback, or any other where that is taken.
    pub http_addr: Option<SocketAddr>,
}

/// Runs the demo until the shutdown.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let demo = Demo::start(config, shutdown).await?;
    introduce(demo.page, &demo.token, &demo.folder);
    demo.ended().await
}

/// A demo that runs.
#[derive(Debug)]
struct Demo {
    folder: DataFolder,
    page: SocketAddr,
    /// Opens the page.
    token: String,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Demo {
    async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let Config { data, collector, http_addr } = config;
        let folder = DataFolder::open(data)?;
        let store = open_store(folder.path()).await?;
        fill(store.as_ref()).await?;
        let token = make_token(store.as_ref()).await?;
        let listeners =
            Listeners { grpc: TcpListener::bind(ANY).await?, http: listen_for_page(http_addr).await?, health: None };
        let (otlp, page) = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
        // What the agent works with outlives it, so that it can deliver what is left.
        let agent_ended = CancellationToken::new();
        let stores = Stores::from(store);
        let mut tasks = JoinSet::new();
        tasks.spawn(backend::serve(
            listeners,
            stores,
            Retention::default(),
            SecurityConfig::default(),
            agent_ended.clone(),
        ));
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

    async fn ended(self) -> anyhow::Result<()> {
        let Self { folder, page: _, token: _, tasks } = self;
        let ended = process::shutdown::supervise(tasks).await;
        folder.close().and(ended)
    }
}

/// Where the backend keeps its data.
#[derive(Debug)]
enum DataFolder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl DataFolder {
    fn open(data: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(data) = data else {
            let folder = tempfile::Builder::new().prefix("kamaji-telemetry-demo-").tempdir();
            return Ok(Self::Temporary(
                folder.context("can't make a temporary folder: set TMPDIR or give --data DIR")?,
            ));
        };
        let made = std::fs::create_dir_all(&data);
        made.with_context(|| format!("--data {}: expected a folder, or a place to make one", data.display()))?;
        Ok(Self::Kept(data))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Temporary(folder) => folder.close().context("the demo's temporary folder can't be removed"),
            Self::Kept(_) => Ok(()),
        }
    }
}

async fn open_store(folder: &Path) -> anyhow::Result<Arc<SqliteStore>> {
    let path = folder.join("telemetry.db");
    Ok(Arc::new(tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await??))
}

/// Makes a token for the page. Of an earlier demo with the same folder nobody has the token any more.
async fn make_token(access: &dyn AuthStore) -> anyhow::Result<String> {
    access.revoke_token(TOKEN.to_owned(), Timestamp::now()).await?;
    let (_, text) = token::create(access, TOKEN.parse()?, Role::Admin, TOKEN_DAYS).await?;
    Ok(text)
}

/// Puts the history into a store that has none yet.
async fn fill(store: &dyn Store) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let query = OverviewQuery { now, versions: 0, dimensions: 0, installations: 0, events: 0, days: 0 };
    if store.overview(query).await?.month.total() > 0 {
        say("The folder holds a history already.");
        return Ok(());
    }
    let begun = Instant::now();
    let history::Written { installations, snapshots, events } = history::write(store, SEED, now).await?;
    let took = begun.elapsed().as_secs_f32();
    say(&format!(
        "Half a year of {installations} simulated installations is in the store after {took:.1} s: {snapshots} states of a \
         day and {events} events."
    ));
    Ok(())
}

async fn listen_for_page(http: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    let wanted = http.unwrap_or(PAGE);
    match TcpListener::bind(wanted).await {
        Err(error) if http.is_none() && error.kind() == ErrorKind::AddrInUse => Ok(TcpListener::bind(ANY).await?),
        bound => bound.with_context(|| format!("can't listen on {wanted}: give another address with --http-addr")),
    }
}

/// Starts the collector, and gives its OTLP endpoint.
async fn start_relay(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    collector: &Path,
    backend: SocketAddr,
    agent_ended: &CancellationToken,
) -> anyhow::Result<String> {
    let relay = Relay::start(collector, backend).await?;
    say(&format!("A real collector, {}, stands between agent and backend.", collector.display()));
    let endpoint = relay.endpoint();
    tasks.spawn(relay.run(agent_ended.clone()));
    Ok(endpoint)
}

/// Starts the simulated cluster and the life in it, and gives its address.
async fn start_cluster(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    agent_ended: &CancellationToken,
    shutdown: &CancellationToken,
) -> anyhow::Result<SocketAddr> {
    let fleet = Fleet::new(SEED, FLEET, Timestamp::now());
    let cluster = Cluster::new(ClusterOptions::default(), agent_ended.clone());
    fleet::furnish(&cluster, &fleet)?;
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    let (serving, living) = (cluster.clone(), shutdown.clone());
    tasks.spawn(async move { serving.serve(listener).await.context("the simulated API failed") });
    let tell = |action: &fleet::Action| say(&format!("{}  {action}", Timestamp::now().strftime("%H:%M:%S")));
    tasks.spawn(async move { fleet::live(fleet, cluster, tell, living).await.context("the fleet can't go on") });
    Ok(address)
}

fn agent_config(api_server: SocketAddr, endpoint: String) -> anyhow::Result<agent::Config> {
    Ok(agent::Config {
        exporter: ExporterConfig {
            endpoint,
            timeout: TIMEOUT,
            gzip: true,
            headers: http::HeaderMap::new(),
            ca: None,
            identity: None,
        },
        export_interval: INTERVAL,
        operator_poll_interval: LOOK_INTERVAL,
        erase_interval: LOOK_INTERVAL,
        acknowledge_interval: LOOK_INTERVAL,
        retry_max_interval: INTERVAL,
        kamaji_namespace: fleet::KAMAJI_NAMESPACE.to_owned(),
        kamaji_opt_out: KamajiOptOut::Ignore,
        kamaji_version: None,
        namespace: Some(fleet::KAMAJI_NAMESPACE.to_owned()),
        owner_deployment: None,
        extended: true,
        election: None,
        health_addr: None,
        // Nothing leaves the machine: what switches telemetry off elsewhere has nothing to protect here.
        opt_out: OptOut::default(),
        cluster: Some(kube::Config::new(format!("http://{api_server}").parse()?)),
    })
}

fn introduce(page: SocketAddr, token: &str, folder: &DataFolder) {
    let end = match folder {
        DataFolder::Temporary(_) => "Ctrl-C ends the demo, and nothing is left behind.".to_owned(),
        DataFolder::Kept(path) => format!("Ctrl-C ends the demo; its data stays in {}.", path.display()),
    };
    say(&format!(
        "The real agent watches a simulated cluster of {FLEET} control planes, and sends every {INTERVAL:?}.\n\
         {end}\n\n    The page:  http://{page}/\n    Its token: {token}\n    \
         As JSON:   curl -H \"Authorization: Bearer {token}\" http://{page}/api/v1/insights/overview\n"
    ));
}

/// Writes a line for people. A terminal that is gone is no reason to end.
fn say(line: &str) {
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

    /// The agent is the one that sends extended signals.
    async fn until_the_agent_has_reported(demo: &Demo) -> Value {
        let reported = async {
            loop {
                let overview = overview(demo).await;
                if overview["current"]["extended"].as_array().is_some_and(|sums| !sums.is_empty()) {
                    return overview;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, reported).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_shows_history_and_the_living_fleet_and_nothing_stays_behind() {
        let shutdown = CancellationToken::new();
        let demo = Demo::start(Config { http_addr: Some(ANY), ..Config::default() }, shutdown.clone()).await.unwrap();
        let folder = demo.folder.path().to_owned();
        let overview = until_the_agent_has_reported(&demo).await;
        assert!(overview["current"]["installations"].as_u64().unwrap() > 100, "{overview}");
        assert!(folder.exists());
        shutdown.cancel();
        timeout(DEADLINE, demo.ended()).await.unwrap().unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_that_was_given_stays_and_is_not_filled_twice() {
        let data = tempfile::tempdir().unwrap();
        let config = || Config { data: Some(data.path().join("demo")), http_addr: Some(ANY), ..Config::default() };
        let mut installations = Vec::new();
        for _ in 0..2 {
            let shutdown = CancellationToken::new();
            let demo = Demo::start(config(), shutdown.clone()).await.unwrap();
            installations.push(overview(&demo).await["days"].as_array().unwrap().len());
            shutdown.cancel();
            timeout(DEADLINE, demo.ended()).await.unwrap().unwrap();
        }
        assert!(data.path().join("demo/telemetry.db").exists());
        assert_eq!(installations[0], installations[1]);
    }

    #[tokio::test]
    async fn a_collector_that_is_none_is_named_in_the_error() {
        let missing = Path::new("/no/such/collector");
        let error = Relay::start(missing, ANY).await.unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/collector"), "{error:#}");
    }
}
