//! Backups: everything in a store as it was at one moment, and new stores made of that.
//!
//! A backup consists of *rows*, which are the records of the store's tables in the form in which the store keeps them,
//! and of *pieces*, which are the contents of messages ([`Contents::chunk`](crate::Contents::chunk)). The format number
//! of the store says how the rows are read; a store that can open files of a format can be made of rows of that format,
//! too.
//!
//! Not every store is backed up in this way: a database server has means of its own.
//! [`Upkeep::backups`](crate::Upkeep::backups) tells which does.

use crate::{
    error::{Pending, StoreError},
    names::AccountId,
};
use bytes::Bytes;
use posta_mail::{MailId, Timestamp};

/// The name of a snapshot, for as long as the store is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId(pub u64);

/// A snapshot of a store, which is read by its id.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The id.
    pub id: SnapshotId,
    /// The format of the rows.
    pub format: u64,
    /// The names of the tables, in the order in which a restore takes them.
    pub tables: Vec<String>,
    /// The file with the keys of sealed secrets, as it was at that moment; none if the store has none.
    pub key_file: Option<Vec<u8>>,
    /// The octets of the contents, about.
    pub octets: u64,
}

/// The table whose rows name the pieces: keys of 16 octets ([`PieceKey`]), and the number of octets of each piece in
/// 4 octets. Every store with backups has it.
pub const PIECES: &str = "piece";

/// Names a piece of a message: the message's id and the index of the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PieceKey {
    /// The message.
    pub content: MailId,
    /// The index of the piece in the message's [`Layout`](crate::Layout).
    pub index: u32,
}

impl PieceKey {
    /// The number of octets in the binary form.
    pub const OCTETS: usize = 16;

    /// Returns the binary form, which sorts as the keys do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::OCTETS] {
        let mut octets = [0; Self::OCTETS];
        octets[..12].copy_from_slice(&self.content.to_bytes());
        octets[12..].copy_from_slice(&self.index.to_be_bytes());
        octets
    }

    /// Reads the binary form.
    #[must_use]
    pub fn from_bytes(octets: [u8; Self::OCTETS]) -> Self {
        let [content @ .., a, b, c, d] = octets;
        Self { content: MailId::from_bytes(content), index: u32::from_be_bytes([a, b, c, d]) }
    }
}

/// Reading a store for a backup. A snapshot is given up when nobody has read from it for a while
/// ([`SNAPSHOT_IDLE`]), so that a program that was killed holds nothing for ever.
pub trait Backups: Send + Sync + 'static {
    /// Takes a snapshot: everything read from it is of this moment, whatever changes meanwhile.
    ///
    /// # Errors
    /// [`StoreError::TooManyBackups`] if there are too many snapshots already.
    fn snapshot(&self, now: Timestamp) -> Pending<'_, Snapshot>;

    /// Returns rows of a table in the order of their keys, those after `after`, of about `octets` octets; none if there
    /// are no more.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the snapshot was given up, or there is no such table.
    fn rows(
        &self,
        snapshot: SnapshotId,
        table: &str,
        after: Option<Vec<u8>>,
        octets: usize,
        now: Timestamp,
    ) -> Pending<'_, Rows>;

    /// Returns pieces, of about `octets` octets, at least the first: fewer than were asked for, then. A piece that
    /// cannot be read is none.
    ///
    /// # Errors
    /// As [`Backups::rows`].
    fn pieces(
        &self,
        snapshot: SnapshotId,
        keys: Vec<PieceKey>,
        octets: usize,
        now: Timestamp,
    ) -> Pending<'_, Vec<Option<Bytes>>>;

    /// Gives a snapshot up.
    fn release(&self, snapshot: SnapshotId) -> Pending<'_, ()>;
}

/// The time after which a snapshot that nobody reads is given up.
pub const SNAPSHOT_IDLE: std::time::Duration = std::time::Duration::from_secs(300);

/// Filling a new store from a backup. Nobody else may use the store meanwhile, and it has to be opened again afterwards.
pub trait Restores: Send + Sync + 'static {
    /// Puts rows into a table; of tables about the mail of accounts, only the rows of the account `of`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if there is no such table.
    fn put_rows(&self, table: &str, rows: Rows, of: Option<AccountId>) -> Pending<'_, ()>;

    /// Puts pieces of messages into the store.
    fn put_pieces(&self, pieces: Vec<(PieceKey, Bytes)>) -> Pending<'_, ()>;

    /// Finishes a store that was filled and opened again since, and makes it durable. What clients may know from the time after the backup is never given
    /// out again: ids, unique-ids and mod-sequences go on far ahead, and each folder has another UIDVALIDITY. The
    /// messages of the queue are held, since they may have been sent after the backup.
    fn finish(&self, now: Timestamp) -> Pending<'_, ()>;
}

/// Rows of a table, one behind the other, each as the number of octets of its key (2 octets, the highest first), of its
/// value (4 octets), the key and the value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows(Vec<u8>);

impl Rows {
    /// Returns the rows in these octets.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the octets are no rows.
    pub fn new(octets: Vec<u8>) -> Result<Self, StoreError> {
        let rows = Self(octets);
        let read: usize = rows.iter().map(|(key, value)| HEADER + key.len() + value.len()).sum();
        if read == rows.0.len() {
            return Ok(rows);
        }
        Err(StoreError::Damaged("rows of a table end too soon".to_owned()))
    }

    /// Adds a row. A key has up to 65,535 octets.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.0.extend_from_slice(&(key.len() as u16).to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
    }

    /// Returns the rows, as keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let key = u16::from_be_bytes(*rest.split_off(..2)?.first_chunk()?);
            let value = u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?);
            Some((rest.split_off(..usize::from(key))?, rest.split_off(..value as usize)?))
        })
    }

    /// Returns the octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Octets in front of each row's key.
const HEADER: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written() {
        let mut rows = Rows::default();
        assert!(rows.is_empty());
        let long = vec![7; 70_000];
        for (key, value) in [(&b"a"[..], &b""[..]), (b"", b"x"), (b"b", &long)] {
            rows.push(key, value);
        }
        let octets = rows.octets().to_vec();
        let read = Rows::new(octets.clone()).unwrap();
        let read: Vec<_> = read.iter().map(|(key, value)| (key.len(), value.len())).collect();
        assert_eq!(read, [(1, 0), (0, 1), (1, 70_000)]);
        for length in [1, 5, 6, 8, 13, 15, 100, octets.len() - 1] {
            assert!(Rows::new(octets[..length].to_vec()).is_err(), "{length}");
        }
        assert!(Rows::new(octets[..7].to_vec()).is_ok(), "the first row is whole");
        assert!(Rows::new(octets[..14].to_vec()).is_ok(), "and so is the second");
    }

    #[test]
    fn keys_of_pieces_are_reversible() {
        let key = PieceKey { content: MailId::from_bytes([3; 12]), index: u32::MAX };
        assert_eq!(PieceKey::from_bytes(key.to_bytes()), key);
    }
}
