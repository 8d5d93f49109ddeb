//! Packs: files of blobs, which are never changed.

use crate::{
    BackupError,
    age::{self, AgeRecipient, Identity, NotOpened},
    damaged, disk,
};
use aws_lc_rs::rand;
use flate2::{
    Compression,
    read::{DeflateDecoder, DeflateEncoder},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

/// Octets of blobs after which a pack is full.
const PACK: usize = 8 * 1024 * 1024;

/// The most octets of a blob: several times the longest that is written.
const BLOB: u32 = 64 * 1024 * 1024;

/// The most octets of a pack's file: a full one to which the longest blob was added, and what encryption adds.
pub(crate) const FILE: u64 = 2 * (PACK as u64 + BLOB as u64);

/// The packs that are held in memory for reading.
const HELD: usize = 3;

/// The name of a pack: a number at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PackId(pub(crate) u64);

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<PackId> for String {
    fn from(id: PackId) -> Self {
        id.to_string()
    }
}

impl FromStr for PackId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl TryFrom<String> for PackId {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A pack, as snapshots know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackInfo {
    pub(crate) id: PackId,
    /// Octets of the file.
    pub(crate) octets: u64,
    /// The SHA-256 of the file.
    pub(crate) sha256: String,
    /// Whether it is encrypted.
    pub(crate) sealed: bool,
}

impl PackInfo {
    /// Returns the name of the file.
    pub(crate) fn name(&self) -> String {
        name(self.id, self.sealed)
    }
}

/// Returns whether a file's name is that of a pack, or of one that was not finished.
pub(crate) fn is_name(name: &str) -> bool {
    let id = name.split('.').next().unwrap_or_default();
    let is_id = id.len() == 16 && id.bytes().all(|octet| b"0123456789abcdef".contains(&octet));
    is_id && [".pack", ".pack.age", ".partial", ".pack.partial"].contains(&&name[id.len()..])
}

fn name(id: PackId, sealed: bool) -> String {
    format!("{id}.pack{}", if sealed { ".age" } else { "" })
}

/// The place of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobPlace {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    /// Octets in the pack: as many as `octets` if the blob is not compressed.
    pub(crate) stored: u32,
    /// Octets of the blob.
    pub(crate) octets: u32,
}

/// Collects compressed pieces and rows, and writes each pack once it is full.
pub(crate) struct PackWriter {
    directory: PathBuf,
    recipients: Vec<AgeRecipient>,
    id: PackId,
    blobs: Vec<u8>,
    /// The packs that were written.
    pub(crate) written: Vec<PackInfo>,
}

impl PackWriter {
    pub(crate) fn new(
        directory: &Path,
        recipients: Vec<AgeRecipient>,
    ) -> Result<Self, BackupError> {
        let (blobs, written) = (Vec::new(), Vec::new());
        Ok(Self { directory: directory.to_owned(), recipients, id: new_id()?, blobs, written })
    }

    /// Adds a blob. Returns its place.
    pub(crate) fn add(&mut self, blob: &[u8]) -> Result<BlobPlace, BackupError> {
        if self.blobs.len() >= PACK {
            self.finish()?;
        }
        let offset = self.blobs.len();
        let mut compressed = DeflateEncoder::new(blob, Compression::fast());
        // Reading from memory cannot fail.
        let is_smaller = compressed.read_to_end(&mut self.blobs).is_ok()
            && self.blobs.len() - offset < blob.len();
        if !is_smaller {
            self.blobs.truncate(offset);
            self.blobs.extend_from_slice(blob);
        }
        let stored = (self.blobs.len() - offset) as u32;
        Ok(BlobPlace { pack: self.id, offset: offset as u32, stored, octets: blob.len() as u32 })
    }

    /// Writes what was gathered, and reads it back.
    pub(crate) fn finish(&mut self) -> Result<(), BackupError> {
        if self.blobs.is_empty() {
            return Ok(());
        }
        let sealed = !self.recipients.is_empty();
        let file = match sealed {
            true => age::seal(&self.recipients, &self.blobs).ok_or(BackupError::Randomness)?,
            false => std::mem::take(&mut self.blobs),
        };
        let path = self.directory.join(name(self.id, sealed));
        let (octets, sha256) = (file.len() as u64, disk::sha256(&file));
        disk::write(&path, &file)?;
        if disk::sha256(&disk::read_back(&path, octets)?) != sha256 {
            let words = "reads otherwise than it was written: the disk is failing";
            return Err(damaged(format!("{} {words}", path.display())));
        }
        self.written.push(PackInfo { id: self.id, octets, sha256, sealed });
        self.blobs.clear();
        self.id = new_id()?;
        Ok(())
    }
}

/// Returns the blob at a place in a pack's octets; none if there is none.
pub(crate) fn blob_in(blobs: &[u8], place: BlobPlace) -> Option<Vec<u8>> {
    let end = place.offset as usize + place.stored as usize;
    let stored = blobs.get(place.offset as usize..end)?;
    if place.stored == place.octets {
        return Some(stored.to_vec());
    }
    if place.octets > BLOB {
        return None;
    }
    let mut blob = Vec::new();
    let mut decoder = DeflateDecoder::new(stored).take(u64::from(place.octets) + 1);
    let read = decoder.read_to_end(&mut blob).ok()?;
    (read == place.octets as usize).then_some(blob)
}

fn new_id() -> Result<PackId, BackupError> {
    let mut id = [0; 8];
    rand::fill(&mut id).map_err(|_| BackupError::Randomness)?;
    Ok(PackId(u64::from_be_bytes(id)))
}

/// Reads blobs from packs.
pub(crate) struct PackReader {
    directory: PathBuf,
    identities: Vec<Identity>,
    /// To whom the packs are encrypted, for messages.
    recipients: String,
    held: VecDeque<(PackId, Arc<Vec<u8>>)>,
}

impl PackReader {
    pub(crate) fn new(directory: &Path, identities: Vec<Identity>, recipients: String) -> Self {
        let held = VecDeque::new();
        Self { directory: directory.to_owned(), identities, recipients, held }
    }

    /// Returns whether encrypted packs can be read.
    pub(crate) fn has_key(&self) -> bool {
        !self.identities.is_empty()
    }

    /// Reads a blob from a pack.
    pub(crate) fn blob(
        &mut self,
        pack: &PackInfo,
        place: BlobPlace,
    ) -> Result<Vec<u8>, BackupError> {
        let blobs = self.pack(pack)?;
        let wrong = || damaged(format!("the pack {} does not hold what it should", pack.name()));
        blob_in(&blobs, place).ok_or_else(wrong)
    }

    fn pack(&mut self, pack: &PackInfo) -> Result<Arc<Vec<u8>>, BackupError> {
        if let Some((_, blobs)) = self.held.iter().find(|(id, _)| *id == pack.id) {
            return Ok(blobs.clone());
        }
        let file = disk::read(&self.directory.join(pack.name()), FILE)?;
        let blobs = Arc::new(self.opened(pack, file)?);
        self.held.truncate(HELD - 1);
        self.held.push_front((pack.id, blobs.clone()));
        Ok(blobs)
    }

    /// Returns the blobs in a file.
    pub(crate) fn opened(&self, pack: &PackInfo, file: Vec<u8>) -> Result<Vec<u8>, BackupError> {
        if !pack.sealed {
            return Ok(file);
        }
        if !self.has_key() {
            return Err(BackupError::NeedsIdentity(self.recipients.clone()));
        }
        age::open(&self.identities, &file).map_err(|why| match why {
            NotOpened::Keys => BackupError::WrongIdentity(self.recipients.clone()),
            NotOpened::Damaged => damaged(format!("the pack {} does not open", pack.name())),
        })
    }
}
