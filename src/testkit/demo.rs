//! A demo on one machine: a simulated cluster with a fleet of control planes, the real agent, the real backend with
//! a year of simulated history, and optionally a real collector between them.
//!
//! ```text
//! fleet ──▶ cluster ──HTTP──▶ agent ──OTLP──▶ (collector) ──▶ backend ◀── history
//! ```
//!
//! Everything listens on loopback, and all data is deleted at the end unless a directory is given.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use crate::backend::auth::{AuthConfig, LoginCode, token};
use crate::backend::store::{AuthStore, InstallationFilter, Role, SqliteStore, Store};
use crate::backend::{self, Listeners, SecurityConfig, ServeSettings, Stores};
use crate::{agent, process};

/// The default address of the page: the port of OTLP over HTTP, which the backend serves as well.
const DEFAULT_HTTP_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_318);

/// A free port of loopback.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

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
    print_introduction(&demo);
    demo.wait().await
}

/// A running demo.
#[derive(Debug)]
struct Demo {
    folder: DataFolder,
    page: SocketAddr,
    /// The token that grants access to the page.
    token: String,
    /// The link that opens the page signed in, once.
    link: Option<String>,
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
        let code = LoginCode::new(token.clone())?;
        let link = loopback(page).map(|address| format!("http://{address}{}", code.path()));
        let auth = AuthConfig { login_code: link.is_some().then_some(code), ..AuthConfig::default() };
        let security = SecurityConfig { auth, ..SecurityConfig::default() };
        let settings = ServeSettings { insights_max_age: EXPORT_INTERVAL, security, ..ServeSettings::default() };
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
        Ok(Self { folder, page, token, link, tasks })
    }

    async fn wait(self) -> anyhow::Result<()> {
        let Self { folder, page: _, token: _, link: _, tasks } = self;
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
    let confirmed = InstallationFilter { confirmed: Some(true), ..InstallationFilter::default() };
    if store.installations(confirmed, 0).await?.matching > 0 {
        print_line("The directory has a history already.");
        return Ok(());
    }
    let started = Instant::now();
    let history::WrittenHistory { installations, snapshots, events } =
        history::write(store, SEED, Timestamp::now()).await?;
    let seconds = started.elapsed().as_secs_f32();
    print_line(&format!(
        "A year of {installations} simulated installations is in the store after {seconds:.1} s: {snapshots} daily snapshots \
         and {events} events."
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
            headers_file: None,
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
        relay: None,
        // Nothing leaves the machine, so the switches of the environment do not apply.
        opt_out: OptOut::default(),
        cluster: Some(kube::Config::new(format!("http://{api_server}").parse()?)),
    })
}

/// Returns the address of loopback at which a server is reached that listens on `address`; `None` if it is not: a login code
/// is taken from loopback alone.
fn loopback(address: SocketAddr) -> Option<SocketAddr> {
    let ip = match address.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, address.port()))
}

fn print_introduction(Demo { folder, page, token, link, .. }: &Demo) {
    let end = match folder {
        DataFolder::Temporary(_) => "Ctrl-C ends the demo and deletes its data.".to_owned(),
        DataFolder::Persistent(path) => format!("Ctrl-C ends the demo; its data stays in {}.", path.display()),
    };
    let open = match link {
        Some(link) => format!(
            "    Open:     {link}\n\nThe link signs in once. After that, the page takes the token, as the API does:\n\n"
        ),
        None => format!("    Open:     http://{page}/, which takes the token, as the API does:\n\n"),
    };
    print_line(&format!(
        "The real agent watches a simulated cluster of {FLEET_SIZE} control planes, and exports every {EXPORT_INTERVAL:?}.\n\
         Its events are on the page at once; its counts only once an installation is confirmed, on another day.\n\
         {end}\n\n{open}    Token:    {token}\n    \
         As JSON:  curl -H \"Authorization: Bearer {token}\" http://{page}/api/v1/insights/overview\n"
    ));
}

/// Writes a line to standard output. A closed terminal does not end the demo.
fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::backend::store::truncate_to_hour;

    const DEADLINE: Duration = Duration::from_mins(1);

    async fn get(demo: &Demo, path: &str) -> Value {
        let base = format!("http://{}", demo.page).parse().unwrap();
        let client = kube::Client::try_from(kube::Config::new(base)).unwrap();
        let request = http::Request::get(path)
            .header("authorization", format!("Bearer {}", demo.token))
            .body(Vec::new())
            .unwrap();
        client.request(request).await.unwrap()
    }

    /// Returns the status of the link, and whether it set a cookie.
    async fn open_link(demo: &Demo) -> (u16, bool) {
        let address = format!("http://{}", demo.page);
        let path = demo.link.as_deref().unwrap().strip_prefix(&address).unwrap();
        let mut stream = TcpStream::connect(demo.page).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", demo.page);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.contains("set-cookie: ktt_session="))
    }

    #[test]
    fn a_link_leads_to_loopback_or_there_is_none() {
        for (page, expected) in [
            ("127.0.0.1:4318", Some("127.0.0.1:4318")),
            ("0.0.0.0:80", Some("127.0.0.1:80")),
            ("[::]:80", Some("[::1]:80")),
            ("192.0.2.7:80", None),
        ] {
            let link = loopback(page.parse().unwrap()).map(|address| address.to_string());
            assert_eq!(link.as_deref(), expected, "{page}");
        }
    }

    /// Returns the rows of a table of the overview.
    async fn overview(demo: &Demo, table: &str) -> Vec<Value> {
        let mut answer = get(demo, "/api/v1/insights/overview").await;
        let mut rows = std::mem::take(answer["rows"].as_array_mut().unwrap());
        rows.retain(|row| row["table"] == table);
        rows
    }

    /// Waits for an event of the agent: the history ends in the hour before `start`.
    async fn until_the_agent_has_reported(demo: &Demo, start: Timestamp) {
        let is_of_agent = |event: &Value| event["time"].as_str().unwrap().parse::<Timestamp>().unwrap() >= start;
        let reported = async {
            loop {
                let list = get(demo, "/api/v1/events?limit=10").await;
                if list["events"].as_array().is_some_and(|events| events.iter().any(is_of_agent)) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, reported).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_page_shows_history_and_fleet_and_the_data_is_deleted_at_the_end() {
        let shutdown = CancellationToken::new();
        let start = truncate_to_hour(Timestamp::now());
        let demo = Demo::start(Config { http_addr: Some(ANY), ..Config::default() }, shutdown.clone()).await.unwrap();
        let folder = demo.folder.path().to_owned();
        until_the_agent_has_reported(&demo, start).await;
        let active = overview(&demo, "active").await;
        assert!(active.iter().all(|row| row["installations"].as_u64().unwrap() > 100), "{active:?}");
        assert_eq!(open_link(&demo).await, (303, true));
        assert_eq!(open_link(&demo).await, (401, false), "it signs in once");
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
            installations.push(overview(&demo, "day").await.len());
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
