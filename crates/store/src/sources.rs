//! Sources: mailboxes elsewhere, from which mail is collected into local mailboxes.

use crate::{
    directory::Account,
    error::Pending,
    item::lease::{Lease, Token},
    names::{AccountId, SourceId},
};
use posta_mail::{Secret, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// The sources, and the messages in them that are already known.
pub trait Sources: Send + Sync + 'static {
    /// Adds a source with its password. The id and the last visit in `source` are ignored.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount);
    /// [`StoreError::Sealed`](crate::StoreError::Sealed) when the password cannot be sealed.
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId>;

    /// Replaces the source with the same id, and its password. The messages collected so far stay known.
    /// Returns whether the source exists.
    ///
    /// # Errors
    /// [`StoreError::Sealed`](crate::StoreError::Sealed) when the password cannot be sealed.
    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool>;

    /// Returns all sources, by id.
    fn sources(&self) -> Pending<'_, Vec<Source>>;

    /// Claims sources whose next visit is due and that are not being visited, at most `limit`, and
    /// leases them until `until`: first those that have been due for longest. Sources of removed
    /// accounts wait. Leases need not outlive the process that holds them.
    fn claim_sources(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Pending<'_, Vec<ClaimedSource>>;

    /// Leases one source in the same way, due or not. Returns `None` if it is being visited, does not
    /// exist, or its account is removed.
    fn claim_source(
        &self,
        source: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'_, Option<ClaimedSource>>;

    /// Extends the lease of a source until `until`, if `token` is that of the last claim. Returns
    /// whether it was extended.
    fn renew_source(&self, source: SourceId, token: Token, until: Timestamp) -> Pending<'_, bool>;

    /// Records the result of a visit, and ends its lease. Returns false, and changes nothing, if the
    /// source no longer exists or has been claimed again since.
    fn visited(&self, source: SourceId, token: Token, visit: Visit) -> Pending<'_, bool>;

    /// Removes a source, its password for good, and the list of its known messages. Returns whether the
    /// source existed.
    fn remove_source(&self, source: SourceId) -> Pending<'_, bool>;

    /// Returns the unique-ids of the messages that were accepted from a source, each with the time of
    /// acceptance.
    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>>;

    /// Returns, for each of these unique-ids, whether a message with it was accepted from a source.
    fn has_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, Vec<bool>>;

    /// Forgets messages that a source no longer has.
    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()>;
}

/// A mailbox elsewhere. Its password is stored as a [`SecretOf`](crate::SecretOf).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The source's id, assigned by the store.
    pub id: SourceId,
    /// The account whose mailbox the mail goes to.
    pub account: AccountId,
    /// The server of the mailbox, and the login there.
    pub login: Login,
    /// The messages that stay there.
    pub keep: Keep,
    /// The number of seconds from one visit to the next.
    pub every: u64,
    /// The result of the last visit. A store keeps it separately, since it changes with every visit.
    #[serde(skip)]
    pub last: Option<Visit>,
}

/// A POP3 server and the login there. The password is stored separately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// `host:port`.
    pub server: String,
    /// The name to log in with.
    pub user: String,
    /// The use of TLS.
    pub tls: LoginTls,
    /// Whether any certificate is accepted.
    pub any_certificate: bool,
}

/// The use of TLS in a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoginTls {
    /// None: for servers on this machine.
    None,
    /// After STLS; without TLS, the login fails.
    Stls,
    /// From the start.
    Implicit,
}

/// The messages that stay on a server after they were collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// Each message, for this number of days after it was collected.
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
    /// Returns the time of the next visit; none for at once.
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
    /// The account that mail is collected for.
    pub account: Account,
    /// The lease on it.
    pub lease: Lease,
}

/// The result of a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Visit {
    /// The time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// The number of messages collected.
    pub collected: u64,
    /// The problem, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
