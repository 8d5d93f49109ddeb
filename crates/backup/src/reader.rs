//! Reading a snapshot.

use crate::{
    BackupError, Manifest, PieceAt, damaged,
    manifest::{self, Stretch},
    pack::PackReader,
};
use posta_store::{PIECES, PieceKey, Rows};
use std::cmp::Ordering;
use xxhash_rust::xxh3::xxh3_64;

/// Reads the tables and messages of one snapshot.
pub struct SnapshotReader {
    manifest: Manifest,
    packs: PackReader,
    /// The stretch of the list of pieces that was looked at last.
    looked_at: Option<(usize, PieceStretch)>,
}

/// The rows of a stretch of the list of pieces.
type PieceStretch = Vec<(PieceKey, Option<PieceAt>)>;

impl SnapshotReader {
    pub(crate) fn new(manifest: Manifest, packs: PackReader) -> Self {
        Self { manifest, packs, looked_at: None }
    }

    /// Returns the snapshot.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the number of stretches of a table.
    #[must_use]
    pub fn stretches(&self, table: &str) -> usize {
        self.manifest.table(table).map_or(0, |table| table.stretches.len())
    }

    /// Reads a stretch of a table's rows by its number.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn rows(&mut self, table: &str, number: usize) -> Result<Rows, BackupError> {
        let found = self.manifest.table(table).and_then(|table| table.stretches.get(number));
        let Stretch { place, sum } =
            found.cloned().ok_or_else(|| damaged(format!("there is no table {table:?}")))?;
        let blob = self.packs.blob(self.manifest.pack(place.pack)?, place)?;
        if manifest::sum(&blob) != sum {
            let words = format!("rows {number} of table {table:?} are not as they were written");
            return Err(damaged(words));
        }
        Rows::new(blob).map_err(|_| damaged(format!("rows of table {table:?}")))
    }

    /// Reads a stretch of the list of pieces by its number.
    ///
    /// # Errors
    /// As [`SnapshotReader::rows`].
    pub fn pieces(
        &mut self,
        number: usize,
    ) -> Result<Vec<(PieceKey, Option<PieceAt>)>, BackupError> {
        let rows = self.rows(PIECES, number)?;
        let read = |(key, value): (&[u8], &[u8])| {
            let key = key.try_into().map_err(|_| damaged("the list of pieces has a wrong key"))?;
            Ok((PieceKey::from_bytes(key), PieceAt::read(value)?))
        };
        rows.iter().map(read).collect()
    }

    /// Returns where a piece is; none if the snapshot does not have it.
    ///
    /// # Errors
    /// As [`SnapshotReader::rows`].
    pub fn find(&mut self, key: PieceKey) -> Result<Option<PieceAt>, BackupError> {
        let (mut low, mut high) = (0, self.stretches(PIECES));
        if let Some((number, _)) = &self.looked_at {
            // The next is most often in the same stretch.
            let number = *number;
            match self.compare(number, key)? {
                Ordering::Less => high = number,
                Ordering::Greater => low = number + 1,
                Ordering::Equal => (low, high) = (number, number + 1),
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compare(middle, key)? {
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
                Ordering::Equal => {
                    let rows =
                        self.looked_at.as_ref().map(|(_, rows)| &rows[..]).unwrap_or_default();
                    let found = rows.binary_search_by_key(&key, |(key, _)| *key);
                    return Ok(found.ok().and_then(|at| rows[at].1));
                }
            }
        }
        Ok(None)
    }

    /// Returns where a key is: before a stretch of the list of pieces, in it, or after it.
    fn compare(&mut self, number: usize, key: PieceKey) -> Result<Ordering, BackupError> {
        if self.looked_at.as_ref().is_none_or(|(looked_at, _)| *looked_at != number) {
            self.looked_at = Some((number, self.pieces(number)?));
        }
        let rows = self.looked_at.as_ref().map(|(_, rows)| &rows[..]).unwrap_or_default();
        Ok(match (rows.first(), rows.last()) {
            (Some((first, _)), _) if key < *first => Ordering::Less,
            (_, Some((last, _))) if key > *last => Ordering::Greater,
            _ => Ordering::Equal,
        })
    }

    /// Reads a piece.
    ///
    /// # Errors
    /// As [`SnapshotReader::rows`].
    pub fn piece(&mut self, piece: PieceAt) -> Result<Vec<u8>, BackupError> {
        let octets = self.packs.blob(self.manifest.pack(piece.place.pack)?, piece.place)?;
        if xxh3_64(&octets) == piece.sum {
            return Ok(octets);
        }
        Err(damaged(format!("a piece in pack {} is not as it was written", piece.place.pack)))
    }

    /// Reads the store's key file; none if the store had none.
    ///
    /// # Errors
    /// As [`SnapshotReader::rows`].
    pub fn key_file(&mut self) -> Result<Option<Vec<u8>>, BackupError> {
        let Some(place) = self.manifest.key_file else { return Ok(None) };
        self.packs.blob(self.manifest.pack(place.pack)?, place).map(Some)
    }
}

/// The list of pieces of a snapshot, read from the beginning to the end.
#[derive(Default)]
pub(crate) struct PieceRows {
    stretch: std::vec::IntoIter<(PieceKey, Option<PieceAt>)>,
    next: Option<(PieceKey, Option<PieceAt>)>,
    number: usize,
}

impl PieceRows {
    /// Returns where a snapshot has a piece. The keys of the calls must ascend.
    pub(crate) fn find(
        &mut self,
        snapshot: &mut SnapshotReader,
        key: PieceKey,
    ) -> Result<Option<PieceAt>, BackupError> {
        loop {
            if self.next.is_none() {
                self.next = self.stretch.next();
            }
            match self.next {
                Some((found, piece)) if found >= key => {
                    return Ok(piece.filter(|_| found == key));
                }
                Some(_) => self.next = None,
                None if self.number < snapshot.stretches(PIECES) => {
                    self.stretch = snapshot.pieces(self.number)?.into_iter();
                    self.number += 1;
                }
                None => return Ok(None),
            }
        }
    }
}
