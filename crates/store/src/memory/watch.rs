//! What changed in the reference store.

use super::MemoryStore;
use crate::watch::Watch;
use std::sync::atomic::Ordering;

impl Watch for MemoryStore {
    fn directory_version(&self) -> u64 {
        self.directory_version.load(Ordering::Acquire)
    }
}
