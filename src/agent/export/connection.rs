//! The connection to the collector, shared by both signals, and its replacement when its files change.

use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::diagnosis::Diagnosis;
use super::headers::{HeaderChannel, Headers, parse_headers};
use crate::agent::metrics;
use crate::process::redact::{is_printable, redacted};
use crate::process::reload::{self, FileWatcher};

/// The timeout for opening a connection. It allows for two retransmissions of a SYN, after one and three seconds, and
/// bounds what a black-holed address costs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The interval between two reads of the files. A kubelet takes about a minute to write a changed Secret, so that shorter ones
/// gain little, and reading four small files costs nothing.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

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
    /// A file with such headers, in the format of [`parse_headers`].
    pub headers_file: Option<PathBuf>,
    /// A PEM file with the CA bundle to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files with the client's certificate and key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The connection to the collector, which is replaced when its files change.
#[derive(Clone)]
pub struct CollectorChannel(watch::Sender<LazyConnection>);

/// One exporter's view of the connection.
pub(super) struct CurrentConnection(watch::Receiver<LazyConnection>);

/// A connection that opens with the first request, and again after each failure.
#[derive(Clone)]
pub(super) struct LazyConnection {
    channel: Channel,
    headers: HeaderMap,
    pub(super) gzip: bool,
    uses_tls: bool,
    /// The content of the files that the connection was made from.
    files: Arc<ConnectionFiles>,
}

/// The content of the files that a connection depends on. It holds secrets and is never logged.
#[derive(Default, PartialEq, Eq)]
struct ConnectionFiles {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    headers: HeaderMap,
}

impl ExporterConfig {
    /// Creates a connection. It sends nothing and resolves no name before the first request.
    pub fn connect(&self) -> anyhow::Result<CollectorChannel> {
        Ok(CollectorChannel(watch::Sender::new(self.open(Arc::new(self.read()?))?)))
    }

    fn open(&self, files: Arc<ConnectionFiles>) -> anyhow::Result<LazyConnection> {
        let endpoint = self.with_tls(self.validate()?, &files)?;
        let uses_tls = endpoint.uri().scheme_str() == Some("https");
        let mut headers = self.headers.clone();
        headers.extend(files.headers.clone());
        Ok(LazyConnection { channel: endpoint.connect_lazy(), headers, gzip: self.gzip, uses_tls, files })
    }

    /// Returns whether headers, which may be secrets, are sent in plain text to another host.
    pub fn exposes_headers(&self) -> bool {
        // The host of a URI keeps the brackets of an IPv6 address.
        let is_loopback =
            |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_local = |host: &str| host == "localhost" || is_loopback(host);
        let uri = self.endpoint.parse::<http::Uri>().unwrap_or_default();
        let is_plain = uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_local);
        is_plain && (!self.headers.is_empty() || self.headers_file.is_some())
    }

    /// Validates the configuration and the content of its files, without using the network.
    pub fn check(&self) -> anyhow::Result<()> {
        self.with_tls(self.validate()?, &self.read()?).map(drop)
    }

    fn with_tls(&self, endpoint: Endpoint, files: &ConnectionFiles) -> anyhow::Result<Endpoint> {
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        endpoint.tls_config(files.tls()).with_context(|| {
            let paths = self.files().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            format!("the OTLP TLS files can't be used ({paths})")
        })
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

    /// Reads the files.
    fn read(&self) -> anyhow::Result<ConnectionFiles> {
        let ca = self.ca.as_deref().map(read_certificates).transpose()?;
        let identity = match &self.identity {
            Some((certificate, key)) => Some((read_certificates(certificate)?, read(key, "a PEM file")?)),
            None => None,
        };
        let headers = self.headers_file.as_deref().map(read_headers).transpose()?;
        Ok(ConnectionFiles { ca, identity, headers: headers.unwrap_or_default() })
    }

    /// Returns the paths of the files that the connection depends on.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.ca.iter().chain(identity).chain(&self.headers_file).map(PathBuf::as_path)
    }
}

impl ConnectionFiles {
    fn tls(&self) -> ClientTlsConfig {
        let tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }
}

fn read(path: &Path, expected: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(is_printable(path), "a setting has the content of a file: expected its path");
    reload::read(path).with_context(|| format!("{} can't be read: expected {expected}", path.display()))
}

/// Reads a file of headers. An error names the file and repeats nothing of its content.
fn read_headers(path: &Path) -> anyhow::Result<HeaderMap> {
    let expected = "key=value,key=value with percent-encoded values";
    let text = String::from_utf8(read(path, expected)?).map_err(|_| anyhow!("it is no text in UTF-8"));
    let headers = text.and_then(|text| parse_headers(&text)).with_context(|| path.display().to_string())?;
    ensure!(!headers.is_empty(), "{} is empty: expected {expected}", path.display());
    Ok(headers)
}

/// Reads a file with at least one certificate. A file without one would be accepted, and trust nothing.
fn read_certificates(path: &Path) -> anyhow::Result<Vec<u8>> {
    let pem = read(path, "a PEM file")?;
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
    /// Reads the files of `config` repeatedly, and replaces the connection when their content has changed. Requests in flight
    /// end on the old one. Files that can't be used are logged, and change nothing.
    pub async fn reload_on_change(&self, config: &ExporterConfig) -> Infallible {
        if config.files().next().is_none() {
            return pending().await;
        }
        let reader = config.clone();
        let read = move || reader.read().map(Arc::new);
        // Ends with the term, which drops it.
        let mut watcher = FileWatcher::new(RELOAD_INTERVAL, CancellationToken::new(), read);
        let mut is_failing = false;
        loop {
            let used = match watcher.changed().await {
                Some(Ok(files)) => self.replace(config, files),
                Some(Err(error)) => Err(error),
                None => return pending().await,
            };
            match used {
                Ok(()) if is_failing => {
                    tracing::info!("the files of the connection to the collector can be used again");
                }
                Ok(()) => {}
                Err(ref error) => failed(error),
            }
            is_failing = used.is_err();
        }
    }

    fn replace(&self, config: &ExporterConfig, files: &Arc<ConnectionFiles>) -> anyhow::Result<()> {
        if self.0.borrow().files != *files {
            // Fails for a certificate and a key that do not belong together, before they replace a pair that does.
            self.0.send_replace(config.open(Arc::clone(files))?);
            metrics::connection_reloads(true);
            tracing::info!("the files of the connection to the collector have changed; connecting anew");
        }
        Ok(())
    }

    /// Returns the view of one exporter.
    pub(super) fn current(&self) -> CurrentConnection {
        CurrentConnection(self.0.subscribe())
    }
}

/// Counts and logs files that can't be used, which the watcher tells once for each content. The error names the file.
fn failed(error: &anyhow::Error) {
    metrics::connection_reloads(false);
    tracing::warn!(
        error = format!("{error:#}"), retry_after = ?RELOAD_INTERVAL,
        "failed to reload the files of the connection to the collector; what was read before stays in use"
    );
}

impl CurrentConnection {
    /// Returns the connection, and waits in [`Self::replaced`] for a later one.
    pub(super) fn get_and_mark_seen(&mut self) -> LazyConnection {
        self.0.borrow_and_update().clone()
    }

    /// Returns the connection.
    pub(super) fn get(&self) -> LazyConnection {
        self.0.borrow().clone()
    }

    /// Waits until there is another connection than the one that was seen last.
    pub(super) async fn replaced(&mut self) {
        // Nobody is left to replace it.
        if self.0.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}

impl LazyConnection {
    /// Returns what a description of its failures depends on.
    pub(super) fn diagnosis(&self) -> Diagnosis {
        Diagnosis { uses_tls: self.uses_tls, headers: self.headers.clone() }
    }

    /// Converts the connection to the service of a client.
    pub(super) fn into_service(self) -> HeaderChannel {
        InterceptedService::new(self.channel, Headers::new(self.headers))
    }
}

#[cfg(test)]
impl CollectorChannel {
    /// Replaces the connection as a reload does.
    pub(super) fn replace_by_its_equal(&self) {
        let connection = self.0.borrow().clone();
        self.0.send_replace(connection);
    }

    pub(super) fn from_channel(channel: Channel) -> Self {
        let files = Arc::default();
        Self(watch::Sender::new(LazyConnection {
            channel,
            headers: HeaderMap::new(),
            gzip: true,
            uses_tls: false,
            files,
        }))
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
            headers_file: None,
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
    fn a_file_of_headers_is_read_and_its_errors_repeat_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = ExporterConfig {
            headers: HeaderMap::new(),
            headers_file: Some(file.path().to_owned()),
            ..config("http://collector.example:4317")
        };
        assert!(config.exposes_headers());
        std::fs::write(file.path(), "authorization=Bearer%20secret,a=b\n").unwrap();
        let headers = config.read().unwrap().headers;
        assert_eq!(
            (&headers["authorization"], &headers["a"]),
            (&"Bearer secret".parse().unwrap(), &"b".parse().unwrap())
        );
        for bad in ["", "\n", "authorization: secret", "secret", "a=b,c secret=d"] {
            std::fs::write(file.path(), bad).unwrap();
            let error = format!("{:#}", config.check().unwrap_err());
            let path = file.path().to_str().unwrap();
            assert!(error.starts_with(path) && !error.contains("secret"), "{error}");
        }
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
}
