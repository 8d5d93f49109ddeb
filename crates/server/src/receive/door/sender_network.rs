//! The unit by which mail from strangers is counted and remembered: the network that one sender's servers share.

use ipnet::IpNet;
use posta_mail::ClientAddress;
use std::{fmt, net::IpAddr};

/// The network of a client: the /24 of an IPv4 address, the /64 of an IPv6 address. It is wider than a
/// [`ClientNetwork`](posta_net::client_network::ClientNetwork), since a sender's servers stand side by side, and a
/// message may be tried again from any of them. All clients whose address is unknown are one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SenderNetwork(Option<IpNet>);

/// The bits of an IPv4 address that name its network.
const V4: u8 = 24;

/// The bits of an IPv6 address that name its network.
const V6: u8 = 64;

/// The bits of an IPv6 address by which a translator presents the network of an IPv4 client (RFC 6052 §2.1).
const NAT64: u8 = 96 + V4;

impl SenderNetwork {
    /// Returns the network that a client's address belongs to.
    pub(crate) fn of(client: ClientAddress) -> Self {
        let network = client.ip().and_then(|address| {
            let bits = match address.to_canonical() {
                IpAddr::V4(_) => V4,
                IpAddr::V6(six) if six.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => NAT64,
                IpAddr::V6(_) => V6,
            };
            IpNet::new(address.to_canonical(), bits).ok()
        });
        Self(network.map(|network| network.trunc()))
    }
}

impl fmt::Display for SenderNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(network) => network.fmt(f),
            None => f.write_str("unknown addresses"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_side_by_side_are_one_network() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.0/24"),
            ("::ffff:192.0.2.200", "192.0.2.0/24"),
            ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:200/120"),
        ] {
            let client: IpAddr = address.parse().unwrap();
            assert_eq!(SenderNetwork::of(client.into()).to_string(), network);
        }
        assert_eq!(SenderNetwork::of(ClientAddress::Unknown).to_string(), "unknown addresses");
    }
}
