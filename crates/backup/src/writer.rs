//! Writing a snapshot.

use crate::{
    AgeRecipient, BackupError, Manifest, PieceAt, SnapshotReader,
    manifest::{self, FORMAT, Stretch, TableStretches},
    pack::{BlobPlace, PackId, PackWriter},
    reader::PieceRows,
};
use posta_mail::Timestamp;
use posta_store::{PIECES, PieceKey, Rows};
use std::{
    collections::{BTreeSet, HashMap},
    mem::take,
    path::Path,
};
use xxhash_rust::xxh3::xxh3_64;

/// Octets that a stretch of rows has at least, and at most, unless a single row has more.
const LEAST: usize = 16 * 1024;
const MOST: usize = 512 * 1024;

/// A stretch ends at a key whose hash has these bits clear: after 256 rows on the average.
const ENDS: u64 = 0xff;

/// What a run wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// The pieces of messages, and those of them that are new.
    pub pieces: u64,
    /// The new pieces.
    pub new_pieces: u64,
    /// Pieces that the store could not read.
    pub unreadable: u64,
    /// Octets of the packs that were written.
    pub octets: u64,
    /// Octets of all packs that the snapshot needs.
    pub size: u64,
}

/// Writes a snapshot: one table after the other, each with its rows in the order of their keys.
pub struct SnapshotWriter {
    /// For all rows but those of the list of pieces, and for the pieces.
    packs: PackWriter,
    /// For the list of pieces, which the next run has to read without a private key.
    lists: PackWriter,
    last: Option<SnapshotReader>,
    /// The list of pieces of the last snapshot, as far as it is read.
    last_pieces: PieceRows,
    manifest: Manifest,
    needed: BTreeSet<PackId>,
    /// The table being written, its rows that are in no stretch yet, and the stretches of the last snapshot.
    table: TableStretches,
    rows: Rows,
    known: HashMap<String, Stretch>,
    written: Written,
}

impl SnapshotWriter {
    pub(crate) fn new(
        directory: &Path,
        recipients: &[AgeRecipient],
        last: Option<SnapshotReader>,
        at: Timestamp,
        store_format: u64,
    ) -> Result<Self, BackupError> {
        let manifest = Manifest {
            format: FORMAT,
            at,
            store_format,
            pieces: 0,
            octets: 0,
            unreadable: 0,
            key_file: None,
            packs: Vec::new(),
            tables: Vec::new(),
        };
        Ok(Self {
            packs: PackWriter::new(directory, recipients.to_vec())?,
            lists: PackWriter::new(directory, Vec::new())?,
            last,
            last_pieces: PieceRows::default(),
            manifest,
            needed: BTreeSet::new(),
            table: TableStretches::default(),
            rows: Rows::default(),
            known: HashMap::new(),
            written: Written::default(),
        })
    }

    /// Puts the store's key file into the snapshot.
    ///
    /// # Errors
    /// When the backup cannot be written.
    pub fn key_file(&mut self, octets: &[u8]) -> Result<(), BackupError> {
        self.manifest.key_file = Some(self.add(octets)?);
        Ok(())
    }

    fn add(&mut self, blob: &[u8]) -> Result<BlobPlace, BackupError> {
        let place = self.packs.add(blob)?;
        self.needed.insert(place.pack);
        Ok(place)
    }

    /// Begins a table; the list of pieces is the table [`PIECES`].
    ///
    /// # Errors
    /// When the table before it cannot be written.
    pub fn begin_table(&mut self, name: &str) -> Result<(), BackupError> {
        self.end_table()?;
        name.clone_into(&mut self.table.name);
        let last = self.last.as_ref().and_then(|last| last.manifest().table(name));
        let stretches = last.into_iter().flat_map(|table| &table.stretches);
        self.known = stretches.map(|stretch| (stretch.sum.clone(), stretch.clone())).collect();
        Ok(())
    }

    /// Adds a row to the table.
    ///
    /// # Errors
    /// When the backup cannot be written.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        self.rows.push(key, value);
        let octets = self.rows.octets().len();
        if octets >= MOST || (octets >= LEAST && xxh3_64(key) & ENDS == 0) {
            self.end_stretch()?;
        }
        Ok(())
    }

    fn end_stretch(&mut self) -> Result<(), BackupError> {
        let rows = take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let sum = manifest::sum(rows.octets());
        let stretch = match self.known.get(&sum) {
            Some(known) => known.clone(),
            None => {
                let is_list = self.table.name == PIECES;
                let packs = if is_list { &mut self.lists } else { &mut self.packs };
                Stretch { place: packs.add(rows.octets())?, sum }
            }
        };
        self.needed.insert(stretch.place.pack);
        self.table.stretches.push(stretch);
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), BackupError> {
        self.end_stretch()?;
        let table = take(&mut self.table);
        if !table.name.is_empty() {
            self.manifest.tables.push(table);
        }
        Ok(())
    }

    /// Returns where the last snapshot has a piece; none if it does not have it. The keys of the calls must ascend.
    ///
    /// # Errors
    /// When the last snapshot cannot be read.
    pub fn known_piece(&mut self, key: PieceKey) -> Result<Option<PieceAt>, BackupError> {
        let Some(last) = &mut self.last else { return Ok(None) };
        self.last_pieces.find(last, key)
    }

    /// Adds a piece that the last snapshot has to the list.
    ///
    /// # Errors
    /// When the backup cannot be written.
    pub fn old_piece(&mut self, key: PieceKey, piece: PieceAt) -> Result<(), BackupError> {
        self.needed.insert(piece.place.pack);
        self.list(key, piece)
    }

    /// Adds a piece that the last snapshot does not have.
    ///
    /// # Errors
    /// When the backup cannot be written.
    pub fn new_piece(&mut self, key: PieceKey, octets: &[u8]) -> Result<(), BackupError> {
        let piece = PieceAt { place: self.add(octets)?, sum: xxh3_64(octets) };
        self.written.new_pieces += 1;
        self.list(key, piece)
    }

    fn list(&mut self, key: PieceKey, piece: PieceAt) -> Result<(), BackupError> {
        self.manifest.pieces += 1;
        self.manifest.octets += u64::from(piece.place.octets);
        self.row(&key.to_bytes(), &piece.to_bytes())
    }

    /// Notes a piece that the store cannot read.
    ///
    /// # Errors
    /// When the backup cannot be written.
    pub fn unreadable_piece(&mut self, key: PieceKey) -> Result<(), BackupError> {
        self.manifest.pieces += 1;
        self.manifest.unreadable += 1;
        self.row(&key.to_bytes(), &[])
    }

    /// Writes the rest. Returns the snapshot, and what was written.
    pub(crate) fn finish(mut self) -> Result<(Manifest, Written), BackupError> {
        self.end_table()?;
        self.packs.finish()?;
        self.lists.finish()?;
        let new = [take(&mut self.packs.written), take(&mut self.lists.written)].concat();
        self.written.octets = new.iter().map(|pack| pack.octets).sum();
        let old = self.last.as_ref().map(|last| last.manifest().packs.clone()).unwrap_or_default();
        let mut manifest = self.manifest;
        manifest.packs = old.into_iter().chain(new).collect();
        manifest.packs.retain(|pack| self.needed.contains(&pack.id));
        manifest.packs.sort_by_key(|pack| pack.id);
        let Manifest { pieces, unreadable, .. } = manifest;
        let written = Written { pieces, unreadable, size: manifest.size(), ..self.written };
        Ok((manifest, written))
    }
}
