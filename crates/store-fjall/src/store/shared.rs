//! Counts, which no other process shares: one at a time has the store open.

use super::FjallStore;
use posta_store::{Shared, Tally};

impl Shared for FjallStore {
    fn is_shared(&self) -> bool {
        false
    }

    fn tally(&self, kind: &'static str) -> Tally {
        self.tallies.tally(kind)
    }
}
