//! The upkeep of the reference store.

use super::MemoryStore;
use crate::{error::Pending, upkeep::Upkeep};
use posta_mail::Timestamp;

impl Upkeep for MemoryStore {
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let accounts = inner.purge_accounts(now);
            let due: Vec<_> =
                inner.removed.extract_if(.., |_, removed| removed.purge <= now).collect();
            for (key, removed) in &due {
                inner.imported.remove(key);
                inner.unshow(removed.entry.content);
            }
            Ok(accounts + due.len())
        })
    }
}
