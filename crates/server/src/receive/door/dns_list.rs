//! The DNS lists of the configuration (RFC 5782): whether a client is on one, and whether the list is trusted.
//!
//! A list is trusted only if it was found, within the last minute, to contain the test address and not this machine's:
//! a list that was abandoned could otherwise cause all mail to be refused, or all mail to be accepted.

use parking_lot::Mutex;
use posta_mail::Domain;
use posta_net::dns::{
    Resolver,
    lists::{self, Credibility, ListAnswer},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::Instant;

/// For how long a list's credibility holds.
const CREDIBLE: Duration = Duration::from_secs(60);

/// The code by which dnswl.org refuses to answer. A block list may have it for other reasons.
const ALLOW_REFUSAL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 255);

/// The effect of a list on the clients on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// The clients are refused.
    Block,
    /// The clients pass.
    Allow,
}

impl ListKind {
    const fn option(self) -> &'static str {
        match self {
            Self::Block => "door.block-lists",
            Self::Allow => "door.allow-lists",
        }
    }
}

/// A DNS list.
#[derive(Debug)]
pub(super) struct DnsList {
    kind: ListKind,
    zone: Domain,
    /// The time and the result of the last test; no result if DNS did not answer.
    found: Mutex<Option<(Instant, Option<Credibility>)>>,
}

impl DnsList {
    /// Returns a list that was not tested yet.
    pub(super) fn new(kind: ListKind, zone: Domain) -> Self {
        Self { kind, zone, found: Mutex::default() }
    }

    /// Returns the effect of the list on the clients on it.
    pub(super) const fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the list's zone.
    pub(super) fn zone(&self) -> &str {
        self.zone.as_str()
    }

    /// Returns whether a client is on the list and the list is trusted. A list that does not answer counts as empty.
    pub(super) async fn has(&self, dns: &dyn Resolver, client: IpAddr) -> bool {
        match lists::ask(dns, self.zone(), client).await {
            Ok(ListAnswer::Present(ALLOW_REFUSAL)) if self.kind == ListKind::Allow => false,
            Ok(ListAnswer::Present(_)) => self.is_credible(dns).await,
            Ok(ListAnswer::Absent | ListAnswer::Refused) | Err(_) => false,
        }
    }

    /// Returns the list's text about a client on it, for people; empty if there is none.
    pub(super) async fn words(&self, dns: &dyn Resolver, client: IpAddr) -> String {
        lists::words(dns, self.zone(), client).await
    }

    async fn is_credible(&self, dns: &dyn Resolver) -> bool {
        let known = *self.found.lock();
        let found = match known {
            Some((at, found)) if at.elapsed() < CREDIBLE => found,
            _ => self.check(dns).await,
        };
        found == Some(Credibility::Credible)
    }

    /// Tests whether the list can be trusted, and warns if not; `None` if DNS does not answer.
    pub(super) async fn check(&self, dns: &dyn Resolver) -> Option<Credibility> {
        let found = lists::judge(dns, self.zone()).await.ok();
        let before = self.found.lock().replace((Instant::now(), found));
        let before = before.map(|(_, before)| before);
        if before != Some(found) {
            self.log(found, before.is_none());
        }
        found
    }

    /// Logs the result of a test if it differs from the last one.
    fn log(&self, found: Option<Credibility>, is_first: bool) {
        let (list, option) = (self.zone(), self.kind.option());
        let why = match found {
            Some(Credibility::Credible) => {
                if !is_first {
                    tracing::info!(list, "the DNS list is believed again");
                }
                return;
            }
            None => {
                tracing::warn!(
                    list,
                    "the DNS list does not answer, and counts as empty; see {option} and dns.servers"
                );
                return;
            }
            Some(Credibility::ListsEverybody) => {
                "it lists 127.0.0.1, which no list has (RFC 5782 §5), and so probably everybody"
            }
            Some(Credibility::ListsNobody) => {
                "it does not list 127.0.0.2, which every list has (RFC 5782 §5)"
            }
            Some(Credibility::Refuses) => {
                "it refuses to answer the name servers that are asked; let dns.servers name one of \
                 your own"
            }
        };
        tracing::warn!(
            list,
            "the DNS list is ignored: {why}. If it stays so, take it out of {option}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::dns::FixedZone;

    fn zone() -> Domain {
        "bl.test".parse().unwrap()
    }

    #[tokio::test]
    async fn what_a_list_answers_is_believed_within_bounds() {
        let client: IpAddr = "192.0.2.99".parse().unwrap();
        for (listed, kind, answer) in [
            (&["99.2.0.192 127.0.0.4", "2.0.0.127 127.0.0.2"][..], ListKind::Block, true),
            (&["2.0.0.127 127.0.0.2"], ListKind::Block, false),
            // An address of the world, as when a domain was sold; refusals.
            (&["99.2.0.192 198.51.100.7", "2.0.0.127 127.0.0.2"], ListKind::Block, false),
            (&["99.2.0.192 127.255.255.254", "2.0.0.127 127.0.0.2"], ListKind::Block, false),
            (&["99.2.0.192 127.0.0.255", "2.0.0.127 127.0.0.2"], ListKind::Allow, false),
            (&["99.2.0.192 127.0.5.1", "2.0.0.127 127.0.0.2"], ListKind::Allow, true),
            // Everybody is in it, or the test address is not.
            (
                &["99.2.0.192 127.0.0.2", "2.0.0.127 127.0.0.2", "1.0.0.127 127.0.0.2"],
                ListKind::Block,
                false,
            ),
            (&["99.2.0.192 127.0.0.2"], ListKind::Block, false),
        ] {
            let mut dns = FixedZone::default();
            for (name, address) in listed.iter().map(|record| record.split_once(' ').unwrap()) {
                let found = dns.addresses.entry(format!("{name}.bl.test")).or_default();
                found.push(address.parse().unwrap());
            }
            let list = DnsList::new(kind, zone());
            assert_eq!(list.has(&dns, client).await, answer, "{listed:?}");
        }
    }

    /// A list is not tested for each client, nor trusted for ever.
    #[tokio::test(start_paused = true)]
    async fn whether_a_list_is_credible_is_remembered_for_a_minute() {
        let client: IpAddr = "192.0.2.99".parse().unwrap();
        let zone_of = |names: &[&str]| {
            let record =
                |name: &&str| (format!("{name}.bl.test"), vec![IpAddr::from([127, 0, 0, 2])]);
            FixedZone { addresses: names.iter().map(record).collect(), ..FixedZone::default() }
        };
        let credible = zone_of(&["99.2.0.192", "2.0.0.127"]);
        let other = zone_of(&["99.2.0.192"]);
        for (first, then, is_on) in [(&credible, &other, true), (&other, &credible, false)] {
            let list = DnsList::new(ListKind::Block, zone());
            assert_eq!(list.has(first, client).await, is_on);
            tokio::time::advance(CREDIBLE - Duration::from_secs(1)).await;
            assert_eq!(list.has(then, client).await, is_on, "it is not tested again");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(list.has(then, client).await, !is_on, "it is tested again");
        }
    }

    #[tokio::test]
    async fn a_list_that_does_not_answer_has_nobody() {
        let failing = vec!["99.2.0.192.bl.test".to_owned(), "1.0.0.127.bl.test".to_owned()];
        let dns = FixedZone { failing, ..FixedZone::default() };
        let list = DnsList::new(ListKind::Block, zone());
        assert!(!list.has(&dns, "192.0.2.99".parse().unwrap()).await);
        assert_eq!(list.check(&dns).await, None);
    }
}
