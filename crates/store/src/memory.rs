//! The reference store: the rules in their simplest form, in memory. Tests and simulations use it, and
//! every other store is compared with it.

mod contents;
mod directory;
mod folders;
mod history;
mod mailboxes;
mod nodes;
mod queue;
mod records;
mod shared;
mod sources;
mod upkeep;
mod watch;

use crate::{
    contents::Layout,
    directory::{Account, RemovedAccount, TagSeparators},
    error::{Pending, StoreError},
    folders::Folder,
    history::Event,
    item::lease::{Leases, Token},
    item::{Destination, Item, ItemId},
    mailboxes::Entry,
    names::{AccountId, AliasName, FolderId, ModSeq, SourceId, Uid},
    records::SecretOf,
    sources::Source,
    watch::{Subject, Watchers, tally::Tallies},
};
use bytes::Bytes;
use folders::Ledger;
use nodes::MemoryNodes;
use parking_lot::{Mutex, MutexGuard};
use posta_mail::{Address, Domain, MailId, Secret, ThreadId, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The chunks of a content, which reading does not copy.
type Chunks = Vec<Bytes>;

/// The name of a message: the account, the folder, and the UID.
type Key = (AccountId, FolderId, Uid);

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Box<Inner>>>,
    tags: TagSeparators,
    watchers: Watchers,
    tallies: Tallies,
    /// The number of transactions run so far.
    transactions: AtomicU64,
    /// The number of this node among those that share the store.
    node: u64,
}

#[derive(Debug, Default)]
struct Inner {
    last_mod_seq: ModSeq,
    last_account: u64,
    accounts: BTreeMap<Address, Account>,
    aliases: BTreeMap<AliasName, Vec<Address>>,
    /// Whether each local domain was added separately.
    domains: BTreeMap<Domain, bool>,
    /// The domain aliases, each with its domain.
    domain_aliases: BTreeMap<Domain, Domain>,
    removed_accounts: BTreeMap<AccountId, RemovedAccount>,
    content: HashMap<MailId, Chunks>,
    /// The heads that are separate pieces.
    heads: HashMap<MailId, Bytes>,
    /// The number of entries that refer to each content.
    shown: HashMap<MailId, usize>,
    /// The folders, without counts, which are determined from the entries.
    folders: BTreeMap<(AccountId, FolderId), Folder>,
    ledgers: BTreeMap<AccountId, Ledger>,
    entries: BTreeMap<Key, Entry>,
    removed: BTreeMap<Key, Removed>,
    /// The old names of messages that have another name now.
    moved: BTreeMap<Key, Moved>,
    /// The messages that changed after their arrival, or vanished, by mod-sequence.
    changed: BTreeMap<(AccountId, ModSeq), (FolderId, Uid)>,
    retrieved: BTreeSet<(Timestamp, Key)>,
    queue: BTreeMap<ItemId, Item>,
    leased: HashMap<ItemId, Timestamp>,
    /// The token of each item's last claim.
    tokens: HashMap<ItemId, Token>,
    last_token: u64,
    paused: HashMap<Destination, Timestamp>,
    source_leases: Leases<SourceId>,
    last_source: u64,
    sources: BTreeMap<SourceId, Source>,
    secrets: BTreeMap<SecretOf, Secret>,
    collected: BTreeMap<(SourceId, String), Timestamp>,
    kept: BTreeMap<(&'static str, String), Vec<u8>>,
    /// The events, in the order in which they were recorded.
    events: Vec<Event>,
    nodes: MemoryNodes,
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

/// The fate of a name.
#[derive(Debug, Clone, Copy)]
struct Moved {
    mod_seq: ModSeq,
    purge: Timestamp,
    to: (FolderId, Uid),
}

impl MemoryStore {
    /// Makes these characters separate users from tags.
    #[must_use]
    pub fn with_tags(self, tags: TagSeparators) -> Self {
        Self { tags, ..self }
    }

    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the same store, as another node has it: of the duties, each is one node's.
    #[must_use]
    pub fn another_node(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            tags: self.tags.clone(),
            watchers: self.watchers.clone(),
            tallies: self.tallies.clone(),
            transactions: AtomicU64::new(0),
            node: self.inner.lock().nodes.add(),
        }
    }

    /// Returns the number of calls so far, each of which is one transaction. Tests determine the cost of
    /// operations with it.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Returns the number of contents, complete or not.
    #[must_use]
    pub fn contents(&self) -> usize {
        let inner: MutexGuard<'_, Box<Inner>> = self.inner.lock();
        inner.content.len()
    }

    /// Runs a transaction. A panic inside one is a bug that leaves the maps intact, so a poisoned lock
    /// is ignored.
    fn with<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        let mut inner: MutexGuard<'_, Box<Inner>> = self.inner.lock();
        let before = inner.events.len();
        let done = transaction(&mut inner);
        if self.watchers.is_followed() && inner.events.len() > before {
            self.watchers.tell_events(inner.events[before..].to_vec());
        }
        Box::pin(ready(done))
    }

    /// Runs a transaction that changes something. The watchers are informed, even if it failed.
    fn changing<'a, T: Send + 'a>(
        &self,
        subjects: impl IntoIterator<Item = Subject>,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let changed = self.with(transaction);
        subjects.into_iter().for_each(|subject| self.watchers.tell(subject));
        changed
    }

    /// Runs a transaction that changes the directory.
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
    use crate::{
        Store,
        conformance::{self, Site},
    };

    /// What is in memory stays as long as its site.
    struct Memory(Arc<MemoryStore>);

    impl Site for Memory {
        fn open(&self) -> Arc<dyn Store> {
            self.0.clone()
        }
    }

    #[test]
    fn conforms() {
        conformance::run(&|| Box::new(Memory(Arc::default())));
    }
}
