//! Where a client is.

use std::{fmt, net::IpAddr};

/// Where the client of a session is, as far as the server knows. Whoever decides by it whether a
/// client is near, trusted or a stranger has to say what holds for each of the three.
///
/// Made where a connection is accepted, where a load balancer's PROXY header is read and where
/// XCLIENT is, and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// At a Unix socket of this machine: whoever its file's mode admits.
    Local,
    /// At an IP address.
    Ip(CanonicalIp),
    /// Anywhere: whoever speaks for the client does not know. It is a stranger.
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

/// Prints what a Received field has in its place for the address (RFC 5321 §4.4).
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

/// An IP address in the one form that it is compared in. An IPv4-mapped IPv6 address (RFC 4291
/// §2.5.5.2), as a dual-stack socket or a load balancer hands it on, is the IPv4 address; otherwise
/// a client could be within a network or without as it liked.
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
