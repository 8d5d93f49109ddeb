//! What changed. The committing thread tells it, once a change is durable and in the tables.

use super::FjallStore;
use posta_store::{HistoryFollower, Subject, Watch, Watcher};

impl Watch for FjallStore {
    fn directory_version(&self) -> u64 {
        self.watchers.directory_version()
    }

    fn watch(&self, subjects: &[Subject]) -> Watcher {
        self.watchers.watch(subjects)
    }

    fn follow(&self) -> HistoryFollower {
        self.watchers.follow()
    }
}
