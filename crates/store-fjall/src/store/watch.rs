//! What changed.

use super::FjallStore;
use posta_store::Watch;
use std::sync::atomic::Ordering;

impl Watch for FjallStore {
    fn directory_version(&self) -> u64 {
        self.directory_version.load(Ordering::Acquire)
    }
}
