//! DNS lists of clients (RFC 5782): what is asked, which answers count, and which lists are believed.
//!
//! A list that has died, or that refuses to answer this server's name servers, may answer as if everybody stood in it:
//! believed, it would have all mail refused, or let everybody in. So an answer counts only in 127.0.0.0/8, codes by
//! which lists refuse to answer do not count, and no listing is believed before the list has shown, within the last
//! minute, that it lists the test address and not this machine's.

use parking_lot::Mutex;
use posta_mail::Domain;
use posta_net::dns::{Family, LookupError, Resolver};
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long one question to a list may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long a list's credibility holds.
const CREDIBLE: Duration = Duration::from_secs(60);

/// The address that every list has (RFC 5782 §5), in both notations.
const LISTED: [&str; 2] = ["127.0.0.2", "::ffff:127.0.0.2"];

/// The address that no list has (RFC 5782 §5).
const UNLISTED: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Octets of a list's words that are passed on.
const WORDS: usize = 200;

/// Whether a list lets its clients in or keeps them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// Its clients are refused.
    Block,
    /// Its clients pass.
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
    found: Mutex<Option<(Instant, Credibility)>>,
}

/// What was found out about a list itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credibility {
    /// It lists what it must and does not list what it must not.
    Credible,
    /// It does not answer now.
    Silent,
    /// It is ignored, for this reason.
    Ignored(&'static str),
}

/// The answer of a list about a client.
enum Listing {
    Unlisted,
    Listed,
    /// The list said that it does not answer us.
    Refused,
}

impl DnsList {
    /// Returns a list of which nothing is known yet.
    pub(super) fn new(kind: ListKind, zone: Domain) -> Self {
        Self { kind, zone, found: Mutex::default() }
    }

    /// Returns whether the list lets its clients in or keeps them out.
    pub(super) const fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the list's zone.
    pub(super) fn zone(&self) -> &str {
        self.zone.as_str()
    }

    /// Returns whether the list has a client and is believed. A list that does not answer has nobody.
    pub(super) async fn has(&self, dns: &dyn Resolver, client: IpAddr) -> bool {
        match self.ask(dns, client).await {
            Ok(Listing::Listed) => self.is_credible(dns).await,
            Ok(Listing::Unlisted | Listing::Refused) | Err(_) => false,
        }
    }

    /// Returns what the list says about a client that it has, for a person; empty if it says nothing.
    pub(super) async fn words(&self, dns: &dyn Resolver, client: IpAddr) -> String {
        let name = query_name(client, &self.zone);
        match timeout(PATIENCE, dns.texts(&name)).await {
            Ok(Ok(answer)) => answer.found.first().map(|text| cleaned(text)).unwrap_or_default(),
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }

    async fn is_credible(&self, dns: &dyn Resolver) -> bool {
        let known = *self.found.lock();
        let credibility = match known {
            Some((at, credibility)) if at.elapsed() < CREDIBLE => credibility,
            _ => self.check(dns).await,
        };
        credibility == Credibility::Credible
    }

    /// Finds out whether the list may be believed, and warns if it may not.
    pub(super) async fn check(&self, dns: &dyn Resolver) -> Credibility {
        let credibility = self.find_credibility(dns).await.unwrap_or(Credibility::Silent);
        self.settle(credibility);
        credibility
    }

    async fn find_credibility(&self, dns: &dyn Resolver) -> Result<Credibility, LookupError> {
        match self.ask(dns, UNLISTED).await? {
            Listing::Listed => return Ok(Credibility::Ignored(LISTS_EVERYBODY)),
            Listing::Refused => return Ok(Credibility::Ignored(REFUSES)),
            Listing::Unlisted => {}
        }
        for address in LISTED.iter().filter_map(|address| address.parse().ok()) {
            match self.ask(dns, address).await? {
                Listing::Listed => return Ok(Credibility::Credible),
                Listing::Refused => return Ok(Credibility::Ignored(REFUSES)),
                Listing::Unlisted => {}
            }
        }
        Ok(Credibility::Ignored(LISTS_NOBODY))
    }

    /// Remembers what was found, and tells the log if that is new.
    fn settle(&self, credibility: Credibility) {
        let before = self.found.lock().replace((Instant::now(), credibility));
        let before = before.map(|(_, before)| before);
        if before == Some(credibility) {
            return;
        }
        let (list, option) = (self.zone(), self.kind.option());
        match (credibility, before) {
            (Credibility::Ignored(why), _) => tracing::warn!(
                list,
                "the DNS list is ignored: {why}. If it stays so, take it out of {option}"
            ),
            (Credibility::Silent, _) => tracing::warn!(
                list,
                "the DNS list does not answer, and counts as empty; see {option} and dns.servers"
            ),
            (Credibility::Credible, Some(_)) => {
                tracing::info!(list, "the DNS list is believed again");
            }
            (Credibility::Credible, None) => {}
        }
    }

    async fn ask(&self, dns: &dyn Resolver, client: IpAddr) -> Result<Listing, LookupError> {
        let name = query_name(client, &self.zone);
        let answer = match timeout(PATIENCE, dns.addresses_of(&name, Family::V4)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(LookupError::NoDomain(_))) => return Ok(Listing::Unlisted),
            Ok(Err(failed)) => return Err(failed),
            Err(_) => return Err(LookupError::Failed(name, "no answer in time".to_owned())),
        };
        let codes = answer.found.into_iter().filter_map(|address| match address {
            // RFC 5782 §2.1: anything else is an error, such as the page of a registrar.
            IpAddr::V4(code) if code.octets()[0] == 127 => Some(code),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        let mut listing = Listing::Unlisted;
        for code in codes {
            if self.is_refusal(code) {
                return Ok(Listing::Refused);
            }
            listing = Listing::Listed;
        }
        Ok(listing)
    }

    /// Returns whether a code says that the list does not answer our name servers: Spamhaus, and others after it, use
    /// 127.255.255.0/24, dnswl.org 127.0.0.255.
    fn is_refusal(&self, code: Ipv4Addr) -> bool {
        match code.octets() {
            [127, 255, 255, _] => true,
            [127, 0, 0, 255] => self.kind == ListKind::Allow,
            _ => false,
        }
    }
}

const LISTS_EVERYBODY: &str =
    "it lists 127.0.0.1, which no list has (RFC 5782 §5), and so probably everybody";
const LISTS_NOBODY: &str = "it does not list 127.0.0.2, which every list has (RFC 5782 §5)";
const REFUSES: &str =
    "it refuses to answer the name servers that are asked; let dns.servers name one of your own";

/// Returns the name under which a list has a client: the octets of an IPv4 address (RFC 5782 §2.1) or the nibbles of
/// an IPv6 address (§2.4), the last first, in the list's zone.
fn query_name(client: IpAddr, zone: &Domain) -> String {
    let mut name = String::new();
    // Writing to a string cannot fail.
    match client {
        IpAddr::V4(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{octet}.");
            }
        }
        IpAddr::V6(address) => {
            for octet in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
        }
    }
    name + zone.as_str()
}

/// Returns a list's words as far as they may stand in a reply: they come from outside.
fn cleaned(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let plain: String = text.chars().filter(|&c| is_plain(c)).take(WORDS).collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_net::dns::FixedZone;

    fn zone() -> Domain {
        "bl.test".parse().unwrap()
    }

    /// RFC 5782 §2.1, §2.4.
    #[test]
    fn names_are_reversed() {
        for (client, name) in [
            ("192.0.2.99", "99.2.0.192.bl.test"),
            (
                "2001:db8:1:2:3:4:567:89ab",
                "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.test",
            ),
        ] {
            assert_eq!(query_name(client.parse().unwrap(), &zone()), name);
        }
    }

    #[test]
    fn words_from_outside_are_plain_and_short() {
        assert_eq!(cleaned("see\r\n250 ok\u{202e}\0 http://a"), "see250 ok http://a");
        assert_eq!(cleaned(&"x".repeat(10_000)).len(), WORDS);
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

    #[tokio::test]
    async fn a_list_that_does_not_answer_has_nobody() {
        let failing = vec!["99.2.0.192.bl.test".to_owned(), "1.0.0.127.bl.test".to_owned()];
        let dns = FixedZone { failing, ..FixedZone::default() };
        let list = DnsList::new(ListKind::Block, zone());
        assert!(!list.has(&dns, "192.0.2.99".parse().unwrap()).await);
        assert_eq!(list.check(&dns).await, Credibility::Silent);
    }
}
