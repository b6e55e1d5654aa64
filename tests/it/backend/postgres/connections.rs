//! Connections that fail: at the start of a backend, and in the middle of a transaction.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use kamaji_telemetry::backend::store::{AuthStore, Digest, PostgresAddress, PostgresStore, Role, Token};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::super::conformance::hours_ago;
use crate::program::PROGRAM;
use crate::program::command::{run, text};
use crate::servers::postgres::{PostgresServers, psql};
use crate::servers::{Authority, DEADLINE, acceptor};

/// The statement at which [`Severed`] cuts a connection.
const ROLLBACK: &[u8] = b"ROLLBACK";

/// A server that accepts each connection over TLS, and closes it then.
struct Closing {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Closing {
    async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                // The request for TLS of PostgreSQL's protocol, and the answer to it.
                let mut request = [0; 8];
                if client.read_exact(&mut request).await.is_ok() && client.write_all(b"S").await.is_ok() {
                    drop(acceptor.accept(client).await);
                }
            }
        });
        Self { address, task }
    }

    /// Returns the words of a backend on a database of this server, which trusts `ca`.
    fn serve(&self, ca: &std::path::Path) -> Vec<String> {
        let store = format!("--store=postgres://telemetry@127.0.0.1:{}/telemetry", self.address.port());
        let ca = format!("--store-ca-file={}", ca.display());
        let ports = ["--grpc-addr", "--http-addr", "--health-addr"].map(|flag| format!("{flag}=127.0.0.1:0"));
        ["backend", "serve"].map(str::to_owned).into_iter().chain([store, ca]).chain(ports).collect()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_verified_ends_a_backend_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    for refused in Authority::new(folder.path()).refused_certificates() {
        let server = Closing::start(acceptor(&refused.certificate, &refused.key)).await;
        let words = server.serve(&refused.trusted);
        let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await;
        let printed = text(&output);
        assert_eq!(output.status.code(), Some(1), "{}: {printed}", refused.expected);
        assert!(printed.contains("invalid peer certificate"), "{}: {printed}", refused.expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_its_connections_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (certificate, key) = authority.issue("server", |_| ());
    let server = Closing::start(acceptor(&certificate, &key)).await;
    let mut command = tokio::process::Command::new(PROGRAM);
    command.args(server.serve(&authority.certificate())).env_clear().kill_on_drop(true);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let retries = async {
        while !lines
            .next_line()
            .await
            .unwrap()
            .expect("it goes on")
            .contains("the database cannot be reached; retrying")
        {}
    };
    tokio::time::timeout(DEADLINE, retries).await.expect("it warns");
    // It has tried again once the server has accepted another connection, which the next line may be of.
    assert_eq!(child.try_wait().unwrap(), None);
}

/// A proxy that cuts a connection at its first rollback.
struct Severed {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Severed {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(join(client, server));
            }
        });
        Self { address, task }
    }
}

impl Drop for Severed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let answers = tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from_client.read(&mut buffer).await?;
        // A client sends a statement without parameters at once.
        if length == 0 || buffer[..length].windows(ROLLBACK.len()).any(|part| part == ROLLBACK) {
            answers.abort();
            return Ok(());
        }
        to_server.write_all(&buffer[..length]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_before_a_rollback_that_fails_is_the_one_that_is_reported() {
    let servers = PostgresServers::shared().await;
    let database = servers.database().await;
    let refuse = [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no tokens today''; END'",
        "CREATE TRIGGER refuse BEFORE INSERT ON tokens FOR EACH ROW EXECUTE FUNCTION refuse()",
    ];
    psql(&database, &refuse).await.unwrap();
    let proxy = Severed::start(servers.primary().address()).await;
    let name = database.rsplit_once('/').unwrap().1.split_once('?').unwrap().0;
    let address = format!("postgres://telemetry@127.0.0.1:{}/{name}?sslmode=disable", proxy.address.port());
    let store = PostgresStore::open(&address.parse::<PostgresAddress>().unwrap()).await.unwrap();
    let token = Token {
        prefix: "ktt_00000001".to_owned(),
        name: "alice".to_owned(),
        role: Role::Viewer,
        created: hours_ago(1),
        expires: hours_ago(-1_000),
        revoked: None,
    };
    let error = store.create_token(token, Digest::of("first")).await.unwrap_err().to_string();
    assert!(error.contains("no tokens today"), "{error}");
}
