//! The rows in the files of a table: those in all blocks that are whole.

use crate::error::io_failed;
use lsm_tree::{
    CompressionType, ValueType,
    table::{
        Block, DataBlock,
        block::{BlockType, Header, decoder::ParsedItem as _},
    },
};
use posta_store::StoreError;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    fs::File,
    io::BufReader,
    os::unix::fs::FileExt,
    path::PathBuf,
};

/// What every block begins with.
const MAGIC: [u8; 4] = *b"LSM\x03";

/// Octets that are looked through at a time.
const PIECE: usize = 256 * 1024;

/// A file of a table, and the places of its blocks of rows that are whole.
pub(super) struct TableFile {
    file: File,
    blocks: Vec<u64>,
}

/// A row.
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    /// None if the row was removed.
    pub(super) value: Option<Vec<u8>>,
    number: u64,
}

impl TableFile {
    /// Finds the blocks of a file.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(io_failed)?;
        let length = file.metadata().map_err(io_failed)?.len();
        let mut found = Self { file, blocks: Vec::new() };
        let mut at = 0;
        while let Some(begins) = found.next_magic(at, length)? {
            match found.block(begins)? {
                Some(block) => {
                    at = begins + (Header::serialized_len() + block.as_slice().len()) as u64;
                    if block.inner.header.block_type == BlockType::Data {
                        found.blocks.push(begins);
                    }
                }
                None => at = begins + 1,
            }
        }
        Ok(found)
    }

    /// Returns the next place from which a block may begin.
    fn next_magic(&self, mut at: u64, length: u64) -> Result<Option<u64>, StoreError> {
        let mut piece = vec![0; PIECE];
        while at < length {
            let read = self.file.read_at(&mut piece, at).map_err(io_failed)?;
            if let Some(found) = piece[..read].windows(MAGIC.len()).position(|it| it == MAGIC) {
                return Ok(Some(at + found as u64));
            }
            // One may begin at the end of the piece.
            at += (read.saturating_sub(MAGIC.len() - 1)).max(1) as u64;
            if read < MAGIC.len() {
                break;
            }
        }
        Ok(None)
    }

    /// Reads a block; none if it is not whole.
    fn block(&self, at: u64) -> Result<Option<DataBlock>, StoreError> {
        let length = self.file.metadata().map_err(io_failed)?.len();
        let mut header = vec![0; Header::serialized_len()];
        if at + header.len() as u64 > length {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, at).map_err(io_failed)?;
        // A length is believed only up to the end of the file.
        let place = Header::serialized_len() - 4 - 4 - 4;
        let octets = header[place..].first_chunk().map(|it| u32::from_le_bytes(*it));
        let left = length - at - header.len() as u64;
        if octets.is_none_or(|octets| u64::from(octets) > left) {
            return Ok(None);
        }
        let reader = ReadAt { file: &self.file, at };
        let block = Block::from_reader(&mut BufReader::new(reader), CompressionType::None);
        Ok(block.ok().map(DataBlock::new))
    }

    /// Reads the rows of a block.
    fn rows(&self, number: usize) -> Result<Option<std::vec::IntoIter<Row>>, StoreError> {
        let Some(&at) = self.blocks.get(number) else { return Ok(None) };
        let Some(block) = self.block(at)? else { return Ok(Some(Vec::new().into_iter())) };
        let octets = block.as_slice();
        let row = |item: lsm_tree::InternalValue| Row {
            key: item.key.user_key.to_vec(),
            value: (item.key.value_type == ValueType::Value).then(|| item.value.to_vec()),
            number: item.key.seqno,
        };
        let rows: Vec<_> = block.iter().map(|item| row(item.materialize(octets))).collect();
        Ok(Some(rows.into_iter()))
    }
}

/// Reads a file from a place on.
struct ReadAt<'f> {
    file: &'f File,
    at: u64,
}

impl std::io::Read for ReadAt<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// A file whose rows are being merged with those of others.
struct Source<'f> {
    file: &'f TableFile,
    next: usize,
    rows: std::vec::IntoIter<Row>,
}

impl Source<'_> {
    fn row(&mut self) -> Result<Option<Row>, StoreError> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            match self.file.rows(self.next)? {
                Some(rows) => self.rows = rows,
                None => return Ok(None),
            }
            self.next += 1;
        }
    }
}

/// The next row of a source: by its key, the newest first.
struct Head {
    row: Row,
    source: usize,
}

impl Head {
    fn rank(&self) -> (&[u8], Reverse<u64>) {
        (&self.row.key, Reverse(self.row.number))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// Returns the rows of a table's files in the order of their keys, of each key the newest.
pub(super) fn merged(
    files: &[TableFile],
) -> Result<impl Iterator<Item = Result<Row, StoreError>>, StoreError> {
    let source = |file| Source { file, next: 0, rows: Vec::new().into_iter() };
    let mut sources: Vec<_> = files.iter().map(source).collect();
    let mut heads = BinaryHeap::new();
    for (number, source) in sources.iter_mut().enumerate() {
        heads.extend(source.row()?.map(|row| Reverse(Head { row, source: number })));
    }
    let mut last: Option<Vec<u8>> = None;
    let mut next = move || -> Result<Option<Row>, StoreError> {
        while let Some(Reverse(Head { row, source })) = heads.pop() {
            let after = sources[source].row()?;
            heads.extend(after.map(|row| Reverse(Head { row, source })));
            if last.as_ref() != Some(&row.key) {
                last = Some(row.key.clone());
                return Ok(Some(row));
            }
        }
        Ok(None)
    };
    Ok(std::iter::from_fn(move || next().transpose()))
}
