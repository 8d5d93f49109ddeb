//! Counts that the nodes share.

use super::PostgresStore;
use posta_store::{Shared, Tally};

impl Shared for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    fn tally(&self, kind: &'static str) -> Tally {
        self.node.tallies.counts.tally(kind)
    }
}
