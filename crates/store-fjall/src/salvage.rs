//! Checking a store that is closed, and repairing it.
//!
//! The files are read as they are, without the engine, which stops at the first damage, and may even remove what it does
//! not understand. So a check changes nothing, and what is whole behind a damaged octet is still read:
//!
//! 1. `engine.rs` finds the files of each table and compares them with their checksums; `blocks.rs` reads the rows in all
//!    blocks that are whole.
//! 2. `records.rs` reads the log: the changes that the tables lack after a crash, and, for tables with damage, all changes
//!    that the log still has.
//! 3. `gather.rs` makes tables of both in a directory of its own.
//! 4. `references.rs` follows every reference in these tables, down to each octet of each message.
//! 5. `rebuild.rs` makes a new store of what is whole. The old one stays under another name.
//!
//! What is not looked at is not used either: the engine's journals, since the log has what is in them; segments' octets
//! that no message has, and old changes in them; zeros that are written ahead; earlier versions of tables; free slots of
//! the key file.

mod blocks;
mod engine;
mod gather;
mod rebuild;
mod records;
mod references;

use crate::{closed, error::io_failed, key_file::KeyFile, log::Segments};
use gather::Gathered;
use posta_mail::{MailId, Timestamp};
use posta_store::StoreError;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The name of a store that was repaired, to which a number is appended.
const DAMAGED: &str = "damaged";

/// The most findings of a kind that are named.
const NAMED: usize = 10_000;

/// A message that cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostMessage {
    /// The address of the account, or the destination of a message in the queue.
    pub of: String,
    /// The folder, `removed` for a message that could still have been brought back, or `queue`.
    pub folder: String,
    /// The UID in the folder; 0 in the queue.
    pub uid: u32,
    /// The message's id.
    pub id: MailId,
    /// When it arrived.
    pub time: Timestamp,
}

/// What is wrong with a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Files that are damaged, with what that concerns, in words.
    pub files: Vec<String>,
    /// Messages that cannot be read.
    pub messages: Vec<LostMessage>,
    /// Records that contradict others, and secrets that cannot be opened, in words.
    pub records: Vec<String>,
    /// The number of findings that are not named, since there are too many.
    pub more: u64,
}

impl Damage {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn record(&mut self, words: String) {
        match self.records.len() < NAMED {
            true => self.records.push(words),
            false => self.more += 1,
        }
    }

    fn message(&mut self, message: LostMessage) {
        match self.messages.len() < NAMED {
            true => self.messages.push(message),
            false => self.more += 1,
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Messages in mailboxes, removed ones and those of the queue.
    pub messages: u64,
    /// Octets of the messages that were read.
    pub octets: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What was wrong.
    pub checked: Checked,
    /// Where the store is as it was before; none if nothing was wrong.
    pub before: Option<PathBuf>,
}

/// Checks a store that is closed. Nothing in it is changed. `told` hears the number of messages that were checked.
///
/// # Errors
/// [`StoreError::InUse`] if the store is open, others if its directory cannot be read, or there is no room for a copy of
/// its tables in the directory for temporary files.
pub fn check(
    directory: &Path,
    keys: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<Checked, StoreError> {
    let _lock = closed::lock(directory)?;
    let scratch = scratch(directory)?;
    let outcome = gathered(directory, keys, &scratch, told).map(|(_, checked)| checked);
    remove(&scratch)?;
    outcome
}

/// Checks a store that is closed, and makes a new one of what is whole, if anything is wrong. The store as it was stays
/// beside it.
///
/// # Errors
/// As [`check`]; nothing is changed then.
pub fn repair(
    directory: &Path,
    keys: &Path,
    now: Timestamp,
    told: &mut dyn FnMut(u64),
) -> Result<Repaired, StoreError> {
    let lock = closed::lock(directory)?;
    let scratch = scratch(directory)?;
    let partial = with_suffix(directory, "partial");
    remove(&partial)?;
    let free = |number: &u32| !with_suffix(directory, &format!("{DAMAGED}-{number}")).exists();
    let number = (1..=u32::MAX).find(free).unwrap_or(u32::MAX);
    let before = with_suffix(directory, &format!("{DAMAGED}-{number}"));
    let outcome = gathered(directory, keys, &scratch, told).and_then(|(gathered, checked)| {
        if !checked.damage.is_none() {
            // The new store overwrites the keys that it does not need.
            if keys.exists() {
                fs::copy(keys, with_suffix(&before, "keys")).map_err(io_failed)?;
            }
            rebuild::store(&gathered, &checked.damage, directory, (&partial, keys), now)?;
        }
        Ok(checked)
    });
    remove(&scratch)?;
    let checked = outcome?;
    if checked.damage.is_none() {
        return Ok(Repaired { checked, before: None });
    }
    drop(lock);
    fs::rename(directory, &before).map_err(io_failed)?;
    fs::rename(&partial, directory).map_err(io_failed)?;
    let parent = directory.parent().unwrap_or(directory);
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(io_failed)?;
    Ok(Repaired { checked, before: Some(before) })
}

/// Gathers the tables in a scratch directory, and follows their references.
fn gathered(
    directory: &Path,
    keys: &Path,
    scratch: &Path,
    told: &mut dyn FnMut(u64),
) -> Result<(Gathered, Checked), StoreError> {
    let segments = Segments::open_closed(&directory.join(crate::store::LOG));
    let gathered = gather::tables(directory, &segments, scratch)?;
    let mut checked = Checked::default();
    checked.damage.files.clone_from(&gathered.damage);
    references::follow(&gathered, &segments, &KeyFile::new(keys), &mut checked, told)?;
    Ok((gathered, checked))
}

/// Returns the directory beside a store for the tables that are gathered, which is made anew.
fn scratch(directory: &Path) -> Result<PathBuf, StoreError> {
    let scratch = with_suffix(directory, "checking");
    remove(&scratch)?;
    fs::create_dir(&scratch).map_err(io_failed)?;
    Ok(scratch)
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn remove(directory: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_failed(error)),
        _ => Ok(()),
    }
}
