//! The proxy of the connection to the API server, as kubectl finds it.
//!
//! Go's `httpproxy` defines the variables. Neither hyper-util's matcher nor kube's reading of `NO_PROXY` follows it: the
//! one ignores ports and sends loopback addresses through the proxy, the other matches the address of the proxy instead of
//! that of the API server.
//!
//! Source: `golang.org/x/net/http/httpproxy`; `parseProxyURL` of client-go's `clientcmd`.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use ipnet::IpNet;

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bypass {
    /// `*`
    All,
    /// A network in CIDR notation.
    Network(IpNet),
    /// An address, with a port or for all ports.
    Address(IpAddr, Option<u16>),
    /// A domain and all within it, or with a leading dot only those within it.
    Domain { suffix: String, includes_itself: bool, port: Option<u16> },
}

/// Returns the proxy that the environment sets for `target`, or `None` if it is reached directly.
///
/// # Errors
///
/// Fails if a proxy is needed and the variable is no URL of one. Its value, which may hold a password, is not repeated.
pub(super) fn of_environment(target: &Uri, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Uri>> {
    let first = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)))
    };
    let names = if is_https(target) { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let Some((name, url)) = first(names) else { return Ok(None) };
    let no_proxy = first(["NO_PROXY", "no_proxy"]).map(|(_, entries)| entries).unwrap_or_default();
    if is_bypassed(target, &no_proxy) {
        return Ok(None);
    }
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    parse(&url).with_context(|| format!("{name} can't be used for the API server; NO_PROXY would exclude it")).map(Some)
}

/// Parses the URL of a proxy, and adds the default port of its scheme.
///
/// # Errors
///
/// Fails for what is no URL of a supported proxy. The error does not repeat it.
pub(super) fn parse(url: &str) -> anyhow::Result<Uri> {
    let expected = "expected http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ \
                    percent-encoded where a proxy needs them";
    let parts = url.parse::<Uri>().ok().map(Uri::into_parts);
    let Some((Some(scheme), Some(authority))) = parts.map(|parts| (parts.scheme, parts.authority)) else {
        bail!("it is no URL of a proxy: {expected}");
    };
    let (scheme, port) = match scheme.as_str() {
        "http" => (scheme, 80),
        "https" => (scheme, 443),
        // Both resolve names at the proxy, as in Go.
        "socks5" | "socks5h" => ("socks5".parse()?, 1080),
        _ => bail!("the scheme of its URL is not supported: {expected}"),
    };
    let is_socks = scheme.as_str() == "socks5";
    let has_user = authority.as_str().contains('@');
    ensure!(!(is_socks && has_user), "user names of SOCKS5 proxies are not supported: use an HTTP proxy");
    ensure!(!authority.host().is_empty(), "it has no host: {expected}");
    let authority = with_port(authority, port).with_context(|| format!("it has no valid port: {expected}"))?;
    Ok(Uri::builder().scheme(scheme).authority(authority).path_and_query(PathAndQuery::from_static("/")).build()?)
}

/// Returns the authority with its own port, or else with `default_port`.
fn with_port(authority: Authority, default_port: u16) -> Option<Authority> {
    if authority.port_u16().is_some() {
        return Some(authority);
    }
    let text = authority.as_str();
    let has_port = text.ends_with(':') || authority.port().is_some() || !text.ends_with(authority.host());
    if has_port { None } else { format!("{text}:{default_port}").parse().ok() }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// Returns whether `target` is reached without a proxy, because `no_proxy` has it or because it is this machine.
fn is_bypassed(target: &Uri, no_proxy: &str) -> bool {
    let host = target.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    let port = target.port_u16().unwrap_or(if is_https(target) { 443 } else { 80 });
    let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    is_loopback || no_proxy.split(',').filter_map(Bypass::parse).any(|entry| entry.matches(&host, address, port))
}

impl Bypass {
    /// Parses an entry. An empty one, and one without a host, matches nothing.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = entry.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = if host.starts_with("*.") { &host[1..] } else { host };
        let (suffix, includes_itself) = match host.strip_prefix('.') {
            Some(_) => (host.to_owned(), false),
            None if host.is_empty() => return None,
            None => (format!(".{host}"), true),
        };
        Some(Self::Domain { suffix, includes_itself, port })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, target_port: u16) -> bool {
        let is_port = |port: &Option<u16>| port.is_none_or(|port| port == target_port);
        match self {
            Self::All => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(entry, port) => address == Some(*entry) && is_port(port),
            Self::Domain { suffix, includes_itself, port } => {
                (host.ends_with(suffix) || (*includes_itself && host == &suffix[1..])) && is_port(port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(target: &str, variables: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
        let variable =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Ok(of_environment(&target.parse().unwrap(), variable)?.map(|uri| uri.to_string()))
    }

    #[test]
    fn the_variable_of_the_scheme_is_read_in_both_cases() {
        let through = |target, variables: &[(&str, &str)]| proxy(target, variables).unwrap();
        let to_proxy = Some("http://proxy:3128/".to_owned());
        assert_eq!(through("https://api:6443", &[("HTTPS_PROXY", "http://proxy:3128")]), to_proxy);
        assert_eq!(through("https://api:6443", &[("https_proxy", "proxy:3128")]), to_proxy);
        assert_eq!(through("https://api:6443", &[("HTTPS_PROXY", ""), ("https_proxy", "proxy:3128")]), to_proxy);
        assert_eq!(through("http://api", &[("HTTP_PROXY", "http://proxy:3128")]), to_proxy);
        assert_eq!(through("https://api", &[("HTTP_PROXY", "http://proxy:3128")]), None);
        assert_eq!(through("https://api", &[("ALL_PROXY", "http://proxy:3128")]), None, "nor does Go read it");
        assert_eq!(through("https://api", &[]), None);
    }

    #[test]
    fn this_machine_is_never_behind_a_proxy() {
        for target in ["https://localhost:6443", "https://127.0.0.1:6443", "https://127.1.2.3", "https://[::1]:6443"] {
            assert_eq!(proxy(target, &[("HTTPS_PROXY", "http://proxy")]).unwrap(), None, "{target}");
        }
    }

    /// The cases are those of Go's `httpproxy`.
    #[test]
    fn no_proxy_is_read_as_go_reads_it() {
        for (target, no_proxy, is_direct) in [
            ("https://api.example.net:6443", "example.net", true),
            ("https://example.net:6443", "example.net", true),
            ("https://API.Example.NET:6443", "example.net", true),
            ("https://api.example.net:6443", "EXAMPLE.net", true),
            ("https://anexample.net:6443", "example.net", false),
            ("https://api.example.net:6443", ".example.net", true),
            ("https://example.net:6443", ".example.net", false),
            ("https://api.example.net:6443", "*.example.net", true),
            ("https://example.net:6443", "*.example.net", false),
            ("https://api.example.net:6443", "a, ,,api.example.net ", true),
            ("https://api.example.net:6443", "example.net:6443", true),
            ("https://api.example.net:6443", "example.net:443", false),
            ("https://api.example.net", "example.net:443", true),
            ("https://api.example.net:6443", "*", true),
            ("https://10.0.0.1:6443", "*", true),
            ("https://10.0.0.1:6443", "10.0.0.0/8", true),
            ("https://11.0.0.1:6443", "10.0.0.0/8", false),
            ("https://10.0.0.1:6443", "10.0.0.1", true),
            ("https://10.0.0.1:6443", "10.0.0.1:6443", true),
            ("https://10.0.0.1:6443", "10.0.0.1:443", false),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "[fd00::1]:443", false),
            ("https://api.example.net:6443", ":6443", false),
            ("https://api.example.net:6443", "api.example.net:port", false),
            ("https://api.example.net:6443", "", false),
        ] {
            for name in ["NO_PROXY", "no_proxy"] {
                let found = proxy(target, &[("HTTPS_PROXY", "http://proxy"), (name, no_proxy)]).unwrap();
                assert_eq!(found.is_none(), is_direct, "{target} with {name}={no_proxy}");
            }
        }
    }

    #[test]
    fn the_default_port_is_that_of_the_scheme() {
        for (url, expected) in [
            ("http://proxy", "http://proxy:80/"),
            ("HTTPS://proxy", "https://proxy:443/"),
            ("socks5://proxy", "socks5://proxy:1080/"),
            ("socks5h://proxy:1", "socks5://proxy:1/"),
            ("http://user:a%40b@proxy:3128/path", "http://user:a%40b@proxy:3128/"),
            ("http://[fd00::1]", "http://[fd00::1]:80/"),
        ] {
            assert_eq!(parse(url).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_repeating_it() {
        for url in [
            "http://user:secret@proxy:99999",
            "http://user:secret@proxy:",
            "http://user:secret@",
            "http://user:se#cret@proxy",
            "http://user:se cret@proxy",
            "ftp://user:secret@proxy",
            "socks4://user:secret@proxy",
            "socks5://user:secret@proxy",
            "http://",
            "secret",
        ] {
            let error = format!("{:#}", parse(url).unwrap_err());
            assert!(!error.contains("cret"), "{url}: {error}");
            let error = format!("{:#}", proxy("https://api", &[("HTTPS_PROXY", &format!("{url}%"))]).unwrap_err());
            assert!(error.starts_with("HTTPS_PROXY") && !error.contains("cret"), "{url}: {error}");
            let bypassed = proxy("https://api", &[("HTTPS_PROXY", url), ("NO_PROXY", "api")]).unwrap();
            assert_eq!(bypassed, None, "a proxy that is not used is not checked");
        }
    }
}
