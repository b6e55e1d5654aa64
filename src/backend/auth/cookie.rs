//! The cookie of a session, which holds its secret.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The name over TLS. With this prefix a browser takes the cookie only from this host, over TLS, and for every path.
const SECURE: &str = "__Host-ktt_session";

/// The name over plain HTTP, where browsers refuse the prefix.
const PLAIN: &str = "ktt_session";

const fn name(secure: bool) -> &'static str {
    if secure { SECURE } else { PLAIN }
}

/// Returns the secret in the headers of a request. The cookie of the other name is ignored.
pub(super) fn read(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let lists = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name(secure)).map(|(_, value)| value)
}

/// Returns the `Set-Cookie` value that stores the secret for `seconds`.
pub(super) fn set(secret: &str, seconds: i64, secure: bool) -> Option<HeaderValue> {
    let tls_only = if secure { "; Secure" } else { "" };
    let name = name(secure);
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{tls_only}");
    HeaderValue::try_from(cookie).ok()
}

/// Returns the `Set-Cookie` value that deletes the cookie.
pub(super) fn clear(secure: bool) -> Option<HeaderValue> {
    set("", 0, secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_among_others_and_under_its_own_name_alone() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=b; xktt_session=1;ktt_session=plain"));
        headers.append(COOKIE, HeaderValue::from_static("__Host-ktt_session=secure; c"));
        assert_eq!(read(&headers, false), Some("plain"));
        assert_eq!(read(&headers, true), Some("secure"));
        headers.clear();
        headers.append(COOKIE, HeaderValue::from_static("ktt_session=plain"));
        assert_eq!(read(&headers, true), None);
    }
}
