//! Watching.

use super::PostgresStore;
use posta_store::{HistoryFollower, Subject, Watch, Watcher};

impl Watch for PostgresStore {
    fn directory_version(&self) -> u64 {
        self.node.watchers.directory_version()
    }

    fn watch(&self, subjects: &[Subject]) -> Watcher {
        self.node.watchers.watch(subjects)
    }

    fn follow(&self) -> HistoryFollower {
        self.node.watchers.follow()
    }
}
