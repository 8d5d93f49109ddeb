//! A table: a keyspace of the engine.

use crate::error::failed;
use fjall::{Keyspace, UserKey};
use posta_store::StoreError;
use std::ops::{Bound, Deref};

/// A keyspace, and the number that stands for it in the log.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) number: u8,
    pub(crate) keyspace: Keyspace,
}

impl Table {
    /// Returns the table's name.
    pub(crate) fn name(&self) -> String {
        self.keyspace.name().to_string()
    }

    /// Returns the first keys of a range, at most as many as `limit`.
    pub(crate) fn first_keys(
        &self,
        range: (Bound<UserKey>, Bound<Vec<u8>>),
        limit: usize,
    ) -> Result<Vec<UserKey>, StoreError> {
        let (from, to) = range;
        let range = (from, to.map(UserKey::from));
        self.range(range).take(limit).map(|guard| guard.key().map_err(failed)).collect()
    }
}

impl Deref for Table {
    type Target = Keyspace;

    fn deref(&self) -> &Keyspace {
        &self.keyspace
    }
}

impl AsRef<Keyspace> for Table {
    fn as_ref(&self) -> &Keyspace {
        &self.keyspace
    }
}
