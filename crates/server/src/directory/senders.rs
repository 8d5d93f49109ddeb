//! Senders that an account or a domain always wants, or never: lists of addresses, domains and networks.
//!
//! The operator changes the lists (`posta sender`), and releasing a message from quarantine adds to them; `deliver` asks
//! them for each recipient. A list is one small record of the store, so that a message costs one look-up for each
//! mailbox and domain that it goes to, and none of the entries of others is read.

use ipnet::IpNet;
use posta_mail::{Address, Domain};
use posta_store::{AccountId, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// The kind of the records.
pub(super) const KIND: &str = "senders";

/// The most entries of one list. Reading a full one takes less than a millisecond.
pub const ENTRIES: usize = 1_000;

/// How often a change is tried again because another one came in between.
const ATTEMPTS: usize = 16;

/// Whose list it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListOwner {
    /// An account's: it holds for the account's mailbox.
    Account(AccountId),
    /// A domain's: it holds for all recipients of the domain, where their own lists say nothing.
    Domain(String),
}

impl ListOwner {
    fn name(&self) -> String {
        match self {
            Self::Account(id) => format!("account {}", id.0),
            Self::Domain(domain) => format!("domain {domain}"),
        }
    }
}

/// What an entry says of its senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SenderStanding {
    /// Their mail is taken, and never junk, if it is shown to be theirs.
    Allowed,
    /// Their mail is refused, whether it is theirs or not.
    Blocked,
}

impl SenderStanding {
    /// Returns the word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// The senders that an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum SenderPattern {
    /// An address, in any case.
    Address(Address),
    /// A domain.
    Domain(String),
    /// All domains below one.
    Below(String),
    /// A network of clients.
    Network(IpNet),
}

/// The error of a text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no sender: write an address (sue@example.net), a domain (example.net), all domains below one \
     (.example.net), or a network (192.0.2.0/24)"
)]
pub struct SenderPatternError(String);

impl FromStr for SenderPattern {
    type Err = SenderPatternError;

    fn from_str(text: &str) -> Result<Self, SenderPatternError> {
        let error = || SenderPatternError(text.to_owned());
        if text.contains('@') {
            let address: Address = text.parse().map_err(|_| error())?;
            return Ok(Self::Address(address.folded()));
        }
        let plain = text.trim_matches(['[', ']']);
        if let Ok(address) = plain.parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = plain.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let domain = |text: &str| {
            let domain: Domain = text.parse().map_err(|_| error())?;
            if domain.is_literal() { Err(error()) } else { Ok(domain.to_string()) }
        };
        match text.strip_prefix('.') {
            Some(above) => Ok(Self::Below(domain(above)?)),
            None => Ok(Self::Domain(domain(text)?)),
        }
    }
}

impl TryFrom<String> for SenderPattern {
    type Error = SenderPatternError;

    fn try_from(text: String) -> Result<Self, SenderPatternError> {
        text.parse()
    }
}

impl From<SenderPattern> for String {
    fn from(pattern: SenderPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Domain(domain) => f.write_str(domain),
            Self::Below(domain) => write!(f, ".{domain}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl SenderPattern {
    /// Orders patterns by how closely they name a sender: the closest is first.
    fn distance(&self) -> u8 {
        match self {
            Self::Address(_) => 0,
            Self::Domain(_) => 1,
            Self::Below(_) => 2,
            Self::Network(_) => 3,
        }
    }

    fn is_of(&self, named: &NamedSender<'_>) -> bool {
        match self {
            Self::Address(address) => named.address.folded() == *address,
            Self::Domain(domain) => named.address.domain() == domain,
            Self::Below(domain) => {
                let above = named.address.domain().strip_suffix(domain.as_str());
                above.is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Network(_) => false,
        }
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SenderEntry {
    /// The senders.
    pub sender: SenderPattern,
    /// What becomes of their mail.
    pub standing: SenderStanding,
}

/// A sender that a message names: in its reverse-path or its From field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedSender<'a> {
    /// The address.
    pub address: &'a Address,
    /// Whether the message is shown to be from the address's domain.
    pub is_authenticated: bool,
}

/// Whom a message is from, as lists ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Senders<'a> {
    /// The client's address, if it is known.
    pub client: Option<IpAddr>,
    /// The senders that the message names.
    pub named: Vec<NamedSender<'a>>,
}

/// The senders that an account or a domain always wants, or never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderList(Vec<SenderEntry>);

impl SenderList {
    /// Returns the entries in the order in which they were added.
    #[must_use]
    pub fn entries(&self) -> &[SenderEntry] {
        &self.0
    }

    /// Returns the entry that holds for a message: the one that names a sender most closely. Of two that are equally
    /// close, the one that blocks. An entry that allows an address or a domain holds only where the message is shown to
    /// be from there; otherwise everybody could write the name.
    #[must_use]
    pub fn applying(&self, senders: &Senders<'_>) -> Option<&SenderEntry> {
        let holds = |entry: &&SenderEntry| {
            if let SenderPattern::Network(network) = entry.sender {
                return senders.client.is_some_and(|client| network.contains(&client));
            }
            let mut named = senders.named.iter().filter(|named| entry.sender.is_of(named));
            match entry.standing {
                SenderStanding::Blocked => named.next().is_some(),
                SenderStanding::Allowed => named.any(|named| named.is_authenticated),
            }
        };
        let rank = |entry: &&SenderEntry| {
            (entry.sender.distance(), entry.standing == SenderStanding::Allowed)
        };
        self.0.iter().filter(holds).min_by_key(rank)
    }

    /// Adds an entry in place of one about the same senders. Returns whether there is room.
    fn put(&mut self, entry: SenderEntry) -> bool {
        self.take(&entry.sender);
        let has_room = self.0.len() < ENTRIES;
        if has_room {
            self.0.push(entry);
        }
        has_room
    }

    /// Removes the entry about these senders. Returns whether there was one.
    fn take(&mut self, sender: &SenderPattern) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.sender != *sender);
        self.0.len() < before
    }
}

/// A change of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListChange {
    /// Adds an entry, in place of one about the same senders.
    Put(SenderEntry),
    /// Removes the entry about these senders.
    Take(SenderPattern),
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListChanged {
    /// It was made.
    Done,
    /// There was no such entry.
    Missing,
    /// The list has [`ENTRIES`] already.
    Full,
    /// Others changed the list again and again.
    Busy,
}

/// Returns a list; an empty one if there is none.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &dyn Store, owner: &ListOwner) -> Result<SenderList, StoreError> {
    Ok(read(store.kept_one(KIND, &owner.name()).await?.as_deref()))
}

/// Changes a list.
///
/// # Errors
/// When the store fails.
pub async fn change(
    store: &dyn Store,
    owner: &ListOwner,
    change: &ListChange,
) -> Result<ListChanged, StoreError> {
    let name = owner.name();
    let mut kept = store.kept_one(KIND, &name).await?;
    for _ in 0..ATTEMPTS {
        let mut list = read(kept.as_deref());
        match change {
            ListChange::Put(entry) if !list.put(entry.clone()) => return Ok(ListChanged::Full),
            ListChange::Take(sender) if !list.take(sender) => return Ok(ListChanged::Missing),
            ListChange::Put(_) | ListChange::Take(_) => {}
        }
        let record = (!list.0.is_empty()).then(|| written(&list));
        let now = store.keep_if(KIND, &name, kept, record.clone()).await?;
        if now == record {
            return Ok(ListChanged::Done);
        }
        kept = now;
    }
    Ok(ListChanged::Busy)
}

/// Reads a record. One that cannot be read is an empty list: mail goes on, and the log tells.
fn read(record: Option<&[u8]>) -> SenderList {
    let Some(record) = record else { return SenderList::default() };
    serde_json::from_slice(record).unwrap_or_else(|error| {
        tracing::error!(%error, "a list of senders cannot be read");
        SenderList::default()
    })
}

fn written(list: &SenderList) -> Vec<u8> {
    // Strings only: this cannot fail.
    serde_json::to_vec(list).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{MemoryStore, Records as _};

    fn entry(text: &str) -> SenderEntry {
        let (standing, sender) = match text.strip_prefix('-') {
            Some(sender) => (SenderStanding::Blocked, sender),
            None => (SenderStanding::Allowed, text),
        };
        SenderEntry { sender: sender.parse().unwrap(), standing }
    }

    #[test]
    fn patterns_are_read_and_written() {
        for (text, written) in [
            ("Sue@A.test", "sue@a.test"),
            ("A.test", "a.test"),
            (".A.test", ".a.test"),
            ("192.0.2.1", "192.0.2.1"),
            ("[192.0.2.1]", "192.0.2.1"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("poștă.test", "xn--pot-cpa20l.test"),
        ] {
            let pattern: SenderPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(pattern), "{text}");
        }
        for text in ["", "@", "a b", "sue@", "192.0.2.1/33", ".", "*.a.test"] {
            assert!(text.parse::<SenderPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_closest_entry_holds() {
        let sue: Address = "Sue@www.a.test".parse().unwrap();
        let senders = |is_authenticated| Senders {
            client: Some("192.0.2.1".parse().unwrap()),
            named: vec![NamedSender { address: &sue, is_authenticated }],
        };
        for (entries, authenticated, forged) in [
            (&["sue@www.a.test"][..], "sue@www.a.test", ""),
            (&["-sue@www.a.test"], "-sue@www.a.test", "-sue@www.a.test"),
            (&["bob@www.a.test", "a.test", "b.test", "192.0.2.2"], "", ""),
            (&[".a.test"], ".a.test", ""),
            (&[".www.a.test", ".w.a.test", ".test.test"], "", ""),
            (&["-.a.test", "www.a.test"], "www.a.test", "-.a.test"),
            (&["-www.a.test", "sue@www.a.test"], "sue@www.a.test", "-www.a.test"),
            (&["192.0.2.0/24"], "192.0.2.0/24", "192.0.2.0/24"),
            (&["192.0.2.0/24", "-192.0.2.1"], "-192.0.2.1", "-192.0.2.1"),
            (&["-192.0.2.0/24", "www.a.test"], "www.a.test", "-192.0.2.0/24"),
        ] {
            let list = SenderList(entries.iter().map(|text| entry(text)).collect());
            for (is_authenticated, expected) in [(true, authenticated), (false, forged)] {
                let expected = (!expected.is_empty()).then(|| entry(expected));
                let found = list.applying(&senders(is_authenticated)).cloned();
                assert_eq!(found, expected, "{entries:?} {is_authenticated}");
            }
        }
    }

    #[tokio::test]
    async fn lists_are_kept() {
        let store = MemoryStore::new();
        let (ana, domain) =
            (ListOwner::Account(AccountId(1)), ListOwner::Domain("x.test".to_owned()));
        let put = |text: &str| ListChange::Put(entry(text));
        for text in ["a.test", "-b.test", "-a.test"] {
            assert_eq!(change(&store, &ana, &put(text)).await.unwrap(), ListChanged::Done);
        }
        let kept = list(&store, &ana).await.unwrap();
        assert_eq!(kept.entries(), [entry("-b.test"), entry("-a.test")]);
        assert!(list(&store, &domain).await.unwrap().entries().is_empty());
        for (text, expected) in [
            ("b.test", ListChanged::Done),
            ("b.test", ListChanged::Missing),
            ("a.test", ListChanged::Done),
        ] {
            let take = ListChange::Take(text.parse().unwrap());
            assert_eq!(change(&store, &ana, &take).await.unwrap(), expected, "{text}");
        }
        assert!(store.kept(KIND).await.unwrap().is_empty(), "an empty list is no record");
        let full = SenderList((0..ENTRIES).map(|n| entry(&format!("n{n}.test"))).collect());
        store.keep(KIND, &ana.name(), Some(written(&full))).await.unwrap();
        assert_eq!(change(&store, &ana, &put("a.test")).await.unwrap(), ListChanged::Full);
        assert_eq!(change(&store, &ana, &put("-n1.test")).await.unwrap(), ListChanged::Done);
    }
}
