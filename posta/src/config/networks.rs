//! Networks that are trusted, and refused where they are so wide that strangers are in them.

use super::text::Text;
use ipnet::IpNet;
use std::net::IpAddr;

/// Bits that a trusted network has at least: `10.0.0.0/8` and `fc00::/7` are the widest that belong to
/// somebody.
const WIDEST: u8 = 7;

/// A network whose computers send mail to other servers without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderNetwork(pub(crate) IpNet);

/// A network of servers in front, which say for whom they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProxyNetwork(pub(crate) IpNet);

/// A network of programs that collect metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricsNetwork(pub(crate) IpNet);

impl Text for MetricsNetwork {
    fn parse(text: &str) -> Result<Self, String> {
        let harm = "would show everybody on the internet how much mail goes where: name the address of the \
                    program that collects metrics, such as \"192.168.1.7\"";
        network(text, harm).map(Self)
    }
}

impl Text for SenderNetwork {
    fn parse(text: &str) -> Result<Self, String> {
        let harm = "would let everybody on the internet send to everybody through this server (an open \
                    relay): name your own networks, such as \"192.168.1.0/24\"; who is elsewhere logs in, by \
                    protocol = \"submission\"";
        network(text, harm).map(Self)
    }
}

impl Text for ProxyNetwork {
    fn parse(text: &str) -> Result<Self, String> {
        let harm = "would let everybody say that they come from anywhere: name the address of the load \
                    balancer in front, such as \"192.168.1.5\"";
        network(text, harm).map(Self)
    }
}

/// Parses a network or a single address. One that is too wide would do this `harm`.
fn network(text: &str, harm: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
        let words = "such as \"192.168.1.0/24\" or \"2001:db8::/32\", or an address, such as \"192.168.1.5\"";
        format!("{text:?} is no network, {words}")
    })?;
    if network.prefix_len() < WIDEST { Err(format!("{network} {harm}")) } else { Ok(network) }
}
