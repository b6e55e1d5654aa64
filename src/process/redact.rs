//! Redaction of text of an operator before it is printed.

use std::path::Path;

/// The limit on the characters of a printed value. Secrets are longer: the backend's shortest token has 24.
const MAX_CHARS: usize = 20;

/// The text in place of a value that may be a secret.
pub const REDACTED: &str = "…";

/// Returns `value` if it can't be a secret, and `…` otherwise.
///
/// What can be printed is short, and made of the characters of numbers, durations, addresses and names. User information
/// of a URL, a query, a header with its value, and anything encoded have other characters.
pub fn redacted(value: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/,+[]".contains(c);
    let can_be_printed = value.len() <= MAX_CHARS && value.chars().all(is_plain) && !value.contains("//");
    if can_be_printed { value } else { REDACTED }
}

/// Returns whether `path` can be printed. A variable may hold the content of a file by mistake, which has line breaks,
/// quotes, braces or more characters than a path.
pub fn is_printable(path: &Path) -> bool {
    const MAX_PATH_CHARS: usize = 1_024;
    let text = path.to_string_lossy();
    let is_of_content = |c: char| c.is_control() || "{}\"'".contains(c);
    text.len() <= MAX_PATH_CHARS && !text.contains(is_of_content) && !text.contains("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_file_is_no_path() {
        for path in ["/etc/kamaji/kubeconfig", "relative/a b.pem", "/srv/ü.pem", ""] {
            assert!(is_printable(Path::new(path)), "{path}");
        }
        let long = "a".repeat(2_000);
        for content in ["a: b\ntoken: c", "-----BEGIN PRIVATE KEY-----", r#"{"token":"a"}"#, &long] {
            assert!(!is_printable(Path::new(content)), "{content}");
        }
    }

    #[test]
    fn only_what_can_be_no_secret_is_printed() {
        for plain in ["", "5x", "99999999", "0.0.0.0:8080", "[::]:8080", "sqlite", "10.0.0.0/33", "a,b"] {
            assert_eq!(redacted(plain), plain);
        }
        for secret in [
            "https://a:b@c",
            "a:b@c",
            "//a:b",
            "?token=a",
            "authorization=a",
            "Bearer abc",
            "a%40b",
            "ktt_5f0c9a1e_0123456789abcdef",
            "dG9rZW4=",
        ] {
            assert_eq!(redacted(secret), REDACTED, "{secret}");
        }
    }
}
