//! A backend on free ports, and clients that show what is on the wire.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use kamaji_telemetry::backend::auth::{AuthConfig, token};
use kamaji_telemetry::backend::insights::{EventList, InstallationList, ListedEvent, ListedInstallation};
use kamaji_telemetry::backend::store::{
    AuthStore, Batch, Day, Facts, FactsQuery, GaugeSnapshot, Hour, PublicWeekStore, Report, Role, Source, SourceKind,
    SqliteStore, StateCounts, Store, StoredWeek,
};
use kamaji_telemetry::backend::{
    self, Limits, Listeners, Retention, SecurityConfig, ServeSettings, ShareLimits, Stores,
};
use kamaji_telemetry::catalog::{KamajiVersion, KubernetesVersion, SERVICE_VERSION};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::servers::{DEADLINE, store};

pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// A backend that stops when it is dropped.
pub(crate) struct Backend {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) auth: Arc<dyn AuthStore>,
    rows: Arc<dyn Store>,
    /// The `Authorization` of an admin.
    admin: String,
    folder: TempDir,
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: DropGuard,
}

/// No bound on what is new.
pub(crate) const UNLIMITED_SHARES: ShareLimits =
    ShareLimits { installations: 0, events: 0, new_installations: 0, bulk_events: 0, values: 0 };

/// Returns limits without rates.
pub(crate) fn unlimited() -> Limits {
    Limits { requests: 0, items: 0, bytes_per_day: 0, snapshots: 0, shares: UNLIMITED_SHARES, ..Limits::default() }
}

/// The Monday of the week of [`Backend::public`].
pub(crate) const PUBLISHED_WEEK: &str = "2026-11-16";

/// An HTTP response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        Self::with_auth_in(folder, AuthConfig::default()).await
    }

    /// Starts a backend with the given authentication.
    pub(crate) async fn with_auth(auth: AuthConfig) -> Self {
        Self::with_auth_in(tempfile::tempdir().unwrap(), auth).await
    }

    async fn with_auth_in(folder: TempDir, auth: AuthConfig) -> Self {
        let store = SqliteStore::open(&folder.path().join("telemetry.db")).unwrap();
        let security = SecurityConfig { auth, ..SecurityConfig::default() };
        Self::serve(folder, Arc::new(store).into(), Retention::default(), security).await
    }

    /// Serves the given store with the given retention, whose first deletion may take as much as it finds.
    pub(crate) async fn with_retention(
        folder: TempDir,
        store: Arc<impl Store + AuthStore>,
        retention: Retention,
    ) -> Self {
        let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
        let settings = ServeSettings { retention, trust_clock: Some(today), ..ServeSettings::default() };
        Self::serve_with(folder, store.into(), settings).await
    }

    /// Starts a backend with the given limits.
    pub(crate) async fn limited(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
        let security = SecurityConfig { limits, ..SecurityConfig::default() };
        Self::serve(folder, store.into(), Retention::default(), security).await
    }

    /// Starts a backend without limits that serves the public page, with the week from [`PUBLISHED_WEEK`] on.
    pub(crate) async fn public() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("telemetry.db")).unwrap());
        let monday = Day::of(PUBLISHED_WEEK.parse().unwrap());
        let content = format!(r#"{{"week":"{PUBLISHED_WEEK}","fewer_than":54,"tables":[]}}"#);
        assert!(store.publish_week(StoredWeek { monday, content }).await.unwrap());
        let security = SecurityConfig { limits: unlimited(), ..SecurityConfig::default() };
        let settings = ServeSettings { security, public_page: true, ..ServeSettings::default() };
        Self::serve_with(folder, store.into(), settings).await
    }

    /// Serves the given stores.
    pub(crate) async fn serve(folder: TempDir, stores: Stores, retention: Retention, security: SecurityConfig) -> Self {
        Self::serve_with(folder, stores, ServeSettings { retention, security, ..ServeSettings::default() }).await
    }

    /// Serves the given stores with the given settings. Readers get a new answer each time, with all versions by name.
    pub(crate) async fn serve_with(folder: TempDir, stores: Stores, settings: ServeSettings) -> Self {
        let settings = ServeSettings { insights_max_age: Duration::ZERO, min_version_installations: 0, ..settings };
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listeners = Listeners::bind(any, any, None).unwrap();
        let (grpc, http) = (listeners.grpc.local_addr().unwrap(), listeners.http.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let (auth, rows) = (Arc::clone(&stores.auth), Arc::clone(&stores.rows));
        let name = format!("harness-{}", Uuid::new_v4().simple()).parse().unwrap();
        let (_, admin) = token::create(auth.as_ref(), name, Role::Admin, 400).await.unwrap();
        let task = tokio::spawn(backend::serve(listeners, stores, settings, shutdown.clone()));
        let admin = format!("Bearer {admin}");
        Self { grpc, http, auth, rows, admin, folder, task, shutdown: shutdown.drop_guard() }
    }

    /// Stops the backend, and waits until it has stopped.
    pub(crate) async fn stop(self) -> TempDir {
        drop((self.shutdown, self.auth, self.rows));
        self.task.await.unwrap().unwrap();
        self.folder
    }

    pub(crate) async fn restart(self) -> Self {
        Self::start_in(self.stop().await).await
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("telemetry.db")
    }

    /// Counts the rows of a table through a connection of its own.
    pub(crate) fn count(&self, table: &str) -> u64 {
        store::count(&self.file(), table)
    }

    pub(crate) fn rows(&self) -> u64 {
        ["latest", "days", "events"].into_iter().map(|table| self.count(table)).sum()
    }

    /// Returns the store.
    pub(crate) fn store(&self) -> &dyn Store {
        self.rows.as_ref()
    }

    /// Stores a receipt of 30 days ago, so that the next one confirms the installation,
    /// which weighs all of its control planes.
    pub(crate) async fn received_before(&self, installation: Uuid) {
        self.store_receipt(installation, Source::Agent(SERVICE_VERSION.parse().unwrap())).await;
    }

    /// Stores a receipt of 30 days ago of a cluster with Kamaji's built-in telemetry.
    pub(crate) async fn received_from_kamaji_before(&self, cluster: Uuid) {
        let installation = self.rows.pseudonym_key().await.unwrap().pseudonym(cluster);
        self.store_receipt(installation, Source::Kamaji).await;
    }

    async fn store_receipt(&self, installation: Uuid, source: Source) {
        let report = Report {
            counts: StateCounts::default(),
            source,
            kamaji_version: KamajiVersion::Unknown,
            kubernetes_version: KubernetesVersion::Unknown,
            dimensions: vec![],
        };
        let received = Hour::of(Timestamp::now()).minus(30 * 24);
        let snapshots = vec![GaugeSnapshot { installation, received, report }];
        self.rows.write(Batch { snapshots, ..Batch::default() }).await.unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn metrics_client(&self) -> MetricsServiceClient<Channel> {
        MetricsServiceClient::new(self.channel().await)
    }

    pub(crate) async fn logs_client(&self) -> LogsServiceClient<Channel> {
        LogsServiceClient::new(self.channel().await)
    }

    pub(crate) async fn logs_client_from(&self, from: Ipv4Addr) -> LogsServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap();
        LogsServiceClient::new(endpoint.local_address(Some(from.into())).connect().await.unwrap())
    }

    /// Returns the `Authorization` of an admin.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }
    /// Sends a GET request of an admin.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send_as_admin("GET", path).await
    }

    /// Sends a request of an admin.
    pub(crate) async fn send_as_admin(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, &[("authorization", &self.admin)]).await
    }

    /// Sends a request with these headers and without a body.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        request(self.http, method, path, headers, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        request(self.http, "POST", path, headers, body).await
    }

    /// Sends a head that promises a body of this length, and nothing of the body.
    pub(crate) async fn post_head(&self, path: &str, headers: &[(&str, &str)], length: usize) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
        let address = self.http;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // A server that waits for the body would wait for ever.
        let response = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
        assert!(response.is_ok(), "no response without the body");
        parse(&bytes, true).expect("the server responds")
    }

    /// Reads JSON as an admin.
    async fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// Reads the list of installations, of all sources and standings.
    pub(crate) async fn installations(&self) -> Vec<ListedInstallation> {
        self.json::<InstallationList>("/api/v1/installations").await.installations
    }

    /// Reads the list of the newest events, of all sources.
    pub(crate) async fn events(&self) -> Vec<ListedEvent> {
        self.json::<EventList>("/api/v1/events").await.events
    }

    /// Reads the rows of a table of the overview of a source.
    pub(crate) async fn overview(&self, source: &str, table: &str) -> Vec<Value> {
        let answer: Value = self.json(&format!("/api/v1/insights/overview?source={source}")).await;
        let rows = answer["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["table"] == table).cloned().collect()
    }

    /// Reads the facts of a source as of a day that need not be over, of it and the day before.
    pub(crate) async fn facts(&self, source: SourceKind, day: Day) -> Facts {
        let since = Some(day.minus(1));
        let query = FactsQuery {
            days: since,
            pairs: since,
            dimensions: since,
            last_seen: since,
            event_days: since,
            ..FactsQuery::new(source, day)
        };
        self.rows.facts(vec![query]).await.unwrap().remove(0)
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Returns the day that is not over.
pub(crate) fn today() -> Day {
    Hour::of(Timestamp::now()).day()
}

/// Returns all bytes of the files in a store's folder.
pub(crate) fn stored_bytes(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Sends an HTTP/1.1 request on a connection of its own.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    try_request(address, method, path, headers, body).await.expect("the server responds")
}

/// Sends a request to a server that may end at any moment; returns `None` without a complete response.
pub(crate) async fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    request_from(Ipv4Addr::LOCALHOST, address, method, path, headers, body).await
}

/// Sends a request with the given `Host`.
pub(crate) async fn request_of(
    address: SocketAddr,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    try_request(address, method, path, &[headers, &[("host", host)]].concat(), body).await
}

/// Sends a request from the given address, of which loopback has 16 million.
pub(crate) async fn request_from(
    from: Ipv4Addr,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    let mut stream = connect_from(from, address).await.ok()?;
    try_converse(&mut stream, method, path, &[headers, &[("connection", "close")]].concat(), body).await
}

/// Opens a connection from the given address.
pub(crate) async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(address).await
}

/// Sends an HTTP/1.1 request on an open connection.
pub(crate) async fn converse(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    try_converse(stream, method, path, headers, body).await.expect("the server responds")
}

/// Sends a request on a connection that the server may end at any moment. The host is the address, unless the headers name
/// one.
pub(crate) async fn try_converse(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Reply> {
    let host = stream.peer_addr().ok()?.to_string();
    let host = Some(("host", &*host)).filter(|_| headers.iter().all(|(name, _)| *name != "host"));
    let headers = host.iter().chain(headers).map(|(name, value)| [name, ": ", value, "\r\n"].concat());
    let (headers, length) = (headers.collect::<String>(), body.len());
    let head = format!("{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    // A server that rejects a body early closes while it is still being sent.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    loop {
        if let Some(reply) = parse(&bytes, method != "HEAD") {
            return Some(reply);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Parses a response; returns `None` until all of it is there.
fn parse(bytes: &[u8], has_body: bool) -> Option<Reply> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let reply = Reply { status, head, body: bytes[end + 4..].to_vec() };
    let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
    (!has_body || reply.body.len() >= length).then_some(reply)
}
