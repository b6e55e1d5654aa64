//! The connection to the collector, shared by both signals.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::diagnosis::Diagnosis;
use crate::process::redact::{is_printable, redacted};

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
    uses_tls: bool,
}

/// An interceptor that adds headers to each request.
#[derive(Clone)]
pub(super) struct Headers(HeaderMap);

impl ExporterConfig {
    /// Creates a connection. It sends nothing and resolves no name before the first request.
    pub fn connect(&self) -> anyhow::Result<CollectorChannel> {
        let Self { gzip, headers, .. } = self;
        let endpoint = self.check()?;
        let uses_tls = endpoint.uri().scheme_str() == Some("https");
        let channel = endpoint.connect_lazy();
        Ok(CollectorChannel { channel, headers: Headers(headers.clone()), gzip: *gzip, uses_tls })
    }

    /// Returns whether headers, which may be secrets, are sent in plain text to another host.
    pub fn exposes_headers(&self) -> bool {
        // The host of a URI keeps the brackets of an IPv6 address.
        let is_loopback =
            |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_local = |host: &str| host == "localhost" || is_loopback(host);
        let uri = self.endpoint.parse::<http::Uri>().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_local);
        is_plain && !self.headers.is_empty()
    }

    /// Validates the configuration and reads its files, without using the network.
    pub fn check(&self) -> anyhow::Result<Endpoint> {
        let endpoint = self.validate()?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        endpoint.tls_config(self.tls()?).context("the OTLP TLS files can't be used")
    }

    /// Validates the configuration, without reading its files.
    ///
    /// No error repeats a part of the endpoint that may be a secret.
    pub fn validate(&self) -> anyhow::Result<Endpoint> {
        let Self { endpoint, timeout, ca, identity, .. } = self;
        let uri = parse_endpoint(endpoint)?;
        ensure!(
            uri.scheme_str() == Some("https") || (ca.is_none() && identity.is_none()),
            "--endpoint {endpoint:?} is plain HTTP, yet a CA or a client certificate is set: use https://"
        );
        let builder = Endpoint::from(uri).connect_timeout(CONNECT_TIMEOUT).timeout(*timeout).tcp_nodelay(true);
        // Without pings, a connection whose peer is gone would stay open for ever, and each request over it would time
        // out. An unanswered ping closes it within the timeout (3/5 + 1/5). There is at most one ping a request, since
        // gRPC servers close a connection that pings more than twice between answers.
        Ok(builder.http2_keep_alive_interval(*timeout * 3 / 5).keep_alive_timeout(*timeout / 5))
    }

    fn tls(&self) -> anyhow::Result<ClientTlsConfig> {
        let mut tls = ClientTlsConfig::new();
        tls = match &self.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(read_certificates(ca)?)),
            None => tls.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.identity {
            tls = tls.identity(Identity::from_pem(read_certificates(certificate)?, read(key)?));
        }
        Ok(tls)
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    ensure!(is_printable(path), "a setting has the content of a PEM file: expected its path");
    std::fs::read(path).with_context(|| format!("{} can't be read: expected a PEM file", path.display()))
}

/// Reads a file with at least one certificate. A file without one would be accepted, and trust nothing.
fn read_certificates(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let has_certificate = certificates.is_ok_and(|certificates| !certificates.is_empty());
    ensure!(has_certificate, "{} has no certificate: expected a PEM file", path.display());
    Ok(pem)
}

/// Parses the URL of a collector's OTLP/gRPC receiver.
///
/// # Errors
///
/// Fails for everything but a scheme, a host and a port, and says what was probably meant. Only parts that can't be secrets
/// are repeated: not user information, a path or a query.
fn parse_endpoint(text: &str) -> anyhow::Result<Uri> {
    let expected = "expected http://HOST:PORT or https://HOST:PORT";
    let headers = "use --headers (OTEL_EXPORTER_OTLP_HEADERS)";
    ensure!(!text.contains('@'), "--endpoint holds credentials, which would be logged: {headers}");
    ensure!(!text.starts_with("unix:"), "--endpoint is a Unix socket, which is not supported: {expected}");
    let Some((scheme, rest)) = text.split_once("://") else {
        let is_address = text.parse::<Authority>().is_ok_and(|address| address.port_u16().is_some());
        ensure!(is_address, "--endpoint is no URL: {expected}");
        bail!("--endpoint {text:?} has no scheme: expected \"http://{text}\", or \"https://{text}\" for TLS");
    };
    let is_http = ["http", "https"].into_iter().any(|known| scheme.eq_ignore_ascii_case(known));
    ensure!(is_http, "--endpoint has the scheme {:?}: {expected}", redacted(scheme));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (address, path) = rest.split_at(end);
    let uri =
        format!("{scheme}://{address}").parse::<Uri>().map_err(|_| anyhow!("--endpoint is no URL: {expected}"))?;
    let has_valid_port = uri.port_u16().is_some() || Some(address) == uri.host();
    ensure!(has_valid_port && !address.is_empty(), "--endpoint has no valid port: {expected}");
    ensure!(
        matches!(path, "" | "/"),
        "--endpoint \"{scheme}://{address}\" has a path or a query, and OTLP/gRPC has neither: {expected}, such as port 4317 of \
         a collector. A URL with a path is one of OTLP/HTTP: of a backend, for the relay (the chart's telemetry.endpoint)"
    );
    Ok(uri)
}

impl CollectorChannel {
    /// Returns what a description of its failures depends on.
    pub(super) fn diagnosis(&self) -> Diagnosis {
        Diagnosis { uses_tls: self.uses_tls, headers: self.headers.0.clone() }
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
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    for (pair, number) in pairs.zip(1..) {
        // The parts are not repeated: a secret may be in the wrong one.
        let (key, value) =
            pair.split_once('=').with_context(|| format!("header {number} has no value: expected key=value"))?;
        let name = key.trim().parse::<HeaderName>().map_err(|_| anyhow!("header {number} has no valid name"))?;
        let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| anyhow!("the value of header {number} has characters that no header can have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
impl CollectorChannel {
    pub(super) fn from_channel(channel: Channel) -> Self {
        Self { channel, headers: Headers(HeaderMap::new()), gzip: true, uses_tls: false }
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
        for safe in
            ["https://collector.example:4317", "http://localhost:4317", "http://127.0.0.1:4317", "http://[::1]:4317"]
        {
            assert!(!config(safe).exposes_headers(), "{safe}");
        }
        assert!(
            !ExporterConfig { headers: HeaderMap::new(), ..config("http://collector.example:4317") }.exposes_headers()
        );
    }

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for good in ["http://collector:4317", "https://collector", "http://127.0.0.1:4317/", "HTTP://[::1]:4317"] {
            assert!(config(good).validate().is_ok(), "{good}");
        }
        for (bad, expected) in [
            ("collector:4317", "expected \"http://collector:4317\", or \"https://collector:4317\" for TLS"),
            ("collector", "--endpoint is no URL"),
            ("unix:///run/collector.sock", "Unix socket"),
            ("unix:run/collector.sock", "Unix socket"),
            ("dns:///collector:4317", "scheme \"dns\""),
            ("grpc://collector:4317", "scheme \"grpc\""),
            ("http://collector:4318/v1/metrics", "OTLP/HTTP"),
            ("http://collector:4317?a=b", "path or a query"),
            ("http://collector:4317#a", "path or a query"),
            ("http://collector:99999", "no valid port"),
            ("http://collector:", "no valid port"),
            ("http://", "--endpoint is no URL"),
            ("http://collector :4317", "--endpoint is no URL"),
            ("", "--endpoint is no URL"),
        ] {
            let error = format!("{:#}", config(bad).validate().unwrap_err());
            assert!(error.starts_with("--endpoint") && error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn an_endpoint_with_credentials_is_refused_without_repeating_them() {
        for bad in [
            "https://agent:secret@collector.example",
            "https://agent:secret%20@collector.example:4317",
            "https://agent:se cret@collector",
            "agent:secret@collector:4317",
            "https:agent:secret@collector",
            "https://collector/agent:secret@collector",
            "https://collector?token=secret",
            "https://collector/secret",
            "https://collector:secret",
            "https://collector#secret",
            "a=secret",
        ] {
            let error = format!("{:#}", config(bad).validate().unwrap_err());
            assert!(error.starts_with("--endpoint") && !error.contains("cret"), "{bad}: {error}");
        }
    }

    #[test]
    fn headers_are_read_as_the_specification_writes_them() {
        let headers = parse_headers("authorization=Bearer%20abc, x-tenant=a%2Cb,").unwrap();
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-tenant"], "a,b");
        assert!(headers["authorization"].is_sensitive());
        assert!(parse_headers("novalue").is_err());
        assert!(parse_headers("a b=c").is_err());
        for bad in ["authorization=secret%0a", "authorization: secret", "authorization: secret=", "a=b,c secret=d"] {
            let error = format!("{:#}", parse_headers(bad).unwrap_err());
            assert!(error.contains("header") && !error.contains("secret"), "{error}");
        }
    }
}
