//! Who counts as one client: the network that limits, lock-outs and rates are counted by.
//!
//! Every place that counts what strangers do uses [`ClientNetwork`] as its key, and none uses a bare
//! address: whoever rents an IPv6 server has 2^64 addresses and could otherwise be a new client with
//! each connection.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The network of a client's address: an IPv4 address by itself, the /64 of an IPv6 address.
///
/// An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), as a dual-stack socket or a load balancer hands
/// it on, is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// Returns the network that a client's address belongs to.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }

    /// Returns whether the client is on this machine. `::1` is; the rest of its /64 is not routed.
    #[must_use]
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback() || self.0.is_unspecified()
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(out),
            IpAddr::V6(address) => write!(out, "{address}/64"),
        }
    }
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
