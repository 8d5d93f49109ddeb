//! A message on its way into the store.

use super::flags::{Flags, Keyword};
use crate::{
    contents::{CHUNK, Layout},
    error::StoreError,
    history::Event,
    item::Item,
    names::{AccountId, FolderId, SourceId},
    records::{MessageRecord, check_name},
};
use posta_mail::{MailId, ThreadId, Timestamp};

/// A message to be accepted.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// The message's id.
    pub id: MailId,
    /// The time of acceptance.
    pub time: Timestamp,
    /// The trace fields that go above the content for all recipients: whole fields with their CRLF. At most
    /// [`CHUNK`] octets.
    pub head: Vec<u8>,
    /// The number of chunks appended before.
    pub chunks: u32,
    /// The content that follows the chunks; not empty.
    pub rest: Vec<u8>,
    /// The number of octets that the content gains as lines: see [`Entry::added`](crate::Entry::added).
    pub added: u64,
    /// The conversation to which the message belongs (RFC 8474).
    pub thread: ThreadId,
    /// The mailboxes to which the message goes.
    pub deliveries: Vec<Delivery>,
    /// The message's items in the queue. There is at least one delivery or item.
    pub items: Vec<Item>,
    /// The events for the message's history.
    pub events: Vec<Event>,
    /// The message's name in the mailbox elsewhere from which it was collected. Accepting one a second time changes
    /// nothing, and is no error.
    pub collected: Option<Collected>,
    /// The reports that the message causes, which are messages accepted in the same transaction.
    pub reports: Vec<Acceptance>,
    /// Small records that change with the message, such as that its sender was told of an absence.
    pub records: Vec<MessageRecord>,
}

impl Acceptance {
    /// Returns the number of records that refer to the content.
    #[must_use]
    pub fn shown(&self) -> usize {
        self.deliveries.len() + self.items.len()
    }

    /// Checks that the names that the message brings can be kept.
    ///
    /// # Errors
    /// When one of them is too long.
    pub fn check_names(&self) -> Result<(), StoreError> {
        self.collected.iter().try_for_each(|collected| check_name(&collected.unique_id))?;
        self.records.iter().try_for_each(|record| check_name(&record.name))?;
        self.reports.iter().try_for_each(Self::check_names)
    }

    /// Returns the layout of the message's octets.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let content = u64::from(self.chunks) * CHUNK as u64 + self.rest.len() as u64;
        Layout::new(self.head.len() as u64, content)
    }

    /// Returns the number of octets in head and content.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.layout().octets()
    }
}

/// The delivery of a message into a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The account of the mailbox.
    pub account: AccountId,
    /// The folder. The message goes to the inbox if the folder no longer exists.
    pub folder: FolderId,
    /// The fields above the content for this recipient only: Return-Path, Delivered-To.
    pub prefix: Vec<u8>,
    /// The unique-id that the message had at its earlier place, if there was one: 1 to 70 octets of 0x21
    /// to 0x7E (RFC 1939 §7).
    pub unique_id: Option<String>,
    /// When the message arrived where it was before: its internal date (RFC 9051 §2.3.3) in place of the time of the
    /// acceptance.
    pub date: Option<Timestamp>,
    /// The flags that the message had there.
    pub flags: Flags,
    /// The keywords that it had there, sorted and without repetition: at most [`KEYWORDS`](crate::KEYWORDS).
    pub keywords: Vec<Keyword>,
}

/// The source of a collected message, and its name there; for an imported message, the account's own
/// [`SourceId::imports_of`] and what names the message for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collected {
    /// The source.
    pub source: SourceId,
    /// The message's unique-id there.
    pub unique_id: String,
}
