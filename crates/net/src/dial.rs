//! Connecting to hosts whose names come from others: from strangers through DNS, or from the
//! configuration.
//!
//! Code that delivers mail or fetches a web page holds a [`Dialer`] rather than a [`Net`], so every
//! connection goes through this module's decision. The decision is about addresses, made after the name
//! has been looked up for that very connection. An attacker therefore gains nothing from a name that
//! leads to a public address when checked and to an internal one when used (DNS rebinding).

mod by_name;
pub(crate) mod happy_eyeballs;

pub use by_name::ByName;

use crate::{
    public_address::{self, Purpose},
    transport::{Net, Stream},
};
use serde::Deserialize;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Whether mail may be sent to addresses outside the public internet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivateAddresses {
    /// No. Strangers cannot make this server connect to machines inside its own network.
    #[default]
    Refuse,
    /// Yes: for closed networks whose mail servers find each other through DNS.
    Allow,
}

/// Opens connections to hosts that DNS, an address literal or the configuration names.
#[derive(Clone)]
pub struct Dialer {
    net: Arc<dyn Net>,
    private_addresses: PrivateAddresses,
    sources: Vec<IpAddr>,
    /// Whether the log has already explained a refusal. Once is enough, since strangers can cause any
    /// number.
    has_warned: Arc<AtomicBool>,
}

/// The addresses of one host that may be dialled and have not been tried yet. Only a [`Dialer`] makes
/// them.
pub struct Targets(Vec<SocketAddr>);

/// The address at which [`Dialer::connect`] succeeded.
#[derive(Debug, Clone, Copy)]
pub struct Target(SocketAddr);

/// The error of a host that has no public address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has no public address: {address} is {purpose}")]
pub struct NotPublic {
    /// The first of its addresses.
    address: IpAddr,
    purpose: Purpose,
}

impl Dialer {
    /// Returns a dialler that connects from these `sources`, at most one for each address family. For a
    /// family without one, the system chooses the source address.
    pub fn new(
        net: Arc<dyn Net>,
        private_addresses: PrivateAddresses,
        sources: Vec<IpAddr>,
    ) -> Self {
        Self { net, private_addresses, sources, has_warned: Arc::default() }
    }

    /// Returns the addresses at which to dial a host that a stranger named, through DNS or by an address
    /// literal: the public ones, unless private addresses are allowed.
    ///
    /// # Errors
    /// When the host has addresses and all of them are refused.
    pub fn strangers_host(
        &self,
        mut addresses: Vec<IpAddr>,
        port: u16,
    ) -> Result<Targets, NotPublic> {
        let purpose = |address: &IpAddr| match self.private_addresses {
            PrivateAddresses::Refuse => public_address::purpose(*address),
            PrivateAddresses::Allow => None,
        };
        let refused = addresses.iter().find_map(|address| Some((*address, purpose(address)?)));
        addresses.retain(|address| purpose(address).is_none());
        match refused {
            Some((address, purpose)) if addresses.is_empty() => {
                if !self.has_warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "a name in DNS leads to {address}, which is {purpose}: not connected; in a \
                         closed network, set relay.private-addresses = \"allow\""
                    );
                }
                Err(NotPublic { address, purpose })
            }
            _ => Ok(Targets(happy_eyeballs::ordered(addresses, port))),
        }
    }

    /// Returns the addresses at which to dial a host that the configuration names: all of them.
    pub fn configured_host(addresses: Vec<IpAddr>, port: u16) -> Targets {
        Targets(happy_eyeballs::ordered(addresses, port))
    }

    /// Connects to the first address that answers. That address, and those that failed before it, are
    /// removed from `targets`.
    ///
    /// # Errors
    /// When no address answers. The error is that of the last address; `targets` is then empty.
    pub async fn connect(
        &self,
        targets: &mut Targets,
        patience: Duration,
    ) -> Result<(Box<dyn Stream>, Target), String> {
        let won = happy_eyeballs::connect(&mut targets.0, &self.net, &self.sources, patience).await;
        let won = won.map_err(|error| error.to_string())?;
        Ok((won.0, Target(won.1)))
    }

    /// Connects once more to an address that answered before.
    ///
    /// # Errors
    /// When the connection cannot be made within `patience`.
    pub async fn reconnect(
        &self,
        Target(address): Target,
        patience: Duration,
    ) -> io::Result<Box<dyn Stream>> {
        let source = self.sources.iter().find(|source| source.is_ipv6() == address.is_ipv6());
        let connecting = self.net.connect_from(address, source.copied());
        timeout(patience, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Targets {
    /// Returns whether every address has been tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::MemoryNet;

    #[test]
    fn a_strangers_host_is_dialled_where_it_is_public() {
        use PrivateAddresses::{Allow, Refuse};
        for (private_addresses, addresses, expected) in [
            (Refuse, "198.41.0.4 2001:500::53", Ok("[2001:500::53]:25 198.41.0.4:25")),
            (Refuse, "127.0.0.1 198.41.0.4", Ok("198.41.0.4:25")),
            (Refuse, "::1 198.41.0.4", Ok("198.41.0.4:25")),
            (Refuse, "2001:500::53 10.0.0.1", Ok("[2001:500::53]:25")),
            (Refuse, "::1 127.0.0.1", Err("::1 is loopback")),
            (Refuse, "::ffff:10.0.0.1", Err("::ffff:10.0.0.1 is private")),
            (Refuse, "", Ok("")),
            (Allow, "127.0.0.1", Ok("127.0.0.1:25")),
        ] {
            let dialer = Dialer::new(Arc::new(MemoryNet::default()), private_addresses, Vec::new());
            let hosts = addresses.split_whitespace().map(|text| text.parse().unwrap()).collect();
            let dialled = dialer.strangers_host(hosts, 25).map(|Targets(targets)| {
                targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            });
            let dialled = dialled.map_err(|refused| refused.to_string());
            let expected = expected.map(str::to_owned);
            let expected = expected.map_err(|why| format!("it has no public address: {why}"));
            assert_eq!(dialled, expected, "{addresses}");
        }
    }
}
