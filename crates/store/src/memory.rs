//! The reference store: the rules in their simplest form, kept in memory. Tests and simulations run
//! on it, and every other store is compared with it.

mod contents;
mod directory;
mod history;
mod mailboxes;
mod queue;
mod records;
mod sources;
mod upkeep;
mod watch;

use crate::{
    directory::{Account, RemovedAccount},
    error::{Pending, StoreError},
    history::Event,
    item::{Destination, Item, ItemId},
    mailboxes::Entry,
    names::{AccountId, AliasName, Uid},
    records::SecretOf,
    sources::{Source, SourceId},
};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use posta_mail::{Address, Domain, MailId, Secret, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
};

/// Octets of content that the store may keep chunks of: `chunk` copies nothing.
type Chunks = Vec<Bytes>;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    /// Grows after each change of an account.
    directory_version: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    last_uid: u64,
    last_account: u64,
    accounts: BTreeMap<Address, Account>,
    aliases: BTreeMap<AliasName, Vec<Address>>,
    /// Whether each local domain was added by itself.
    domains: BTreeMap<Domain, bool>,
    /// What domains stand for that stand for others.
    domain_aliases: BTreeMap<Domain, Domain>,
    removed_accounts: BTreeMap<AccountId, RemovedAccount>,
    content: HashMap<MailId, Chunks>,
    /// How many entries show a content.
    shown: HashMap<MailId, usize>,
    mailboxes: BTreeMap<(AccountId, Uid), Entry>,
    removed: BTreeMap<(AccountId, Uid), Removed>,
    /// The unique-ids that messages brought along.
    imported: BTreeMap<(AccountId, Uid), String>,
    retrieved: BTreeSet<(Timestamp, AccountId, Uid)>,
    queue: BTreeMap<ItemId, Item>,
    leased: HashMap<ItemId, Timestamp>,
    paused: HashMap<Destination, Timestamp>,
    last_source: u64,
    sources: BTreeMap<SourceId, Source>,
    secrets: BTreeMap<SecretOf, Secret>,
    collected: BTreeMap<(SourceId, String), Timestamp>,
    kept: BTreeMap<(&'static str, String), Vec<u8>>,
    /// In the order in which they were told.
    events: Vec<Event>,
}

#[derive(Debug)]
struct Removed {
    entry: Entry,
    time: Timestamp,
    purge: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a transaction. A panic inside one is a bug that leaves the maps whole, so the lock's
    /// poison is ignored.
    fn with<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let mut inner: MutexGuard<'_, Inner> = self.inner.lock();
        Box::pin(ready(transaction(&mut inner)))
    }

    /// The same for one that changes an account.
    fn with_account<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let changed = self.with(transaction);
        self.directory_version.fetch_add(1, Ordering::Release);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn conforms() {
        conformance::run(&|| Box::new(MemoryStore::new()));
    }
}
