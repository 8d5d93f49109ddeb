//! What is written correctly and would still do harm, or nothing: refused, with the cure.

use super::{Config, Listen, Protocol, TlsMode};
use anyhow::{Result, bail, ensure};
use ipnet::IpNet;
use posta_net::transport::Endpoint;
use std::net::{IpAddr, SocketAddr};

/// Bits that a trusted network has at least: `10.0.0.0/8` and `fc00::/7` are the widest that belong to
/// somebody.
const WIDEST: u8 = 7;

pub(super) fn check(config: &Config) -> Result<()> {
    config.tls.check()?;
    if let Some(oauth) = &config.oauth {
        oauth.check()?;
    }
    config.relay.check()?;
    if config.dns.dnssec == Some(false) && config.dns.trust_anchor.is_some() {
        bail!("dns.trust-anchor means nothing with dnssec = false");
    }
    let sends = "would let everybody on the internet send to everybody through this server (an open \
                 relay): name your own networks, such as \"192.168.1.0/24\"; who is elsewhere logs in, by \
                 protocol = \"submission\"";
    check_networks("relay.networks", &config.relay.networks, sends)?;
    let claims = "would let everybody say that they come from anywhere: name the address of the load \
                  balancer in front, such as \"192.168.1.5\"";
    check_networks("proxy.networks", &config.proxy.networks, claims)?;
    check_networks("proxy.xclient", &config.proxy.xclient, claims)?;
    check_listeners(&config.listen)
}

fn check_networks(name: &str, networks: &[IpNet], harm: &str) -> Result<()> {
    match networks.iter().find(|network| network.prefix_len() < WIDEST) {
        Some(wide) => bail!("{name}: {wide} {harm}"),
        None => Ok(()),
    }
}

fn check_listeners(listeners: &[Listen]) -> Result<()> {
    ensure!(
        !listeners.is_empty(),
        "listen = [] serves nobody: leave it out to listen on this machine (SMTP 2525, submission 2587, \
         POP3 2110), or write a [[listen]] for each socket"
    );
    for (index, listen) in listeners.iter().enumerate() {
        let Listen { protocol, address, tls } = listen;
        if *protocol != Protocol::Lmtp && matches!(address, Endpoint::Unix(_)) {
            bail!("listen[{index}].address: only lmtp may listen on a Unix socket");
        }
        if *protocol == Protocol::Https && *tls != TlsMode::Implicit {
            bail!("listen[{index}].tls: https needs tls = \"implicit\"");
        }
        let earlier = listeners[..index].iter().find(|earlier| collide(&earlier.address, address));
        let Some(Listen { protocol: other, address: taken, .. }) = earlier else { continue };
        let (protocol, other) = (protocol.name(), other.name());
        if taken == address {
            bail!(
                "{address} is listened on twice, for {other} and {protocol}: give one another port"
            );
        }
        bail!(
            "{taken} for {other} takes in {address} for {protocol}, too: leave one out, or give it another \
             port"
        );
    }
    Ok(())
}

/// Whether the system refuses the second of two sockets.
fn collide(one: &Endpoint, other: &Endpoint) -> bool {
    match (one, other) {
        (Endpoint::Tcp(one), Endpoint::Tcp(other)) => {
            one.port() != 0
                && one.port() == other.port()
                && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
        }
        (Endpoint::Unix(one), Endpoint::Unix(other)) => one == other,
        _ => false,
    }
}

/// Whether a socket is for an address too. That for all of IPv6 is for IPv4 as well.
const fn covers(socket: &SocketAddr, other: &SocketAddr) -> bool {
    match socket.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    }
}
