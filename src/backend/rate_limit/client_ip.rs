//! TokenRef a request is from, as far as limits need to know: an address or the beginning of one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// What proxies have added to for longest.
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The bits of an IPv6 address that stand for one source. A site is given a /56 or a /48 (RIPE-690) and chooses among
/// its addresses freely; a hosting company gives each machine a /64 or more, so that 256 neighbours may share one here.
const IPV6_SITE_MASK: u128 = u128::MAX << (128 - 56);

/// Where requests come from that are limited together: one IPv4 address, since neighbours in a network are strangers to
/// each other, or the first 56 bits of an IPv6 address. It is never stored, and never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::backend) struct ClientKey {
    prefix: IpAddr,
    is_proxy: bool,
}

/// Text that is no network of proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is no address, or no number of bits.
    #[error("{0:?} is no network: expected an address, or one with the number of its first bits, such as 10.0.0.0/8")]
    Form(String),
    /// It is every address there is, of whom none could be told from a sender.
    #[error(
        "{0:?} is every address, so that nobody would be told from a proxy: expected the proxies' own, such as 10.0.0.0/8"
    )]
    All(String),
}

impl ClientKey {
    /// That of an address.
    pub(in crate::backend) fn of(address: IpAddr) -> Self {
        let prefix = match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & IPV6_SITE_MASK).into(),
        };
        Self { prefix, is_proxy: false }
    }

    /// That of a peer, which may be one of `proxies`.
    pub(super) fn of_peer(peer: IpAddr, proxies: &[IpNet]) -> Self {
        Self { is_proxy: contains(proxies, peer), ..Self::of(peer) }
    }

    /// That of a request: the peer, or who it is forwarded for, if the peer is one of `proxies`.
    ///
    /// Each proxy adds the address that it was called from at the end, so the last one that is not a proxy's is the
    /// nearest that can be believed: what is before it, anybody may have written. A proxy adds to one of two headers and
    /// passes the other on as it came. So where both are there and disagree, neither is believed.
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

    /// Whether it is a proxy, whose requests are of many.
    pub(super) fn is_proxy(&self) -> bool {
        self.is_proxy
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

/// The first address from the end that is not a proxy's; `None` where there is none, or what is there is no address.
fn nearest(hops: impl DoubleEndedIterator<Item = Option<IpAddr>>, proxies: &[IpNet]) -> Option<IpAddr> {
    hops.rev().find(|hop| hop.is_none_or(|hop| !contains(proxies, hop))).flatten()
}

/// The elements of a header that is a list, over all its lines.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    lines.into_iter().flat_map(|line| line.split(',').map(str::trim).collect::<Vec<_>>())
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// The `for` of one element of `Forwarded`, as RFC 7239 writes it.
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
/// A network of all addresses is refused: no sender could be told from a proxy.
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

    /// The source of a request through 10.0.0.1, where 10.0.0.0/8 and `2001:db8:f::/48` are proxies.
    fn source(peer: &str, headers: &[(&'static str, &str)]) -> ClientKey {
        let proxies = ["10.0.0.0/8", "2001:db8:f::/48"].map(|network| parse_network(network).unwrap());
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        ClientKey::of_request(ip(peer), &headers, &proxies)
    }

    #[test]
    fn neighbours_of_ipv4_are_strangers_and_a_site_of_ipv6_is_one() {
        let same = |one: &str, other: &str| ClientKey::of(ip(one)) == ClientKey::of(ip(other));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(same("2001:db8:1:2200::1", "2001:db8:1:22ff:ffff::2"));
        assert!(!same("2001:db8:1:2200::1", "2001:db8:1:2300::1"));
    }

    #[test]
    fn only_a_proxy_is_believed_and_only_its_own_word() {
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
            assert_eq!(source(from, headers).prefix, peer(expected).prefix, "{from} {headers:?}");
        }
    }

    #[test]
    fn what_cannot_be_believed_counts_as_the_proxy() {
        for headers in [
            &[][..],
            &[("x-forwarded-for", "unknown")],
            &[("x-forwarded-for", "198.51.100.1, secret")],
            &[("x-forwarded-for", "10.1.1.1")],
            &[("forwarded", "for=_hidden")],
            &[("forwarded", "for=203.0.113.7"), ("x-forwarded-for", "198.51.100.1")],
        ] {
            let source = source("10.0.0.1", headers);
            assert!(source.is_proxy() && source.prefix == ip("10.0.0.1"), "{headers:?}");
        }
    }

    #[test]
    fn a_network_holds_what_begins_as_it_does() {
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
