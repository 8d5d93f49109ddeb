//! The embedded store: [`posta_store::Store`] on a log of its own, which holds the contents, and on
//! fjall, a log-structured merge tree, which holds the small records that show them.
//!
//! All changes go through one thread, the committer (`commit.rs`), which gathers those that wait at the same
//! moment into one batch and one sync. So transactions are serial without a lock, unique-ids are
//! drawn without one, and the cost of a sync is shared. Reads go straight to the engine from any
//! thread; they never wait for a commit.
//!
//! What a crash leaves: the log is replayed at the next start, each group whole or not at all.
//! Chunks of messages that were still arriving are found by their entry in the `arriving` keyspace
//! and dropped.

mod batch;
mod change;
mod commit;
mod content;
mod damage;
mod directory;
mod disk;
mod kept;
mod key_file;
mod lanes;
mod log;
mod open;
mod queue;
mod recover;
mod schema;
mod secrets;
mod sources;
mod unsealed;
mod upgrade;
mod usage;
mod views;

use bytes::Bytes;
use commit::{Committer, Request};
pub use damage::Missing;
use fjall::Guard;
use futures_channel::oneshot;
use key_file::KeyFile;
use lanes::Lanes;
use log::Segments;
use open::{Opener, Tables};
use parking_lot::Mutex;
use posta_mail::{Address, Domain, MailId, Secret, Timestamp};
use posta_store::{
    Acceptance, Account, AccountId, Alias, AliasName, Credentials, Destination, Entry, Event, Item,
    ItemId, ItemState, Maildrop, Pending, RemovedAccount, SecretOf, SendAs, Settlement, Source,
    SourceId, Store, StoreError, Uid, Usage, Visit,
};
use schema::Schema;
use std::{
    collections::BTreeMap,
    future::ready,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};
use usage::Usages;
use views::Views;

/// The directory of the log, in the store's.
const LOG: &str = "log";

/// How often a content is looked for that was moved while it was read.
const READS: usize = 8;

/// The store. Dropping it finishes what was asked for, then closes the files.
#[derive(Debug)]
pub struct FjallStore {
    tables: Arc<Tables>,
    segments: Arc<Segments>,
    usages: Arc<Usages>,
    views: Arc<Views>,
    lanes: Arc<Mutex<Lanes>>,
    keys: Arc<KeyFile>,
    /// Grows after each change of an account.
    directory_version: Arc<AtomicU64>,
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<thread::JoinHandle<()>>,
}

impl FjallStore {
    /// Opens the store in a directory, which is made if it does not exist. Its key file stands beside
    /// the directory, named as it is with `.keys` behind.
    ///
    /// # Errors
    /// As [`FjallStore::open_with_keys`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut keys = directory.as_os_str().to_owned();
        keys.push(".keys");
        Self::open_with_keys(directory, Path::new(&keys))
    }

    /// Opens the store in a directory, which is made if it does not exist, as the key file is with the first
    /// secret. Without its key file a store works; only its secrets cannot be had.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::TooNew`] when a newer
    /// program wrote it, others when it cannot be read.
    pub fn open_with_keys(directory: &Path, keys: &Path) -> Result<Self, StoreError> {
        let segments = Segments::open(&directory.join(LOG))?;
        let opener = Opener {
            directory: directory.to_owned(),
            segments: Arc::new(segments),
            tables: Arc::default(),
            usages: Arc::default(),
            views: Arc::default(),
            lanes: Arc::default(),
            keys: Arc::new(KeyFile::new(keys)),
            set_aside: Arc::default(),
        };
        let mut committer = opener.open()?;
        committer.drop_arriving()?;
        let (requests, receiver) = mpsc::channel();
        let Opener { segments, tables, usages, views, lanes, keys, .. } = opener.clone();
        let committer = thread::Builder::new()
            .name("posta-commit".into())
            .spawn(move || opener.serve(committer, &receiver))
            .map_err(|error| StoreError::Failed(format!("no thread for commits: {error}")))?;
        Ok(Self {
            tables,
            segments,
            usages,
            views,
            lanes,
            keys,
            directory_version: Arc::default(),
            requests: Some(requests),
            committer: Some(committer),
        })
    }

    /// Returns what the start found damaged: the addresses of the accounts that have messages which cannot
    /// be read, and how many each has.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(String, u64)> {
        self.segments.unreadable.lock().clone()
    }

    /// Returns what the start found to be missing altogether: the end of the log, with messages that nothing
    /// else tells of.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        *self.segments.missing.lock()
    }

    fn schema(&self) -> Result<Arc<Schema>, StoreError> {
        self.tables.get()
    }

    /// Hands a request to the committer; the future ends when it is durable.
    fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(commit::Done<T>) -> Request,
    ) -> Pending<'_, T> {
        let (done, outcome) = oneshot::channel();
        let sent = self.requests.as_ref().is_some_and(|sender| sender.send(request(done)).is_ok());
        Box::pin(async move {
            if !sent {
                return Err(committer_gone());
            }
            outcome.await.unwrap_or_else(|_| Err(committer_gone()))
        })
    }

    /// Has the committer run a change by itself, with everything before it committed.
    fn alone<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        self.request(|done| {
            Request::Alone(Box::new(move |committer| {
                // Whoever asked may be gone; the change is made all the same.
                let _ = done.send(change(committer));
            }))
        })
    }

    /// The same for a change of an account, which everybody who asks for the version hears of.
    fn alone_on_account<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        let version = self.directory_version.clone();
        self.alone(move |committer| {
            let changed = change(committer);
            version.fetch_add(1, Ordering::Release);
            changed
        })
    }
}

impl Drop for FjallStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
    }
}

fn committer_gone() -> StoreError {
    StoreError::Failed("the committing thread is gone".into())
}

/// Returns the engine's error in our words: its own are its types, printed.
fn failed(error: fjall::Error) -> StoreError {
    use fjall::Error;
    StoreError::Failed(match error {
        Error::Io(error) => return io_failed(error),
        Error::Storage(error) => return table_failed(&error),
        Error::Poisoned => {
            "a write failed before, and what the disk holds since then is unknown: look \
                            at the disk, then restart"
                .to_owned()
        }
        Error::JournalRecovery(_) | Error::InvalidTrailer | Error::InvalidTag(_) => {
            return damaged("the journal of the tables");
        }
        Error::InvalidVersion(_) => "another version of the engine wrote the tables".to_owned(),
        Error::Decompress(_) | Error::Unrecoverable => return damaged("a table"),
        Error::KeyspaceDeleted => "a table was deleted".to_owned(),
        Error::Locked => "another process has the tables open".to_owned(),
        _ => "the engine has an error that this program does not know".to_owned(),
    })
}

/// The same for the file of a table.
fn table_failed(error: &dyn std::error::Error) -> StoreError {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) if disk::is_full(error) => StoreError::Full,
        Some(error) => StoreError::Failed(error.to_string()),
        None => damaged("a table"),
    }
}

/// Returns the file system's error in our words.
fn io_failed(error: io::Error) -> StoreError {
    if disk::is_full(&error) { StoreError::Full } else { StoreError::Failed(error.to_string()) }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// The answer of a read, which is at hand at once.
fn now<'a, T: Send + 'a>(read: impl FnOnce() -> Result<T, StoreError>) -> Pending<'a, T> {
    Box::pin(ready(read()))
}

fn key_and_value(guard: Guard) -> Result<(fjall::UserKey, fjall::UserValue), StoreError> {
    guard.into_inner().map_err(failed)
}

impl Store for FjallStore {
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()> {
        let chunk = Bytes::copy_from_slice(chunk);
        self.request(|done| Request::Append { content, index, chunk, done })
    }

    fn discard(&self, content: MailId) -> Pending<'_, ()> {
        self.alone(move |committer| committer.discard(content))
    }

    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.request(|done| Request::Accept { acceptance, done })
    }

    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Item>> {
        self::now(|| self.lease_due(now, lease, limit, share))
    }

    fn renew(&self, item: ItemId, lease: Timestamp) -> Pending<'_, ()> {
        self.lanes.lock().renew(item, lease);
        now(|| Ok(()))
    }

    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()> {
        self.lanes.lock().pause(schema::lane_key(destination), until);
        now(|| Ok(()))
    }

    fn settle(&self, settlement: Settlement) -> Pending<'_, bool> {
        self.request(|done| Request::Settle { settlement, done })
    }

    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize> {
        self.alone(move |committer| committer.reschedule(&items, state))
    }

    fn next_due(&self) -> Pending<'_, Option<Timestamp>> {
        now(|| Ok(self.lanes.lock().next_due()))
    }

    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>> {
        now(|| self.some_items(after, limit))
    }

    fn note(&self, events: Vec<Event>) -> Pending<'_, ()> {
        self.request(|done| Request::Note { events, done })
    }

    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>> {
        now(|| self.schema()?.history(message))
    }

    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>> {
        now(|| self.schema()?.events(before, limit))
    }

    fn forget(&self, before: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.forget(before))
    }

    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>> {
        now(|| self.views.open(&*self.schema()?, account))
    }

    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>> {
        now(|| {
            let key = schema::mailbox_key(account, uid);
            if let Some(value) = self.schema()?.mailbox.get(key).map_err(failed)? {
                return schema::decode_entry(&value).map(Some);
            }
            match self.schema()?.removed.get(key).map_err(failed)? {
                Some(value) => schema::decode_removed(&value).map(|removed| Some(removed.entry)),
                None => Ok(None),
            }
        })
    }

    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>> {
        now(|| {
            let key = schema::content_key(content, index);
            for _ in 0..READS {
                let Some(place) = self.schema()?.place(key)? else { return Ok(None) };
                let chunk = self.segments.read(place, key)?;
                if chunk.is_some() {
                    return Ok(chunk);
                }
            }
            Err(damaged("a message's content"))
        })
    }

    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.request(|done| Request::Remove { account, uids, time: now, purge, done })
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.alone(move |committer| committer.retrieved(account, uids, now))
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.expire(before, now, purge))
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.undelete(account, since))
    }

    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.sweep(now))
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        if let Some(usage) = self.usages.get(account) {
            return Box::pin(ready(Ok(usage)));
        }
        self.alone(move |committer| committer.count(account))
    }

    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId> {
        self.alone(move |committer| committer.add_source(source, &password))
    }

    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool> {
        self.alone(move |committer| committer.change_source(&source, &password))
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        now(|| self.schema()?.secret(&self.keys, of))
    }

    fn sources(&self) -> Pending<'_, Vec<Source>> {
        now(|| self.schema()?.sources())
    }

    fn visited(&self, source: SourceId, visit: Visit) -> Pending<'_, bool> {
        self.alone(move |committer| committer.visited(source, visit))
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        self.alone(move |committer| committer.remove_source(source))
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        now(|| self.schema()?.collected(source))
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        self.alone(move |committer| committer.forget_collected(source, &unique_ids))
    }

    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        let key = format!("{kind}\0{name}");
        self.alone(move |committer| committer.keep(key, record))
    }

    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        now(|| self.schema()?.kept(kind))
    }

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let key = format!("{kind}\0{name}");
        now(|| self.schema()?.kept_one(&key))
    }

    fn keep_first(&self, kind: &'static str, name: &str, record: Vec<u8>) -> Pending<'_, Vec<u8>> {
        let key = format!("{kind}\0{name}");
        self.alone(move |committer| committer.keep_first(key, record))
    }

    fn directory_version(&self) -> u64 {
        self.directory_version.load(Ordering::Acquire)
    }

    fn account(&self, address: &Address) -> Pending<'_, Option<Account>> {
        now(|| self.schema()?.account(&address.folded()))
    }

    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>> {
        now(|| self.schema()?.accounts(&format!("{}@", local_part.to_ascii_lowercase())))
    }

    fn accounts(&self) -> Pending<'_, Vec<Account>> {
        now(|| self.schema()?.accounts(""))
    }

    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId> {
        let address = address.folded();
        self.alone_on_account(move |committer| committer.add_account(address, credentials))
    }

    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone_on_account(move |committer| committer.set_password(&address, credentials))
    }

    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone_on_account(move |committer| {
            committer.change_account(&address, |account| account.quota = quota)
        })
    }

    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone_on_account(move |committer| {
            committer.change_account(&address, |account| account.send_as = send_as)
        })
    }

    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone_on_account(move |committer| committer.remove_account(&address, now, purge))
    }

    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone_on_account(move |committer| {
            committer.change_account(&address, |account| account.disabled = disabled)
        })
    }

    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()> {
        let (old, new) = (old.folded(), new.folded());
        self.alone_on_account(move |committer| committer.rename_account(&old, &new, &aliases))
    }

    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>> {
        now(|| self.schema()?.removed_accounts())
    }

    fn restore_account(&self, account: AccountId) -> Pending<'_, usize> {
        self.alone_on_account(move |committer| committer.restore_account(account))
    }

    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>> {
        now(|| self.schema()?.targets(name))
    }

    fn aliases(&self) -> Pending<'_, Vec<Alias>> {
        now(|| self.schema()?.aliases())
    }

    fn set_alias(&self, alias: Alias) -> Pending<'_, ()> {
        self.alone_on_account(move |committer| committer.set_alias(&alias))
    }

    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()> {
        let name = name.clone();
        self.alone_on_account(move |committer| committer.remove_alias(name))
    }

    fn is_local(&self, domain: &str) -> Pending<'_, bool> {
        now(|| self.schema()?.domain.contains_key(domain).map_err(failed))
    }

    fn domains(&self) -> Pending<'_, Vec<Domain>> {
        now(|| {
            let mut domains = Vec::new();
            for guard in self.schema()?.domain.iter() {
                domains.push(schema::decode_domain(&guard.key().map_err(failed)?)?);
            }
            Ok(domains)
        })
    }

    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>> {
        now(|| self.schema()?.domain_alias(domain))
    }

    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>> {
        now(|| self.schema()?.domain_aliases())
    }

    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()> {
        let (alias, domain) = (alias.clone(), domain.clone());
        self.alone(move |committer| committer.set_domain_alias(&alias, &domain))
    }

    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.alone(move |committer| committer.add_domain(&domain))
    }

    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.alone(move |committer| committer.remove_domain(&domain))
    }
}
