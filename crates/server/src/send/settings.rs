//! How mail goes out, as the operator says.

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

/// How mail goes out.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// What holds for every destination that has nothing of its own.
    pub all: Rules,
    /// What holds for some, by their domains in lower case; `.x.test` is every domain below `x.test`.
    pub domains: HashMap<String, Rules>,
    /// How long any wait for another server may last.
    pub patience: Duration,
    /// Connections to one server at most.
    pub connections: usize,
    /// The addresses that connections come from, at most one of each family; the system's choice
    /// where there is none.
    pub sources: Vec<IpAddr>,
    /// Whether hosts that DNS or an address literal names may be reached at addresses that are not
    /// public; the policies and reports of their owners too.
    pub private_addresses: PrivateAddresses,
}

/// What holds for a destination.
#[derive(Debug, Clone)]
pub struct Rules {
    /// When it is tried.
    pub schedule: Schedule,
    /// Who takes its mail, in place of the servers that DNS names.
    pub route: Option<Arc<Smarthost>>,
    /// Messages a minute at most.
    pub rate: Option<u32>,
}

/// A server that takes mail for others.
#[derive(Debug, PartialEq, Eq)]
pub struct Smarthost {
    /// Its name, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How its connections are protected.
    pub tls: SmarthostTls,
    /// What to log in with, and the password.
    pub login: Option<(String, Secret)>,
}

/// How connections to a smarthost are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmarthostTls {
    /// Not at all.
    None,
    /// By STARTTLS if it offers that, whatever its certificate.
    Opportunistic,
    /// By STARTTLS, with a certificate for its name.
    StartTls,
    /// From the start, with a certificate for its name.
    Implicit,
}

impl RelaySettings {
    /// How soon anything is tried again at the soonest: destinations that share a server may differ.
    #[must_use]
    pub fn shortest_retry(&self) -> Duration {
        let rules = std::iter::once(&self.all).chain(self.domains.values());
        rules.filter_map(|rules| rules.schedule.retry.first()).min().copied().unwrap_or_default()
    }

    /// What holds for an item's destination.
    #[must_use]
    pub fn for_destination(&self, destination: &Destination) -> &Rules {
        match destination {
            Destination::Local => &self.all,
            Destination::Domain(domain) => self.rules(domain),
        }
    }

    /// What holds for a destination: its own rules, or those of the nearest domain above it.
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

/// Secrets have no hash; where they alone differ, the hash is the same.
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
