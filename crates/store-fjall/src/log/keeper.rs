//! The keeper: a thread that writes zeros ahead of the log's end and makes checkpoints.

use parking_lot::{Condvar, Mutex, MutexGuard};
use posta_store::{CHUNK, StoreError};
use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc, thread};

use super::SEGMENT;
use crate::disk;

/// Octets of zeros written at a time, few enough that no sync waits long for them.
const STEP: u64 = 1024 * 1024;

/// Octets of zeros ahead of the log's end, on a quiet server and on a busy one.
const AHEAD: [u64; 2] = [4 * 1024 * 1024, 16 * 1024 * 1024];

/// The octets of a group, such as that of a message in chunks, which costs as much to write over zeros as behind the
/// file's end: no zeros are written for the next.
const BULK: u64 = CHUNK as u64;

/// A position between two pieces of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The checksum of the piece before it; 0 at the beginning of a segment.
    pub(crate) previous: u64,
}

/// A function that makes all records before a position durable in the tables, and records the position.
pub(crate) type Checkpoint = Box<dyn Fn(Position) -> Result<(), StoreError> + Send>;

/// The state that the thread and the writer share.
struct State {
    file: Arc<File>,
    /// The log's end, and the offset up to which only the writer writes: the keeper writes zeros from there on, so
    /// that the two never meet.
    at: Position,
    limit: u64,
    /// The octets of the last group.
    last_group: u64,
    /// Whether the keeper is writing zeros.
    extending: bool,
    /// Whether writing zeros failed. The keeper tries again in the next file.
    failed: bool,
    /// The position of a checkpoint to be made.
    due: Option<Position>,
    checkpointed: u64,
    closing: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The writer's hold on the thread.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(
        file: Arc<File>,
        at: Position,
        length: u64,
        checkpoint: Checkpoint,
    ) -> Result<Self, StoreError> {
        let state = State {
            file,
            at,
            limit: length.max(at.offset),
            last_group: 0,
            extending: false,
            failed: false,
            due: None,
            // The start has made the log's end a checkpoint.
            checkpointed: at.segment,
            closing: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let thread = thread::Builder::new()
            .name("posta-log".into())
            .spawn({
                let shared = shared.clone();
                move || shared.run(&checkpoint)
            })
            .map_err(|error| StoreError::Failed(format!("no thread for the log: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Makes the current file the writer's up to `end`.
    pub(crate) fn claim(&self, end: u64) {
        let mut state = self.shared.lock();
        while state.limit < end && state.extending {
            self.shared.changed.wait(&mut state);
        }
        state.limit = state.limit.max(end);
    }

    /// Records the log's new end.
    pub(crate) fn wrote(&self, at: Position) {
        let mut state = self.shared.lock();
        state.last_group = at.offset - state.at.offset;
        state.at = at;
        if state.limit < state.target() {
            self.shared.changed.notify_all();
        }
    }

    /// Records that the log goes on in another file, and requests a checkpoint of everything before.
    pub(crate) fn turned(&self, file: Arc<File>, at: Position, length: u64) {
        let mut state = self.shared.lock();
        (state.file, state.at, state.limit, state.failed) = (file, at, length, false);
        state.due = Some(at);
        self.shared.changed.notify_all();
    }

    /// Returns the number of the first segment that a restart needs.
    pub(crate) fn checkpointed(&self) -> u64 {
        self.shared.lock().checkpointed
    }

    /// Requests a checkpoint of the log's end, so that the next start has nothing to replay.
    pub(crate) fn finish(&self, at: Position) {
        self.shared.lock().due = Some(at);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Returns the offset up to which zeros are to be written: a little ahead on a quiet server, more as the log
    /// grows.
    fn target(&self) -> u64 {
        if self.last_group >= BULK || self.failed {
            return 0;
        }
        let [quiet, busy] = AHEAD;
        (self.at.offset + self.at.offset.clamp(quiet, busy)).min(SEGMENT + STEP)
    }
}

impl Shared {
    fn run(&self, checkpoint: &Checkpoint) {
        let zeros = vec![0; STEP as usize];
        let mut state = self.lock();
        loop {
            if let Some(position) = state.due.take() {
                drop(state);
                let made = checkpoint(position);
                state = self.lock();
                match made {
                    Ok(()) => state.checkpointed = position.segment,
                    Err(error) => tracing::error!(%error, "the log has no checkpoint"),
                }
            } else if state.closing {
                return;
            } else if state.limit < state.target() {
                let (file, segment, from) = (state.file.clone(), state.at.segment, state.limit);
                state.extending = true;
                drop(state);
                let extended = extend(&file, from, &zeros);
                state = self.lock();
                state.extending = false;
                // If the log has gone on in another file, this one has zeros at its end.
                if state.at.segment == segment {
                    state.limit = from + STEP;
                    // The writer will fail, too, and report it to its callers.
                    state.failed = extended.is_err();
                }
                self.changed.notify_all();
            } else {
                self.changed.wait(&mut state);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Writes zeros at the end of a file, and has the file system note them, so that it has nothing to
/// note when they are written over.
fn extend(file: &File, from: u64, zeros: &[u8]) -> io::Result<()> {
    disk::allocate(file, from, zeros.len() as u64)?;
    file.write_all_at(zeros, from)?;
    file.sync_data()
}
