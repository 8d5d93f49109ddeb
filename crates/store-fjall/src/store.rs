//! [`FjallStore`], which implements the traits of `posta_store`, a file for each.
//!
//! Changes go to the committing thread. A read of one small record goes to the tables at once: frequently read
//! records are in memory, and a hop to another thread would cost more than the read. Reads of many records, or of
//! contents that may have to come from the disk, go to reader threads, so that no session's thread waits for a
//! disk.

mod backups;
mod contents;
mod copies;
mod cursor;
mod directory;
mod folders;
mod history;
mod mailboxes;
mod queue;
mod readers;
mod records;
mod shared;
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
    meters::Meters,
    tables::{lanes::Lanes, schema::Schema, usage::Usages, views::Views},
};
use backups::Snapshots;
use cursor::Cursor;
use futures_channel::oneshot;
use parking_lot::Mutex;
use posta_store::{Leases, Pending, SourceId, StoreError, TagSeparators, Tallies, Watchers};
use readers::Readers;
use std::{
    future::ready,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

/// The most messages that one transaction removes or brings back, which takes some milliseconds during which all
/// other changes wait. More messages go in pieces.
const PIECE: usize = 1_000;

/// The name of the log's directory, in the store's directory.
pub(crate) const LOG: &str = "log";

/// The embedded store. Dropping it finishes the changes that were requested, then closes the files.
#[derive(Debug)]
pub struct FjallStore {
    tables: Arc<Tables>,
    segments: Arc<Segments>,
    usages: Arc<Usages>,
    views: Arc<Views>,
    lanes: Arc<Mutex<Lanes>>,
    visitors: Arc<Mutex<Leases<SourceId>>>,
    keys: Arc<KeyFile>,
    meters: Arc<Meters>,
    tags: TagSeparators,
    watchers: Watchers,
    tallies: Tallies,
    snapshots: Snapshots,
    /// The progress of purging, expiring and forgetting.
    purging: Cursor,
    expiring: Cursor,
    forgetting: Cursor,
    readers: Readers,
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<thread::JoinHandle<()>>,
}

impl FjallStore {
    /// Opens the store in a directory, and makes the directory if it does not exist. The key file is beside
    /// the directory, and has its name with `.keys` appended.
    ///
    /// # Errors
    /// As [`FjallStore::open_with_keys`].
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut keys = directory.as_os_str().to_owned();
        keys.push(".keys");
        Self::open_with_keys(directory, Path::new(&keys))
    }

    /// The same, with another size of the pieces in which messages are removed and brought back, for tests of what
    /// happens between two pieces.
    ///
    /// # Errors
    /// As [`FjallStore::open_with_keys`].
    pub fn open_in_pieces(directory: &Path, piece: NonZeroUsize) -> Result<Self, StoreError> {
        let mut keys = directory.as_os_str().to_owned();
        keys.push(".keys");
        Self::open_all(directory, Path::new(&keys), piece.get())
    }

    /// Opens the store in a directory, and makes the directory if it does not exist. The key file is made with the
    /// first secret. A store works without its key file, but its secrets cannot be read.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has the store open, [`StoreError::TooNew`] if a newer
    /// program wrote it, other errors if it cannot be read.
    pub fn open_with_keys(directory: &Path, keys: &Path) -> Result<Self, StoreError> {
        Self::open_all(directory, keys, PIECE)
    }

    fn open_all(directory: &Path, keys: &Path, piece: usize) -> Result<Self, StoreError> {
        let opener = opener(directory, keys, piece)?;
        let mut committer = opener.open()?;
        committer.drop_arriving()?;
        let (requests, receiver) = mpsc::channel();
        let Opener {
            segments, tables, usages, views, lanes, visitors, watchers, keys, meters, ..
        } = opener.clone();
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
            meters,
            tags: TagSeparators::default(),
            watchers,
            tallies: Tallies::default(),
            snapshots: Snapshots::default(),
            purging: Cursor::default(),
            expiring: Cursor::default(),
            forgetting: Cursor::default(),
            readers: Readers::start()?,
            requests: Some(requests),
            committer: Some(committer),
        })
    }

    /// Makes these characters separate users from tags.
    #[must_use]
    pub fn with_tags(mut self, tags: TagSeparators) -> Self {
        self.tags = tags;
        self
    }

    /// Returns the damage that the start found: the addresses of the accounts with unreadable messages, and the
    /// number of these in each.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(String, u64)> {
        self.segments.unreadable.lock().clone()
    }

    /// Returns the end of the log that the start found missing, with messages that are recorded nowhere else.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        *self.segments.missing.lock()
    }

    pub(crate) fn schema(&self) -> Result<Arc<Schema>, StoreError> {
        self.tables.get()
    }

    /// Has a reader thread read from the tables.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Schema) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        let tables = self.tables.clone();
        self.readers.read(move || read(&*tables.get()?))
    }

    /// Hands a request to the committing thread. The future ends when the change is durable.
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

    /// Has the committing thread run a change outside a group, with all earlier changes committed.
    pub(crate) fn alone<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    ) -> Pending<'_, T> {
        self.request(|done| Request::Alone(alone(change, done)))
    }

    /// The same for a piece of a large change, which waits for large removals and while tables are being written.
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

/// Returns the parameters of opening the store in a directory.
fn opener(directory: &Path, keys: &Path, piece: usize) -> Result<Opener, StoreError> {
    Ok(Opener {
        directory: directory.to_owned(),
        segments: Arc::new(Segments::open(&directory.join(LOG))?),
        tables: Arc::default(),
        usages: Arc::default(),
        views: Arc::default(),
        lanes: Arc::default(),
        visitors: Arc::default(),
        watchers: Watchers::default(),
        keys: Arc::new(KeyFile::new(keys)),
        meters: Arc::default(),
        piece,
        set_aside: Arc::default(),
    })
}

/// Has the thread that commits, which is the caller's here, work on the store in a directory, and closes the store.
pub(crate) fn with_committer<T>(
    directory: &Path,
    keys: &Path,
    work: impl FnOnce(&mut Committer) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut committer = opener(directory, keys, PIECE)?.open()?;
    work(&mut committer)
}

/// Returns a change that sends its outcome to the caller.
fn alone<T: Send + 'static>(
    change: impl FnOnce(&mut Committer) -> Result<T, StoreError> + Send + 'static,
    done: Done<T>,
) -> Alone {
    Box::new(move |committer| {
        let changed = change(committer);
        if changed.is_err() {
            // The counts may include what was not committed.
            committer.forget_counts();
        }
        // The caller may be gone; the change is made all the same.
        let _ = done.send(changed);
    })
}

fn committer_gone() -> StoreError {
    StoreError::Failed("the committing thread is gone".into())
}

/// Reads at once, on the caller's thread.
fn now<'a, T: Send + 'a>(read: impl FnOnce() -> Result<T, StoreError>) -> Pending<'a, T> {
    Box::pin(ready(read()))
}
