//! The items of the queue: messages on their way to a destination each.

pub(crate) mod lease;

use crate::contents::Layout;
use posta_mail::{
    Address, MailId, ReversePath, ThreadId, Timestamp,
    envelope::{Body, Late, Notify, Return},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Names an item of the queue: a message, and which of its destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ItemId {
    /// The message.
    pub content: MailId,
    /// Which of its destinations, from 0.
    pub index: u32,
}

/// What an item's recipients have in common: the message's envelope beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where reports go.
    pub reverse_path: ReversePath,
    /// The sender's name for the message, in xtext (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// How much of the message a report brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// What the content may hold.
    pub body: Body,
    /// Whether addresses and header fields may be in UTF-8 (RFC 6531).
    pub utf8: bool,
    /// Whether it may never travel in plaintext (RFC 8689).
    #[serde(default)]
    pub require_tls: bool,
    /// By when it is to be delivered, and what happens then (RFC 2852).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<(Timestamp, Late)>,
    /// Higher goes first (RFC 6710): -9 to 9.
    #[serde(default)]
    pub priority: i8,
}

impl Envelope {
    /// Returns the envelope of a message of which only the sender is known.
    #[must_use]
    pub const fn from_sender(reverse_path: ReversePath) -> Self {
        Self {
            reverse_path,
            envelope_id: None,
            ret: None,
            body: Body::EightBitMime,
            utf8: false,
            require_tls: false,
            deadline: None,
            priority: 0,
        }
    }
}

/// Where an item goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// To mailboxes of this server, later.
    Local,
    /// To another server's: a domain in lower case, or an address literal in brackets.
    Domain(String),
}

/// A recipient whose fate is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Whom.
    pub address: Address,
    /// What the sender wants to hear of.
    pub notify: Notify,
    /// Whom the sender named first: `type;xtext` (RFC 3461 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// What the other side said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// What holds an item where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemState {
    /// Its time.
    Waiting,
    /// Somebody works on it, until the lease ends.
    Leased,
    /// The operator.
    Held,
    /// A filter outside: the item is in quarantine until the operator releases or drops it.
    Quarantined,
}

impl ItemState {
    /// Returns whether the item stays where it is until the operator changes that.
    #[must_use]
    pub const fn is_kept_back(self) -> bool {
        matches!(self, Self::Held | Self::Quarantined)
    }
}

/// A message on its way to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name.
    pub id: ItemId,
    /// Octets of head and content.
    pub octets: u64,
    /// How many of these are the head's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub head: u32,
    /// Octets that it gains as lines, should it end in a mailbox here ([`crate::Entry::added`]).
    #[serde(default)]
    pub added: u64,
    /// When the message was accepted.
    pub accepted: Timestamp,
    /// Its Message-ID field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The conversation that it belongs to, unless it is one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadId>,
    /// Its envelope, recipients aside.
    pub envelope: Envelope,
    /// Where it goes.
    pub destination: Destination,
    /// To whom. At least one.
    pub recipients: Vec<Waiting>,
    /// When it is to be tried, or its lease ends.
    pub due: Timestamp,
    /// What holds it.
    pub state: ItemState,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether the sender was told that it takes longer.
    pub delay_told: bool,
    /// Whether something else may show the same content.
    pub shared: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(octets: &u32) -> bool {
    *octets == 0
}

impl Item {
    /// Returns where its octets lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let head = u64::from(self.head);
        Layout::new(head, self.octets.saturating_sub(head))
    }

    /// Returns the conversation that it belongs to.
    #[must_use]
    pub fn thread(&self) -> ThreadId {
        self.thread.unwrap_or_else(|| ThreadId::alone(self.id.content))
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.content, self.index))
    }
}

/// The text is not an [`ItemId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an item of the queue is named by its message's id, a dot and a number")]
pub struct ItemIdError;

impl FromStr for ItemId {
    type Err = ItemIdError;

    fn from_str(text: &str) -> Result<Self, ItemIdError> {
        let (content, index) = text.split_once('.').ok_or(ItemIdError)?;
        let content = content.parse().map_err(|_| ItemIdError)?;
        Ok(Self { content, index: index.parse().map_err(|_| ItemIdError)? })
    }
}

impl TryFrom<String> for ItemId {
    type Error = ItemIdError;

    fn try_from(text: String) -> Result<Self, ItemIdError> {
        text.parse()
    }
}

impl From<ItemId> for String {
    fn from(id: ItemId) -> Self {
        id.to_string()
    }
}
