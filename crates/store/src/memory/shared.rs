//! Counts in the reference store. Several servers of one process can share it.

use super::MemoryStore;
use crate::watch::tally::{Shared, Tally};

impl Shared for MemoryStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn tally(&self, kind: &'static str) -> Tally {
        self.tallies.tally(kind)
    }
}
