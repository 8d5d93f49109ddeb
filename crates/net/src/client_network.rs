//! The unit by which clients are counted for limits, lock-outs and rates: a network.
//!
//! All code that counts the actions of strangers uses [`ClientNetwork`] as its key, never a bare
//! address. A rented IPv6 server has 2^64 addresses, and could otherwise appear as a new client with
//! each connection.

use ipnet::IpNet;
use posta_mail::ClientAddress;
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The prefix that a translator uses to present IPv4 clients to a server that has only IPv6 (RFC 6052
/// §2.1). Each address with this prefix is counted by itself; otherwise all of IPv4 would be one client.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The network of a client: an IPv4 address by itself, or the /64 of an IPv6 address. All clients whose address
/// is unknown are one network, and share what one client may do.
///
/// An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), as dual-stack sockets and load balancers report it, counts
/// as the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(Option<IpAddr>);

impl ClientNetwork {
    /// Returns the network that a client's address belongs to.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self(Some(address.into())),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.segments();
                if [a, b, c, d, e, f] == NAT64 {
                    return Self(Some(address.into()));
                }
                Self(Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()))
            }
        }
    }

    /// Returns the network under which a client is counted; `None` for a Unix socket, where the mode of
    /// the socket file decides who may connect.
    #[must_use]
    pub fn of_client(client: ClientAddress) -> Option<Self> {
        match client {
            ClientAddress::Local => None,
            ClientAddress::Ip(address) => Some(Self::of(address.get())),
            ClientAddress::Unknown => Some(Self(None)),
        }
    }

    /// Returns whether the client is on this machine. The whole /64 of `::1` counts, since the rest of
    /// that network is not routed.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.is_some_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(IpAddr::V4(address)) => address.fmt(out),
            Some(IpAddr::V6(address)) if address.segments()[..6] == NAT64 => address.fmt(out),
            Some(IpAddr::V6(address)) => write!(out, "{address}/64"),
            None => out.write_str("unknown addresses"),
        }
    }
}

/// Returns whether a client's address is known and in one of these networks.
#[must_use]
pub fn is_within(networks: &[IpNet], client: ClientAddress) -> bool {
    let contain = |address| networks.iter().any(|network| network.contains(&address));
    client.ip().is_some_and(contain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one_client() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false),
        ] {
            let [left, right] = [one, other].map(|text| ClientNetwork::of(text.parse().unwrap()));
            assert_eq!(left == right, same, "{one} and {other}");
        }
        assert_eq!(ClientNetwork::of("2001:db8::9".parse().unwrap()).to_string(), "2001:db8::/64");
        assert_eq!(ClientNetwork::of("::ffff:192.0.2.1".parse().unwrap()).to_string(), "192.0.2.1");
        assert!(ClientNetwork::of("::1".parse().unwrap()).is_loopback());
        assert!(!ClientNetwork::of("2001:db8::1".parse().unwrap()).is_loopback());
    }
}
