//! Group commit: the one thread that makes every change.
//!
//! The committing thread takes the requests that wait, up to a bound, into one batch, commits and syncs the batch
//! once, and only then answers. While it syncs, the next group gathers. A change that reads the records that it
//! changes runs alone, with all earlier changes committed, so that it never misses one in a pending batch. `store`
//! sends the requests.

mod acceptance;
mod contents;
mod damage;
mod directory;
mod folders;
mod group;
mod history;
mod listing;
pub(crate) mod mailboxes;
pub(crate) mod open;
mod queue;
mod records;
mod recover;
pub(crate) mod removals;
mod sources;
mod upgrade;

use crate::{
    disk::{Disk, Room},
    error::failed,
    key_file::KeyFile,
    log::Log,
    meters::Meters,
    tables::{
        batch::Batch,
        lanes::Lanes,
        schema::{self, Schema},
        usage::Usages,
        views::Views,
    },
};
pub(crate) use damage::accepted;

use acceptance::Content;
use bytes::Bytes;
use contents::Contents;
use folders::FolderStates;
use futures_channel::oneshot;
use open::Opener;
use parking_lot::Mutex;
use posta_mail::MailId;
use posta_store::{
    Acceptance, AccountId, Event, Leases, ModSeq, Settled, Settlement, SourceId, StoreError,
    Watchers,
};
use removals::{Asked, Large, Until};
use std::{
    collections::HashSet,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

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

/// How long to let other threads run at most. While all processors are busy, a single yield may last that long, and
/// requests come meanwhile: background work would never have its turn.
const YIELDING: Duration = Duration::from_millis(1);

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
    Remove(Asked),
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
            Self::Remove(Asked { done, .. }) => {
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

/// The yields of one wait for a request.
#[derive(Default)]
struct Yields {
    count: u32,
    since: Option<Instant>,
}

impl Yields {
    /// Returns whether to yield once more, and counts that.
    #[expect(clippy::disallowed_methods, reason = "what other threads take is no time of a test's")]
    fn may_go_on(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        self.count <= YIELDS && since.elapsed() < YIELDING
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
    pub(crate) meters: Arc<Meters>,
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
    /// The time in seconds at which the oldest history was dropped last.
    history_cut: u64,
    /// An estimate of what the tables hold in memory.
    held: listing::Held,
}

impl Committer {
    /// Reads the state that the last run left on the disk.
    pub(crate) fn new(schema: Schema, opener: &Opener, disk: Disk) -> Result<Self, StoreError> {
        let Opener { segments, usages, views, lanes, visitors, watchers, keys, meters, .. } =
            opener.clone();
        let set_aside = opener.set_aside.lock().take();
        let mut log = recover::log(&schema, segments.clone(), set_aside.as_deref())?;
        log.count_in(meters.clone());
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
            meters,
            told,
            folders: FolderStates::default(),
            large,
            piece: opener.piece,
            last_mod_seq,
            mod_seq_ceiling,
            second: 0,
            history_cut: 0,
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

    /// Returns whether mail would be accepted now.
    pub(crate) fn ready(&self) -> Result<(), StoreError> {
        if self.log.is_broken() {
            return Err(StoreError::Failed("a sync failed: a restart is needed".to_owned()));
        }
        if self.room < Room::Mail { Err(StoreError::Full) } else { Ok(()) }
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
                Request::Remove(asked) if asked.count() > self.piece => {
                    self.begin_removal(asked);
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
        let mut yields = Yields::default();
        loop {
            match requests.try_recv() {
                Ok(request) => return Some(request),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) if yields.may_go_on() => thread::yield_now(),
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

    /// Holds the next group back while tables are written more slowly than mail arrives. The engine
    /// bounds how many memtables wait to be written, but not how far the active one grows meanwhile:
    /// fifty senders of 50 MiB made it hold 600 MiB.
    pub(crate) fn wait_for_memory(&self) {
        for _ in 0..MEMORY_WAITS {
            if self.schema.database.write_buffer_size() < MEMORY {
                return;
            }
            thread::sleep(MEMORY_WAIT);
        }
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
