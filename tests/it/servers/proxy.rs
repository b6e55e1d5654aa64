//! Proxies that clients are configured with: HTTP (`CONNECT`), over TCP or TLS, and SOCKS5.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::tls;

/// The limit on the bytes of a request's head.
const MAX_HEAD: usize = 8_192;

/// The protocol between a client and a proxy.
#[derive(Clone)]
enum Protocol {
    Http,
    Https(TlsAcceptor),
    Socks5,
}

/// A proxy that resolves no name: it connects every client to the same server, and records what was asked for.
pub(crate) struct ForwardProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ForwardProxy {
    /// Starts an HTTP proxy in front of `server`.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        Self::start_with(server, Protocol::Http).await
    }

    /// Starts an HTTP proxy that is reached over TLS, with a certificate and a key from PEM files.
    pub(crate) async fn start_with_tls(server: SocketAddr, (certificate, key): (&Path, &Path)) -> Self {
        Self::start_with(server, Protocol::Https(tls::acceptor(certificate, key))).await
    }

    /// Starts a SOCKS5 proxy in front of `server`.
    pub(crate) async fn start_socks(server: SocketAddr) -> Self {
        Self::start_with(server, Protocol::Socks5).await
    }

    async fn start_with(server: SocketAddr, protocol: Protocol) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let task = tokio::spawn(accept(listener, server, protocol, Arc::clone(&requests)));
        Self { address, requests, task }
    }

    /// Returns the address of the listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests since the last call: the heads of HTTP requests, or the destinations of SOCKS5.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().expect("no holder of the lock panics"))
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, protocol: Protocol, requests: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (protocol, requests) = (protocol.clone(), Arc::clone(&requests));
        let record = move |request: String| requests.lock().expect("no holder of the lock panics").push(request);
        connections.spawn(async move {
            match protocol {
                Protocol::Http => tunnel(client, server, record).await,
                Protocol::Https(acceptor) => tunnel(acceptor.accept(client).await?, server, record).await,
                Protocol::Socks5 => socks(client, server, record).await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers a `CONNECT` and joins the two connections.
async fn tunnel(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    server: SocketAddr,
    record: impl Fn(String),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(client.read_u8().await?);
    }
    record(String::from_utf8_lossy(&head).into_owned());
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}

/// Answers a request of SOCKS5 (RFC 1928) for a name without authentication, and joins the two connections.
async fn socks(mut client: TcpStream, server: SocketAddr, record: impl Fn(String)) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await?;
    client.read_exact(&mut vec![0; greeting[1].into()]).await?;
    client.write_all(&[5, 0]).await?;
    // Version, command, reserved, type of address, and the length of a name.
    let mut request = [0; 5];
    client.read_exact(&mut request).await?;
    let mut name = vec![0; request[4].into()];
    client.read_exact(&mut name).await?;
    let port = client.read_u16().await?;
    record(format!("{}:{port}", String::from_utf8_lossy(&name)));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}
