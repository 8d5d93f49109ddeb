//! The directory of a backup.

use crate::{
    AgeRecipient, BackupError, Identity, Manifest, SnapshotReader, SnapshotWriter, damaged, disk,
    manifest::FORMAT,
    pack::{self, PackReader},
};
use posta_mail::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::File,
    path::{Path, PathBuf},
};

const BACKUP: &str = "posta-backup.json";
const SNAPSHOTS: &str = "snapshots";
const PACKS: &str = "packs";
const LOCK: &str = "lock";

/// The most octets of the file at the top of a backup.
const ABOUT: u64 = 1 << 20;

/// What names in a directory may be there before a backup: those of a disk's root.
const EXPECTED: [&str; 2] = [LOCK, "lost+found"];

/// What the file at the top of a backup says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct About {
    format: u32,
    /// The public keys to which the packs are encrypted; empty if they are not.
    encrypted_to: Vec<String>,
}

/// A backup.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    recipients: Vec<AgeRecipient>,
    /// Held while this program writes.
    _lock: Option<File>,
}

impl Repository {
    /// Opens a backup to write to it, or begins one. A backup is encrypted to the recipients with which it began; later
    /// runs need not name them. Packs that no snapshot needs, as a run that was broken off leaves them, are removed.
    ///
    /// # Errors
    /// When the directory holds something else or cannot be used, another program writes to it, or the backup has other
    /// recipients.
    pub fn open_or_begin(
        directory: &Path,
        recipients: &[AgeRecipient],
    ) -> Result<Self, BackupError> {
        disk::make_directory(directory)?;
        let about = directory.join(BACKUP);
        if !about.exists() {
            let names = disk::names(directory)?;
            let ours = [SNAPSHOTS, PACKS, "posta-backup.partial"];
            if names.iter().any(|name| !EXPECTED.contains(&&**name) && !ours.contains(&&**name)) {
                return Err(BackupError::Other(directory.to_owned()));
            }
        }
        let lock = lock(directory)?;
        for folder in [SNAPSHOTS, PACKS] {
            disk::make_inner_directory(&directory.join(folder))?;
        }
        if !about.exists() {
            let encrypted_to = recipients.iter().map(ToString::to_string).collect();
            let words = serde_json::to_vec_pretty(&About { format: FORMAT, encrypted_to });
            disk::write(&about, &words.map_err(|error| damaged(error.to_string()))?)?;
        }
        let mut opened = Self::open(directory)?;
        let is_same = |given: &AgeRecipient| opened.recipients.contains(given);
        if !recipients.iter().all(is_same) {
            let to = opened.encrypted_to();
            return Err(BackupError::OtherRecipients(directory.to_owned(), to));
        }
        opened._lock = Some(lock);
        opened.remove_unneeded()?;
        Ok(opened)
    }

    /// Opens a backup for reading.
    ///
    /// # Errors
    /// When there is none, or a newer program wrote it.
    pub fn open(directory: &Path) -> Result<Self, BackupError> {
        let path = directory.join(BACKUP);
        if !path.exists() {
            return Err(BackupError::None(directory.to_owned()));
        }
        let wrong = || damaged(format!("{} is not as it was written", path.display()));
        let about: About =
            serde_json::from_slice(&disk::read(&path, ABOUT)?).map_err(|_| wrong())?;
        if about.format > FORMAT {
            return Err(BackupError::TooNew(directory.to_owned(), about.format, FORMAT));
        }
        let recipients = about.encrypted_to.iter().map(|text| text.parse());
        let recipients = recipients.collect::<Result<_, _>>().map_err(|_| wrong())?;
        Ok(Self { directory: directory.to_owned(), recipients, _lock: None })
    }

    /// Returns whether the packs are encrypted.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        !self.recipients.is_empty()
    }

    /// Returns the public keys to which the packs are encrypted.
    #[must_use]
    pub fn encrypted_to(&self) -> String {
        let keys: Vec<_> = self.recipients.iter().map(ToString::to_string).collect();
        if keys.is_empty() { "nobody".to_owned() } else { keys.join(", ") }
    }

    /// Returns the moments of the snapshots, the oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Timestamp>, BackupError> {
        let names = disk::names(&self.directory.join(SNAPSHOTS))?;
        let mut times: Vec<_> = names.iter().filter_map(|name| Manifest::time_of(name)).collect();
        times.sort();
        Ok(times)
    }

    /// Returns the last snapshot that is of a moment or earlier; without a moment, the last of all.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn snapshot(&self, at: Option<Timestamp>) -> Result<Manifest, BackupError> {
        let times = self.snapshots()?;
        let Some(&first) = times.first() else {
            return Err(BackupError::None(self.directory.clone()));
        };
        let last = times.into_iter().rfind(|time| at.is_none_or(|at| *time <= at));
        match (last, at) {
            (Some(last), _) => self.manifest(last),
            (None, at) => {
                let at = at.unwrap_or(first);
                Err(BackupError::NoneThen(self.directory.clone(), at, first))
            }
        }
    }

    /// Returns the snapshot of exactly this moment.
    pub(crate) fn manifest(&self, at: Timestamp) -> Result<Manifest, BackupError> {
        Manifest::read(&self.directory.join(SNAPSHOTS).join(Manifest::name(at)))
    }

    /// Begins a snapshot. What the last one has is taken from there.
    ///
    /// # Errors
    /// When the last snapshot cannot be read.
    pub fn write(&self, at: Timestamp, store_format: u64) -> Result<SnapshotWriter, BackupError> {
        let last = self.snapshots()?.last().map(|&last| self.manifest(last)).transpose()?;
        let last = last.map(|last| SnapshotReader::new(last, self.packs(Vec::new())));
        SnapshotWriter::new(&self.directory.join(PACKS), &self.recipients, last, at, store_format)
    }

    /// Completes a snapshot, which exists from then on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn complete(&self, writer: SnapshotWriter) -> Result<crate::Written, BackupError> {
        let (manifest, written) = writer.finish()?;
        manifest.write(&self.directory.join(SNAPSHOTS))?;
        Ok(written)
    }

    /// Returns a reader of a snapshot.
    #[must_use]
    pub fn read(&self, manifest: Manifest, identities: Vec<Identity>) -> SnapshotReader {
        SnapshotReader::new(manifest, self.packs(identities))
    }

    pub(crate) fn packs(&self, identities: Vec<Identity>) -> PackReader {
        PackReader::new(&self.directory.join(PACKS), identities, self.encrypted_to())
    }

    pub(crate) fn packs_directory(&self) -> PathBuf {
        self.directory.join(PACKS)
    }

    /// Removes all but the last `keep` snapshots, and the packs that none of these needs. Returns the number of snapshots
    /// and of octets removed.
    ///
    /// # Errors
    /// When a snapshot that stays cannot be read; nothing is removed then.
    pub fn keep_last(&self, keep: usize) -> Result<(usize, u64), BackupError> {
        let times = self.snapshots()?;
        let going = &times[..times.len().saturating_sub(keep.max(1))];
        for &time in &times[going.len()..] {
            self.manifest(time)?;
        }
        for &time in going {
            disk::remove(&self.directory.join(SNAPSHOTS).join(Manifest::name(time)))?;
        }
        Ok((going.len(), self.remove_unneeded()?))
    }

    /// Removes the packs that no snapshot needs. Returns the number of their octets.
    fn remove_unneeded(&self) -> Result<u64, BackupError> {
        let mut needed = BTreeSet::new();
        for time in self.snapshots()? {
            needed.extend(self.manifest(time)?.packs.iter().map(pack::PackInfo::name));
        }
        let (packs, mut octets) = (self.packs_directory(), 0);
        for name in disk::names(&packs)? {
            // Only what can be ours: the directory may have been exchanged for another one.
            if !needed.contains(&name) && pack::is_name(&name) {
                let path = packs.join(name);
                octets += path.metadata().map(|file| file.len()).unwrap_or_default();
                disk::remove(&path)?;
            }
        }
        Ok(octets)
    }
}

fn lock(directory: &Path) -> Result<File, BackupError> {
    let path = directory.join(LOCK);
    let file = disk::open(&path, File::options().write(true).create(true));
    let file = file.map_err(|error| BackupError::Io(path.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(BackupError::Locked(directory.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(BackupError::Io(path, error)),
    }
}
