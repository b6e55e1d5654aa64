//! The configuration of the connection to the API server, found as kubectl and client-go find it: in the files of
//! `KUBECONFIG` or in `~/.kube/config`, else in the service account of the pod.
//!
//! kube's own loader is not used: it fails for a file of `KUBECONFIG` that is missing, hides a kubeconfig that can't be used
//! behind the error of the pod's, and its errors repeat lines of the file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, KubeconfigError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::proxy;
use crate::process::redact::is_printable;

const KUBECONFIG: &str = "KUBECONFIG";

/// The variables with the address of the API server, which every pod has.
const POD_VARIABLES: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// The limit on the names in a message.
const MAX_NAMED: usize = 5;

/// The files that may hold the kubeconfig.
struct Files {
    paths: Vec<PathBuf>,
    is_from_variable: bool,
}

/// Reads the configuration. Blocks for the time that it takes to read small files.
///
/// # Errors
///
/// Fails if there is none, or if the one that is there can't be used. No error repeats the content of a file.
pub(super) fn load() -> anyhow::Result<Config> {
    let files = Files::of_environment();
    let kubeconfig = files.read()?;
    // An empty file, such as /dev/null, is no kubeconfig.
    if kubeconfig.contexts.is_empty() && kubeconfig.current_context.is_none() {
        ensure!(is_in_pod(), "no cluster is configured: {}, and this is no pod: set {KUBECONFIG}", files.absence());
        let mut config = Config::incluster().context("the service account of this pod can't be used")?;
        config.proxy_url = proxy::of_environment(&config.cluster_url, variable)?;
        return Ok(config);
    }
    of_kubeconfig(&kubeconfig).with_context(|| format!("the kubeconfig {} can't be used", files.names()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn is_in_pod() -> bool {
    POD_VARIABLES.into_iter().all(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl Files {
    fn of_environment() -> Self {
        let variable = std::env::var_os(KUBECONFIG).unwrap_or_default();
        let paths: Vec<_> = std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()).collect();
        if !paths.is_empty() {
            return Self { paths, is_from_variable: true };
        }
        let default = std::env::home_dir().map(|home| home.join(".kube/config"));
        Self { paths: default.into_iter().collect(), is_from_variable: false }
    }

    /// Reads and merges the files. Those that do not exist are skipped.
    fn read(&self) -> anyhow::Result<Kubeconfig> {
        let mut merged = Kubeconfig::default();
        ensure!(
            self.paths.iter().all(|path| is_printable(path)),
            "{KUBECONFIG} has characters of a file's content: expected paths of files"
        );
        for path in &self.paths {
            if !path.try_exists().unwrap_or(true) {
                if self.is_from_variable {
                    tracing::warn!(path = %path.display(), "skipped a file of KUBECONFIG, which does not exist");
                }
                continue;
            }
            let mut file = Kubeconfig::read_from(path).map_err(|error| unreadable(path, &error))?;
            // kubectl writes an empty one into new files, and looks in the next file then.
            file.current_context = file.current_context.filter(|context| !context.is_empty());
            merged = merged.merge(file).map_err(|error| unreadable(path, &error))?;
        }
        Ok(merged)
    }

    fn names(&self) -> String {
        self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Describes that there is nothing in the files.
    fn absence(&self) -> String {
        match (self.is_from_variable, self.paths.is_empty()) {
            (true, _) => format!("{KUBECONFIG} names no kubeconfig ({})", self.names()),
            (false, false) => format!("{KUBECONFIG} is not set, there is no {}", self.names()),
            (false, true) => format!("{KUBECONFIG} is not set"),
        }
    }
}

/// Returns an error for a file that can't be read or parsed, with the position and without the content.
fn unreadable(path: &Path, error: &KubeconfigError) -> anyhow::Error {
    let path = path.display();
    match error {
        KubeconfigError::ReadConfig(error, _) => anyhow!("the kubeconfig {path} can't be read: {error}"),
        KubeconfigError::Parse(error) => match error.location() {
            Some(location) => anyhow!("the kubeconfig {path} is malformed at line {}", location.line()),
            None => anyhow!("the kubeconfig {path} is malformed"),
        },
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            anyhow!("the kubeconfig {path}: {error}")
        }
        _ => anyhow!("the kubeconfig {path} can't be used"),
    }
}

/// Returns the configuration of the current context.
fn of_kubeconfig(kubeconfig: &Kubeconfig) -> anyhow::Result<Config> {
    let (context, cluster, mut user) = current(kubeconfig)?;
    let server = cluster.server.as_deref().filter(|server| !server.is_empty());
    let server = server.with_context(|| format!("the cluster {:?} has no server", context.cluster))?;
    let mut config = Config::new(parse_server(server)?);
    config.proxy_url = match cluster.proxy_url.as_deref().filter(|url| !url.is_empty()) {
        Some(url) => Some(proxy::parse(url).context("its proxy-url")?),
        None => proxy::of_environment(&config.cluster_url, variable)?,
    };
    if let Some(namespace) = context.namespace.filter(|namespace| !namespace.is_empty()) {
        config.default_namespace = namespace;
    }
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
    config.disable_compression = cluster.disable_compression.unwrap_or_default();
    config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    config.root_cert = certificate_authority(&cluster)?;
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        exec.cluster = Some((&cluster).try_into().map_err(|_| anyhow!("its certificate-authority can't be read"))?);
    }
    config.auth_info = user;
    Ok(config)
}

/// Returns the current context, with its cluster and its user. As in client-go, a user that is missing is anonymous.
fn current(kubeconfig: &Kubeconfig) -> anyhow::Result<(Context, Cluster, AuthInfo)> {
    let name = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let contexts = || {
        let names: Vec<_> = kubeconfig.contexts.iter().take(MAX_NAMED).map(|context| context.name.as_str()).collect();
        format!("kubectl config use-context sets it to one of {names:?}")
    };
    let name = name.with_context(|| format!("it has no current-context: {}", contexts()))?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == name);
    let context = context.and_then(|context| context.context.clone());
    let context = context.with_context(|| format!("its current-context {name:?} is missing: {}", contexts()))?;
    let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
    let cluster =
        cluster.with_context(|| format!("the cluster {:?} of the context {name:?} is missing", context.cluster))?;
    let user = kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user.and_then(|user| user.auth_info.clone()).unwrap_or_default();
    Ok((context, cluster, user))
}

/// Parses the URL of the API server, without repeating it.
fn parse_server(server: &str) -> anyhow::Result<Uri> {
    let expected = "expected https://HOST:PORT";
    let uri: Uri = server.parse().map_err(|_| anyhow!("the server of the cluster is no URL: {expected}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        bail!("the server of the cluster is not an https:// URL: {expected}");
    }
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    ensure!(!has_user, "the server of the cluster holds credentials: {expected}, and credentials of the user");
    Ok(uri)
}

/// Returns the certificates of the CAs, or `None` if the system's are to be trusted.
fn certificate_authority(cluster: &Cluster) -> anyhow::Result<Option<Vec<Vec<u8>>>> {
    let of = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (name, pem) = match (of(&cluster.certificate_authority_data), of(&cluster.certificate_authority)) {
        (Some(data), _) => {
            let pem = STANDARD.decode(data).map_err(|_| anyhow!("its certificate-authority-data is no base64"))?;
            ("certificate-authority-data".to_owned(), pem)
        }
        (None, Some(path)) => {
            let pem =
                std::fs::read(&path).with_context(|| format!("its certificate-authority {path} can't be read"))?;
            (format!("certificate-authority {path}"), pem)
        }
        (None, None) => return Ok(None),
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    let certificates = certificates.with_context(|| format!("its {name} has no certificate: expected PEM"))?;
    Ok(Some(certificates.into_iter().map(|certificate| certificate.to_vec()).collect()))
}
