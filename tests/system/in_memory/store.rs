//! The store of a test's servers: that in memory, or one on PostgreSQL (`posta_tests::Database`).
//!
//! Where a test moves the clock, tokio moves it by itself as soon as no task has anything to do, and a task that waits
//! for a database has nothing to do. The database answers in real time, so the store on PostgreSQL has a runtime of its own,
//! and here each call holds the test's clock until it is answered.

use bytes::Bytes;
use posta_mail::{Address, Domain, MailId, Secret, Timestamp};
use posta_store::{
    Acceptance, Account, AccountId, Alias, AliasName, Changes, Claimed, ClaimedSource, Contents,
    Credentials, Destination, Directory, Entry, Event, FlagChange, FlagsChanged, Folder, FolderId,
    FolderName, Folders, History, HistoryFollower, Item, ItemId, ItemState, Mailboxes, Maildrop,
    MemoryStore, ModSeq, NodeStanding, NodeState, Nodes, Pending, Queue, Records, RemovedAccount,
    Resolution, Role, SecretOf, SendAs, Settled, Settlement, Shared, Source, SourceId, Sources,
    Store, StoreFigures, Subject, TagSeparators, Tally, Token, Uid, Upkeep, Usage, Visit, Vitals,
    Watch, Watcher,
};
use posta_store_postgres::{PostgresStore, Settings};
use posta_tests::Database;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, mpsc},
    thread,
};
use tokio::{runtime::Runtime, task::spawn_blocking};

/// Returns an empty store.
pub(crate) fn store() -> Arc<dyn Store> {
    match Database::new() {
        None => Arc::new(MemoryStore::new()),
        Some(database) => Arc::new(OnPostgres::open(database)),
    }
}

/// A store on PostgreSQL for a test whose clock is not that of the world.
struct OnPostgres {
    store: PostgresStore,
    _keys: tempfile::TempDir,
    /// It is removed after the store is closed.
    _database: Database,
}

/// Returns the runtime on which the world's clock goes.
fn world() -> &'static Runtime {
    static WORLD: OnceLock<Runtime> = OnceLock::new();
    WORLD.get_or_init(|| Runtime::new().unwrap())
}

impl OnPostgres {
    fn open(database: Database) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let settings = Settings::new(&database.url(), keys.path().join("keys")).unwrap();
        // The test runs on a runtime itself, on which it cannot wait for another.
        let opened = thread::scope(|scope| {
            scope.spawn(|| world().block_on(PostgresStore::open(settings))).join()
        });
        Self { store: opened.unwrap().unwrap(), _keys: keys, _database: database }
    }
}

/// Waits for an answer while the clock stands still: tokio moves it only while no blocking task is under way.
fn held<T: 'static>(answer: Pending<'_, T>) -> Pending<'_, T> {
    Box::pin(async move {
        let (answered, is_answered) = mpsc::channel::<()>();
        let _holder = spawn_blocking(move || is_answered.recv());
        let answer = answer.await;
        drop(answered);
        answer
    })
}

/// Implements a trait by the store inside: first the methods that answer at once, then those that are waited for.
macro_rules! forward {
    (
        $subject:ident {$($at_once:ident($($given:ident: $of:ty),*) -> $answer:ty;)*}
        $($name:ident($($argument:ident: $kind:ty),*) -> $awaited:ty;)*
    ) => {
        impl $subject for OnPostgres {
            $(fn $at_once(&self, $($given: $of),*) -> $answer {
                // How long ago something was is asked by the clock of the runtime that one is in.
                let _world = world().enter();
                self.store.$at_once($($given),*)
            })*
            $(fn $name(&self, $($argument: $kind),*) -> Pending<'_, $awaited> {
                held(self.store.$name($($argument),*))
            })*
        }
    };
}

forward! {
    Contents {}
    append(content: MailId, index: u32, chunk: &[u8]) -> ();
    discard(content: MailId) -> ();
    chunk(content: MailId, index: u32) -> Option<Bytes>;
}

forward! {
    Mailboxes {}
    accept(acceptance: Acceptance) -> ();
    listed(account: AccountId, folder: FolderId) -> Arc<Maildrop>;
    entry(account: AccountId, folder: FolderId, uid: Uid) -> Option<Entry>;
    entries(account: AccountId, folder: FolderId, from: Uid, limit: usize) -> Vec<Entry>;
    remove_from(
        account: AccountId, names: Vec<(FolderId, Vec<Uid>)>, now: Timestamp, purge: Timestamp
    ) -> usize;
    move_entries(
        account: AccountId, from: FolderId, to: FolderId, uids: Vec<Uid>, now: Timestamp,
        purge: Timestamp
    ) -> Vec<(Uid, Uid)>;
    set_flags(
        account: AccountId, folder: FolderId, uids: Vec<Uid>, change: FlagChange,
        unchanged_since: Option<ModSeq>, now: Timestamp
    ) -> FlagsChanged;
    changes_since(account: AccountId, since: ModSeq, limit: usize) -> Option<Changes>;
    retrieved(account: AccountId, uids: Vec<Uid>, now: Timestamp) -> ();
    expire(before: Timestamp, now: Timestamp, purge: Timestamp) -> usize;
    undelete(account: AccountId, since: Timestamp) -> usize;
    usage(account: AccountId) -> Usage;
}

forward! {
    Folders {}
    folders(account: AccountId) -> Vec<Folder>;
    add_folder(
        account: AccountId, name: FolderName, role: Option<Role>, now: Timestamp
    ) -> FolderId;
    rename_folder(account: AccountId, folder: FolderId, name: FolderName, now: Timestamp) -> ();
    remove_folder(account: AccountId, folder: FolderId) -> ();
}

forward! {
    Queue {}
    claim(now: Timestamp, lease: Timestamp, limit: usize, share: usize) -> Vec<Claimed>;
    renew(item: ItemId, token: Token, until: Timestamp) -> bool;
    pause(destination: &Destination, until: Timestamp) -> ();
    settle(settlement: Settlement) -> Settled;
    reschedule(items: Vec<(ItemId, Timestamp)>, state: ItemState) -> usize;
    next_due() -> Option<Timestamp>;
    items(after: Option<ItemId>, limit: usize) -> Vec<Item>;
}

forward! {
    History {}
    note(events: Vec<Event>) -> ();
    history(message: MailId) -> Vec<Event>;
    events(before: Option<MailId>, limit: usize) -> Vec<Event>;
    forget(before: Timestamp) -> usize;
}

forward! {
    Directory { tags() -> TagSeparators; }
    resolve(address: &Address) -> Resolution;
    resolve_all(addresses: &[Address]) -> Vec<Resolution>;
    account(address: &Address) -> Option<Account>;
    accounts_named(local_part: &str) -> Vec<Account>;
    account_by_id(id: AccountId) -> Option<Account>;
    first_account(domain: &str) -> Option<Account>;
    accounts(after: Option<&Address>, limit: usize) -> Vec<Account>;
    add_account(address: &Address, credentials: Credentials) -> AccountId;
    set_password(address: &Address, credentials: Credentials) -> ();
    replace_password(address: &Address, old: String, credentials: Credentials) -> bool;
    set_quota(address: &Address, quota: Option<u64>) -> ();
    set_send_as(address: &Address, send_as: Vec<SendAs>) -> ();
    set_disabled(address: &Address, disabled: bool) -> ();
    set_marks_junk(address: &Address, marks_junk: bool) -> ();
    set_send_only(address: &Address, send_only: bool) -> ();
    rename_account(old: &Address, new: &Address, aliases: Vec<Alias>) -> ();
    remove_account(address: &Address, now: Timestamp, purge: Timestamp) -> ();
    removed_accounts() -> Vec<RemovedAccount>;
    restore_account(account: AccountId) -> usize;
    alias(name: &AliasName) -> Option<Vec<Address>>;
    aliases() -> Vec<Alias>;
    set_alias(alias: Alias) -> ();
    remove_alias(name: &AliasName) -> ();
    is_local(domain: &str) -> bool;
    domains() -> Vec<Domain>;
    domain_alias(domain: &str) -> Option<Domain>;
    domain_aliases() -> Vec<(Domain, Domain)>;
    set_domain_alias(alias: &Domain, domain: &Domain) -> ();
    add_domain(domain: &Domain) -> ();
    remove_domain(domain: &Domain) -> ();
}

forward! {
    Sources {}
    add_source(source: Source, password: Secret) -> SourceId;
    change_source(source: Source, password: Secret) -> bool;
    sources() -> Vec<Source>;
    claim_sources(now: Timestamp, until: Timestamp, limit: usize) -> Vec<ClaimedSource>;
    claim_source(source: SourceId, now: Timestamp, until: Timestamp) -> Option<ClaimedSource>;
    renew_source(source: SourceId, token: Token, until: Timestamp) -> bool;
    visited(source: SourceId, token: Token, visit: Visit) -> bool;
    remove_source(source: SourceId) -> bool;
    collected(source: SourceId) -> BTreeMap<String, Timestamp>;
    has_collected(source: SourceId, unique_ids: Vec<String>) -> Vec<bool>;
    forget_collected(source: SourceId, unique_ids: Vec<String>) -> ();
}

forward! {
    Records {}
    keep(kind: &'static str, name: &str, record: Option<Vec<u8>>) -> ();
    kept(kind: &'static str) -> Vec<(String, Vec<u8>)>;
    kept_page(
        kind: &'static str, prefix: &str, after: Option<&str>, most: usize
    ) -> Vec<(String, Vec<u8>)>;
    kept_one(kind: &'static str, name: &str) -> Option<Vec<u8>>;
    keep_with_secrets(
        kind: &'static str, name: &str, expected: Option<Vec<u8>>, record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>
    ) -> Option<Vec<u8>>;
    check_seals() -> ();
    secret(of: SecretOf) -> Option<Secret>;
}

forward! {
    Upkeep {
        figures() -> StoreFigures;
    }
    sweep(now: Timestamp) -> usize;
    ready() -> ();
}

forward! {
    Nodes {
        standing() -> NodeStanding;
    }
    join(vitals: Vitals) -> ();
    leave() -> ();
    nodes() -> Vec<NodeState>;
    drain_node(node: &str, draining: bool) -> ();
    remove_node(node: &str) -> ();
    take_duty(duty: &str) -> bool;
}

forward! {
    Watch {
        directory_version() -> u64;
        watch(subjects: &[Subject]) -> Watcher;
        follow() -> HistoryFollower;
    }
}

forward! {
    Shared {
        is_shared() -> bool;
        tally(kind: &'static str) -> Tally;
    }
}
