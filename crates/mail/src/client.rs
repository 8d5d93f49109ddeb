//! The network location of a client, as the server knows it.

use std::{fmt, net::IpAddr};

/// The network location of a session's client, as far as the server knows it. Code that distinguishes
/// near, trusted and unknown clients must handle all three cases.
///
/// Values are made in three places only: where a connection is accepted, where a load balancer's PROXY
/// header is read, and where XCLIENT is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// A client on a Unix socket of this machine: any user whom the mode of the socket file admits.
    Local,
    /// A client at an IP address.
    Ip(CanonicalIp),
    /// A client at an unknown place: the proxy that speaks for the client does not know the address.
    /// Such a client is treated as a stranger.
    Unknown,
}

impl ClientAddress {
    /// Returns the IP address, if there is one and it is known.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.get()),
            Self::Local | Self::Unknown => None,
        }
    }

    /// Returns whether the client is certain to be on this machine.
    #[must_use]
    pub fn is_on_this_machine(self) -> bool {
        match self {
            Self::Local => true,
            Self::Ip(address) => address.get().is_loopback(),
            Self::Unknown => false,
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.into())
    }
}

/// Prints the client as the TCP-info of a Received field (RFC 5321 §4.4).
impl fmt::Display for ClientAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => out.write_str("local"),
            Self::Ip(address) => match address.get() {
                IpAddr::V4(ip) => write!(out, "[{ip}]"),
                IpAddr::V6(ip) => write!(out, "[IPv6:{ip}]"),
            },
            Self::Unknown => out.write_str("unknown"),
        }
    }
}

/// An IP address in canonical form, safe to compare. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2), as
/// reported by a dual-stack socket or a load balancer, becomes the IPv4 address. Without this, clients
/// could choose whether they belong to a network by choosing how they connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalIp(IpAddr);

impl CanonicalIp {
    /// Returns the address.
    #[must_use]
    pub const fn get(self) -> IpAddr {
        self.0
    }
}

impl From<IpAddr> for CanonicalIp {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_near() {
        for (client, near, printed) in [
            (ClientAddress::Local, true, "local"),
            (ClientAddress::Unknown, false, "unknown"),
            ("127.0.0.1".parse::<IpAddr>().unwrap().into(), true, "[127.0.0.1]"),
            ("::1".parse::<IpAddr>().unwrap().into(), true, "[IPv6:::1]"),
            ("::ffff:127.0.0.1".parse::<IpAddr>().unwrap().into(), true, "[127.0.0.1]"),
            ("::ffff:192.0.2.1".parse::<IpAddr>().unwrap().into(), false, "[192.0.2.1]"),
            ("2001:db8::1".parse::<IpAddr>().unwrap().into(), false, "[IPv6:2001:db8::1]"),
            ("0.0.0.0".parse::<IpAddr>().unwrap().into(), false, "[0.0.0.0]"),
        ] {
            assert_eq!(client.is_on_this_machine(), near, "{printed}");
            assert_eq!(client.to_string(), printed);
        }
    }
}
