//! Readiness of a running backend, asked for over its HTTP port as a sender reaches it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::backend::net::origin::parse_origin;

/// The time of one attempt: as long as the backend gives its store to answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two attempts: a probe's shortest period in Kubernetes.
const PAUSE: Duration = Duration::from_secs(1);

/// The bound of a response's body in bytes. A reason is one line.
const MAX_BODY: usize = 4_096;

/// URL of the HTTP port of a backend, with scheme and host and without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
}

/// A text that is not a [`BackendUrl`].
#[derive(Debug, thiserror::Error)]
#[error("expected http:// or https://, a host and an optional port, and no path, such as http://127.0.0.1:4318")]
pub struct InvalidBackendUrl;

/// Verifier that accepts one certificate, whatever its names, times and authority are.
#[derive(Debug)]
struct PinnedCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// Asks for the readiness until the backend is ready, for `timeout`. Over TLS the backend must present the first certificate
/// of the file `certificate`, which is read for each attempt, since a renewal may replace it meanwhile.
///
/// Fails with the cause of the last attempt.
pub async fn ready(url: BackendUrl, certificate: Option<PathBuf>, timeout: Duration) -> anyhow::Result<String> {
    match (url.is_tls, &certificate) {
        (true, None) => {
            bail!("{url} is over TLS: expected --certificate with the certificate that the backend presents")
        }
        (false, Some(_)) => bail!("{url} is not over TLS: expected https://, or no --certificate"),
        _ => {}
    }
    let mut last = anyhow!("no response");
    let attempts = async {
        loop {
            match attempt(&url, certificate.as_deref()).await {
                Ok(()) => return,
                Err(error) => last = error,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(timeout, attempts).await {
        Ok(()) => Ok(format!("{url} is ready.\n")),
        Err(_) => Err(last.context(format!("{url} was not ready within {timeout:?}"))),
    }
}

async fn attempt(url: &BackendUrl, certificate: Option<&Path>) -> anyhow::Result<()> {
    let response = async {
        let stream = TcpStream::connect((&*url.host, url.port)).await.context("failed to connect")?;
        match certificate {
            None => get(url, stream).await,
            Some(file) => {
                let name = ServerName::try_from(url.host.clone())?;
                let stream = connector(file)?.connect(name, stream).await.context("failed to connect over TLS")?;
                get(url, stream).await
            }
        }
    };
    let (status, reason) = tokio::time::timeout(ATTEMPT_TIMEOUT, response).await.context("no response")??;
    if status == StatusCode::OK { Ok(()) } else { Err(anyhow!("the response is {status}: {}", reason.trim_end())) }
}

/// Returns status and body of the response to `GET /readyz`.
async fn get<S>(url: &BackendUrl, stream: S) -> anyhow::Result<(StatusCode, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors are those of the response. It ends with the sender.
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, &url.authority).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("no response")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| anyhow!("failed to read the response: {error}"))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn connector(file: &Path) -> anyhow::Result<TlsConnector> {
    let certificate = CertificateDer::from_pem_file(file)
        .with_context(|| format!("{}: expected a certificate in PEM", file.display()))?;
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedCertificate { certificate, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(builder.with_no_client_auth()).into())
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *presented == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the backend presents another certificate than that of --certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl FromStr for BackendUrl {
    type Err = InvalidBackendUrl;

    fn from_str(text: &str) -> Result<Self, InvalidBackendUrl> {
        let (is_tls, authority) = parse_origin(text).ok_or(InvalidBackendUrl)?;
        // An IPv6 address has brackets in a URL, and none as the address of a connection.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let has_valid_port = authority.port_u16().is_some() || authority.as_str() == authority.host();
        if host.is_empty() || !has_valid_port {
            return Err(InvalidBackendUrl);
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self { is_tls, authority: authority.to_string(), host: host.to_owned(), port })
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host_and_no_path() {
        for (text, is_tls, host, port) in [
            ("http://127.0.0.1:4318", false, "127.0.0.1", 4318),
            ("http://localhost/", false, "localhost", 80),
            ("https://telemetry.test", true, "telemetry.test", 443),
            ("https://[2001:db8::1]:8443", true, "2001:db8::1", 8443),
        ] {
            let url: BackendUrl = text.parse().unwrap();
            assert_eq!((url.is_tls, &*url.host, url.port), (is_tls, host, port), "{text}");
            assert_eq!(url.to_string(), text.trim_end_matches('/'));
        }
        for text in [
            "",
            "localhost:4318",
            "/readyz",
            "ftp://localhost",
            "http://",
            "http://localhost/readyz",
            "http://localhost/?a=b",
            "http://user:secret@localhost",
            "http://localhost:99999",
            "http://localhost:",
        ] {
            assert!(text.parse::<BackendUrl>().is_err(), "{text}");
        }
    }
}
