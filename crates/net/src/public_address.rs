//! The distinction between public and non-public IP addresses. The [`Dialer`](crate::dial::Dialer) asks
//! here before connecting to a host that a stranger named.
//!
//! Strangers control the DNS of their domains, and the address literals they write. If one chose
//! `127.0.0.1` or `10.0.0.7`, an unchecked server would connect on his behalf to services that only the
//! internal network can reach (server-side request forgery).

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The use of a non-public address, as named in reports.
pub type Purpose = &'static str;

const fn net(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The IPv4 networks in which no public mail server can have an address: the networks of the IANA IPv4
/// Special-Purpose Address Registry (RFC 6890) that are not globally reachable, multicast (RFC 5771) and
/// class E (RFC 1112 §4).
const NOT_PUBLIC: [(Ipv4Net, Purpose); 16] = [
    (net([0, 0, 0, 0], 8), "this network"),
    (net([10, 0, 0, 0], 8), "private"),
    (net([100, 64, 0, 0], 10), "shared by a provider's customers"),
    (net([127, 0, 0, 0], 8), "loopback"),
    (net([169, 254, 0, 0], 16), "link-local"),
    (net([172, 16, 0, 0], 12), "private"),
    (net([192, 0, 0, 0], 24), "reserved for protocols"),
    (net([192, 0, 2, 0], 24), "for documentation"),
    (net([192, 88, 99, 0], 24), "a 6to4 relay"),
    (net([192, 168, 0, 0], 16), "private"),
    (net([198, 18, 0, 0], 15), "for benchmarks"),
    (net([198, 51, 100, 0], 24), "for documentation"),
    (net([203, 0, 113, 0], 24), "for documentation"),
    (net([224, 0, 0, 0], 4), "multicast"),
    (net([255, 255, 255, 255], 32), "broadcast"),
    (net([240, 0, 0, 0], 4), "reserved"),
];

/// Returns the use of a non-public address; `None` if the address is public.
pub fn purpose(address: IpAddr) -> Option<Purpose> {
    match address {
        IpAddr::V4(address) => {
            NOT_PUBLIC.iter().find(|(network, _)| network.contains(&address)).map(|(_, what)| *what)
        }
        IpAddr::V6(address) => purpose_v6(address),
    }
}

/// For IPv6 the rule is reversed: an address is public only if IANA has assigned it to the public
/// internet. That excludes everything outside 2000::/3 (RFC 4291 §2.4), and the exceptions listed in the
/// IANA IPv6 Special-Purpose Address Registry. An address that embeds an IPv4 address is public if that
/// one is.
fn purpose_v6(address: Ipv6Addr) -> Option<Purpose> {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        purpose(Ipv4Addr::new(a, b, c, d).into())
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        // IPv4-mapped: the kernel connects over IPv4.
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        // NAT64 with the well-known prefix (RFC 6052 §2.1): the way in which DNS64 presents public IPv4
        // servers to networks without IPv4. The prefix for local use (RFC 8215) is not public.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("unique local"),
        [first, ..] if first & 0xffc0 == 0xfe80 => Some("link-local"),
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("site-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("multicast"),
        [first, ..] if first & 0xe000 != 0x2000 => Some("reserved"),
        // Includes Teredo (RFC 4380), which hides the other side's IPv4 address.
        [0x2001, second, ..] if second < 0x0200 => Some("reserved for protocols"),
        [0x2001, 0x0db8, ..] => Some("for documentation"),
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => embedded(high, low),
        // RFC 9637.
        [0x3fff, second, ..] if second < 0x1000 => Some("for documentation"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boundaries of every range, and every way to write an IPv4 address as an IPv6 one.
    #[test]
    fn what_is_public() {
        for (addresses, expected) in [
            ("1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0", None),
            ("126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0", None),
            ("172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0", None),
            ("198.17.255.255 198.20.0.0 198.51.99.255 203.0.114.0 223.255.255.255", None),
            ("0.0.0.0 0.255.255.255", Some("this network")),
            ("10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255", Some("private")),
            ("192.168.0.0 192.168.255.255", Some("private")),
            ("100.64.0.0 100.127.255.255", Some("shared by a provider's customers")),
            ("127.0.0.1 127.0.0.9 127.255.255.255", Some("loopback")),
            ("169.254.0.0 169.254.169.254", Some("link-local")),
            ("192.0.0.0 192.0.0.255", Some("reserved for protocols")),
            ("192.0.2.1 198.51.100.1 203.0.113.255", Some("for documentation")),
            ("192.88.99.1", Some("a 6to4 relay")),
            ("198.18.0.0 198.19.255.255", Some("for benchmarks")),
            ("224.0.0.0 239.255.255.255", Some("multicast")),
            ("240.0.0.0 255.255.255.254", Some("reserved")),
            ("255.255.255.255", Some("broadcast")),
            ("2000:: 2001:200:: 2606:4700::1111 2a00:1450::1b 2001:db7:: 2001:db9:: 3ffe::1", None),
            ("::", Some("unspecified")),
            ("::1", Some("loopback")),
            ("::2 ::127.0.0.1 ::8.8.8.8 100::1 1fff:ffff:: 4000:: 5f00::1", Some("reserved")),
            ("fc00:: fd00::1 fdff:ffff::", Some("unique local")),
            ("fe80::1 febf::1", Some("link-local")),
            ("fec0::1 feff::1", Some("site-local")),
            ("ff00:: ff02::1", Some("multicast")),
            (
                "2001:: 2001:0:7f00:1:0:0:8080:fefe 2001:10:: 2001:1ff::",
                Some("reserved for protocols"),
            ),
            ("2001:db8:: 2001:db8:ffff:: 3fff:: 3fff:fff::", Some("for documentation")),
            ("::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 3fff:1000::", None),
            ("::ffff:127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::1", Some("loopback")),
            ("::ffff:10.0.0.1 64:ff9b::10.0.0.1 2002:a00:1::", Some("private")),
            ("::ffff:0.0.0.0 64:ff9b::0.0.0.0 2002::", Some("this network")),
            ("::ffff:0:127.0.0.1 64:ff9b:1::127.0.0.1 64:ff9b::1:0:0", Some("reserved")),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(purpose(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
