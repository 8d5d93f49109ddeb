//! Cursors for work that goes in pieces through a table whose keys begin with a time: purging, expiring, forgetting.
//!
//! Each piece removes the first keys of its table. The engine keeps removed keys for a while, and a read from the
//! table's beginning walks over all of them: that of the last piece of a million messages would walk over a
//! million. So each piece begins where the one before ended, and a reader thread looks the keys up, not the
//! committing thread, for which all changes wait.

use super::FjallStore;
use crate::{
    commit::{Committer, removals::Until},
    tables::{schema::Schema, table::Table},
};
use fjall::UserKey;
use parking_lot::Mutex;
use posta_store::StoreError;
use std::ops::Bound;

/// The most keys in a piece, so that other changes do not wait long for one.
const PIECE: usize = 1_000;

/// The last key of the last piece; none if that piece ended the work.
#[derive(Debug, Default)]
pub(super) struct Cursor(Mutex<Option<UserKey>>);

/// Work that is done in pieces.
pub(super) struct InPieces<C> {
    pub(super) cursor: fn(&FjallStore) -> &Cursor,
    pub(super) table: fn(&Schema) -> &Table,
    /// The end of the keys that are due.
    pub(super) end: Bound<Vec<u8>>,
    pub(super) until: Until,
    /// Does a piece, whose keys it gets. Returns the number of records changed.
    pub(super) change: C,
}

impl FjallStore {
    /// Does the next piece that changes a record. Returns the number of records changed, 0 if none is due.
    pub(super) async fn do_piece<C>(&self, pieces: InPieces<C>) -> Result<usize, StoreError>
    where
        C: FnOnce(&mut Committer, Vec<UserKey>) -> Result<usize, StoreError>
            + Copy
            + Send
            + 'static,
    {
        let InPieces { cursor, table, end, until, change } = pieces;
        let Cursor(last) = cursor(self);
        loop {
            let range =
                (last.lock().clone().map_or(Bound::Unbounded, Bound::Excluded), end.clone());
            let keys = self.read(move |schema| table(schema).first_keys(range, PIECE)).await?;
            let (next, is_all) = (keys.last().cloned(), keys.len() < PIECE);
            let count = match next {
                Some(_) => self.after(until, move |committer| change(committer, keys)).await?,
                None => 0,
            };
            *last.lock() = next.filter(|_| !is_all);
            if count > 0 || is_all {
                return Ok(count);
            }
        }
    }
}
