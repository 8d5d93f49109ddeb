//! Snapshots: which tables a backup has, and where they are.

use crate::{
    BackupError, damaged, disk,
    pack::{BlobPlace, PackId, PackInfo},
};
use posta_mail::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The most octets of a snapshot's file. It has about 150 for each pack of 8 MiB and each stretch of rows, so this is
/// enough for tens of terabytes.
const FILE: u64 = 1 << 30;

/// The format that this program writes.
pub(crate) const FORMAT: u32 = 1;

/// A snapshot, as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The format of the backup.
    pub(crate) format: u32,
    /// The moment of the snapshot.
    pub at: Timestamp,
    /// The format of the store's rows.
    pub store_format: u64,
    /// The pieces of messages.
    pub pieces: u64,
    /// The octets of these pieces.
    pub octets: u64,
    /// The pieces that the store could not read.
    pub unreadable: u64,
    /// The store's key file, if it has one.
    pub(crate) key_file: Option<BlobPlace>,
    /// The packs that the snapshot needs, in the order of their names.
    pub(crate) packs: Vec<PackInfo>,
    pub(crate) tables: Vec<TableStretches>,
}

/// A table, in stretches of rows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct TableStretches {
    pub(crate) name: String,
    pub(crate) stretches: Vec<Stretch>,
}

/// A stretch of a table's rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stretch {
    #[serde(flatten)]
    pub(crate) place: BlobPlace,
    /// The beginning of the SHA-256 of its octets.
    pub(crate) sum: String,
}

/// Returns the sum of a stretch: 128 bits.
pub(crate) fn sum(octets: &[u8]) -> String {
    let mut sum = disk::sha256(octets);
    sum.truncate(32);
    sum
}

impl Manifest {
    /// Returns the name of the file.
    pub(crate) fn name(at: Timestamp) -> String {
        format!("{}.json", at.to_string().replace(':', "-"))
    }

    /// Returns the moment of the snapshot with this file name; none if it is not one.
    pub(crate) fn time_of(name: &str) -> Option<Timestamp> {
        let (date, time) = name.strip_suffix(".json")?.split_once('T')?;
        format!("{date}T{}", time.replace('-', ":")).parse().ok()
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), BackupError> {
        let mut octets = serde_json::to_vec(self).map_err(|error| damaged(error.to_string()))?;
        let sum = disk::sha256(&octets);
        octets.extend_from_slice(format!("\n{sum}\n").as_bytes());
        let path = directory.join(Self::name(self.at));
        disk::write(&path, &octets)?;
        Self::read(&path).map(drop)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, BackupError> {
        let octets = disk::read_back(path, FILE)?;
        let wrong = || damaged(format!("the snapshot {} is not as it was written", path.display()));
        let text = octets.strip_suffix(b"\n").ok_or_else(wrong)?;
        let end = text.iter().rposition(|&octet| octet == b'\n').ok_or_else(wrong)?;
        if disk::sha256(&text[..end]).as_bytes() != &text[end + 1..] {
            return Err(wrong());
        }
        let manifest: Self = serde_json::from_slice(&text[..end]).map_err(|_| wrong())?;
        if manifest.format > FORMAT {
            return Err(BackupError::TooNew(path.to_owned(), manifest.format, FORMAT));
        }
        Ok(manifest)
    }

    pub(crate) fn pack(&self, id: PackId) -> Result<&PackInfo, BackupError> {
        let found = self.packs.binary_search_by_key(&id, |pack| pack.id);
        found
            .map(|at| &self.packs[at])
            .map_err(|_| damaged(format!("the snapshot of {} does not name pack {id}", self.at)))
    }

    pub(crate) fn table(&self, name: &str) -> Option<&TableStretches> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Returns the names of the tables, in order.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.as_str())
    }

    /// Returns the octets of the packs.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.packs.iter().fold(0, |sum, pack| sum.saturating_add(pack.octets))
    }
}

/// Octets of a piece's row in a backup.
const PIECE: usize = 8 + 4 + 4 + 4 + 8;

/// The place of a piece of a message, with its checksum (XXH3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceAt {
    pub(crate) place: BlobPlace,
    pub(crate) sum: u64,
}

impl PieceAt {
    pub(crate) fn to_bytes(self) -> [u8; PIECE] {
        let Self { place: BlobPlace { pack, offset, stored, octets }, sum } = self;
        let mut value = [0; PIECE];
        value[..8].copy_from_slice(&pack.0.to_be_bytes());
        value[8..12].copy_from_slice(&offset.to_be_bytes());
        value[12..16].copy_from_slice(&stored.to_be_bytes());
        value[16..20].copy_from_slice(&octets.to_be_bytes());
        value[20..].copy_from_slice(&sum.to_be_bytes());
        value
    }

    /// Reads a row's value; none for a piece that the store could not read.
    pub(crate) fn read(value: &[u8]) -> Result<Option<Self>, BackupError> {
        if value.is_empty() {
            return Ok(None);
        }
        let value: &[u8; PIECE] =
            value.try_into().map_err(|_| damaged("the list of pieces has a row that is none"))?;
        let [a, b, c, d, e, f, g, h, rest @ ..] = *value;
        let pack = PackId(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let number = |at: usize| {
            rest[at..].first_chunk().map(|octets| u32::from_be_bytes(*octets)).unwrap_or_default()
        };
        let place = BlobPlace { pack, offset: number(0), stored: number(4), octets: number(8) };
        let sum = rest.last_chunk().map(|octets| u64::from_be_bytes(*octets)).unwrap_or_default();
        Ok(Some(Self { place, sum }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_times() {
        let at: Timestamp = "2026-11-29T19:02:03.123456Z".parse().unwrap();
        assert_eq!(Manifest::name(at), "2026-11-29T19-02-03.123456Z.json");
        assert_eq!(Manifest::time_of(&Manifest::name(at)), Some(at));
        for other in ["", ".json", "x.json", "2026-11-29T19-02-03.123456Z.partial"] {
            assert_eq!(Manifest::time_of(other), None, "{other}");
        }
    }

    #[test]
    fn places_are_reversible() {
        let place = BlobPlace { pack: PackId(7), offset: 1, stored: 2, octets: 3 };
        let piece = PieceAt { place, sum: u64::MAX - 5 };
        assert_eq!(PieceAt::read(&piece.to_bytes()).unwrap(), Some(piece));
        assert_eq!(PieceAt::read(&[]).unwrap(), None);
        assert!(PieceAt::read(&[0; 5]).is_err());
    }

    /// Every octet of a snapshot's file counts.
    #[test]
    fn a_changed_snapshot_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = Manifest {
            format: FORMAT,
            at: Timestamp::UNIX_EPOCH,
            store_format: 9,
            pieces: 0,
            octets: 0,
            unreadable: 0,
            key_file: None,
            packs: Vec::new(),
            tables: vec![TableStretches { name: "a".to_owned(), stretches: Vec::new() }],
        };
        manifest.write(directory.path()).unwrap();
        let path = directory.path().join(Manifest::name(manifest.at));
        let octets = std::fs::read(&path).unwrap();
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(Manifest::read(&path).is_err(), "octet {at}");
            std::fs::write(&path, &octets[..at]).unwrap();
            assert!(Manifest::read(&path).is_err(), "cut at {at}");
        }
    }
}
