//! The reference store: the rules in their simplest form, kept in memory. Tests and simulations run
//! on it, and every other store is compared with it.

mod contents;
mod directory;
mod folders;
mod history;
mod mailboxes;
mod queue;
mod records;
mod sources;
mod upkeep;
mod watch;

use crate::{
    contents::Layout,
    directory::{Account, RemovedAccount},
    error::{Pending, StoreError},
    folders::Folder,
    history::Event,
    item::lease::{Leases, Token},
    item::{Destination, Item, ItemId},
    mailboxes::Entry,
    names::{AccountId, AliasName, FolderId, ModSeq, SourceId, Uid},
    records::SecretOf,
    sources::Source,
    watch::{Subject, Watchers},
};
use bytes::Bytes;
use folders::Ledger;
use parking_lot::{Mutex, MutexGuard};
use posta_mail::{Address, Domain, MailId, Secret, ThreadId, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
};

/// Octets of content that the store may keep chunks of: `chunk` copies nothing.
type Chunks = Vec<Bytes>;

/// Names a message: an account, a folder of it, and the message there.
type Key = (AccountId, FolderId, Uid);

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Box<Inner>>,
    watchers: Watchers,
    /// Transactions that were run.
    transactions: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    last_mod_seq: ModSeq,
    last_account: u64,
    accounts: BTreeMap<Address, Account>,
    aliases: BTreeMap<AliasName, Vec<Address>>,
    /// Whether each local domain was added by itself.
    domains: BTreeMap<Domain, bool>,
    /// What domains stand for that stand for others.
    domain_aliases: BTreeMap<Domain, Domain>,
    removed_accounts: BTreeMap<AccountId, RemovedAccount>,
    content: HashMap<MailId, Chunks>,
    /// The heads that are pieces of their own.
    heads: HashMap<MailId, Bytes>,
    /// How many entries show a content.
    shown: HashMap<MailId, usize>,
    /// Counts aside, which are taken of the entries.
    folders: BTreeMap<(AccountId, FolderId), Folder>,
    ledgers: BTreeMap<AccountId, Ledger>,
    entries: BTreeMap<Key, Entry>,
    removed: BTreeMap<Key, Removed>,
    /// What messages were called that have another name by now.
    moved: BTreeMap<Key, Moved>,
    /// What was changed after it came, and what vanished, by when.
    changed: BTreeMap<(AccountId, ModSeq), (FolderId, Uid)>,
    retrieved: BTreeSet<(Timestamp, Key)>,
    queue: BTreeMap<ItemId, Item>,
    leased: HashMap<ItemId, Timestamp>,
    /// The token of the last claim of each item.
    tokens: HashMap<ItemId, Token>,
    last_token: u64,
    paused: HashMap<Destination, Timestamp>,
    source_leases: Leases<SourceId>,
    last_source: u64,
    sources: BTreeMap<SourceId, Source>,
    secrets: BTreeMap<SecretOf, Secret>,
    collected: BTreeMap<(SourceId, String), Timestamp>,
    kept: BTreeMap<(&'static str, String), Vec<u8>>,
    /// In the order in which they were told.
    events: Vec<Event>,
}

/// A content that goes into a mailbox.
#[derive(Debug, Clone, Copy)]
struct Content {
    id: MailId,
    layout: Layout,
    added: u64,
    thread: ThreadId,
    shared: bool,
}

#[derive(Debug)]
struct Removed {
    entry: Entry,
    time: Timestamp,
    purge: Timestamp,
    mod_seq: ModSeq,
}

/// What became of a name.
#[derive(Debug, Clone, Copy)]
struct Moved {
    mod_seq: ModSeq,
    purge: Timestamp,
    to: (FolderId, Uid),
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of calls that were made of the store since it was made, each of which is one
    /// transaction: tests tell by it what something costs.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Runs a transaction. A panic inside one is a bug that leaves the maps whole, so the lock's
    /// poison is ignored.
    fn with<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let mut inner: MutexGuard<'_, Box<Inner>> = self.inner.lock();
        Box::pin(ready(transaction(&mut inner)))
    }

    /// The same for a transaction that changes something. It is told to those who watch, even if it failed.
    fn changing<'a, T: Send + 'a>(
        &self,
        subjects: impl IntoIterator<Item = Subject>,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let changed = self.with(transaction);
        subjects.into_iter().for_each(|subject| self.watchers.tell(subject));
        changed
    }

    /// The same for a transaction that changes the directory.
    fn with_directory<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        self.changing([Subject::Directory], transaction)
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
