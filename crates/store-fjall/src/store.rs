//! The store as others see it. Changes go to the committing thread. A read of one small record goes to
//! the tables at once: what is asked for often is in their memory, and a hop to another thread would
//! cost more than the read. What may lie on the disk, or is many records, is read by the readers, so
//! that no thread of the sessions waits for a disk.

mod contents;
mod cursor;
mod directory;
mod folders;
mod history;
mod mailboxes;
mod queue;
mod readers;
mod records;
mod sources;
mod upkeep;
mod watch;

use crate::{
    commit::{
        Alone, Committer, Done, Request,
        open::{Opener, Tables},
        removals::Until,
    },
    key_file::KeyFile,
    log::{Missing, Segments},
    tables::{lanes::Lanes, schema::Schema, usage::Usages, views::Views},
};
use cursor::Cursor;
use futures_channel::oneshot;
use parking_lot::Mutex;
use posta_store::{Leases, Pending, SourceId, StoreError, Watchers};
use readers::Readers;
use std::{
    future::ready,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

/// Messages that are removed, or brought back, in one transaction at most: so many take some milliseconds, for
/// which the mail waits. What is more goes in pieces.
const PIECE: usize = 1_000;

/// The directory of the log, in the store's.
const LOG: &str = "log";

/// The store. Dropping it finishes what was asked for, then closes the files.
#[derive(Debug)]
pub struct FjallStore {
    tables: Arc<Tables>,
    segments: Arc<Segments>,
    usages: Arc<Usages>,
    views: Arc<Views>,
    lanes: Arc<Mutex<Lanes>>,
    visitors: Arc<Mutex<Leases<SourceId>>>,
    keys: Arc<KeyFile>,
    watchers: Watchers,
    /// How far purging, expiring and forgetting have come.
    purging: Cursor,
    expiring: Cursor,
    forgetting: Cursor,
    readers: Readers,
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

    /// The same, with pieces of so many messages for removals and what else is done in pieces: for tests of what
    /// happens between two of them.
    ///
    /// # Errors
    /// As [`FjallStore::open_with_keys`].
    pub fn open_in_pieces(directory: &Path, piece: NonZeroUsize) -> Result<Self, StoreError> {
        let mut keys = directory.as_os_str().to_owned();
        keys.push(".keys");
        Self::open_all(directory, Path::new(&keys), piece.get())
    }

    /// Opens the store in a directory, which is made if it does not exist, as the key file is with the first
    /// secret. Without its key file a store works; only its secrets cannot be had.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open, [`StoreError::TooNew`] when a newer
    /// program wrote it, others when it cannot be read.
    pub fn open_with_keys(directory: &Path, keys: &Path) -> Result<Self, StoreError> {
        Self::open_all(directory, keys, PIECE)
    }

    fn open_all(directory: &Path, keys: &Path, piece: usize) -> Result<Self, StoreError> {
        let segments = Segments::open(&directory.join(LOG))?;
        let opener = Opener {
            directory: directory.to_owned(),
            segments: Arc::new(segments),
            tables: Arc::default(),
            usages: Arc::default(),
            views: Arc::default(),
            lanes: Arc::default(),
            visitors: Arc::default(),
            watchers: Watchers::default(),
            keys: Arc::new(KeyFile::new(keys)),
            piece,
            set_aside: Arc::default(),
        };
        let mut committer = opener.open()?;
        committer.drop_arriving()?;
        let (requests, receiver) = mpsc::channel();
        let Opener { segments, tables, usages, views, lanes, visitors, watchers, keys, .. } =
            opener.clone();
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
            visitors,
            keys,
            watchers,
            purging: Cursor::default(),
            expiring: Cursor::default(),
            forgetting: Cursor::default(),
            readers: Readers::start()?,
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

    pub(crate) fn schema(&self) -> Result<Arc<Schema>, StoreError> {
        self.tables.get()
    }

    /// Has a reader read from the tables.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Schema) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        let tables = self.tables.clone();
        self.readers.read(move || read(&*tables.get()?))
    }

    /// Hands a request to the committer; the future ends when it is durable.
    fn request<T: Send + 'static>(
        &self,
        request: impl FnOnce(Done<T>) -> Request,
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
    pub(crate) fn alone<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        self.request(|done| Request::Alone(alone(change, done)))
    }

    /// The same, once large removals are carried out.
    fn after<T: Send + 'static>(
        &self,
        until: Until,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        self.request(|done| Request::After(until, alone(change, done)))
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

/// Makes a change that answers.
fn alone<T: Send + 'static>(
    change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    done: Done<T>,
) -> Alone {
    Box::new(move |committer| {
        let changed = change(committer);
        if changed.is_err() {
            // It may have counted what it did not do then.
            committer.forget_counts();
        }
        // Whoever asked may be gone; the change is made all the same.
        let _ = done.send(changed);
    })
}

fn committer_gone() -> StoreError {
    StoreError::Failed("the committing thread is gone".into())
}

/// Answers a read at once, on the thread that asks.
fn now<'a, T: Send + 'a>(read: impl FnOnce() -> Result<T, StoreError>) -> Pending<'a, T> {
    Box::pin(ready(read()))
}
