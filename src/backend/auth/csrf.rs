//! Protection against cross-site requests: the public URL of the page, and the origin of a request.

use std::fmt;
use std::str::FromStr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Request};

use crate::backend::net::origin::parse_origin;

/// `Sec-Fetch-Site`, which browsers send on trustworthy connections.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The scheme and the host of the page, such as `https://telemetry.example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    secure: bool,
    /// The host in lower case, with the port unless it is the scheme's default.
    host: String,
}

/// A text that is not a [`PublicUrl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected https://HOST or http://HOST, with a port where needed and without a path, such as https://telemetry.example.org"
)]
pub struct InvalidPublicUrl;

impl PublicUrl {
    /// Returns whether browsers speak TLS to it.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns whether a request is for this host.
    pub(super) fn is_host_of<B>(&self, request: &Request<B>) -> bool {
        host(request).is_some_and(|host| without_default_port(self.secure, host).eq_ignore_ascii_case(&self.host))
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let (secure, authority) = parse_origin(text).ok_or(InvalidPublicUrl)?;
        let host = without_default_port(secure, authority.as_str()).to_ascii_lowercase();
        Ok(Self { secure, host })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.host)
    }
}

/// Removes the scheme's default port. Browsers leave it out; other clients may not.
fn without_default_port(secure: bool, host: &str) -> &str {
    host.strip_suffix(if secure { ":443" } else { ":80" }).unwrap_or(host)
}

/// Returns the host that a request is for. HTTP/2 has it in the URI.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    authority.or_else(|| request.headers().get(HOST)?.to_str().ok())
}

/// Returns whether the request comes from a page of this backend, by `Sec-Fetch-Site` or `Origin`. A request with
/// neither is rejected: it is not from a browser's form, and a program can send a token.
pub(super) fn is_same_origin<B>(request: &Request<B>, public_url: Option<&PublicUrl>) -> bool {
    if let Some(site) = request.headers().get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let Some(origin) = text(request.headers(), &ORIGIN) else { return false };
    match public_url {
        Some(url) => origin.parse::<PublicUrl>().as_ref() == Ok(url),
        None => origin
            .split_once("://")
            .is_some_and(|(_, from)| host(request).is_some_and(|host| from.eq_ignore_ascii_case(host))),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request =
            headers.iter().fold(Request::post("/sign-in"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap()
    }

    #[test]
    fn a_public_url_is_a_scheme_and_a_host() {
        for (text, shown) in [
            ("https://Telemetry.example.org", "https://telemetry.example.org"),
            ("https://telemetry.example.org:443/", "https://telemetry.example.org"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), shown);
        }
        for wrong in ["", "telemetry.example.org", "ftp://a", "https://", "https://a/b", "https://a?b", "https://u@a"] {
            assert_eq!(wrong.parse::<PublicUrl>(), Err(InvalidPublicUrl), "{wrong}");
        }
    }

    #[test]
    fn only_the_public_host_is_its_host() {
        let url: PublicUrl = "https://telemetry.example.org".parse().unwrap();
        for (host, is) in [
            ("telemetry.example.org", true),
            ("TELEMETRY.example.org:443", true),
            ("telemetry.example.org:80", false),
            ("telemetry.example.org.evil.test", false),
            ("127.0.0.1:24318", false),
        ] {
            assert_eq!(url.is_host_of(&request(&[("host", host)])), is, "{host}");
        }
        assert!(!url.is_host_of(&request(&[])));
    }

    #[test]
    fn a_form_is_believed_from_a_page_of_its_own_alone() {
        let host = ("host", "a.test:8080");
        for (headers, public_url, is) in [
            (vec![host], None, false),
            (vec![host, ("origin", "http://a.test:8080")], None, true),
            (vec![host, ("origin", "http://a.test")], None, false),
            (vec![host, ("origin", "null")], None, false),
            (vec![host, ("origin", "http://evil.test")], None, false),
            (vec![host, ("origin", "http://a.test:8080"), ("sec-fetch-site", "cross-site")], None, false),
            (vec![host, ("origin", "http://a.test:8080"), ("sec-fetch-site", "same-site")], None, false),
            (vec![host, ("origin", "https://b.test"), ("sec-fetch-site", "same-origin")], None, true),
            (vec![host, ("origin", "https://b.test")], Some("https://b.test"), true),
            (vec![host, ("origin", "http://b.test")], Some("https://b.test"), false),
            (vec![host, ("origin", "http://a.test:8080")], Some("https://b.test"), false),
        ] {
            let url = public_url.map(|url| url.parse::<PublicUrl>().unwrap());
            assert_eq!(is_same_origin(&request(&headers), url.as_ref()), is, "{headers:?} {public_url:?}");
        }
    }
}
