//! The operator's settings for sending mail.

use crate::send::schedule::Schedule;
use posta_mail::Secret;
use posta_net::dial::PrivateAddresses;
use posta_store::Destination;
use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// The settings for sending mail.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The rules for destinations without rules of their own.
    pub all: Rules,
    /// The rules for single destinations, by their domains in lower case; `.x.test` is every domain
    /// below `x.test`.
    pub domains: HashMap<String, Rules>,
    /// The maximal time to wait for anything from another server.
    pub patience: Duration,
    /// The maximal number of connections to one server.
    pub connections: usize,
    /// The addresses from which connections are made, at most one of each family. The system chooses the
    /// address if there is none.
    pub sources: Vec<IpAddr>,
    /// Whether hosts named by DNS or by an address literal may be reached at non-public addresses. This
    /// also applies to their owners' policies and TLS reports.
    pub private_addresses: PrivateAddresses,
}

/// The rules for sending to a destination.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The times of attempts.
    pub schedule: Schedule,
    /// The smarthost that accepts the mail in place of the servers named by DNS.
    pub route: Option<Arc<Smarthost>>,
    /// The maximal number of messages a minute.
    pub rate: Option<u32>,
}

/// A server that relays mail to others on behalf of this one.
#[derive(Debug, PartialEq, Eq)]
pub struct Smarthost {
    /// The server's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The protection of connections to the smarthost.
    pub tls: SmarthostTls,
    /// The user name and the password to log in with.
    pub login: Option<(String, Secret)>,
}

/// The protection of connections to a smarthost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmarthostTls {
    /// None.
    None,
    /// STARTTLS if the server offers it, with any certificate.
    Opportunistic,
    /// STARTTLS, with a certificate for the server's name.
    StartTls,
    /// TLS from the start, with a certificate for the server's name.
    Implicit,
}

impl RelaySettings {
    /// Returns the shortest wait before a second attempt among all rules, since destinations that share
    /// a server may have different rules.
    #[must_use]
    pub fn shortest_retry(&self) -> Duration {
        let rules = std::iter::once(&self.all).chain(self.domains.values());
        rules.filter_map(|rules| rules.schedule.retry.first()).min().copied().unwrap_or_default()
    }

    /// Returns the longest time for which a message is tried, to whatever destination.
    #[must_use]
    pub fn longest_lifetime(&self) -> Duration {
        let rules = std::iter::once(&self.all).chain(self.domains.values());
        rules.map(|rules| rules.schedule.give_up).max().unwrap_or_default()
    }

    /// Returns the rules for an item's destination.
    #[must_use]
    pub fn for_destination(&self, destination: &Destination) -> &Rules {
        match destination {
            Destination::Local => &self.all,
            Destination::Domain(domain) => self.rules(domain),
        }
    }

    /// Returns the rules for a domain: its own, those of the nearest domain above it, or those for all.
    #[must_use]
    pub fn rules(&self, destination: &str) -> &Rules {
        if self.domains.is_empty() {
            return &self.all;
        }
        let above = destination.match_indices('.').map(|(at, _)| &destination[at..]);
        let found = std::iter::once(destination).chain(above);
        found.filter_map(|name| self.domains.get(name)).next().unwrap_or(&self.all)
    }
}

/// Leaves the password out, since secrets cannot be hashed.
impl Hash for Smarthost {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.host, self.port, self.login.as_ref().map(|(user, _)| user)).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rules_hold() {
        let all = Rules {
            schedule: Schedule {
                retry: vec![Duration::from_secs(60)],
                give_up: Duration::from_secs(600),
                delay_notice: Duration::from_secs(300),
            },
            route: None,
            rate: None,
        };
        let mut settings = RelaySettings {
            all: all.clone(),
            domains: HashMap::new(),
            patience: Duration::from_secs(60),
            connections: 1,
            sources: Vec::new(),
            private_addresses: PrivateAddresses::Refuse,
        };
        for (name, rate) in [("y.test", 1), (".y.test", 2), (".b.y.test", 3)] {
            let rules = Rules { rate: Some(rate), ..all.clone() };
            settings.domains.insert(name.to_owned(), rules);
        }
        for (destination, rate) in [
            ("y.test", Some(1)),
            ("a.y.test", Some(2)),
            ("b.y.test", Some(2)),
            ("a.b.y.test", Some(3)),
            ("ay.test", None),
            ("[192.0.2.1]", None),
        ] {
            assert_eq!(settings.rules(destination).rate, rate, "{destination}");
        }
    }
}
