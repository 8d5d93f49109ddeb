//! The names of accounts, aliases and folders, of messages in their folders, and of changes.

mod folder;

pub use folder::{FOLDER_NAME, FOLDERS, FolderId, FolderName, FolderNameError, Role, RoleError};

use posta_mail::{Address, AddressError, Domain, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, fmt, str::FromStr};

/// The name of an account, for as long as the store exists. An account that is removed and added again
/// has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub u64);

/// The name of a private key: a random number, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId(pub u64);

/// The name of a message within its folder, for ever (RFC 9051 §2.3.1.1): a number from 1 up, in the
/// order in which messages came into the folder. A message that leaves the folder and comes back has
/// another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub u32);

/// A mod-sequence (RFC 7162 §3.1), which names a change, and increases with each change in the store. It
/// is derived from the time, so that it increases even after a backup is restored; below 2^63.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModSeq(pub u64);

impl ModSeq {
    /// Returns the mod-sequence that follows `last`, of a change at `time`: the time in microseconds, or the
    /// next number where that is taken.
    #[must_use]
    pub fn after(last: Self, time: Timestamp) -> Self {
        let micros = u64::try_from(time.as_microsecond()).unwrap_or_default();
        Self(micros.max(last.0 + 1))
    }
}

/// The name of an alias. Names sort by their text, so a catch-all stands among the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AliasName {
    /// One address.
    Address(Address),
    /// Every address of the domain that has neither an account nor an alias: `@domain`.
    CatchAll(Domain),
}

impl PartialOrd for AliasName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for AliasName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl AliasName {
    /// Returns the domain of the name.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self {
            Self::Address(address) => address.domain(),
            Self::CatchAll(domain) => domain.as_str(),
        }
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::CatchAll(domain) => write!(f, "@{domain}"),
        }
    }
}

impl FromStr for AliasName {
    type Err = AddressError;

    /// Parses a name, and folds the address as every look-up does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => domain.parse().map(Self::CatchAll),
            None => text.parse().map(|address: Address| Self::Address(address.folded())),
        }
    }
}

/// Names a source for as long as the store exists.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Default,
    JsonSchema,
)]
pub struct SourceId(pub u64);

impl SourceId {
    /// Returns the id under which the messages imported into an account's mailbox are remembered, so that none is
    /// imported twice. No source has it.
    #[must_use]
    pub const fn imports_of(account: AccountId) -> Self {
        Self(1 << 63 | account.0)
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
