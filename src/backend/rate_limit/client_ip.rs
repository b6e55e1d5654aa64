//! The client of a request: an address or an address prefix.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// The older of the two headers that proxies write, which has no standard.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a network.
    #[error("{0:?} is no network: expected an address, or one with the number of its first bits, such as 10.0.0.0/8")]
    Form(String),
    /// The network of all addresses.
    #[error(
        "{0:?} is every address, so that every client would count as a proxy: expected the proxies' own, such as 10.0.0.0/8"
    )]
    All(String),
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
    pub(super) fn of_peer(peer: IpAddr, proxies: &[IpNet]) -> Self {
        Self { is_proxy: contains(proxies, peer), ..Self::of(peer) }
    }

    /// Returns the key of the client of a request: the peer or, if the peer is one of `proxies`, the address that it
    /// forwards for.
    ///
    /// Each proxy appends the address that called it, so the last address that is not a proxy's is the nearest that can
    /// be trusted; a client may have written those before it. A proxy appends to one of two headers, and passes the other
    /// on unchanged. If both are present and differ, neither is trusted.
    pub(super) fn of_request(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        if !contains(proxies, peer) {
            return Self::of(peer);
        }
        let plain = nearest(values(headers, X_FORWARDED_FOR).map(address), proxies);
        let structured = nearest(values(headers, FORWARDED.as_str()).map(forwarded_for), proxies);
        match (plain, structured) {
            (Some(one), Some(other)) if one != other => Self::of_peer(peer, proxies),
            (Some(address), _) | (None, Some(address)) => Self::of(address),
            (None, None) => Self::of_peer(peer, proxies),
        }
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

/// Returns the last address that is not a proxy's; `None` if there is none, or if it is not an address.
fn nearest(hops: impl DoubleEndedIterator<Item = Option<IpAddr>>, proxies: &[IpNet]) -> Option<IpAddr> {
    hops.rev().find(|hop| hop.is_none_or(|hop| !contains(proxies, hop))).flatten()
}

/// Returns the elements of a header that is a list, over all its lines.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    lines.into_iter().flat_map(|line| line.split(',').map(str::trim).collect::<Vec<_>>())
}

/// Parses an address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Parses the `for` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.trim_matches('"'))
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// Parses an address or a network in CIDR notation, such as `192.0.2.0/24`.
///
/// A network of all addresses is rejected: every client would count as a proxy.
pub fn parse_network(text: &str) -> Result<IpNet, InvalidNetwork> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.prefix_len() == 0 => Err(InvalidNetwork::All(text.to_owned())),
        Ok(network) => Ok(network),
        Err(_) => Err(InvalidNetwork::Form(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns the client of a request from `peer`, where 10.0.0.0/8 and `2001:db8:f::/48` are proxies.
    fn client(peer: &str, headers: &[(&'static str, &str)]) -> ClientKey {
        let proxies = ["10.0.0.0/8", "2001:db8:f::/48"].map(|network| parse_network(network).unwrap());
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
        let peer = |address| ClientKey::of(ip(address));
        for (from, headers, expected) in [
            ("192.0.2.9", &[("x-forwarded-for", "198.51.100.1")][..], "192.0.2.9"),
            ("10.0.0.1", &[("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7, 198.51.100.1 ,10.2.3.4")], "198.51.100.1"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
            ("10.0.0.1", &[("x-forwarded-for", "198.51.100.1:1234, [2001:db8:f::1]:80")], "198.51.100.1"),
            ("10.0.0.1", &[("forwarded", "for=203.0.113.7, proto=https;For=\"[2001:db8::1]:4711\"")], "2001:db8::1"),
            ("10.0.0.1", &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
        ] {
            assert_eq!(client(from, headers).prefix, peer(expected).prefix, "{from} {headers:?}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_trusted_counts_as_the_proxy() {
        for headers in [
            &[][..],
            &[("x-forwarded-for", "unknown")],
            &[("x-forwarded-for", "198.51.100.1, secret")],
            &[("x-forwarded-for", "10.1.1.1")],
            &[("forwarded", "for=_hidden")],
            &[("forwarded", "for=203.0.113.7"), ("x-forwarded-for", "198.51.100.1")],
        ] {
            let client = client("10.0.0.1", headers);
            assert!(client.is_proxy() && client.prefix == ip("10.0.0.1"), "{headers:?}");
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
            assert!(network(all).unwrap_err().to_string().contains("is every address"), "{all}");
        }
    }

    #[test]
    fn an_address_is_not_shown() {
        assert_eq!(format!("{:?}", ClientKey::of(ip("192.0.2.1"))), "ClientKey(..)");
    }
}
