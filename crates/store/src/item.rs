//! The items of the queue. An item is a message on its way to one destination.

pub(crate) mod lease;

use crate::contents::Layout;
use posta_mail::{
    Address, MailId, ReversePath, ThreadId, Timestamp,
    envelope::{Body, Late, Notify, Return},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of a queue item: the message, and the number of the destination.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct ItemId {
    /// The message.
    pub content: MailId,
    /// The number of the destination, from 0.
    pub index: u32,
}

/// The part of a message's envelope that an item's recipients share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The address to which reports go.
    pub reverse_path: ReversePath,
    /// The sender's name for the message, in xtext (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// The part of the message that a report includes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// The kind of octets in the content.
    pub body: Body,
    /// Whether addresses and header fields may contain UTF-8 (RFC 6531).
    pub utf8: bool,
    /// Whether the message must never travel in plaintext (RFC 8689).
    #[serde(default)]
    pub require_tls: bool,
    /// The delivery deadline, and the consequence of missing it (RFC 2852).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<(Timestamp, Late)>,
    /// The priority (RFC 6710), -9 to 9; higher ones go first.
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

/// The destination of an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// Mailboxes of this server, at a later time.
    Local,
    /// Another server's mailboxes: a domain in lower case, or an address literal in brackets.
    Domain(String),
}

/// A recipient whose fate is not decided yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The recipient's address.
    pub address: Address,
    /// The events about which the sender wants a report.
    pub notify: Notify,
    /// The recipient as the sender first specified it: `type;xtext` (RFC 3461 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// The last reply of the other server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
}

/// The reason why an item is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ItemState {
    /// The item waits for its time.
    Waiting,
    /// A relay works on the item until the lease ends.
    Leased,
    /// The operator holds the item.
    Held,
    /// A filter asked for quarantine: the item stays until the operator releases or drops it.
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
    /// The item's name.
    pub id: ItemId,
    /// The number of octets in head and content.
    pub octets: u64,
    /// The number of these octets that are the head's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub head: u32,
    /// The number of octets that the message gains as lines, if it ends in a local mailbox
    /// ([`crate::Entry::added`]).
    #[serde(default)]
    pub added: u64,
    /// The time when the message was accepted.
    pub accepted: Timestamp,
    /// The value of the Message-ID field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The conversation that the message belongs to, unless it is one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadId>,
    /// The envelope, without recipients.
    pub envelope: Envelope,
    /// The destination.
    pub destination: Destination,
    /// The recipients, at least one.
    pub recipients: Vec<Waiting>,
    /// The time of the next attempt, or the end of the lease.
    pub due: Timestamp,
    /// The state.
    pub state: ItemState,
    /// The number of attempts so far.
    pub attempts: u32,
    /// Whether the sender has been informed of the delay.
    pub delay_told: bool,
    /// Whether anything else may refer to the same content.
    pub shared: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(octets: &u32) -> bool {
    *octets == 0
}

impl Item {
    /// Returns the layout of the message's octets.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let head = u64::from(self.head);
        Layout::new(head, self.octets.saturating_sub(head))
    }

    /// Returns the conversation that the message belongs to.
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
