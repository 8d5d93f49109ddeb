//! Group commit: the one thread that makes every change.
//!
//! The committing thread takes the requests that wait, up to a bound, into one batch, commits and syncs the batch
//! once, and only then answers. While it syncs, the next group gathers. A change that reads the records that it
//! changes runs alone, with all earlier changes committed, so that it never misses one in a pending batch. `store`
//! sends the requests.

mod contents;
mod damage;
mod directory;
mod folders;
mod history;
mod listing;
pub(crate) mod mailboxes;
pub(crate) mod open;
mod queue;
mod records;
mod recover;
pub(crate) mod removals;
mod secrets;
mod sources;
mod unsealed;
mod upgrade;

use crate::{
    disk::{Disk, Room},
    error::failed,
    key_file::KeyFile,
    log::Log,
    tables::{
        batch::Batch,
        lanes::Lanes,
        schema::{self, Schema},
        usage::Usages,
        views::Views,
    },
};
use bytes::Bytes;
use contents::Contents;
use folders::FolderStates;
use futures_channel::oneshot;
use open::Opener;
use parking_lot::Mutex;
use posta_mail::{MailId, ThreadId, Timestamp};
use posta_store::{
    Acceptance, AccountId, Collected, Delivery, Entry, Event, Flags, FolderId, HEAD, Item, Layout,
    Leases, ModSeq, Settled, Settlement, SourceId, StoreError, Uid, UniqueId, Watchers,
};
use removals::{Asked, Large, Until};
use std::{
    collections::HashSet,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// Requests in one group at most: bounds how long the first of them waits for the last.
const GROUP_REQUESTS: usize = 1_024;

/// Octets in one group at most, about: bounds the memory of a group.
const GROUP_OCTETS: usize = 2 * 1024 * 1024;

/// Octets that the tables may hold in memory, not yet written to their files.
const MEMORY: u64 = 32 * 1024 * 1024;

/// How long to wait for tables to be written before looking again, and how often at most: if the disk is gone, the
/// engine reports that itself.
const MEMORY_WAIT: Duration = Duration::from_millis(2);
const MEMORY_WAITS: usize = 5_000;

/// On a server that always has something to commit, the number of groups after which contents are moved; other
/// servers move them while they are idle.
const MOVE_EVERY: u32 = 64;

/// How often to look at the disk while the server is idle.
const LOOK: Duration = Duration::from_secs(1);

/// How often to let other threads run before sleeping. Sessions that were just answered tend to send their next
/// message at once, and waking a thread costs a virtual machine more than the commit does.
const YIELDS: u32 = 20;

/// The sender of a request's outcome.
pub(crate) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// A change that runs outside a group.
pub(crate) type Alone = Box<dyn FnOnce(&mut Committer) + Send>;

/// A request to the committing thread.
pub(crate) enum Request {
    Append {
        content: MailId,
        index: u32,
        chunk: Bytes,
        done: Done<()>,
    },
    Accept {
        acceptance: Acceptance,
        done: Done<()>,
    },
    Remove {
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        time: Timestamp,
        purge: Timestamp,
        done: Done<usize>,
    },
    Settle {
        settlement: Settlement,
        done: Done<Settled>,
    },
    Note {
        events: Vec<Event>,
        done: Done<()>,
    },
    Alone(Alone),
    /// The same, once the large removals that it depends on are carried out and no table is being written.
    After(Until, Alone),
}

impl Request {
    /// Answers a request with an error, without doing anything for it.
    pub(crate) fn refuse(self, error: StoreError) {
        // The caller may be gone.
        match self {
            Self::Append { done, .. } | Self::Accept { done, .. } | Self::Note { done, .. } => {
                let _ = done.send(Err(error));
            }
            Self::Remove { done, .. } => {
                let _ = done.send(Err(error));
            }
            Self::Settle { done, .. } => {
                let _ = done.send(Err(error));
            }
            // They begin groups of their own, and report their own errors.
            Self::Alone(_) | Self::After(..) => {}
        }
    }
}

/// The state of the committing thread.
pub(crate) struct Committer {
    pub(crate) schema: Schema,
    pub(crate) log: Log,
    disk: Disk,
    /// Whether the engine's journal holds acknowledged changes in this process's memory only.
    pub(crate) is_buffered: bool,
    /// What the disk had room for at the last look.
    pub(crate) room: Room,
    pub(crate) contents: Contents,
    /// The accounts that exist, so that no message is accepted for one that is gone. Only their ids are held.
    pub(crate) accounts: HashSet<AccountId>,
    pub(crate) last_account: u64,
    pub(crate) usages: Arc<Usages>,
    pub(crate) views: Arc<Views>,
    pub(crate) lanes: Arc<Mutex<Lanes>>,
    pub(crate) visitors: Arc<Mutex<Leases<SourceId>>>,
    pub(crate) watchers: Watchers,
    pub(crate) keys: Arc<KeyFile>,
    /// Events told so far, modulo 2^32.
    pub(crate) told: u32,
    pub(crate) folders: FolderStates,
    pub(crate) large: Large,
    /// The most messages that one transaction removes, and one piece of a larger removal.
    pub(crate) piece: usize,
    last_mod_seq: ModSeq,
    mod_seq_ceiling: u64,
    /// The time in seconds, roughly.
    second: u64,
    /// An estimate of what the tables hold in memory.
    held: listing::Held,
}

/// Tells one caller the outcome of the group's commit.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A content to be put into a mailbox.
pub(crate) struct Content {
    pub(crate) id: MailId,
    pub(crate) layout: Layout,
    pub(crate) added: u64,
    pub(crate) thread: ThreadId,
    pub(crate) shared: bool,
}

/// The changes that share a batch.
struct Group {
    batch: Batch,
    /// Whether any change must be durable before it is answered.
    sync: bool,
    requests: usize,
    octets: usize,
    /// The accounts that messages are removed from. A second removal from one of them could not
    /// see the first, and goes into the next group.
    removing: HashSet<AccountId>,
    /// The contents whose items are settled: the same holds for them.
    settling: HashSet<MailId>,
    answers: Vec<Answer>,
}

impl Committer {
    /// Reads the state that the last run left on the disk.
    pub(crate) fn new(schema: Schema, opener: &Opener, disk: Disk) -> Result<Self, StoreError> {
        let Opener { segments, usages, views, lanes, visitors, watchers, keys, .. } =
            opener.clone();
        let set_aside = opener.set_aside.lock().take();
        let log = recover::log(&schema, segments.clone(), set_aside.as_deref())?;
        let contents = Contents::new(&schema, segments, log.segment())?;
        let accounts = schema.account_ids()?;
        let last_account = schema.number(schema::LAST_ACCOUNT)?.unwrap_or_default();
        let mod_seq_ceiling = schema.number(schema::UID_CEILING)?.unwrap_or_default();
        let last_mod_seq = ModSeq(mod_seq_ceiling);
        let told = 0;
        let large = Large::new(&schema)?;
        let mut committer = Self {
            schema,
            log,
            disk,
            is_buffered: false,
            room: Room::Everything,
            contents,
            accounts,
            last_account,
            usages,
            views,
            lanes,
            visitors,
            watchers,
            keys,
            told,
            folders: FolderStates::default(),
            large,
            piece: opener.piece,
            last_mod_seq,
            mod_seq_ceiling,
            second: 0,
            held: listing::Held::default(),
        };
        committer.look_at_disk();
        Ok(committer)
    }

    /// Finishes what an earlier format or the last run left undone.
    pub(crate) fn settle_in(&mut self) -> Result<(), StoreError> {
        self.upgrade()?;
        self.release_segments();
        self.sweep_keys()
    }

    pub(crate) fn look_at_disk(&mut self) {
        self.room = self.disk.look().unwrap_or_else(|error| {
            tracing::error!("the disk cannot be looked at: {error}");
            Room::Removals
        });
        if self.room < Room::Everything
            && let Err(error) = self.log.give_back()
        {
            tracing::error!("files of the log cannot be given back: {error}");
        }
    }

    /// Serves requests until all senders are gone, or the tables refuse a change. Returns whether they did.
    pub(crate) fn run(mut self, requests: &mpsc::Receiver<Request>) -> bool {
        let mut groups: u32 = 0;
        let mut next = self.wait(requests);
        while let Some(request) = next.take() {
            let waiting = match request {
                Request::Alone(change) => {
                    change(&mut self);
                    None
                }
                Request::After(until, change) => {
                    self.run_or_wait(until, change);
                    None
                }
                Request::Remove { account, folder, uids, time, purge, done }
                    if uids.len() > self.piece =>
                {
                    self.begin_removal(Asked { account, folder, uids, time, purge, done });
                    None
                }
                request => self.serve(request, requests),
            };
            if self.log.is_ahead_of_tables() {
                if let Some(request) = waiting {
                    request.refuse(StoreError::Failed("its tables are being mended".to_owned()));
                }
                return true;
            }
            self.wait_for_memory();
            // A piece, then a group, in turn.
            self.remove_some_beside(false);
            groups = groups.wrapping_add(1);
            if groups.is_multiple_of(MOVE_EVERY) {
                self.move_some();
                self.pack_some();
                self.let_time_pass(0);
            }
            next = waiting.or_else(|| self.wait(requests));
        }
        false
    }

    /// Hands acknowledged changes in the engine's journal on to the system, where a kill -9 cannot lose them: if
    /// the log is cut after that, the tables know. Done while the thread is idle, since it costs a system call.
    fn hand_on(&mut self) {
        self.is_buffered = false;
        if let Err(error) = self.schema.database.persist(fjall::PersistMode::Buffer) {
            tracing::error!("the tables' journal cannot be written: {}", failed(error));
            self.log.fail();
        }
    }

    /// Forgets the counts of a group that was not written: usages are counted again, and the ceiling of
    /// mod-sequences is written again, which a restart would otherwise not know.
    pub(crate) fn forget_counts(&mut self) {
        self.usages.forget();
        self.folders.forget();
        self.large.count_anew(None);
        self.mod_seq_ceiling = 0;
    }

    /// Waits for a request, and does background work meanwhile.
    fn wait(&mut self, requests: &mpsc::Receiver<Request>) -> Option<Request> {
        let mut yields = 0;
        loop {
            match requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) if yields < YIELDS => {
                    yields += 1;
                    thread::yield_now();
                }
                Err(mpsc::TryRecvError::Empty) if self.remove_some_beside(true) => {}
                Err(mpsc::TryRecvError::Empty) if self.move_some() => {}
                Err(mpsc::TryRecvError::Empty) if self.is_buffered => self.hand_on(),
                Err(mpsc::TryRecvError::Empty) if self.pack_some() => {}
                // Other programs fill the disk while this one is idle, too.
                Err(mpsc::TryRecvError::Empty) => match requests.recv_timeout(LOOK) {
                    Ok(request) => return Some(request),
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.look_at_disk();
                        self.let_time_pass(LOOK.as_secs());
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                },
            }
        }
    }

    /// Commits a group that begins with a request. Returns a request that could not be in the group, if there is one.
    fn serve(&mut self, first: Request, requests: &mpsc::Receiver<Request>) -> Option<Request> {
        if let Err(error) = self.begin() {
            first.refuse(error);
            return None;
        }
        let mut group = Group::new(&self.schema);
        let mut waiting = self.take(first, &mut group);
        while waiting.is_none() && group.has_room() {
            match requests.try_recv() {
                Ok(request) => waiting = self.take(request, &mut group),
                Err(_) => break,
            }
        }
        let Group { batch, sync, answers, .. } = group;
        let committed = self.write(batch, sync);
        if committed.is_err() {
            self.forget_counts();
        }
        for answer in answers {
            answer(committed.clone());
        }
        waiting
    }

    /// Holds the next group back while tables are written more slowly than mail arrives. The engine
    /// bounds how many memtables wait to be written, but not how far the active one grows meanwhile:
    /// fifty senders of 50 MiB made it hold 600 MiB.
    fn wait_for_memory(&self) {
        for _ in 0..MEMORY_WAITS {
            if self.schema.database.write_buffer_size() < MEMORY {
                return;
            }
            thread::sleep(MEMORY_WAIT);
        }
    }

    /// Takes a request into the group, or returns it if it must wait for the group's commit.
    fn take(&mut self, request: Request, group: &mut Group) -> Option<Request> {
        match request {
            Request::Append { done, .. } | Request::Accept { done, .. }
                if self.room < Room::Mail =>
            {
                group.answer(done, Err(StoreError::Full));
            }
            // Strangers cause history to be written, which must leave room for mail.
            Request::Note { done, .. } if self.room < Room::Everything => {
                group.answer(done, Err(StoreError::Full));
            }
            Request::Append { content, index, chunk, done } => {
                group.octets += chunk.len();
                self.append(content, index, &chunk, &mut group.batch);
                group.answer(done, Ok(()));
            }
            Request::Accept { acceptance, done } => {
                group.octets += acceptance.head.len() + acceptance.rest.len();
                let accepted = self.accept(acceptance, &mut group.batch);
                group.sync |= accepted.is_ok();
                group.answer(done, accepted);
            }
            Request::Remove { account, folder, uids, time, purge, done } => {
                if uids.len() > self.piece || !group.removing.insert(account) {
                    return Some(Request::Remove { account, folder, uids, time, purge, done });
                }
                let removed = self.remove((account, folder), uids, time, purge, &mut group.batch);
                group.sync = true;
                group.answer(done, removed);
            }
            Request::Settle { settlement, done } => {
                if !group.settling.insert(settlement.item.content) {
                    return Some(Request::Settle { settlement, done });
                }
                let settled = self.settle(settlement, &mut group.batch);
                group.sync = true;
                group.answer(done, settled);
            }
            Request::Note { events, done } => {
                let told = self.tell(events, &mut group.batch);
                group.answer(done, told);
            }
            alone @ (Request::Alone(_) | Request::After(..)) => return Some(alone),
        }
        group.requests += 1;
        None
    }

    fn append(&mut self, content: MailId, index: u32, chunk: &[u8], batch: &mut Batch) {
        if index == 0 {
            batch.insert(&self.schema.arriving, content.to_bytes(), []);
        }
        self.put_content(schema::content_key(content, index), &[chunk], batch);
    }

    /// Checks that all accounts and folders that a message goes to exist, so that delivering it cannot fail.
    pub(crate) fn prepare(&mut self, acceptance: &Acceptance) -> Result<(), StoreError> {
        self.prepare_deliveries(&acceptance.deliveries)?;
        acceptance.reports.iter().try_for_each(|report| self.prepare(report))
    }

    pub(crate) fn prepare_deliveries(&mut self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        for delivery in deliveries {
            if !self.accounts.contains(&delivery.account) {
                return Err(StoreError::NoSuchAccount);
            }
            self.load_folder_or_inbox(delivery.account, delivery.folder)?;
        }
        Ok(())
    }

    pub(crate) fn accept(
        &mut self,
        acceptance: Acceptance,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        self.prepare(&acceptance)?;
        let (layout, shown) = (acceptance.layout(), acceptance.shown());
        let Acceptance {
            id,
            time,
            head,
            chunks,
            rest,
            added,
            thread,
            deliveries,
            items,
            events,
            reports,
            collected,
        } = acceptance;
        if let Some(Collected { source, unique_id }) = collected {
            let key = schema::collected_key(source, &unique_id);
            if self.schema.collected.contains_key(&key).map_err(failed)? {
                return self.drop_content(id, batch);
            }
            batch.insert(&self.schema.collected, key, schema::encode_time(time));
        }
        let last = schema::content_key(id, chunks);
        if layout.has_own_head() {
            self.put_content(schema::content_key(id, HEAD), &[&head], batch);
            self.put_content(last, &[&rest], batch);
        } else {
            self.put_content(last, &[&head, &rest], batch);
        }
        if chunks > 0 {
            batch.remove(&self.schema.arriving, id.to_bytes());
        }
        let shared = shown > 1;
        if shared {
            batch.insert(&self.schema.shown, id.to_bytes(), (shown as u64).to_be_bytes());
        }
        for delivery in deliveries {
            let content = Content { id, layout, added, thread, shared };
            self.deliver(delivery, content, time, batch)?;
        }
        for item in items {
            self.put_item(&Item { shared, ..item }, batch)?;
        }
        self.tell(events, batch)?;
        for report in reports {
            self.accept(report, batch)?;
        }
        Ok(())
    }

    /// Puts a message into a folder. [`Committer::prepare`] must have loaded the folder.
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        content: Content,
        time: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Content { id, layout, added, thread, shared } = content;
        let Delivery { account, folder, prefix, unique_id, date } = delivery;
        let folder = self.load_folder_or_inbox(account, folder)?;
        let uid = self.next_uid(account, folder)?;
        let mod_seq = self.next_mod_seq(time);
        let entry = Entry {
            folder,
            uid,
            content: id,
            thread,
            octets: layout.octets() + added + prefix.len() as u64,
            added,
            head: layout.head() as u32,
            time: date.unwrap_or(time),
            flags: Flags::NONE,
            keywords: Vec::new(),
            created: mod_seq,
            mod_seq,
            unique_id: UniqueId { number: mod_seq.0, imported: unique_id.map(Into::into) },
            shared,
            prefix,
        };
        let key = schema::entry_key(account, folder, uid);
        batch.insert(&self.schema.entry, key, schema::encode_entry(&entry));
        self.count_in(account, &entry, batch);
        Ok(())
    }

    /// Commits and syncs the batch of a change that runs alone.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.begin()?;
        self.write(batch, true)
    }
}

impl Group {
    fn new(schema: &Schema) -> Self {
        Self {
            batch: Batch::new(schema),
            sync: false,
            requests: 0,
            octets: 0,
            removing: HashSet::new(),
            settling: HashSet::new(),
            answers: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.requests < GROUP_REQUESTS && self.octets < GROUP_OCTETS
    }

    /// Holds an answer back until the group is committed. A change that failed keeps its own error.
    fn answer<T: Send + 'static>(&mut self, done: Done<T>, outcome: Result<T, StoreError>) {
        self.answers.push(Box::new(move |committed| {
            // The caller may be gone.
            let _ = done.send(outcome.and_then(|value| committed.map(|()| value)));
        }));
    }
}
