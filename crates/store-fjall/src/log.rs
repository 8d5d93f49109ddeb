//! The log: a change is acknowledged once it is in the log and synced. Everything else follows from the log.
//!
//! It is the write-ahead log of every change and the permanent place of every content, so a message's octets are
//! written once. A group of changes is one write, the contents and then the records that refer to them, and one sync.
//! Only then do the records go into the tables, which are synced seldom. A restart walks the log from the last
//! checkpoint on and puts the records into the tables again. Records set or remove keys, so doing that twice changes
//! nothing.
//!
//! The engine's own journal would not do: (1) content would be written twice, to the journal and to a table; (2)
//! the journal's file grows with each write, so that each sync must write the file system's own journal, too. Here
//! the keeper (`keeper.rs`) writes zeros ahead of the log, and files are used again, so a sync writes the message's
//! blocks and nothing else, in half the time and with a third of the CPU.

mod keeper;
mod piece;
mod scan;
mod segments;

pub(crate) use keeper::{Checkpoint, Position};
pub(crate) use piece::{ContentKey, Kind};
pub(crate) use scan::{Found, scan};
pub use segments::Missing;
pub(crate) use segments::{Pin, Place, Segments, Walk};

use crate::{disk, error::io_failed, meters::Meters};
use keeper::Keeper;
use posta_store::StoreError;
use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt, sync::Arc};

/// The octets after which a segment is full. A group that begins before that may exceed it.
pub(crate) const SEGMENT: u64 = 64 * 1024 * 1024;

/// A group is padded with zeros to a multiple of this, so that no page must be read to be written, and no octet of a
/// former use follows the last piece.
const PAGE: usize = 4096;

/// Octets whose blocks are allocated at a time, so that a group is written whole or not at all, and no sync fails
/// for a full disk.
const AHEAD: u64 = 8 * 1024 * 1024;

/// Octets of memory that are kept for the next group.
const KEPT: usize = 1024 * 1024;

/// The most files that are kept to be used again.
const SPARE: usize = 4;

/// The end of the log, where the committing thread writes.
pub(crate) struct Log {
    segments: Arc<Segments>,
    keeper: Keeper,
    file: Arc<File>,
    at: Position,
    /// The group that is being gathered, in the form in which it is written at `at`.
    group: Vec<u8>,
    /// The checksum of the group's last piece.
    last: u64,
    unsynced: bool,
    /// Segments without needed contents or records, whose files may be used again.
    spare: BTreeSet<u64>,
    /// The offset up to which the file's blocks are allocated.
    allocated: u64,
    broken: Option<Broken>,
    meters: Arc<Meters>,
}

/// The reason why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// A sync failed. What the disk holds is unknown until a restart reads it.
    Sync,
    /// A group that was written could not be put into the tables.
    Tables,
}

impl Log {
    /// Opens a log to go on at its end. `checkpoint` makes the tables durable.
    pub(crate) fn new(
        segments: Arc<Segments>,
        end: Position,
        checkpoint: Checkpoint,
    ) -> Result<Self, StoreError> {
        let file = Arc::new(segments.make(end.segment, None).map_err(io_failed)?);
        let length = file.metadata().map_err(io_failed)?.len();
        let keeper = Keeper::start(file.clone(), end, length, checkpoint)?;
        Ok(Self {
            segments,
            keeper,
            file,
            at: end,
            group: Vec::new(),
            last: end.previous,
            unsynced: false,
            spare: BTreeSet::new(),
            allocated: length,
            broken: None,
            meters: Arc::default(),
        })
    }

    /// Makes the log count its syncs there.
    pub(crate) fn count_in(&mut self, meters: Arc<Meters>) {
        self.meters = meters;
    }

    /// Begins a group, whose pieces have their final places from then on.
    ///
    /// # Errors
    /// When the log is broken, or cannot go on in a new file.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        if let Some(broken) = self.broken {
            return Err(broken.told());
        }
        if self.at.offset >= SEGMENT {
            self.turn()?;
        }
        self.group.clear();
        self.group.shrink_to(KEPT);
        self.last = self.at.previous;
        Ok(())
    }

    /// Puts a chunk of a message into the group, which is given in parts. Returns its place.
    pub(crate) fn content(&mut self, key: ContentKey, parts: &[&[u8]]) -> Place {
        let offset = self.at.offset + self.group.len() as u64;
        self.push(Kind::Content(key), parts);
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let length = parts.iter().map(|part| part.len() as u32).sum();
        Place { segment: self.at.segment, offset, length }
    }

    fn push(&mut self, kind: Kind, parts: &[&[u8]]) {
        self.last = piece::push(&mut self.group, self.at.segment, self.last, kind, parts);
    }

    /// Returns the octets of the group so far.
    pub(crate) fn gathered(&self) -> usize {
        self.group.len()
    }

    /// Writes the group with its records. With `sync`, makes it and all groups before it durable.
    ///
    /// # Errors
    /// When the disk fails. A write that fails, as on a full disk, has no effect: its records, at the group's end,
    /// are missing, and the next group is written over it. A sync that fails breaks the log.
    pub(crate) fn write(&mut self, records: &[u8], sync: bool) -> Result<(), StoreError> {
        self.push(Kind::Records, &[records]);
        let end = self.at.offset + self.group.len() as u64;
        let padded = (end as usize).next_multiple_of(PAGE) - self.at.offset as usize;
        self.group.resize(padded, 0);
        let reach = self.at.offset + padded as u64;
        if reach > self.allocated {
            let ahead = reach + AHEAD - self.allocated;
            disk::allocate(&self.file, self.allocated, ahead).map_err(io_failed)?;
            self.allocated += ahead;
        }
        self.keeper.claim(reach);
        self.file.write_all_at(&self.group, self.at.offset).map_err(io_failed)?;
        self.unsynced = true;
        if sync {
            self.sync()?;
        }
        self.at = Position { offset: end, previous: self.last, ..self.at };
        self.keeper.wrote(self.at);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let synced = self.meters.sync(|| self.file.sync_data()).map_err(io_failed);
        synced.inspect_err(|_| self.broken = Some(Broken::Sync))?;
        self.unsynced = false;
        Ok(())
    }

    /// Breaks the log because a group could not be put into the tables.
    pub(crate) fn fail(&mut self) {
        self.broken = Some(Broken::Tables);
    }

    /// Returns whether the log takes no more.
    pub(crate) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Returns whether the tables and the log have to be opened again.
    pub(crate) fn is_ahead_of_tables(&self) -> bool {
        self.broken == Some(Broken::Tables)
    }

    /// Goes on in a new segment.
    fn turn(&mut self) -> Result<(), StoreError> {
        if self.unsynced {
            // A sync of the next file would not reach this one.
            self.sync()?;
        }
        let next = Position { segment: self.at.segment + 1, offset: 0, previous: 0 };
        let file = self.segments.make(next.segment, self.spare.pop_first()).map_err(io_failed)?;
        self.file = Arc::new(file);
        let length = self.file.metadata().map_err(io_failed)?.len();
        (self.at, self.allocated) = (next, length);
        self.keeper.turned(self.file.clone(), next, length);
        Ok(())
    }

    /// Makes all groups durable, and goes on in a segment whose file is new. Returns the new position. Files that
    /// were kept to be used again are deleted.
    pub(crate) fn turn_afresh(&mut self) -> Result<Position, StoreError> {
        self.give_back()?;
        self.turn()?;
        Ok(self.at)
    }

    /// Makes all groups durable.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if self.unsynced { self.sync() } else { Ok(()) }
    }

    /// Returns the position of the log's end.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// Returns the number of the segment that is being written.
    pub(crate) fn segment(&self) -> u64 {
        self.at.segment
    }

    /// Returns the number of the first segment that a restart needs.
    pub(crate) fn checkpointed(&self) -> u64 {
        self.keeper.checkpointed()
    }

    /// Takes back the file of a segment without needed contents or records. All changes that made it so must be
    /// synced before the file is written over: [`Log::turn`] does that.
    pub(crate) fn release(&mut self, number: u64) -> Result<(), StoreError> {
        if self.spare.len() < SPARE {
            self.spare.insert(number);
            return Ok(());
        }
        self.delete(number)
    }

    /// Deletes the files that were kept to be used again.
    pub(crate) fn give_back(&mut self) -> Result<(), StoreError> {
        while let Some(number) = self.spare.pop_first() {
            self.delete(number)?;
        }
        Ok(())
    }

    fn delete(&mut self, number: u64) -> Result<(), StoreError> {
        if self.unsynced {
            self.sync()?;
        }
        self.segments.delete(number).map_err(io_failed)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.broken.is_none() && (!self.unsynced || self.sync().is_ok()) {
            self.keeper.finish(self.at);
        }
    }
}

impl Broken {
    fn told(self) -> StoreError {
        StoreError::Failed(match self {
            Self::Sync => {
                "a sync failed before, and what the disk holds since then is unknown: look at the \
                 disk, then restart"
                    .to_owned()
            }
            Self::Tables => "its tables are being mended".to_owned(),
        })
    }
}
