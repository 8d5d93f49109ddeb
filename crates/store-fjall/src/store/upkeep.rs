//! Upkeep.

use super::FjallStore;
use posta_mail::Timestamp;
use posta_store::{Pending, Upkeep};

impl Upkeep for FjallStore {
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.sweep(now))
    }
}
