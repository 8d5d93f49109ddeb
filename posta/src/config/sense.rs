//! Finds values that are written correctly and would still do harm, or nothing; each is told with its cure.

use super::{
    mistakes::Mistakes,
    options::{Dns, Listen, MtaSts, OAuth, Protocol, TlsMode},
    read::{Written, WrittenTable, place_in},
};
use posta_net::transport::Endpoint;
use posta_server::send::trust::mta_sts;
use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

impl OAuth {
    /// Finds the options that do not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.audience.is_none() && self.allowed_clients.is_empty() {
            mistakes.add(
                &found.at,
                "oauth: a token that the identity server gave out for any other service would open a mailbox here. \
                 Set oauth.audience to what the \"aud\" of the tokens for this server names, or \
                 oauth.allowed-clients to the \"client_id\" of each mail program, or both",
            );
        }
    }
}

impl Dns {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.dnssec == Some(false) && self.trust_anchor.is_some() {
            let words = "dns.trust-anchor means nothing with dnssec = false: leave one of them out";
            mistakes.add(&found.place("trust-anchor"), words);
        }
    }
}

impl MtaSts {
    /// Returns the servers that the policy names, in lower case; none if it is to name `hostname`.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.mx.iter().map(|host| host.as_str().to_owned()).collect()
    }

    /// Finds a time that other servers do not accept, since they would ignore the whole policy.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.max_age.0.as_secs() > mta_sts::LONGEST {
            let words = "mta-sts.max-age: other servers ignore a policy that lasts for more than a year (RFC 8461 \
                         §3.2): name \"365d\" at most";
            mistakes.add(&found.place("max-age"), words);
        }
    }
}

impl Listen {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.protocol != Protocol::Lmtp && matches!(self.address, Endpoint::Unix(_)) {
            let words = "listen.address: only lmtp may listen on a Unix socket";
            mistakes.add(&found.place("address"), words);
        }
        if self.protocol == Protocol::Https && self.tls != TlsMode::Implicit {
            mistakes.add(&found.place("tls"), "listen.tls: https needs tls = \"implicit\"");
        }
    }

    /// Finds sockets that the system would refuse.
    pub(super) fn check_list(
        list: &[Self],
        written: &[Written<'_>],
        at: &Range<usize>,
        mistakes: &mut Mistakes,
    ) {
        if list.is_empty() {
            mistakes.add(
                at,
                "listen = [] serves nobody: leave it out to listen on this machine (SMTP 2525, submission 2587, \
                 POP3 2110), or write a [[listen]] for each socket",
            );
        }
        for (index, (listen, table)) in list.iter().zip(written).enumerate() {
            let Self { protocol, address, .. } = listen;
            let earlier = list[..index].iter().find(|earlier| collide(&earlier.address, address));
            let Some(Self { protocol: other, address: taken, .. }) = earlier else { continue };
            let (protocol, other) = (protocol.name(), other.name());
            let words = match taken == address {
                true => format!(
                    "{address} is listened on twice, for {other} and {protocol}: give one another port"
                ),
                false => format!(
                    "{taken} for {other} takes in {address} for {protocol}, too: leave one out, or give it another \
                     port"
                ),
            };
            mistakes.add(&place_in(table, "address"), words);
        }
    }
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
