//! The mailboxes.

use super::{FjallStore, cursor::InPieces, now, readers};
use crate::{
    commit::{
        Committer, Request,
        removals::{Asked, Until},
    },
    tables::{schema, views::Opening},
};
use posta_mail::Timestamp;
use posta_store::{
    Acceptance, AccountId, Changes, Entry, FlagChange, FlagsChanged, FolderId, Mailboxes, Maildrop,
    ModSeq, Pending, Uid, Usage,
};
use std::{future::ready, ops::Bound, sync::Arc, time::Duration};

impl Mailboxes for FjallStore {
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.request(|done| Request::Accept { acceptance, done })
    }

    fn listed(&self, account: AccountId, folder: FolderId) -> Pending<'_, Arc<Maildrop>> {
        match self.views.open((account, folder)) {
            Opening::Known(maildrop) => now(|| Ok(maildrop)),
            Opening::Reading { outcome, is_first } => {
                if is_first {
                    let (views, tables) = (self.views.clone(), self.tables.clone());
                    self.readers.run(move || views.read(|| tables.get(), (account, folder)));
                }
                readers::wait(outcome)
            }
        }
    }

    fn entry(&self, account: AccountId, folder: FolderId, uid: Uid) -> Pending<'_, Option<Entry>> {
        now(|| self.schema()?.find(account, folder, uid))
    }

    fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Pending<'_, Vec<Entry>> {
        self.read(move |schema| schema.entries(account, folder, from, limit))
    }

    fn remove_from(
        &self,
        account: AccountId,
        names: Vec<(FolderId, Vec<Uid>)>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.request(|done| Request::Remove(Asked { account, names, time: now, purge, done }))
    }

    fn move_entries(
        &self,
        account: AccountId,
        from: FolderId,
        to: FolderId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, Vec<(Uid, Uid)>> {
        self.alone(move |committer| committer.move_entries(account, (from, to), uids, (now, purge)))
    }

    fn set_flags(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
        now: Timestamp,
    ) -> Pending<'_, FlagsChanged> {
        self.alone(move |committer| {
            committer.set_flags(account, folder, uids, &change, unchanged_since, now)
        })
    }

    fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Pending<'_, Option<Changes>> {
        self.read(move |schema| schema.changes_since(account, since, limit))
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.alone(move |committer| committer.retrieved(account, uids, now))
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        // Due is what is at or before a time; what was retrieved at `before` is not.
        let last = before - Duration::from_micros(1);
        Box::pin(self.do_piece(InPieces {
            cursor: |store| &store.expiring,
            table: |schema| &schema.expiring,
            end: Bound::Included(schema::last_timed_key(last)),
            until: Until::Written,
            change: move |committer: &mut Committer, keys| committer.expire(keys, now, purge),
        }))
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        Box::pin(async move {
            let (mut count, mut from) = (0, None);
            loop {
                let some = self.after(Until::Of(account), move |committer| {
                    committer.undelete(account, since, from)
                });
                let some = some.await?;
                count += some.count;
                match some.next {
                    Some(_) => from = some.next,
                    None => return Ok(count),
                }
            }
        })
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        if let Some(usage) = self.usages.get(account) {
            return Box::pin(ready(Ok(usage)));
        }
        self.alone(move |committer| committer.count(account))
    }
}
