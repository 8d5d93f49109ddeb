//! Work that is done in pieces over a table whose keys begin with a time: purging, expiring, forgetting.
//!
//! Each piece removes the first keys of its table. The engine keeps a removed key for a while, and whoever reads from
//! the table's beginning walks over all of these: the last piece of a million would walk over a million. So a piece
//! begins where the one before it ended, and a reader looks for it, not the committing thread, for which all wait.

use super::FjallStore;
use crate::{
    commit::{Committer, removals::Until},
    tables::{schema::Schema, table::Table},
};
use fjall::UserKey;
use parking_lot::Mutex;
use posta_store::StoreError;
use std::ops::Bound;

/// Keys in a piece at most, so that the mail does not wait long for one.
const PIECE: usize = 1_000;

/// The last key of the piece that was done last, unless there was nothing more to do then.
#[derive(Debug, Default)]
pub(super) struct Cursor(Mutex<Option<UserKey>>);

/// What is done in pieces.
pub(super) struct InPieces<C> {
    pub(super) cursor: fn(&FjallStore) -> &Cursor,
    pub(super) table: fn(&Schema) -> &Table,
    /// Up to which key of the table.
    pub(super) end: Bound<Vec<u8>>,
    pub(super) until: Until,
    /// Does a piece, and returns how much that was.
    pub(super) change: C,
}

impl FjallStore {
    /// Does a piece of something. Returns how much that was: 0 if nothing is left to do.
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
