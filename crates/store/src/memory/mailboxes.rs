//! The mailboxes of the reference store.

use super::{Inner, MemoryStore, Removed};
use crate::{
    acceptance::{Acceptance, Delivery},
    error::{Pending, StoreError},
    item::Item,
    mailboxes::{Entry, Mailboxes, Maildrop, RETRIEVED, Summary, Usage},
    names::{AccountId, Uid},
    sources::Collected,
};
use posta_mail::{MailId, Timestamp};
use std::{ops::Bound, sync::Arc};

impl Mailboxes for MemoryStore {
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.with(|inner| {
            if !inner.can_accept(&acceptance) {
                return Err(StoreError::NoSuchAccount);
            }
            if inner.has_collected(&acceptance) {
                inner.content.remove(&acceptance.id);
                return Ok(());
            }
            inner.accept(acceptance);
            Ok(())
        })
    }

    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>> {
        self.with(|inner| {
            let mut maildrop = Maildrop::default();
            for (uid, entry) in inner.mailbox(account) {
                maildrop.push(Summary { uid, octets: entry.octets });
                if let Some(imported) = inner.imported.get(&(account, uid)) {
                    maildrop.imported.insert(uid, imported.clone());
                }
            }
            Ok(Arc::new(maildrop))
        })
    }

    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>> {
        self.with(|inner| {
            let key = (account, uid);
            let kept = inner.mailboxes.get(&key);
            Ok(kept.or_else(|| inner.removed.get(&key).map(|removed| &removed.entry)).cloned())
        })
    }

    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.with(|inner| {
            Ok(uids.into_iter().filter(|&uid| inner.remove((account, uid), now, purge)).count())
        })
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            for uid in uids {
                let Some(entry) = inner.mailboxes.get_mut(&(account, uid)) else { continue };
                if entry.flags & RETRIEVED == 0 {
                    entry.flags |= RETRIEVED;
                    inner.retrieved.insert((now, account, uid));
                }
            }
            Ok(())
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let due: Vec<_> = inner.retrieved.extract_if(.., |(time, ..)| *time < before).collect();
            let removed = due.into_iter().filter(|&(_, account, uid)| {
                let key = (account, uid);
                let entry = inner.mailboxes.get(&key);
                // One that was brought back since has not been retrieved again.
                entry.is_some_and(|entry| entry.flags & RETRIEVED != 0)
                    && inner.remove(key, now, purge)
            });
            Ok(removed.count())
        })
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| Ok(inner.undelete(account, since)))
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        self.with(|inner| {
            Ok(inner.mailbox(account).fold(Usage::default(), |usage, (_, entry)| Usage {
                messages: usage.messages + 1,
                octets: usage.octets + entry.octets,
            }))
        })
    }
}

impl Inner {
    pub(super) fn mailbox(&self, account: AccountId) -> impl Iterator<Item = (Uid, &Entry)> {
        let all = (Bound::Included((account, Uid(0))), Bound::Included((account, Uid(u64::MAX))));
        self.mailboxes.range(all).map(|(&(_, uid), entry)| (uid, entry))
    }

    pub(super) fn remove(
        &mut self,
        key: (AccountId, Uid),
        time: Timestamp,
        purge: Timestamp,
    ) -> bool {
        let Some(entry) = self.mailboxes.remove(&key) else { return false };
        self.removed.insert(key, Removed { entry, time, purge });
        true
    }

    pub(super) fn undelete(&mut self, account: AccountId, since: Timestamp) -> usize {
        let is_meant = |key: &(AccountId, Uid), removed: &mut Removed| {
            key.0 == account && removed.time >= since
        };
        let back: Vec<_> = self.removed.extract_if(.., is_meant).collect();
        let count = back.len();
        for (key, Removed { mut entry, .. }) in back {
            entry.flags &= !RETRIEVED;
            self.mailboxes.insert(key, entry);
        }
        count
    }

    pub(super) fn can_accept(&self, acceptance: &Acceptance) -> bool {
        acceptance.deliveries.iter().all(|delivery| self.has_account(delivery.account))
            && acceptance.reports.iter().all(|report| self.can_accept(report))
    }

    pub(super) fn has_collected(&self, acceptance: &Acceptance) -> bool {
        acceptance.collected.as_ref().is_some_and(|Collected { source, unique_id }| {
            self.collected.contains_key(&(*source, unique_id.clone()))
        })
    }

    pub(super) fn accept(&mut self, acceptance: Acceptance) {
        let (octets, shown) = (acceptance.octets(), acceptance.shown());
        let Acceptance {
            id, time, rest, added, deliveries, items, events, reports, collected, ..
        } = acceptance;
        if let Some(Collected { source, unique_id }) = collected {
            self.collected.insert((source, unique_id), time);
        }
        self.content.entry(id).or_default().push(rest.into());
        self.shown.insert(id, shown);
        for delivery in deliveries {
            self.deliver(delivery, id, octets, added, time, shown > 1);
        }
        for item in items {
            self.queue.insert(item.id, Item { shared: shown > 1, ..item });
        }
        self.events.extend(events);
        for report in reports {
            self.accept(report);
        }
    }

    pub(super) fn deliver(
        &mut self,
        delivery: Delivery,
        content: MailId,
        octets: u64,
        added: u64,
        time: Timestamp,
        shared: bool,
    ) {
        let uid = Uid::after(Uid(self.last_uid), time);
        self.last_uid = uid.0;
        let octets = octets + added + delivery.prefix.len() as u64;
        let (flags, folder, prefix) = (0, 0, delivery.prefix);
        let entry = Entry { content, octets, added, time, flags, folder, shared, prefix };
        self.mailboxes.insert((delivery.account, uid), entry);
        if let Some(unique_id) = delivery.unique_id {
            self.imported.insert((delivery.account, uid), unique_id);
        }
    }
}
