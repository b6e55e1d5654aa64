//! The header `Forwarded` (RFC 7239).
//!
//! The crates that parse it split at commas and semicolons before they look at quotes, so that a client chooses an address
//! with a host such as `a,for=192.0.2.1`, which a proxy quotes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Text that is not a node.
struct NotANode;

/// Parses one line, and returns the address of the `for` of each element: `None` for one that has none, or hides it.
///
/// Returns `None` if the line is not what the grammar of section 4 allows.
pub(super) fn addresses(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let mut rest = line.trim_matches(is_space);
    let mut addresses = Vec::new();
    loop {
        let after = element(rest, &mut addresses)?;
        match after.trim_start_matches(is_space).strip_prefix(',') {
            Some(next) => rest = next.trim_start_matches(is_space),
            None if after.is_empty() => return Some(addresses),
            None => return None,
        }
    }
}

/// Parses an element, `[ pair ] *( ";" [ pair ] )`, and returns the rest of the line. Adds the address of its `for`, unless the
/// element is empty, as one of a list may be.
fn element<'a>(mut rest: &'a str, addresses: &mut Vec<Option<IpAddr>>) -> Option<&'a str> {
    let mut names: Vec<String> = Vec::new();
    let mut address = None;
    loop {
        if let Some((name, after)) = token(rest) {
            let (value, after) = value(after.strip_prefix('=')?)?;
            let name = name.to_ascii_lowercase();
            if name == "for" {
                address = node(&value).ok()?;
            }
            if names.contains(&name) {
                return None;
            }
            names.push(name);
            rest = after;
        }
        let Some(next) = rest.strip_prefix(';') else {
            addresses.extend((!names.is_empty()).then_some(address));
            return Some(rest);
        };
        rest = next;
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|char: char| !is_token_char(char)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Parses a token or a quoted string.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((position, char)) = chars.next() {
        match char {
            '"' => return Some((value, &quoted[position + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(char),
        }
    }
    None
}

/// Parses a node (section 6), with or without a port: an address, `unknown`, or a name that begins with an underscore.
/// Fails if it is none of these.
fn node(text: &str) -> Result<Option<IpAddr>, NotANode> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && !port.starts_with('+') || is_obfuscated(port);
    if !port.is_none_or(is_port) {
        return Err(NotANode);
    }
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().map_err(|_| NotANode)?;
        return Ok(Some(IpAddr::from(address).to_canonical()));
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Ok(None);
    }
    let address: Ipv4Addr = name.parse().map_err(|_| NotANode)?;
    Ok(Some(address.into()))
}

fn is_obfuscated(name: &str) -> bool {
    let is_name_char = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    name.strip_prefix('_').is_some_and(|name| !name.is_empty() && name.chars().all(is_name_char))
}

const fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t')
}

fn is_token_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(line: &str) -> Option<Vec<Option<String>>> {
        let addresses = addresses(line)?;
        Some(addresses.into_iter().map(|address| address.map(|address| address.to_string())).collect())
    }

    #[test]
    fn the_addresses_are_those_of_the_grammar() {
        for (line, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &[Some("192.0.2.60")][..]),
            ("for=192.0.2.43, FOR=198.51.100.17", &[Some("192.0.2.43"), Some("198.51.100.17")]),
            ("For=\"[2001:db8:cafe::17]:4711\"", &[Some("2001:db8:cafe::17")]),
            ("for=\"192.0.2.43:47011\"", &[Some("192.0.2.43")]),
            ("for=\"192.0.2.43:_port\"", &[Some("192.0.2.43")]),
            ("for=\"[::ffff:192.0.2.1]\"", &[Some("192.0.2.1")]),
            ("for=\"\\1\\9\\2.0.2.1\"", &[Some("192.0.2.1")]),
            ("for=unknown , for=_hidden,proto=https", &[None, None, None]),
            ("host=\"a,for=1.1.1.1\";for=192.0.2.1", &[Some("192.0.2.1")]),
            ("for=192.0.2.1;host=\"a;for=1.1.1.1, for=1.1.1.1\"", &[Some("192.0.2.1")]),
            ("for=192.0.2.1;host=\"a\\\",for=1.1.1.1;b=\\\"\"", &[Some("192.0.2.1")]),
            (" for=192.0.2.1;;host=a; , ,\tfor=192.0.2.2", &[Some("192.0.2.1"), Some("192.0.2.2")]),
            ("", &[]),
            (",", &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(|address| address.map(str::to_owned)).collect();
            assert_eq!(parsed(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for line in [
            "for",
            "for=",
            "=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1:80",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=\"[2001:db8::1\"",
            "for=\"[192.0.2.1]\"",
            "for=\"192.0.2.1:99999\"",
            "for=\"192.0.2.1:\"",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\",
            "host=\", for=192.0.2.1",
            "for=192.0.2.1; proto=https",
            "for = 192.0.2.1",
            "for=192.0.2.1 for=192.0.2.2",
            "for=\"192.0.2.1\"a",
            "for=host.example.org",
            "for=\"_\"",
            "for=192.0.2.256",
            "for=ä",
            "for=192.0.2.1\u{a0}",
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    proptest! {
        /// A proxy quotes what the client chose, and appends its element.
        #[test]
        fn a_quoted_host_adds_no_address(host in "[ -~]{0,40}") {
            let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("for=192.0.2.1;host=\"{quoted}\", for=192.0.2.2");
            prop_assert_eq!(parsed(&line), Some(vec![Some("192.0.2.1".into()), Some("192.0.2.2".into())]));
        }

        #[test]
        fn nothing_panics(line in "[ -~\\PC]{0,60}") {
            let _ = parsed(&line);
        }
    }
}
