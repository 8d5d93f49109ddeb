//! A message on its way into the store.

use crate::{
    contents::{CHUNK, Layout},
    history::Event,
    item::Item,
    names::{AccountId, FolderId, SourceId},
};
use posta_mail::{MailId, ThreadId, Timestamp};

/// A message to be accepted.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// Its id.
    pub id: MailId,
    /// When it is accepted.
    pub time: Timestamp,
    /// The trace fields that go above the content for all recipients: whole fields with their CRLF. At most
    /// [`CHUNK`] octets.
    pub head: Vec<u8>,
    /// How many chunks were appended before.
    pub chunks: u32,
    /// The rest of the content. Not empty.
    pub rest: Vec<u8>,
    /// Octets that the content gains as lines: see [`Entry::added`](crate::Entry::added).
    pub added: u64,
    /// The conversation that it belongs to.
    pub thread: ThreadId,
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

    /// Returns where its octets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let content = u64::from(self.chunks) * CHUNK as u64 + self.rest.len() as u64;
        Layout::new(self.head.len() as u64, content)
    }

    /// Returns the octets of head and content.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.layout().octets()
    }
}

/// One mailbox that a message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whose.
    pub account: AccountId,
    /// The folder that it goes to. Where that is not there any more, it goes to the inbox.
    pub folder: FolderId,
    /// What stands above the content for this recipient alone: Return-Path, Delivered-To.
    pub prefix: Vec<u8>,
    /// The unique-id that it had where it was before: 1 to 70 octets of 0x21 to 0x7E (RFC 1939 §7).
    pub unique_id: Option<String>,
}

/// Which message of which source an accepted message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The source.
    pub source: SourceId,
    /// The message's unique-id there.
    pub unique_id: String,
}
