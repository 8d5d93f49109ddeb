//! Connecting to hosts that the operator or an account's owner names, such as a mailbox to collect from
//! or the server that checks OAuth tokens. The names are looked up at the configured name servers. Hosts
//! named by strangers go through a [`Dialer`](super::Dialer) instead.

use super::happy_eyeballs;
use crate::{
    dns::Resolver,
    transport::{Endpoint, Listener, Net, PendingIo, Stream},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The maximal time for the attempt at one address.
const PATIENCE: Duration = Duration::from_secs(30);

/// A network in which a [`Resolver`] looks names up in place of the system's resolver. `localhost` is
/// always this machine (RFC 6761 §6.3), and addresses need no look-up.
pub struct ByName {
    net: Arc<dyn Net>,
    resolver: Arc<dyn Resolver>,
}

impl ByName {
    /// Returns `net` with its names looked up by `resolver`.
    #[must_use]
    pub fn new(net: Arc<dyn Net>, resolver: Arc<dyn Resolver>) -> Self {
        Self { net, resolver }
    }
}

impl Net for ByName {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> PendingIo<'a, Box<dyn Listener>> {
        self.net.bind(endpoint)
    }

    fn connect<'a>(&'a self, host_and_port: &'a str) -> PendingIo<'a, Box<dyn Stream>> {
        let Some((host, port)) = name_and_port(host_and_port) else {
            return self.net.connect(host_and_port);
        };
        Box::pin(async move {
            let found = self.resolver.addresses(host).await.map_err(io::Error::other)?.found;
            let mut addresses = happy_eyeballs::ordered(found, port);
            let won = happy_eyeballs::connect(&mut addresses, &self.net, &[], PATIENCE).await;
            won.map(|(stream, _)| stream)
        })
    }

    fn connect_from(
        &self,
        to: SocketAddr,
        source: Option<IpAddr>,
    ) -> PendingIo<'_, Box<dyn Stream>> {
        self.net.connect_from(to, source)
    }
}

/// Splits `host:port`; `None` if the host is an address or `localhost`, which need no look-up.
fn name_and_port(host_and_port: &str) -> Option<(&str, u16)> {
    let (host, port) = host_and_port.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    (!is_address && !host.eq_ignore_ascii_case("localhost")).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_addresses_are_not() {
        for (text, expected) in [
            ("pop.x.test:995", Some(("pop.x.test", 995))),
            ("pop.x.test.:110", Some(("pop.x.test", 110))),
            ("192.0.2.1:110", None),
            ("[2001:db8::1]:110", None),
            ("localhost:110", None),
            ("LocalHost.:110", None),
            ("pop.x.test", None),
            ("pop.x.test:pop3", None),
        ] {
            assert_eq!(name_and_port(text), expected, "{text}");
        }
    }
}
