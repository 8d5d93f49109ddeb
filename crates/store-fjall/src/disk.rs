//! The room on the disk, and a reserve that is given back when there is none.
//!
//! Strangers can make the store larger, by mail and by its history, so both are written only while there is room.
//! Changes that free room (removing, expiring, settling) must work even on a disk that another program filled. For
//! them a file of the store holds blocks in reserve. When the disk is nearly full, the file is deleted, and the
//! tables and the log can use its blocks.

use rustix::{fs::FallocateFlags, io::Errno};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const MIB: u64 = 1024 * 1024;

/// The file that holds the reserve, in the store's directory.
const FILE: &str = "reserve";

/// Octets of the reserve.
const RESERVE: u64 = 32 * MIB;

/// The free octets below which the reserve is given back: the tables may write all their memory at any moment.
const LOW: u64 = 24 * MIB;

/// Octets that must be free beside the reserve for mail to be taken.
const FOR_MAIL: u64 = LOW + 8 * MIB;

/// The same for the history of refusals, which is given up before any mail is.
const FOR_HISTORY: u64 = FOR_MAIL + 32 * MIB;

/// Octets that must be free before the reserve is taken again.
const TO_HOLD: u64 = RESERVE + FOR_MAIL + 8 * MIB;

/// Octets that must be free for any change, when the reserve is used up: the engine below must not
/// meet the end of the disk.
const LAST: u64 = 6 * MIB;

/// The changes that the disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// No change at all.
    Nothing,
    /// Changes that free room.
    Removals,
    /// Mail, but not the history of refusals.
    Mail,
    /// Every change.
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reserve {
    /// The file holds the blocks.
    Held,
    /// The blocks were given back, or not taken yet.
    GivenBack,
    /// The file system cannot reserve blocks: as many are left free instead, until another program takes them.
    LeftFree,
}

/// The disk that the store is on.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    reserve: Reserve,
}

impl Disk {
    /// Opens the disk of a directory, and makes the directory if it does not exist. Takes the reserve if there is
    /// room for it, and gives it back if there is room for nothing else.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let file = fs::symlink_metadata(directory.join(FILE));
        let is_held = file.is_ok_and(|file| file.is_file() && file.blocks() * 512 >= RESERVE);
        let reserve = if is_held { Reserve::Held } else { Reserve::GivenBack };
        let mut disk = Self { directory: directory.to_owned(), reserve };
        disk.look()?;
        Ok(disk)
    }

    /// Returns the changes that the disk has room for now. Gives the reserve back or takes it again accordingly.
    pub(crate) fn look(&mut self) -> io::Result<Room> {
        let mut free = self.free()?;
        match self.reserve {
            Reserve::Held if free < LOW => self.give_back(),
            Reserve::LeftFree if free < RESERVE + LOW => self.reserve = Reserve::GivenBack,
            Reserve::GivenBack if free >= TO_HOLD => self.hold()?,
            _ => return Ok(self.room(free)),
        }
        free = self.free()?;
        Ok(self.room(free))
    }

    fn room(&self, free: u64) -> Room {
        let beside = match self.reserve {
            Reserve::Held => free,
            Reserve::LeftFree => free.saturating_sub(RESERVE),
            Reserve::GivenBack => 0,
        };
        match beside {
            FOR_HISTORY.. => Room::Everything,
            FOR_MAIL.. => Room::Mail,
            _ if free >= LAST => Room::Removals,
            _ => Room::Nothing,
        }
    }

    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn give_back(&mut self) {
        tracing::warn!("the disk is nearly full: no more mail is taken until there is room");
        self.reserve = Reserve::GivenBack;
        if let Err(error) = fs::remove_file(self.directory.join(FILE))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!("the reserve on the disk cannot be given back: {error}");
        }
    }

    fn hold(&mut self) -> io::Result<()> {
        let path = self.directory.join(FILE);
        // A link in its place would have another file grow.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::create_new(&path)?;
        self.reserve = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE) {
            Ok(()) => Reserve::Held,
            Err(error) => {
                fs::remove_file(&path)?;
                // The reason is a quota, or a program that was faster.
                if is_full(&error.into()) { Reserve::GivenBack } else { Reserve::LeftFree }
            }
        };
        Ok(())
    }
}

/// Sets blocks of a file aside, so that writing there cannot meet a full disk, at once or when the file
/// system gets round to it. Where the file system cannot do so, nothing happens.
///
/// # Errors
/// When there is no room, or the disk fails.
pub(crate) fn allocate(file: &File, from: u64, octets: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, from, octets) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether an error means that there is no room, on the disk or within the user's quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
