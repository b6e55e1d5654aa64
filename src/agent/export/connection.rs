//! The connection to the collector, shared by both signals.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

/// The timeout for opening a connection. It allows for two retransmissions of a SYN, after one and three seconds, and
/// bounds what a black-holed address costs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The collector, and how to connect to it.
#[derive(Clone)]
pub struct ExporterConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub endpoint: String,
    /// The timeout of one request.
    pub timeout: Duration,
    /// Compresses requests with gzip.
    pub gzip: bool,
    /// Headers of each request. Their values may be secrets and are never logged.
    pub headers: HeaderMap,
    /// A PEM file with the CA bundle to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with the client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A connection that opens with the first request, and again after each failure.
#[derive(Clone)]
pub struct CollectorChannel {
    pub(super) channel: Channel,
    pub(super) headers: Headers,
    pub(super) gzip: bool,
    pub(super) timeout: Duration,
}

/// An interceptor that adds headers to each request.
#[derive(Clone)]
pub(super) struct Headers(HeaderMap);

impl ExporterConfig {
    /// Creates a connection. It sends nothing and resolves no name before the first request.
    pub fn connect(&self) -> anyhow::Result<CollectorChannel> {
        let Self { timeout, gzip, headers, .. } = self;
        let channel = self.check()?.connect_lazy();
        Ok(CollectorChannel { channel, headers: Headers(headers.clone()), gzip: *gzip, timeout: *timeout })
    }

    /// Returns whether headers, which may be secrets, are sent in plain text to another host.
    pub fn exposes_headers(&self) -> bool {
        let is_local = |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let uri = self.endpoint.parse::<http::Uri>().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_local);
        is_plain && !self.headers.is_empty()
    }

    /// Validates the configuration, without using the network.
    pub fn check(&self) -> anyhow::Result<Endpoint> {
        let Self { endpoint, timeout, .. } = self;
        let expected = || format!("--endpoint {endpoint:?}: expected http://HOST:PORT or https://HOST:PORT");
        let builder = Endpoint::from_shared(endpoint.clone()).with_context(expected)?;
        ensure!(
            !builder.uri().authority().is_some_and(|authority| authority.as_str().contains('@')),
            "--endpoint holds credentials, which would be logged: use --headers (OTEL_EXPORTER_OTLP_HEADERS)"
        );
        let builder = builder.connect_timeout(CONNECT_TIMEOUT).timeout(*timeout).tcp_nodelay(true);
        // Without pings, a connection whose peer is gone would stay open for ever, and each request over it would time
        // out. An unanswered ping closes it within the timeout (3/5 + 1/5). There is at most one ping a request, since
        // gRPC servers close a connection that pings more than twice between answers.
        let builder = builder.http2_keep_alive_interval(*timeout * 3 / 5).keep_alive_timeout(*timeout / 5);
        match builder.uri().scheme_str() {
            Some("https") => builder.tls_config(self.tls()?).context("the OTLP TLS files can't be used"),
            Some("http") => {
                ensure!(
                    self.ca.is_none() && self.identity.is_none(),
                    "--endpoint {endpoint:?} is plain HTTP, yet a CA or a client certificate is set: use https://"
                );
                Ok(builder)
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
    /// Returns the headers as gRPC metadata.
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

/// Parses `key=value,key=value` with percent-encoded values, the format of `OTEL_EXPORTER_OTLP_HEADERS`.
///
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
    pub(super) fn from_channel(channel: Channel) -> Self {
        Self { channel, headers: Headers(HeaderMap::new()), gzip: true, timeout: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> ExporterConfig {
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
    fn headers_are_exposed_only_over_plain_http_to_another_host() {
        assert!(config("http://collector.example:4317").exposes_headers());
        for safe in ["https://collector.example:4317", "http://localhost:4317", "http://127.0.0.1:4317"] {
            assert!(!config(safe).exposes_headers(), "{safe}");
        }
        assert!(
            !ExporterConfig { headers: HeaderMap::new(), ..config("http://collector.example:4317") }.exposes_headers()
        );
    }

    #[test]
    fn an_endpoint_with_credentials_is_refused_without_naming_them() {
        let exporter = config("https://agent:secret@collector.example");
        let error = format!("{:#}", exporter.check().unwrap_err());
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
