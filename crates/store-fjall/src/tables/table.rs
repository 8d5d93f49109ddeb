//! A table: a keyspace of the engine.

use fjall::Keyspace;
use std::ops::Deref;

/// A keyspace, and the number that stands for it in the log.
#[derive(Clone)]
pub(crate) struct Table {
    pub(crate) number: u8,
    pub(crate) keyspace: Keyspace,
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
