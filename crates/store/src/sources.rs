//! Mailboxes elsewhere, from which mail is collected into mailboxes here.

use crate::{
    directory::Account,
    error::Pending,
    item::lease::{Lease, Token},
    names::{AccountId, SourceId},
};
use posta_mail::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// The mailboxes elsewhere, and what is known of the messages in them.
pub trait Sources: Send + Sync + 'static {
    /// Adds a source, whose id and last visit are not looked at, with its password.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount); [`StoreError::Sealed`](crate::StoreError::Sealed) when the password cannot be sealed.
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId>;

    /// Replaces the source of an id, and its password. What was collected stays known. Returns whether the
    /// source is there.
    ///
    /// # Errors
    /// [`StoreError::Sealed`](crate::StoreError::Sealed) when the password cannot be sealed.
    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool>;

    /// Returns all sources, by id.
    fn sources(&self) -> Pending<'_, Vec<Source>>;

    /// Takes sources whose next visit is due and that nobody visits, `limit` at most, and leases them until
    /// `until`: those that are due for longest first. Sources of removed accounts wait. Leases need not
    /// outlive the process that holds them.
    fn claim_sources(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Pending<'_, Vec<ClaimedSource>>;

    /// Leases one source in the same way, due or not. Returns `None` if somebody visits it, it is gone, or its
    /// account is removed.
    fn claim_source(
        &self,
        source: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'_, Option<ClaimedSource>>;

    /// Makes the lease of a source last until `until`, if `token` is that of its last claim. Returns whether
    /// it is.
    fn renew_source(&self, source: SourceId, token: Token, until: Timestamp) -> Pending<'_, bool>;

    /// Notes how a visit ended, and ends its lease. Returns false, and changes nothing, where the source is
    /// gone or another has claimed it since.
    fn visited(&self, source: SourceId, token: Token, visit: Visit) -> Pending<'_, bool>;

    /// Removes a source, its password for good, and what is known of its messages. Returns whether it was there.
    fn remove_source(&self, source: SourceId) -> Pending<'_, bool>;

    /// Returns the unique-ids of the messages that were accepted from a source, and when each was.
    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>>;

    /// Forgets messages that a source no longer has.
    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()>;
}

/// A mailbox elsewhere. Its password is a [`SecretOf`](crate::SecretOf) it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The source's id, which the store gives.
    pub id: SourceId,
    /// The account whose mailbox the mail goes to.
    pub account: AccountId,
    /// Where the mailbox is, and how to log in there.
    pub login: Login,
    /// Which messages stay there.
    pub keep: Keep,
    /// Seconds from one visit to the next.
    pub every: u64,
    /// How the last visit ended. A store keeps it apart: it changes with every visit.
    #[serde(skip)]
    pub last: Option<Visit>,
}

/// Where a POP3 server is, and how to get in. The password is kept apart from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `host:port`.
    pub server: String,
    /// The name to log in with.
    pub user: String,
    /// How TLS is used.
    pub tls: LoginTls,
    /// Whether any certificate will do.
    pub any_certificate: bool,
}

/// How a login uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginTls {
    /// Not at all: for servers on this machine.
    None,
    /// By STLS, or not at all.
    Stls,
    /// From the start.
    Implicit,
}

/// What stays on a server after it was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Each message for so many days after it was collected.
    Days(u32),
    /// Everything.
    All,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Days(days) => write!(f, "{days}d"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        match (text, days) {
            ("nothing", _) => Ok(Self::Nothing),
            ("all", _) => Ok(Self::All),
            (_, Some(days)) => Ok(Self::Days(days)),
            _ => Err(format!("{text:?} is not nothing, all, or days such as 7d")),
        }
    }
}

impl Source {
    /// Returns when the source is to be visited next; none for at once.
    #[must_use]
    pub fn next_visit(&self) -> Option<Timestamp> {
        let after = |last: &Visit| last.time.saturating_add(Duration::from_secs(self.every)).ok();
        self.last.as_ref().and_then(after)
    }
}

/// A source that was claimed for a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedSource {
    /// The source.
    pub source: Source,
    /// The account that it is collected for.
    pub account: Account,
    /// The lease on it.
    pub lease: Lease,
}

/// How a visit ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit {
    /// When.
    pub time: Timestamp,
    /// Messages that were collected.
    pub collected: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
