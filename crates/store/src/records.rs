//! The store's records: plain data.

use crate::{Collected, Event, Item};
use posta_mail::{Address, AddressError, Domain, MailId, Secret, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Octets in every chunk of a message's content but its last. Bounds what a session holds of a
/// message in memory.
pub const CHUNK: usize = 256 * 1024;

/// Names an account for as long as the store exists: an account that is removed and added again has
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub u64);

/// Names a message within its mailbox, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub u64);

impl Uid {
    /// The unique-id that follows `last`, for a message accepted at `time`: the time in
    /// microseconds, or the next number where that is taken.
    #[must_use]
    pub fn after(last: Self, time: Timestamp) -> Self {
        let micros = u64::try_from(time.as_microsecond()).unwrap_or_default();
        Self(micros.max(last.0 + 1))
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name in the store.
    pub id: AccountId,
    /// Its address, in lower case.
    pub address: Address,
    /// What its password is checked against.
    pub credentials: Credentials,
    /// Octets that its mailbox may hold; none for any number.
    pub quota: Option<u64>,
    /// What it may send as beside its own addresses.
    pub send_as: Vec<SendAs>,
    /// Whether an alias of its name says where its mail goes: to the alias's targets, and into its
    /// mailbox where its own address is one of them. The store keeps it: it tells whoever delivers
    /// mail to look for the alias.
    pub forwards: bool,
    /// Whether nobody may log in. Mail is taken all the same.
    pub disabled: bool,
}

impl Account {
    /// Returns a new account: no quota, no rights beyond its own.
    #[must_use]
    pub const fn new(id: AccountId, address: Address, credentials: Credentials) -> Self {
        let (forwards, disabled) = (false, false);
        Self { id, address, credentials, quota: None, send_as: Vec::new(), forwards, disabled }
    }
}

/// An account that was removed and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedAccount {
    /// As it was.
    pub account: Account,
    /// When it was removed.
    pub time: Timestamp,
    /// When it goes for good.
    pub purge: Timestamp,
}

/// Whom an account may name as a message's author or sender beside itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendAs {
    /// Anybody: `any`.
    Anybody,
    /// Every address of a domain: `@domain`.
    Domain(Domain),
    /// One address, folded.
    Address(Address),
}

impl SendAs {
    /// Returns whether an address is among them.
    #[must_use]
    pub fn includes(&self, address: &Address) -> bool {
        match self {
            Self::Anybody => true,
            Self::Domain(domain) => address.domain() == domain.as_str(),
            Self::Address(allowed) => *allowed == address.folded(),
        }
    }
}

impl fmt::Display for SendAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("any"),
            Self::Domain(domain) => write!(f, "@{domain}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl FromStr for SendAs {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => domain.parse().map(Self::Domain),
            None if text == "any" => Ok(Self::Anybody),
            None => text.parse().map(|address: Address| Self::Address(address.folded())),
        }
    }
}

/// What a password is checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Its hash, as a PHC string.
    pub password_hash: String,
    /// Its SCRAM verifier (RFC 5803), if it has one.
    pub scram: Option<String>,
    /// The password itself, for APOP (RFC 1939 §7), on its way into the store: only where the
    /// account's owner asked for it. It is kept apart, as [`SecretOf::Apop`](crate::SecretOf::Apop), and an
    /// account that is read has none here.
    pub apop: Option<Secret>,
}

/// Where mail for one address, or for all other addresses of a domain, goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Which.
    pub name: AliasName,
    /// Where to. At least one.
    pub targets: Vec<Address>,
}

/// Returns whether an alias of an address is among its own targets: the address's account then keeps
/// a copy of what is forwarded.
#[must_use]
pub fn keeps_copy(address: &Address, targets: &[Address]) -> bool {
    let address = address.folded();
    targets.iter().any(|target| target.folded() == address)
}

/// What an alias stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AliasName {
    /// One address.
    Address(Address),
    /// Every address of the domain that has neither an account nor an alias: `@domain`.
    CatchAll(Domain),
}

impl AliasName {
    /// The domain that it belongs to.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self {
            Self::Address(address) => address.domain(),
            Self::CatchAll(domain) => domain.as_str(),
        }
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::CatchAll(domain) => write!(f, "@{domain}"),
        }
    }
}

impl FromStr for AliasName {
    type Err = AddressError;

    /// Folds the address, as every look-up does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => domain.parse().map(Self::CatchAll),
            None => text.parse().map(|address: Address| Self::Address(address.folded())),
        }
    }
}

/// A message to be accepted.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// Its id.
    pub id: MailId,
    /// When it is accepted.
    pub time: Timestamp,
    /// How many chunks were appended before.
    pub chunks: u32,
    /// The rest of the content. Not empty.
    pub rest: Vec<u8>,
    /// Octets that the content gains as lines: see [`Entry::added`].
    pub added: u64,
    /// The mailboxes that it goes to.
    pub deliveries: Vec<Delivery>,
    /// Its items in the queue. At least one delivery or item.
    pub items: Vec<Item>,
    /// What there is to tell of it.
    pub events: Vec<Event>,
    /// Which message it is where it was collected. Accepting one a second time changes nothing, and
    /// is no error.
    pub collected: Option<Collected>,
    /// Reports that it causes: messages themselves, accepted in the same transaction.
    pub reports: Vec<Acceptance>,
}

impl Acceptance {
    /// How many records show its content.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.deliveries.len() + self.items.len()
    }

    /// Octets of the content.
    #[must_use]
    pub fn octets(&self) -> u64 {
        u64::from(self.chunks) * CHUNK as u64 + self.rest.len() as u64
    }
}

/// One mailbox that a message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whose.
    pub account: AccountId,
    /// What stands above the content for this recipient alone: Return-Path, Delivered-To.
    pub prefix: Vec<u8>,
    /// The unique-id that it had where it was before: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7).
    pub unique_id: Option<String>,
}

/// The flag of a message that was retrieved since it came, or since it was brought back.
pub const RETRIEVED: u32 = 1;

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its content.
    pub content: MailId,
    /// Octets that RETR sends: those of prefix and content together, as lines.
    pub octets: u64,
    /// How many of these octets are not kept: as lines, content gains one for each bare CR or LF, and two
    /// where the last line has no end ([`posta_mail::crlf`]).
    pub added: u64,
    /// When it was accepted.
    pub time: Timestamp,
    /// [`RETRIEVED`]; the others are for other ways of reading, later.
    pub flags: u32,
    /// For other ways of reading, later. 0 is the inbox.
    pub folder: u32,
    /// Whether other entries may show the same content.
    pub shared: bool,
    /// What stands above the content.
    pub prefix: Vec<u8>,
}

impl Entry {
    /// Octets of prefix and content as they are kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.octets.saturating_sub(self.added)
    }

    /// Number of chunks of the content.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        let content = self.kept().saturating_sub(self.prefix.len() as u64);
        // A message of 2^32 chunks would have a petabyte.
        content.div_ceil(CHUNK as u64) as u32
    }
}

/// One stable view of a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// In the order of their unique-ids.
    pub messages: Vec<Summary>,
    /// What RETR sends of all of them.
    pub octets: u64,
    /// The unique-ids that messages brought along from where they were before.
    pub imported: BTreeMap<Uid, String>,
}

impl Maildrop {
    /// Adds a message behind the last.
    pub fn push(&mut self, message: Summary) {
        self.octets += message.octets;
        self.messages.push(message);
    }
}

/// A line of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The message.
    pub uid: Uid,
    /// The octets that RETR sends.
    pub octets: u64,
}

/// How much a mailbox holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages.
    pub messages: u64,
    /// Octets.
    pub octets: u64,
}
