//! Backups: snapshots of the tables, and a new store that is filled from one.
//!
//! A snapshot pins the segments of the log, so contents that are purged or moved meanwhile stay where the snapshot has
//! them. Only a disk that runs full ends that: pieces that were written over are missing from the backup then.

use super::FjallStore;
use crate::{
    error::failed,
    log::{Pin, Segments},
    tables::{
        key_and_value,
        schema::{self, Reader, Schema},
    },
};
use bytes::Bytes;
use fjall::Readable;
use parking_lot::Mutex;
use posta_mail::{MailId, Timestamp};
use posta_store::{
    AccountId, Backups, PIECES, Pending, PieceKey, Restores, Rows, SNAPSHOT_IDLE, Snapshot,
    SnapshotId, StoreError,
};
use std::{
    collections::{HashMap, HashSet},
    future::ready,
    ops::Bound,
    sync::{Arc, Weak},
};

/// The most snapshots at a time.
const SNAPSHOTS: usize = 4;

/// The snapshots that are being read.
#[derive(Default)]
pub(super) struct Snapshots(Arc<Mutex<HashMap<SnapshotId, Held>>>);

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshots")
    }
}

/// A snapshot.
#[derive(Clone)]
struct Held {
    of: fjall::Snapshot,
    /// The tables that it is of, which are closed if a change does not get into them.
    schema: Weak<Schema>,
    /// The messages that were still arriving.
    arriving: Arc<HashSet<MailId>>,
    _pin: Arc<Pin>,
    used: Timestamp,
}

impl Snapshots {
    /// Gives up the snapshots that nobody reads any more.
    pub(super) fn expire(&self, now: Timestamp) {
        self.0.lock().retain(|_, held| now.duration_since(held.used) < jiff_idle());
    }

    fn get(&self, id: SnapshotId, now: Timestamp) -> Result<Held, StoreError> {
        let mut all = self.0.lock();
        let held = all.get_mut(&id).ok_or_else(gone)?;
        held.used = now;
        Ok(held.clone())
    }
}

fn jiff_idle() -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(SNAPSHOT_IDLE.as_secs() as i64)
}

fn gone() -> StoreError {
    StoreError::Failed(
        "the snapshot for the backup was given up, since nobody read it or the tables had to be opened \
         again: run the backup again"
            .to_owned(),
    )
}

impl Held {
    fn schema(&self) -> Result<Arc<Schema>, StoreError> {
        self.schema.upgrade().ok_or_else(gone)
    }

    fn rows(&self, table: &str, after: Option<Vec<u8>>, octets: usize) -> Result<Rows, StoreError> {
        let schema = self.schema()?;
        if after.as_ref().is_some_and(|after| after.len() > usize::from(u16::MAX)) {
            return Err(StoreError::Failed("no row of a table has a key as long".to_owned()));
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let is_pieces = table == PIECES;
        let of = match is_pieces {
            true => &schema.place,
            false => schema.backed_up().find(|known| known.name() == table).ok_or_else(unknown)?,
        };
        let is_meta = of.number == schema.meta.number;
        let mut rows = Rows::default();
        for guard in self.of.range(of, (from, Bound::Unbounded)) {
            let (key, value) = key_and_value(guard)?;
            if is_pieces {
                let place = schema::decode_place(&value)?;
                if !self.arriving.contains(&schema::content_of(&key)?) {
                    rows.push(&key, &place.length.to_be_bytes());
                }
            } else if !is_meta || !schema::is_of_files(&key) {
                rows.push(&key, &value);
            }
            if rows.octets().len() >= octets {
                break;
            }
        }
        Ok(rows)
    }

    fn pieces(
        &self,
        segments: &Segments,
        keys: Vec<PieceKey>,
        octets: usize,
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        let schema = self.schema()?;
        let (mut pieces, mut read) = (Vec::new(), 0);
        for key in keys {
            let key = key.to_bytes();
            let value = self.of.get(&schema.place, key).map_err(failed)?;
            let place = value.map(|value| schema::decode_place(&value)).transpose()?;
            let mut piece = place.map_or(Ok(None), |place| segments.read(place, key))?;
            if piece.is_none()
                && let Some(moved) = schema.place(key)?
            {
                piece = segments.read(moved, key)?;
            }
            read += piece.as_ref().map_or(0, Bytes::len);
            pieces.push(piece);
            if read >= octets {
                break;
            }
        }
        Ok(pieces)
    }
}

fn unknown() -> StoreError {
    StoreError::Damaged("the backup has a table that this program does not know".to_owned())
}

impl Backups for FjallStore {
    fn snapshot(&self, now: Timestamp) -> Pending<'_, Snapshot> {
        self.snapshots.expire(now);
        let (all, segments) = (self.snapshots.0.clone(), self.segments.clone());
        let schema = match self.schema() {
            Ok(schema) => Arc::downgrade(&schema),
            Err(error) => return Box::pin(ready(Err(error))),
        };
        // Between two transactions, so that the key file is of the same moment.
        self.alone(move |committer| {
            let tables = &committer.schema;
            let of = tables.database.snapshot();
            let pin = Arc::new(segments.pin());
            let key_file =
                committer.keys.copy().map_err(|error| StoreError::Sealed(error.to_string()))?;
            let mut arriving = HashSet::new();
            for guard in of.iter(&tables.arriving) {
                let (key, _) = key_and_value(guard)?;
                arriving.insert(schema::content_of(&key)?);
            }
            let mut octets = 0;
            for guard in of.iter(&tables.segment) {
                let (_, value) = key_and_value(guard)?;
                octets += Reader(&value).u64()?;
            }
            let mut all = all.lock();
            if all.len() >= SNAPSHOTS {
                return Err(StoreError::TooManyBackups);
            }
            let number = all.keys().map(|id| id.0).max().unwrap_or_default();
            // Not one that a program may still have from the last run.
            let id = SnapshotId((number + 1).max(now.as_microsecond().unsigned_abs()));
            let names = tables.backed_up().map(|table| table.name()).collect();
            let arriving = Arc::new(arriving);
            all.insert(id, Held { of, schema, arriving, _pin: pin, used: now });
            let format = tables.format()?.unwrap_or_default();
            Ok(Snapshot { id, format, tables: names, key_file, octets })
        })
    }

    fn rows(
        &self,
        snapshot: SnapshotId,
        table: &str,
        after: Option<Vec<u8>>,
        octets: usize,
        now: Timestamp,
    ) -> Pending<'_, Rows> {
        let table = table.to_owned();
        let held = self.snapshots.get(snapshot, now);
        self.readers.read(move || held?.rows(&table, after, octets))
    }

    fn pieces(
        &self,
        snapshot: SnapshotId,
        keys: Vec<PieceKey>,
        octets: usize,
        now: Timestamp,
    ) -> Pending<'_, Vec<Option<Bytes>>> {
        let (held, segments) = (self.snapshots.get(snapshot, now), self.segments.clone());
        self.readers.read(move || held?.pieces(&segments, keys, octets))
    }

    fn release(&self, snapshot: SnapshotId) -> Pending<'_, ()> {
        self.snapshots.0.lock().remove(&snapshot);
        Box::pin(ready(Ok(())))
    }
}

impl Restores for FjallStore {
    fn put_rows(&self, table: &str, rows: Rows, of: Option<AccountId>) -> Pending<'_, ()> {
        let table = table.to_owned();
        self.alone(move |committer| committer.restore_rows(&table, &rows, of))
    }

    fn put_pieces(&self, pieces: Vec<(PieceKey, Bytes)>) -> Pending<'_, ()> {
        self.alone(move |committer| committer.restore_pieces(&pieces))
    }

    fn finish(&self, now: Timestamp) -> Pending<'_, ()> {
        self.alone(move |committer| committer.finish_restore(now))
    }
}
