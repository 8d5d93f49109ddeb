//! What happened to messages: kept with what it tells, in the same transaction.

use crate::error::Pending;
use posta_mail::{Address, MailId, ReversePath, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What happened to messages.
pub trait History: Send + Sync + 'static {
    /// Tells events that belong to no other change. Not durable by itself.
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()>;

    /// Everything that is told of a message, in order.
    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>>;

    /// Some events of messages before `before`, the newest messages first: `limit` of them, and what
    /// else belongs to the last message. The events of one message are in order.
    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>>;

    /// Forgets some of what is told of messages older than `before`. Returns the number of events
    /// forgotten; call it again until it is none.
    fn forget(&self, before: Timestamp) -> Pending<'_, usize>;
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The message; for what was refused before there was one, an id of its own.
    pub id: MailId,
    /// When.
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Who brought something, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Origin {
    /// When the connection came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected: Option<Timestamp>,
    /// From where; none for a Unix socket, and for what this server made itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// What the client called itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hello: String,
    /// SMTP, ESMTPSA, … (RFC 3848).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// TLS version and cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Address>,
}

/// What was refused, and in which words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The command or the address that it was about.
    pub about: String,
    /// The reply.
    pub reply: String,
    /// Why, in words, where the client was told less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How often: with others that were like it, but about other addresses.
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

/// Refusals of many clients, told by their number because there were too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedRefusals {
    /// The command.
    pub command: String,
    /// The codes of the reply.
    pub reply: String,
    /// How often, in all.
    pub times: u64,
    /// Those who were refused most often.
    pub clients: Vec<CountedClient>,
}

/// A client in [`CountedRefusals`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedClient {
    /// Its network, as it is written: an IPv4 address, or the /64 of an IPv6 address.
    pub client: String,
    /// How often.
    pub times: u32,
}

/// Mailboxes that a message is in now, told with what put it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InMailbox {
    /// The one whose own address was named.
    Own(Address),
    /// Those that another address led to: an alias, a catch-all, an address with a tag.
    Through {
        /// The address that was named.
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

    /// Returns the address that led there, if it was another.
    #[must_use]
    pub const fn through(&self) -> Option<&Address> {
        match self {
            Self::Own(_) => None,
            Self::Through { through, .. } => Some(through),
        }
    }
}

/// What became of a recipient in an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// Whom it was for.
    pub recipient: Address,
    /// `delivered`, `delayed` or `failed` (RFC 3464 §2.3.3).
    pub action: String,
    /// What the other side said, or what we found.
    pub reply: String,
    /// Whether the server that was talked to did not say that: this one found it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ours: bool,
}

/// What a filter said of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterResult {
    /// The filter: what it speaks, and where it is.
    pub filter: String,
    /// Its answer in words, or why there was none.
    pub said: String,
    /// What it asked for and did not get, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Whether it failed, so that the operator's choice held instead.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
}

/// What a check of a message's origin found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The method (RFC 8601 §2.7): `iprev`, `spf`, `dkim`, `dmarc` or `arc`.
    pub method: String,
    /// Its result, such as `pass`.
    pub result: String,
    /// Whom it is about: an address, a domain or a host's name. Empty if that cannot be made out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum What {
    /// A message was accepted.
    Accepted {
        /// From whom.
        origin: Origin,
        /// Its reverse-path.
        from: ReversePath,
        /// Its recipients, as they were named.
        to: Vec<Address>,
        /// Its Message-ID field.
        #[serde(rename = "message-id", default, skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        /// Octets of its content.
        octets: u64,
        /// The mailboxes here that it is in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mailboxes: Vec<InMailbox>,
        /// What was refused in the same transaction.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Refusal>,
    },
    /// Filters outside were asked about an accepted message.
    Filtered {
        /// What each said.
        results: Vec<FilterResult>,
        /// What was decided because of that, in words; none if the message went where it would have gone anyway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<String>,
    },
    /// It was checked where an accepted message came from.
    Checked {
        /// What each check found.
        results: Vec<CheckResult>,
        /// What was decided because of that, in words; none if the message went where it would have gone anyway.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decision: Option<String>,
    },
    /// Nothing came of a session or a transaction.
    Refused {
        /// From whom.
        origin: Origin,
        /// The reverse-path, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReversePath>,
        /// What was refused.
        refused: Vec<Refusal>,
    },
    /// More was refused than is told one by one.
    Counted {
        /// Since when.
        since: Timestamp,
        /// How many networks it came from, as far as they are told apart.
        networks: u32,
        /// What was refused, by command and reply.
        refusals: Vec<CountedRefusals>,
    },
    /// Too many logins failed: a network is locked out, or a name for networks it was not used from.
    LockedOut {
        /// The network as it is written, or the name.
        who: String,
        /// Whether it is a network.
        #[serde(rename = "is-network")]
        is_network: bool,
        /// The name that a network tried last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Logins that failed.
        failures: u32,
        /// When it ends, if no more fail.
        until: Timestamp,
    },
    /// Somebody opened a maildrop.
    Collected {
        /// Who.
        origin: Origin,
        /// Messages that were in it.
        messages: u64,
        /// Messages that were read, wholly or not.
        retrieved: u64,
        /// Messages that were removed.
        removed: u64,
        /// Logins that were refused before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refused: Vec<Refusal>,
    },
    /// It was tried to hand a message on.
    Attempted {
        /// The destination.
        destination: String,
        /// The server that was talked to, if it came to that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// TLS version and cipher suite.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<String>,
        /// What became of each recipient.
        recipients: Vec<Fate>,
        /// The mailboxes here that it is in.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mailboxes: Vec<InMailbox>,
        /// When the rest will be tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<Timestamp>,
    },
    /// The operator released it from quarantine.
    Released,
    /// The operator took it out of the queue.
    Removed {
        /// Where it would have gone.
        destination: String,
    },
    /// A report was sent about it.
    Reported {
        /// The report, a message itself.
        report: MailId,
        /// To whom.
        to: Address,
        /// `delivered`, `delayed` or `failed`.
        action: String,
    },
}
