//! Mailboxes: which messages an account has.

use crate::{
    acceptance::Acceptance,
    contents::CHUNK,
    error::Pending,
    names::{AccountId, Uid},
};
use posta_mail::{MailId, Timestamp};
use std::{collections::BTreeMap, sync::Arc};

/// The mailboxes of accounts, and the one way into them for a message that arrives.
pub trait Mailboxes: Send + Sync + 'static {
    /// Accepts a message: its content, an entry in each mailbox, its items in the queue, what is told
    /// of it and the reports that it causes, in one transaction. Once this
    /// is `Ok`, and not before, the sender may be told so.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`] when a recipient's account is gone; nothing is kept then.
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()>;

    /// The messages of a mailbox that are not removed, in the order of their unique-ids. Quick after
    /// the first time, however many there are; sessions that open it at once share it.
    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>>;

    /// A message of a mailbox, removed or not, until it is purged.
    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>>;

    /// Removes messages from a mailbox, to be purged at `purge`. Those that are removed already
    /// are passed over. Returns the number removed.
    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize>;

    /// Notes that messages of a mailbox were retrieved, for [`Mailboxes::expire`]. Those that were before,
    /// or are gone, are passed over. Not durable by itself: what a crash forgets is kept longer.
    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()>;

    /// Removes some of the messages that were retrieved before a time, to be purged at `purge`.
    /// Returns the number removed; call it again until it is none.
    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize>;

    /// Brings back the messages of a mailbox that were removed at `since` or later. Returns
    /// the number brought back.
    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize>;

    /// How much a mailbox holds, removed messages not counted. Quick after the first time: it is
    /// asked for every recipient that has a quota.
    fn usage(&self, account: AccountId) -> Pending<'_, Usage>;
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
