//! Finds values that are written correctly and would still do harm, or nothing; each is told with its cure.

use super::{
    mistakes::Mistakes,
    options::{MtaSts, partial},
    read::{Written, WrittenTable, partial_tables, place_in},
    words::{Protocol, StoreEngine, TlsMode},
};
use posta_net::transport::Endpoint;
use posta_server::send::trust::mta_sts;
use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

impl partial::OAuth {
    /// Finds the options that do not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        let names_no_audience = self.audience == Some(None);
        if names_no_audience && self.allowed_clients.as_ref().is_some_and(Vec::is_empty) {
            mistakes.conflict(
                &found.at,
                "oauth: a token that the identity server gave out for any other service would open a mailbox here. \
                 Set oauth.audience to what the \"aud\" of the tokens for this server names, or \
                 oauth.allowed-clients to the \"client_id\" of each mail program, or both",
            );
        }
    }
}

impl partial::Storage {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.engine == Some(StoreEngine::Postgres) && self.url == Some(None) {
            let words = "store.url: engine = \"postgres\" needs the URL of the database, such as \
                         \"postgresql://posta@db.example.org/posta\"";
            mistakes.conflict(&found.at, words);
        }
        if self.engine == Some(StoreEngine::Embedded) && matches!(self.objects, Some(Some(_))) {
            let words = "store.objects: an object store is for engine = \"postgres\"; the embedded store keeps large \
                         messages itself: leave one of them out";
            mistakes.conflict(&found.place("objects"), words);
        }
    }
}

impl partial::Dns {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.dnssec == Some(Some(false)) && self.trust_anchor != Some(None) {
            let words = "dns.trust-anchor means nothing with dnssec = false: leave one of them out";
            mistakes.conflict(&found.place("trust-anchor"), words);
        }
    }
}

impl MtaSts {
    /// Returns the servers that the policy names, in lower case; none if it is to name `hostname`.
    pub(crate) fn hosts(&self) -> Vec<String> {
        self.mx.iter().map(|host| host.as_str().to_owned()).collect()
    }
}

impl partial::MtaSts {
    /// Finds a time that other servers do not accept, since they would ignore the whole policy.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        if self.max_age.is_some_and(|age| age.0.as_secs() > mta_sts::LONGEST) {
            let words = "mta-sts.max-age: other servers ignore a policy that lasts for more than a year (RFC 8461 \
                         §3.2): name \"365d\" at most";
            mistakes.conflict(&found.place("max-age"), words);
        }
    }
}

impl partial::Listen {
    /// Finds what does not go together.
    pub(super) fn check(&self, found: &WrittenTable<'_, '_>, mistakes: &mut Mistakes) {
        let is_for_lmtp = self.protocol.is_none_or(|protocol| protocol == Protocol::Lmtp);
        if !is_for_lmtp && matches!(self.address, Some(Endpoint::Unix(_))) {
            let words = "listen.address: only lmtp may listen on a Unix socket";
            mistakes.conflict(&found.place("address"), words);
        }
        let is_implicit = self.tls.is_none_or(|tls| tls == TlsMode::Implicit);
        if self.protocol == Some(Protocol::Https) && !is_implicit {
            mistakes.conflict(&found.place("tls"), "listen.tls: https needs tls = \"implicit\"");
        }
        let has_no_tls = self.tls.is_none_or(|tls| tls == TlsMode::None);
        if self.protocol == Some(Protocol::Http) && !has_no_tls {
            let words = "listen.tls: http is without TLS; with TLS it is protocol = \"https\"";
            mistakes.conflict(&found.place("tls"), words);
        }
    }

    /// Finds sockets that the system would refuse.
    pub(super) fn check_list(written: &[Written<'_>], at: &Range<usize>, mistakes: &mut Mistakes) {
        if written.is_empty() {
            mistakes.conflict(
                at,
                "listen = [] serves nobody: leave it out to listen on this machine (SMTP 2525, submission 2587, \
                 POP3 2110), or write a [[listen]] for each socket",
            );
        }
        let mut sockets: Vec<(Protocol, Endpoint)> = Vec::new();
        for (Self { protocol, address, .. }, table) in partial_tables(written) {
            let (Some(protocol), Some(address)) = (protocol, address) else { continue };
            let earlier = sockets.iter().find(|(_, earlier)| collide(earlier, &address));
            let Some((other, taken)) = earlier else {
                sockets.push((protocol, address));
                continue;
            };
            let (protocol, other) = (protocol.name(), other.name());
            let words = match *taken == address {
                true => format!(
                    "{address} is listened on twice, for {other} and {protocol}: give one another port"
                ),
                false => format!(
                    "{taken} for {other} takes in {address} for {protocol}, too: leave one out, or give it another \
                     port"
                ),
            };
            mistakes.conflict(&place_in(table, "address"), words);
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
