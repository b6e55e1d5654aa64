//! Origins of HTTP: the URL of a server, without a path.

use http::Uri;
use http::uri::Authority;

/// Parses `http://` or `https://` with a host and an optional port. Returns whether it is over TLS, and host and port as they were
/// written; or `None` for anything else, credentials, a path and a query included.
pub(in crate::backend) fn parse_origin(text: &str) -> Option<(bool, Authority)> {
    let uri: Uri = text.parse().ok()?;
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return None,
    };
    let is_origin = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().filter(|authority| is_origin && !authority.as_str().contains('@'))?;
    Some((is_tls, authority.clone()))
}
