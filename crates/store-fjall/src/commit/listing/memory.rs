//! The memory of the tables, which is given back after a large change.

use crate::{
    commit::Committer,
    error::failed,
    tables::{
        schema::{self, Schema},
        table::Table,
    },
};

/// Seconds of quiet after which the tables give their memory back.
pub(super) const QUIET: u64 = 20;

/// Octets of changes that the tables may hold in memory for any time.
pub(super) const MUCH: u64 = 12 * 1024 * 1024;

/// Octets of changes in [`QUIET`] seconds that still count as quiet: those of two hundred messages a second.
const LITTLE: u64 = 2 * 1024 * 1024;

/// Seconds between writing the tables' memory to their files and making the engine release it.
pub(super) const RELEASE: u64 = 5;

/// An estimate of what the tables hold in memory, from the octets of changes. The engine's own count is too low: a
/// memtable that was written to its file stays in memory until a later one is rotated.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::commit) struct Held {
    /// The second since which `lately` is counted.
    since: u64,
    /// Octets of changes since then.
    lately: u64,
    /// Octets of changes between the last time that memory was given back and `since`.
    before: u64,
    /// Whether the memory was written to files and has yet to be released.
    pub(super) is_written: bool,
}

impl Held {
    /// Counts the octets of a change.
    pub(in crate::commit) fn count(&mut self, octets: usize) {
        self.lately += octets as u64;
    }
}

impl Committer {
    /// Has the tables write their memory to files if it is much and has hardly grown lately: the memory of a large
    /// change would otherwise stay until as much is written again.
    pub(super) fn give_back(&mut self) {
        let Held { since, lately, before, is_written } = self.held;
        if is_written && self.second >= since.saturating_add(RELEASE) {
            self.held.is_written = false;
            return self.rotate(|schema| vec![&schema.meta]);
        }
        if self.second < since.saturating_add(QUIET) {
            return;
        }
        let is_written = before >= MUCH && lately <= LITTLE;
        let before = if is_written { 0 } else { before.saturating_add(lately) };
        self.held = Held { since: self.second, lately: 0, before, is_written };
        if is_written {
            self.rotate(|schema| schema.tables().to_vec());
        }
    }

    /// Has some tables write their memory to files. The engine releases what was written earlier only when a
    /// memtable of any table is rotated that is not empty, so one key of `meta` is removed first.
    fn rotate(&mut self, tables: impl FnOnce(&Schema) -> Vec<&Table>) {
        let done = self.schema.meta.remove(schema::NOTHING).and_then(|()| {
            tables(&self.schema).into_iter().try_for_each(|table| table.rotate_memtable().map(drop))
        });
        if let Err(error) = done {
            tracing::error!("a table cannot be written: {}", failed(error));
            self.log.fail();
        }
    }
}
