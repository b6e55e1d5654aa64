//! The connection to the collector, which both signals share.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// How long a connection may take to open, so that a black-holed address costs seconds: three times what a
/// retransmitted SYN needs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the collector is and how to talk to it.
#[derive(Clone)]
pub struct ExporterConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub endpoint: String,
    /// How long one request may take.
    pub timeout: Duration,
    /// Compress requests with gzip.
    pub gzip: bool,
    /// Sent with each request; values may be secrets and are never logged.
    pub headers: HeaderMap,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection that opens with the first request and again after each failure.
#[derive(Clone)]
pub struct CollectorChannel {
    pub(super) channel: Channel,
    pub(super) headers: Headers,
    pub(super) gzip: bool,
    pub(super) timeout: Duration,
}

/// Adds the headers to each request.
#[derive(Clone)]
pub(super) struct Headers(HeaderMap);

impl ExporterConfig {
    /// Prepares the connection. Nothing is sent, nor any name resolved, before the first request.
    pub fn connect(&self) -> anyhow::Result<CollectorChannel> {
        let Self { timeout, gzip, headers, .. } = self;
        let channel = self.check()?.connect_lazy();
        Ok(CollectorChannel { channel, headers: Headers(headers.clone()), gzip: *gzip, timeout: *timeout })
    }

    /// Says whether headers, which may be secrets, would go where others can read them.
    pub fn shows_headers(&self) -> bool {
        let is_local = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let uri = self.endpoint.parse::<http::Uri>().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_local);
        is_plain && !self.headers.is_empty()
    }

    /// Checks what can be checked without the network.
    pub fn check(&self) -> anyhow::Result<Endpoint> {
        let Self { endpoint, timeout, .. } = self;
        let expected = || format!("--endpoint {endpoint:?}: expected http://HOST:PORT or https://HOST:PORT");
        let shared = Endpoint::from_shared(endpoint.clone()).with_context(expected)?;
        ensure!(
            !shared.uri().authority().is_some_and(|authority| authority.as_str().contains('@')),
            "--endpoint holds credentials, which would be logged: use --headers (OTEL_EXPORTER_OTLP_HEADERS)"
        );
        let shared = shared.connect_timeout(CONNECT_TIMEOUT).timeout(*timeout).tcp_nodelay(true);
        // A connection whose other end is silent would stay for ever, and each request over it would only time out. A
        // ping that is not answered closes it: one a request, since gRPC's own servers allow two between answers.
        let shared = shared.http2_keep_alive_interval(*timeout * 3 / 5).keep_alive_timeout(*timeout / 5);
        match shared.uri().scheme_str() {
            Some("https") => shared.tls_config(self.tls()?).context("the OTLP TLS files can't be used"),
            Some("http") => {
                ensure!(
                    self.ca.is_none() && self.identity.is_none(),
                    "--endpoint {endpoint:?} is plain HTTP, yet a CA or a client certificate is set: use https://"
                );
                Ok(shared)
            }
            _ => bail!(expected()),
        }
    }

    fn tls(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
            None => tls.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} can't be read: expected a PEM file", path.display()))
}

impl Headers {
    /// The same headers, as gRPC calls them.
    pub(super) fn metadata(&self) -> MetadataMap {
        MetadataMap::from_headers(self.0.clone())
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        headers.extend(self.0.clone());
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

/// Reads `key=value,key=value` with percent-encoded values, as `OTEL_EXPORTER_OTLP_HEADERS` is written.
/// Source: "OpenTelemetry Protocol Exporter" of the OpenTelemetry specification.
pub fn parse_headers(text: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').context("a header without a value: expected key=value,key=value")?;
        let key = key.trim();
        let name: HeaderName = key.parse().with_context(|| format!("{key:?} is no header name"))?;
        let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
        let mut value = HeaderValue::from_bytes(&value)
            .with_context(|| format!("the value of the header {key:?} has characters that no header can have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
impl CollectorChannel {
    /// A connection over a channel that the test made.
    pub(super) fn over(channel: Channel) -> Self {
        Self { channel, headers: Headers(HeaderMap::new()), gzip: true, timeout: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(endpoint: &str) -> ExporterConfig {
        ExporterConfig {
            endpoint: endpoint.to_owned(),
            timeout: Duration::from_secs(10),
            gzip: true,
            headers: parse_headers("authorization=secret").unwrap(),
            ca: None,
            identity: None,
        }
    }

    #[test]
    fn headers_are_shown_over_plain_http_to_another_host_alone() {
        assert!(at("http://collector.example:4317").shows_headers());
        for safe in ["https://collector.example:4317", "http://localhost:4317", "http://127.0.0.1:4317"] {
            assert!(!at(safe).shows_headers(), "{safe}");
        }
        assert!(!ExporterConfig { headers: HeaderMap::new(), ..at("http://collector.example:4317") }.shows_headers());
    }

    #[test]
    fn an_endpoint_with_credentials_is_refused_without_naming_them() {
        let collector = at("https://agent:secret@collector.example");
        let error = format!("{:#}", collector.check().unwrap_err());
        assert!(error.contains("--headers") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn headers_are_read_as_the_specification_writes_them() {
        let headers = parse_headers("authorization=Bearer%20abc, x-tenant=a%2Cb,").unwrap();
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-tenant"], "a,b");
        assert!(headers["authorization"].is_sensitive());
        assert!(parse_headers("novalue").is_err());
        assert!(parse_headers("a b=c").is_err());
        let error = parse_headers("authorization=secret%0a").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"));
    }
}
