//! The mailboxes.

use super::{FjallStore, now};
use crate::{commit::Request, error::failed, tables::schema};
use posta_mail::Timestamp;
use posta_store::{Acceptance, AccountId, Entry, Mailboxes, Maildrop, Pending, Uid, Usage};
use std::{future::ready, sync::Arc};

impl Mailboxes for FjallStore {
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.request(|done| Request::Accept { acceptance, done })
    }

    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>> {
        if self.views.is_known(account) {
            // What came since the view was read is new, and still in memory.
            return now(|| self.views.open(&*self.schema()?, account));
        }
        let views = self.views.clone();
        self.read(move |schema| views.open(schema, account))
    }

    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>> {
        now(|| {
            let key = schema::mailbox_key(account, uid);
            if let Some(value) = self.schema()?.mailbox.get(key).map_err(failed)? {
                return schema::decode_entry(&value).map(Some);
            }
            match self.schema()?.removed.get(key).map_err(failed)? {
                Some(value) => schema::decode_removed(&value).map(|removed| Some(removed.entry)),
                None => Ok(None),
            }
        })
    }

    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.request(|done| Request::Remove { account, uids, time: now, purge, done })
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.alone(move |committer| committer.retrieved(account, uids, now))
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.expire(before, now, purge))
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.undelete(account, since))
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        if let Some(usage) = self.usages.get(account) {
            return Box::pin(ready(Ok(usage)));
        }
        self.alone(move |committer| committer.count(account))
    }
}
