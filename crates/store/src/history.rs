//! The history of messages: events, stored in the same transaction as the changes that they describe.

use crate::error::Pending;
use posta_mail::{Address, MailId, ReversePath, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The events that happened to messages.
pub trait History: Send + Sync + 'static {
    /// Records events that belong to no other change. Not durable by itself.
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()>;

    /// Returns all events of a message, in order.
    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>>;

    /// Returns events of messages before `before`, the newest messages first: `limit` of them, and the
    /// remaining events of the last message. The events of one message are in order.
    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>>;

    /// Removes some of the events of messages older than `before`. Returns the number removed; the
    /// caller repeats the call until that is 0.
    fn forget(&self, before: Timestamp) -> Pending<'_, usize>;
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The message's id. Events about refusals before there was a message have an id of their own.
    pub id: MailId,
    /// The time of the event.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The description of the event.
    #[serde(flatten)]
    pub what: What,
}

/// The client that brought something, and the circumstances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Origin {
    /// The time of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub connected: Option<Timestamp>,
    /// The client's address; none for a Unix socket, and for messages that this server made itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// The name that the client gave in its greeting.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hello: String,
    /// The protocol: SMTP, ESMTPSA, … (RFC 3848).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The TLS version and cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The account that had logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Address>,
}

/// A refusal, with the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The command, or the address that it was about.
    pub about: String,
    /// The reply.
    pub reply: String,
    /// The reason, in words, if the client was told less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The number of such refusals, including similar ones about other addresses.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub times: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

const fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_once(times: &u32) -> bool {
    *times == 1
}

/// The counts of many clients' refusals, of which there were too many to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountedRefusals {
    /// The command.
    pub command: String,
    /// The codes of the reply.
    pub reply: String,
    /// The total number.
    pub times: u64,
    /// The clients with the most refusals.
    pub clients: Vec<CountedClient>,
}

/// A client in [`CountedRefusals`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountedClient {
    /// The network in text form: an IPv4 address, or the /64 of an IPv6 address.
    pub client: String,
    /// The number of refusals.
    pub times: u32,
}

/// The mailboxes that have a message now, with the address that led there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InMailbox {
    /// The mailbox of the recipient's own address.
    Own(Address),
    /// The mailboxes that another address led to: an alias, a catch-all, or an address with a tag.
    Through {
        /// The recipient's address.
        through: Address,
        /// The addresses of the mailboxes.
        mailboxes: Vec<Address>,
    },
}

impl InMailbox {
    /// Returns the addresses of the mailboxes.
    #[must_use]
    pub fn mailboxes(&self) -> &[Address] {
        match self {
            Self::Own(mailbox) => std::slice::from_ref(mailbox),
            Self::Through { mailboxes, .. } => mailboxes,
        }
    }

    /// Returns the address that led there, if it is not the mailbox's own.
    #[must_use]
    pub const fn through(&self) -> Option<&Address> {
        match self {
            Self::Own(_) => None,
            Self::Through { through, .. } => Some(through),
        }
    }
}

/// The fate of a recipient in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fate {
    /// The recipient.
    pub recipient: Address,
    /// `delivered`, `delayed` or `failed` (RFC 3464 §2.3.3).
    pub action: String,
    /// The other server's reply, or this server's finding.
    pub reply: String,
    /// Whether the reply is a finding of this server, not the other server's answer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ours: bool,
}

/// The answer of a filter about a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilterResult {
    /// The filter: its protocol and its address.
    pub filter: String,
    /// The answer in words, or the reason why there was none.
    pub said: String,
    /// The filter's requests that were not fulfilled, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Whether the filter failed, so that the operator's choice for that case applied.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
}

/// The result of a check of a message's origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// The method (RFC 8601 §2.7): `iprev`, `spf`, `dkim`, `dmarc` or `arc`.
    pub method: String,
    /// The result, such as `pass`.
    pub result: String,
    /// The subject of the check: an address, a domain or a host's name; empty if that is unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The reason, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The description of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// A message was accepted.
    Accepted {
        /// The origin.
        origin: Origin,
        /// The reverse-path.
        from: ReversePath,
        /// The recipients, as the client gave them.
        to: Vec<Address>,
        /// The value of the Message-ID field.
        #[serde(rename = "message-id", default, skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        /// The number of octets in the content.
        octets: u64,
        /// The local mailboxes that have the message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mailboxes: Vec<InMailbox>,
        /// The refusals in the same transaction.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Refusal>,
    },
    /// Filters were asked about an accepted message.
    Filtered {
        /// The answer of each filter.
        results: Vec<FilterResult>,
        /// The resulting decision, in words; none if it made no difference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<String>,
    },
    /// The origin of an accepted message was checked.
    Checked {
        /// The result of each check.
        results: Vec<CheckResult>,
        /// The resulting decision, in words; none if it made no difference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<String>,
    },
    /// A session or a transaction had no result but refusals.
    Refused {
        /// The origin.
        origin: Origin,
        /// The reverse-path, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReversePath>,
        /// The refusals.
        refused: Vec<Refusal>,
    },
    /// There were more refusals than are listed one by one.
    Counted {
        /// The time since which they were counted.
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Timestamp,
        /// The number of networks that they came from, as far as these were counted separately.
        networks: u32,
        /// The refusals, by command and reply.
        refusals: Vec<CountedRefusals>,
    },
    /// Too many logins failed: a network is locked out, or a name, for networks that it was not used
    /// from.
    LockedOut {
        /// The network in text form, or the name.
        who: String,
        /// Whether a network is locked out.
        #[serde(rename = "is-network")]
        is_network: bool,
        /// The name that a network tried last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The number of failed logins.
        failures: u32,
        /// The time when the lock-out ends, if no more logins fail.
        #[schemars(with = "String", extend("format" = "date-time"))]
        until: Timestamp,
    },
    /// A POP3 client opened a maildrop.
    Collected {
        /// The client.
        origin: Origin,
        /// The number of messages in the maildrop.
        messages: u64,
        /// The number of messages that were read, completely or not.
        retrieved: u64,
        /// The number of messages that were removed.
        removed: u64,
        /// The logins that were refused before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Refusal>,
    },
    /// An attempt was made to send a message on.
    Attempted {
        /// The destination.
        destination: String,
        /// The other server, if one was contacted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The TLS version and cipher suite.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<String>,
        /// The fate of each recipient.
        recipients: Vec<Fate>,
        /// The local mailboxes that have the message.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mailboxes: Vec<InMailbox>,
        /// The time of the next attempt for the remaining recipients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        next: Option<Timestamp>,
    },
    /// The operator released the message from quarantine.
    Released,
    /// The operator removed the message from the queue.
    Removed {
        /// The destination that it would have gone to.
        destination: String,
    },
    /// A report about the message was sent.
    Reported {
        /// The report, which is a message itself.
        report: MailId,
        /// The recipient of the report.
        to: Address,
        /// `delivered`, `delayed` or `failed`; `away` for a note that a recipient is not there.
        action: String,
    },
}
