//! The upkeep of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    error::Pending,
    names::{AccountId, ModSeq},
    upkeep::Upkeep,
};
use posta_mail::Timestamp;

impl Upkeep for MemoryStore {
    fn ready(&self) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let accounts = inner.purge_accounts(now);
            let due: Vec<_> =
                inner.removed.extract_if(.., |_, removed| removed.purge <= now).collect();
            for (key, removed) in &due {
                inner.forget_name(key.0, removed.mod_seq);
                inner.unshow(removed.entry.content);
            }
            let names: Vec<_> = inner.moved.extract_if(.., |_, it| it.purge <= now).collect();
            for (key, moved) in names {
                inner.forget_name(key.0, moved.mod_seq);
            }
            Ok(accounts + due.len())
        })
    }
}

impl Inner {
    /// Forgets that a name vanished. A request for the changes since before that is answered with none.
    fn forget_name(&mut self, account: AccountId, mod_seq: ModSeq) {
        self.changed.remove(&(account, mod_seq));
        let is_known = self.has_account(account) || self.removed_accounts.contains_key(&account);
        if is_known {
            let horizon = &mut self.ledgers.entry(account).or_default().horizon;
            *horizon = mod_seq.max(*horizon);
        }
    }
}
