//! Upkeep.

use super::{FjallStore, cursor::InPieces};
use crate::{
    commit::{Committer, removals::Until},
    tables::schema,
};
use posta_mail::Timestamp;
use posta_store::{Backups, Nodes, Pending, StoreError, StoreFigures, Upkeep};
use std::ops::Bound;

impl Nodes for FjallStore {}

impl Upkeep for FjallStore {
    fn ready(&self) -> Pending<'_, ()> {
        let found = self.alone(|committer| Ok(committer.ready()));
        Box::pin(async { found.await? })
    }

    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        Box::pin(async move {
            // Large removals must be carried out before their messages can be purged.
            // Files of the log that nothing needs since the last checkpoint are taken back on the way.
            self.snapshots.expire(now);
            let begin = self.after(Until::Due(now), |committer| {
                committer.release_segments();
                Ok(())
            });
            begin.await?;
            let accounts = self.purge_accounts(now).await?;
            let messages = self.do_piece(InPieces {
                cursor: |store| &store.purging,
                table: |schema| &schema.purging,
                end: Bound::Included(schema::last_timed_key(now)),
                until: Until::Due(now),
                change: |committer: &mut Committer, keys| committer.purge(keys),
            });
            Ok(accounts + messages.await?)
        })
    }

    fn figures(&self) -> StoreFigures {
        self.meters.read()
    }

    fn backups(&self) -> Option<&dyn Backups> {
        Some(self)
    }
}

impl FjallStore {
    /// Purges the removed accounts that are due. Returns the number of accounts, or the number of messages that
    /// were still in folders of one of them and were removed first.
    async fn purge_accounts(&self, now: Timestamp) -> Result<usize, StoreError> {
        let due = self.read(move |schema| schema.accounts_to_purge(now)).await?;
        if due.is_empty() {
            return Ok(0);
        }
        self.after(Until::Due(now), move |committer| committer.purge_accounts(due, now)).await
    }
}
