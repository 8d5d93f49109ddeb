//! The servers that accept the mail of a destination, in the order in which they are tried (RFC 5321
//! §5).

use crate::send::settings::Smarthost;
use posta_mail::Reply;
use posta_net::dns::{DnsAnswer, LookupError, Resolver};
use std::{net::IpAddr, sync::Arc};

/// The maximal number of servers tried in one attempt. RFC 5321 §5.1 requires at least two.
const HOSTS: usize = 10;

/// A server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A server that DNS names.
    Named(String),
    /// An address: the destination is an address literal.
    Literal(IpAddr),
    /// The smarthost that the operator configured.
    Smarthost(Arc<Smarthost>),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Literal(address) => write!(f, "[{address}]"),
            Self::Smarthost(smarthost) => f.write_str(&smarthost.host),
        }
    }
}

/// The servers that accept a destination's mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The servers, in the order in which they are tried.
    pub hosts: Vec<Host>,
    /// Whether DNSSEC proves that they belong to the destination.
    pub is_secure: bool,
}

/// Looks up the servers of a destination, which is a domain or an address literal. `ourselves` is this
/// server's name. `random` returns a number below its argument, and shuffles servers of equal
/// preference.
///
/// # Errors
/// A transient reply if DNS fails, a permanent one if no server can ever accept the mail.
pub async fn hosts(
    destination: &str,
    ourselves: &str,
    resolver: &dyn Resolver,
    random: impl FnMut(usize) -> usize,
) -> Result<Route, Reply> {
    if let Some(literal) = destination.strip_prefix('[') {
        let literal = literal.trim_end_matches(']').trim_start_matches("IPv6:");
        let literal = literal.trim_start_matches("ipv6:");
        return match literal.parse() {
            Ok(address) => Ok(Route { hosts: vec![Host::Literal(address)], is_secure: false }),
            Err(_) => Err(Reply::new(550, (5, 1, 2), "That address literal cannot be reached")),
        };
    }
    match resolver.exchangers(destination).await {
        Ok(DnsAnswer { found, is_secure, .. }) => {
            // Without MX records the destination is its own host, so DNSSEC has to prove its addresses
            // only.
            let is_secure = is_secure || found.is_empty();
            let hosts = ordered(destination, ourselves, found, random)?;
            Ok(Route { hosts, is_secure })
        }
        Err(error) => Err(lookup_failed(&error)),
    }
}

/// Returns the reply that describes a failed look-up.
#[must_use]
pub fn lookup_failed(error: &LookupError) -> Reply {
    match error {
        LookupError::NoDomain(_) => Reply::new(550, (5, 1, 2), error.to_string()),
        LookupError::Failed(..) => Reply::new(451, (4, 4, 3), error.to_string()),
    }
}

fn ordered(
    destination: &str,
    ourselves: &str,
    mut exchangers: Vec<(u16, String)>,
    mut random: impl FnMut(usize) -> usize,
) -> Result<Vec<Host>, Reply> {
    // RFC 7505 §3.
    if matches!(&exchangers[..], [(_, only)] if only.is_empty()) {
        let words = format!("The domain {destination} takes no mail");
        return Err(Reply::new(556, (5, 1, 10), words));
    }
    exchangers.retain(|(_, host)| !host.is_empty());
    // RFC 5321 §5.1: without MX records the domain itself is its host.
    if exchangers.is_empty() {
        return Ok(vec![Host::Named(destination.to_owned())]);
    }
    // RFC 5321 §5.1: a server that is in the list itself relays only to servers of better preference;
    // otherwise mail would loop.
    let own = exchangers.iter().filter(|(_, host)| host == ourselves).map(|(at, _)| *at).min();
    if let Some(own) = own {
        exchangers.retain(|(preference, _)| *preference < own);
        if exchangers.is_empty() {
            let words =
                format!("DNS names this server for {destination}, which is not a domain of it");
            return Err(Reply::new(550, (5, 4, 6), words));
        }
    }
    for last in (1..exchangers.len()).rev() {
        exchangers.swap(last, random(last + 1));
    }
    // The sort is stable: servers of equal preference stay in random order.
    exchangers.sort_by_key(|(preference, _)| *preference);
    exchangers.truncate(HOSTS);
    Ok(exchangers.into_iter().map(|(_, host)| Host::Named(host)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::dns::FixedZone;

    async fn route(zone: &FixedZone, destination: &str) -> Result<String, u16> {
        let hosts = hosts(destination, "mail.x.test", zone, |below| below - 1).await;
        hosts
            .map(|route| {
                let names = route.hosts.into_iter().map(|host| match host {
                    Host::Named(name) => name,
                    Host::Literal(address) => address.to_string(),
                    Host::Smarthost(_) => unreachable!("DNS names none"),
                });
                names.collect::<Vec<_>>().join(" ")
            })
            .map_err(|reply| reply.code.get())
    }

    #[tokio::test]
    async fn destinations_have_their_servers() {
        let mut zone = FixedZone::default();
        for (domain, exchangers) in [
            ("two.test", &[(20, "b.test"), (10, "a.test")][..]),
            ("null.test", &[(0, "")]),
            ("ours.test", &[(10, "a.test"), (20, "mail.x.test"), (20, "b.test"), (30, "c.test")]),
            ("lost.test", &[(10, "mail.x.test"), (20, "b.test")]),
        ] {
            let exchangers = exchangers.iter().map(|(at, host)| (*at, (*host).to_owned()));
            zone.exchangers.insert(domain.to_owned(), exchangers.collect());
        }
        zone.addresses.insert("host.test".to_owned(), vec![[192, 0, 2, 1].into()]);
        zone.failing.push("broken.test".to_owned());
        for (destination, expected) in [
            ("two.test", Ok("a.test b.test")),
            ("null.test", Err(556)),
            ("ours.test", Ok("a.test")),
            ("lost.test", Err(550)),
            ("host.test", Ok("host.test")),
            ("nowhere.test", Err(550)),
            ("broken.test", Err(451)),
            ("[192.0.2.7]", Ok("192.0.2.7")),
            ("[ipv6:2001:db8::1]", Ok("2001:db8::1")),
            ("[x-tag:what]", Err(550)),
        ] {
            let found = route(&zone, destination).await;
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{destination}");
        }
    }

    #[test]
    fn equals_are_tried_in_any_order() {
        let equal = || vec![(10, "a".to_owned()), (10, "b".to_owned()), (5, "c".to_owned())];
        let one = ordered("x", "y", equal(), |below| below - 1).unwrap();
        let other = ordered("x", "y", equal(), |_| 0).unwrap();
        assert_ne!(one, other);
        assert_eq!((&one[0], &other[0]), (&Host::Named("c".into()), &Host::Named("c".into())));
    }
}
