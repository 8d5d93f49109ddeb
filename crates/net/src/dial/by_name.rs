//! Connections to hosts that the operator and the accounts' owners name, looked up where the operator
//! said: collected mailboxes, the server that knows OAuth's tokens. Strangers' hosts go by a
//! [`Dialer`](super::Dialer).

use super::happy_eyeballs;
use crate::{
    dns::Resolver,
    transport::{Endpoint, Listener, Net, Pending, Stream},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// How long one address may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A network in which names are looked up by a [`Resolver`], and no longer by the system. `localhost` is this
/// machine all the same (RFC 6761 §6.3), and addresses are what they are.
pub struct ByName {
    net: Arc<dyn Net>,
    resolver: Arc<dyn Resolver>,
}

impl ByName {
    /// Connects over a network, to what the resolver finds.
    #[must_use]
    pub fn new(net: Arc<dyn Net>, resolver: Arc<dyn Resolver>) -> Self {
        Self { net, resolver }
    }
}

impl Net for ByName {
    fn bind<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Box<dyn Listener>> {
        self.net.bind(endpoint)
    }

    fn connect<'a>(&'a self, host_and_port: &'a str) -> Pending<'a, Box<dyn Stream>> {
        let Some((host, port)) = name_and_port(host_and_port) else {
            return self.net.connect(host_and_port);
        };
        Box::pin(async move {
            let found = self.resolver.addresses(host).await.map_err(io::Error::other)?.found;
            let mut addresses = happy_eyeballs::ordered(found, port);
            let won = happy_eyeballs::race(&mut addresses, &self.net, &[], PATIENCE).await;
            won.map(|(stream, _)| stream).map_err(io::Error::other)
        })
    }

    fn connect_from(&self, to: SocketAddr, source: Option<IpAddr>) -> Pending<'_, Box<dyn Stream>> {
        self.net.connect_from(to, source)
    }
}

/// Returns the name and the port, where it is a name that has to be looked up.
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
