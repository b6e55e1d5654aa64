//! The client of a request: an address or an address prefix.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::forwarded;

/// The header that most proxies write, which has no standard: a list of addresses.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of the backend, and the header in which they name the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The networks of the proxies.
    pub networks: Vec<IpNet>,
    /// The header that all of them write.
    pub header: TrustedHeader,
}

/// The one header that is read for the client of a request: `Forwarded` by RFC 7239, `X-Forwarded-For` as a list, and any
/// other, such as `X-Real-IP`, as one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHeader(HeaderName);

/// Text that is not the name of a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a header: expected Forwarded, X-Forwarded-For, or that of one address, such as X-Real-IP")]
pub struct InvalidHeader(String);

/// The first 56 bits of an IPv6 address, which stand for one client. A site is given a /56 or a /48 (RIPE-690) and chooses
/// among its addresses freely. A hosting company gives each machine a /64 or more, so that up to 256 neighbours are one
/// client here.
const IPV6_SITE_MASK: u128 = u128::MAX << (128 - 56);

/// A client, whose requests are limited together: one IPv4 address, since neighbours in a network are strangers to each
/// other, or the first 56 bits of an IPv6 address. It is never stored, and its `Debug` output hides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::backend) struct ClientKey {
    prefix: IpAddr,
    is_proxy: bool,
}

/// Text that is not a network of proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a network.
    #[error("expected an address, or one with the number of its first bits, such as 10.0.0.0/8")]
    Form,
    /// The network of all addresses.
    #[error("every client would count as a proxy: expected the proxies' own, such as 10.0.0.0/8")]
    All,
}

impl ClientKey {
    /// Returns the key of the client at `address`.
    pub(in crate::backend) fn of(address: IpAddr) -> Self {
        let prefix = match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_SITE_MASK).into(),
        };
        Self { prefix, is_proxy: false }
    }

    /// Returns the key of a peer, which may be one of `proxies`.
    pub(super) fn of_peer(peer: IpAddr, proxies: &TrustedProxies) -> Self {
        Self { is_proxy: proxies.contain(peer), ..Self::of(peer) }
    }

    /// Returns the key of the client of a request: the peer or, if the peer is one of `proxies`, the address that it
    /// forwards for. Where the header is missing or malformed, that is the proxy itself.
    ///
    /// Each proxy appends the address that called it, so the last address that is not a proxy's is the nearest that can
    /// be trusted; a client may have written those before it.
    pub(super) fn of_request(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let address = if proxies.contain(peer) { proxies.client(headers) } else { None };
        address.map_or_else(|| Self::of_peer(peer, proxies), Self::of)
    }

    /// Returns whether the client is a proxy, whose requests are those of many senders.
    pub(super) fn is_proxy(&self) -> bool {
        self.is_proxy
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

impl TrustedProxies {
    fn contain(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address.to_canonical()))
    }

    /// Returns the last address in the header that is not a proxy's; `None` if there is none, or if it cannot be told.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let hops = self.header.hops(headers)?;
        hops.into_iter().rev().find(|hop| hop.is_none_or(|hop| !self.contain(hop))).flatten()
    }
}

impl TrustedHeader {
    /// Returns the addresses of the header, over all its lines, where `None` is one that is hidden or malformed. Returns
    /// `None` if the header is malformed as a whole.
    fn hops(&self, headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
        let lines = headers.get_all(&self.0).iter().map(|line| line.to_str().ok());
        let lines: Vec<_> = lines.collect::<Option<_>>()?;
        if self.0 == FORWARDED {
            let lines: Option<Vec<_>> = lines.into_iter().map(forwarded::addresses).collect();
            return lines.map(|lines| lines.concat());
        }
        if self.0 == X_FORWARDED_FOR {
            return Some(lines.into_iter().flat_map(|line| line.split(',').map(str::trim).map(address)).collect());
        }
        // Of several lines, a client may have written any.
        let [line] = lines[..] else { return None };
        Some(vec![address(line.trim())])
    }
}

impl Default for TrustedHeader {
    fn default() -> Self {
        Self(X_FORWARDED_FOR)
    }
}

impl FromStr for TrustedHeader {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, InvalidHeader> {
        text.parse().map(Self).map_err(|_| InvalidHeader(text.to_owned()))
    }
}

/// Parses an address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Parses an address or a network in CIDR notation, such as `192.0.2.0/24`.
///
/// A network of all addresses is rejected: every client would count as a proxy.
pub fn parse_network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.prefix_len() == 0 => Err(InvalidNetwork::All),
        Ok(network) => Ok(network),
        Err(_) => Err(InvalidNetwork::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns the client of a request from `peer` with these headers, of which `trusted` is read, where 10.0.0.0/8 and
    /// `2001:db8:f::/48` are proxies.
    fn client(peer: &str, trusted: &str, headers: &[(&'static str, &str)]) -> ClientKey {
        let networks = ["10.0.0.0/8", "2001:db8:f::/48"].map(|network| parse_network(network).unwrap()).into();
        let proxies = TrustedProxies { networks, header: trusted.parse().unwrap() };
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        ClientKey::of_request(ip(peer), &headers, &proxies)
    }

    #[test]
    fn neighbours_of_ipv4_are_apart_and_a_site_of_ipv6_is_one_client() {
        let same = |one: &str, other: &str| ClientKey::of(ip(one)) == ClientKey::of(ip(other));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(same("2001:db8:1:2200::1", "2001:db8:1:22ff:ffff::2"));
        assert!(!same("2001:db8:1:2200::1", "2001:db8:1:2300::1"));
    }

    #[test]
    fn only_a_proxy_is_trusted_and_only_the_address_that_it_appended() {
        const LIST: &str = "x-forwarded-for";
        for (from, trusted, headers, expected) in [
            ("192.0.2.9", LIST, &[(LIST, "198.51.100.1")][..], "192.0.2.9"),
            ("10.0.0.1", LIST, &[(LIST, "198.51.100.1")], "198.51.100.1"),
            ("::ffff:10.0.0.1", LIST, &[(LIST, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", LIST, &[(LIST, "203.0.113.7, 198.51.100.1 ,10.2.3.4")], "198.51.100.1"),
            ("10.0.0.1", LIST, &[(LIST, "203.0.113.7"), (LIST, "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", LIST, &[(LIST, "198.51.100.1:1234, [2001:db8:f::1]:80")], "198.51.100.1"),
            ("10.0.0.1", LIST, &[(LIST, "nonsense, 198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", LIST, &[(LIST, "198.51.100.1"), ("forwarded", "for=203.0.113.7")], "198.51.100.1"),
            ("10.0.0.1", "Forwarded", &[(LIST, "203.0.113.7"), ("forwarded", "for=198.51.100.1")], "198.51.100.1"),
            (
                "10.0.0.1",
                "forwarded",
                &[("forwarded", "for=203.0.113.7, proto=https;For=\"[2001:db8::1]:4711\"")],
                "2001:db8::1",
            ),
            ("10.0.0.1", "forwarded", &[("forwarded", "for=203.0.113.7"), ("forwarded", "for=192.0.2.1")], "192.0.2.1"),
            ("10.0.0.1", "forwarded", &[("forwarded", "for=192.0.2.1;host=\"a,for=1.1.1.1\"")], "192.0.2.1"),
            ("10.0.0.1", "X-Real-IP", &[("x-real-ip", "192.0.2.1"), (LIST, "203.0.113.7")], "192.0.2.1"),
        ] {
            let client = client(from, trusted, headers);
            assert!(!client.is_proxy(), "{from} {headers:?}");
            assert_eq!(client.prefix, ClientKey::of(ip(expected)).prefix, "{from} {headers:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_trusted_counts_as_the_proxy() {
        const LIST: &str = "x-forwarded-for";
        for (trusted, headers) in [
            (LIST, &[][..]),
            (LIST, &[(LIST, "unknown")]),
            (LIST, &[(LIST, "198.51.100.1, secret")]),
            (LIST, &[(LIST, "198.51.100.1, \u{fc}")]),
            (LIST, &[(LIST, "10.1.1.1")]),
            (LIST, &[("forwarded", "for=203.0.113.7")]),
            ("forwarded", &[("forwarded", "for=_hidden")]),
            ("forwarded", &[(LIST, "198.51.100.1")]),
            ("forwarded", &[("forwarded", "for=203.0.113.7;host=\""), ("forwarded", "for=198.51.100.1")]),
            ("forwarded", &[("forwarded", "for=198.51.100.1, for=203.0.113.7;for=1.1.1.1")]),
            ("x-real-ip", &[("x-real-ip", "203.0.113.7, 198.51.100.1")]),
            ("x-real-ip", &[("x-real-ip", "203.0.113.7"), ("x-real-ip", "198.51.100.1")]),
            ("x-real-ip", &[("x-real-ip", "")]),
        ] {
            let client = client("10.0.0.1", trusted, headers);
            assert!(client.is_proxy() && client.prefix == ip("10.0.0.1"), "{trusted} {headers:?}");
        }
    }

    #[test]
    fn a_header_has_a_name() {
        for bad in ["", "X Real IP", "for:", "\u{fc}"] {
            let error = bad.parse::<TrustedHeader>().unwrap_err().to_string();
            assert!(error.contains("expected Forwarded"), "{error}");
        }
    }

    #[test]
    fn a_network_contains_the_addresses_of_its_prefix() {
        let network = parse_network;
        assert!(network("128.0.0.0/1").unwrap().contains(&ip("192.0.2.1")));
        assert!(network("192.0.2.128/25").unwrap().contains(&ip("192.0.2.255")));
        assert!(!network("192.0.2.128/25").unwrap().contains(&ip("192.0.2.1")));
        assert!(!network("192.0.2.1").unwrap().contains(&ip("192.0.2.2")));
        assert!(network("2001:db8::/32").unwrap().contains(&ip("2001:db8:ffff::1")));
        assert!(!network("::/1").unwrap().contains(&ip("192.0.2.1")));
        for bad in ["", "192.0.2.1/33", "192.0.2/24", "::/129", "host", "192.0.2.1/-1", "192.0.2.1/"] {
            assert!(network(bad).unwrap_err().to_string().contains("10.0.0.0/8"), "{bad}");
        }
        for all in ["0.0.0.0/0", "::/0", "10.0.0.0/0"] {
            assert!(network(all).unwrap_err().to_string().contains("every client"), "{all}");
        }
    }

    #[test]
    fn an_address_is_not_shown() {
        assert_eq!(format!("{:?}", ClientKey::of(ip("192.0.2.1"))), "ClientKey(..)");
    }
}
