//! The store's records: plain data.

use posta_mail::{Address, MailId, Timestamp};

/// Octets in every chunk of a message's content but its last. Bounds what a session holds of a
/// message in memory.
pub const CHUNK: usize = 256 * 1024;

/// Names an account for as long as the store exists: an account that is removed and added again has
/// another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// Its password's hash, as a PHC string.
    pub password_hash: String,
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
    /// The mailboxes that it goes to. At least one.
    pub deliveries: Vec<Delivery>,
}

impl Acceptance {
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
}

/// A message in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its content.
    pub content: MailId,
    /// Octets of prefix and content together: what RETR sends.
    pub octets: u64,
    /// When it was accepted.
    pub time: Timestamp,
    /// For other ways of reading, later.
    pub flags: u32,
    /// For other ways of reading, later. 0 is the inbox.
    pub folder: u32,
    /// Whether other entries may show the same content.
    pub shared: bool,
    /// What stands above the content.
    pub prefix: Vec<u8>,
}

impl Entry {
    /// Number of chunks of the content.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        let content = self.octets - self.prefix.len() as u64;
        // A message of 2^32 chunks would have a petabyte.
        content.div_ceil(CHUNK as u64) as u32
    }
}

/// One stable view of a mailbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// In the order of their unique-ids.
    pub messages: Vec<Summary>,
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
