//! A client that sends as a relay does, and counts its bytes.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};
use uuid::Uuid;

use crate::certificate::{Certificate, HOST};
use crate::samples::{metrics_request, now, state_gauges};

/// The bytes that were handed to TCP, and that came from it.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// A client with its requests.
#[derive(Clone)]
pub(crate) struct Client {
    server: SocketAddr,
    tls: Option<(TlsConnector, HandshakeKind)>,
    body: Bytes,
    pub(crate) traffic: Arc<Traffic>,
}

/// An open connection.
pub(crate) struct Session(SendRequest<Full<Bytes>>);

/// A stream whose bytes are counted.
struct Counted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl Client {
    /// Creates a client of a plain port.
    pub(crate) fn plain(server: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { server, tls: None, body: snapshot()?, traffic: Arc::default() })
    }

    /// Creates a client of TLS 1.3, which resumes its sessions or does not.
    pub(crate) fn tls(server: SocketAddr, certificate: &Certificate, resumes: bool) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.root.clone())?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = if resumes { Resumption::in_memory_sessions(256) } else { Resumption::disabled() };
        let expected = if resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
        let tls = Some((TlsConnector::from(Arc::new(config)), expected));
        Ok(Self { tls, ..Self::plain(server)? })
    }

    /// Connects. Fails where a handshake is full that is to be resumed, or the other way round, unless it `is_first`.
    pub(crate) async fn connect(&self, is_first: bool) -> anyhow::Result<Session> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let stream = Counted { stream, traffic: Arc::clone(&self.traffic) };
        let Some((connector, expected)) = &self.tls else { return Session::open(stream).await };
        let stream = connector.connect(HOST.try_into()?, stream).await?;
        let kind = stream.get_ref().1.handshake_kind();
        ensure!(is_first || kind == Some(*expected), "expected a handshake {expected:?}, not {kind:?}");
        Session::open(stream).await
    }

    /// Sends a snapshot and reads the response.
    pub(crate) async fn send(&self, Session(session): &mut Session) -> anyhow::Result<()> {
        let request = Request::post(format!("https://{HOST}/v1/metrics"))
            .header("user-agent", "kamaji-telemetry-relay")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "gzip")
            .body(Full::new(self.body.clone()))?;
        session.ready().await?;
        let response = session.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "{status}: {body:?}");
        Ok(())
    }
}

impl Session {
    async fn open<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (session, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It ends with the session. An error of it is one of the request, too.
        tokio::spawn(connection);
        Ok(Self(session))
    }
}

/// Returns the four gauges of an installation, compressed.
pub(crate) fn snapshot() -> anyhow::Result<Bytes> {
    let message = metrics_request(Uuid::new_v4(), state_gauges([5, 1, 0, 0], now())).encode_to_vec();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    io::Write::write_all(&mut encoder, &message)?;
    Ok(encoder.finish().context("a snapshot is not compressed")?.into())
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.traffic.received.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        poll
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, data);
        if let Poll::Ready(Ok(written)) = poll {
            self.traffic.sent.fetch_add(written as u64, Relaxed);
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
