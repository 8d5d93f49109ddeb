//! The mailboxes of the reference store.

use super::{Content, Inner, Key, MemoryStore, Moved, Removed, watch::of_acceptance};
use crate::{
    error::{Pending, StoreError},
    item::Item,
    mailboxes::{
        Acceptance, Changes, Collected, Delivery, Entry, FlagChange, Flags, FlagsChanged,
        Mailboxes, Maildrop, Summary, UniqueId, Usage,
    },
    names::{AccountId, FolderId, ModSeq, Uid},
    records::MessageRecord,
    watch::Subject,
};
use posta_mail::Timestamp;
use std::sync::Arc;

/// The maximal number of names of a message that are followed, since it was moved so often.
const MOVES: usize = 100;

impl Mailboxes for MemoryStore {
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.changing(of_acceptance(&acceptance), |inner| {
            acceptance.check_names()?;
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

    fn listed(&self, account: AccountId, folder: FolderId) -> Pending<'_, Arc<Maildrop>> {
        self.with(|inner| {
            let listed = |entry: &Entry| {
                let UniqueId { number, imported } = entry.unique_id.clone();
                (Summary { number, octets: entry.octets, uid: entry.uid }, imported)
            };
            let entries = inner.folder_entries(account, folder);
            Ok(Arc::new(entries.map(listed).collect()))
        })
    }

    fn entry(&self, account: AccountId, folder: FolderId, uid: Uid) -> Pending<'_, Option<Entry>> {
        self.with(|inner| {
            let mut key = (account, folder, uid);
            for _ in 0..MOVES {
                let kept = inner.entries.get(&key);
                let kept = kept.or_else(|| inner.removed.get(&key).map(|removed| &removed.entry));
                match (kept, inner.moved.get(&key)) {
                    (Some(entry), _) => return Ok(Some(entry.clone())),
                    (None, Some(moved)) => key = (account, moved.to.0, moved.to.1),
                    (None, None) => break,
                }
            }
            Ok(None)
        })
    }

    fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Pending<'_, Vec<Entry>> {
        self.with(|inner| {
            let entries = inner.folder_entries(account, folder);
            Ok(entries.filter(|entry| entry.uid >= from).take(limit).cloned().collect())
        })
    }

    fn remove_from(
        &self,
        account: AccountId,
        names: Vec<(FolderId, Vec<Uid>)>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.changing([Subject::Mailbox(account)], |inner| {
            let mut count = 0;
            for (folder, uids) in names {
                let keys = inner.standing(account, folder, uids);
                count += keys.into_iter().filter(|&key| inner.remove(key, now, purge)).count();
            }
            Ok(count)
        })
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
        self.changing([Subject::Mailbox(account)], |inner| {
            if !inner.has_folder(account, to) {
                return Err(StoreError::NoSuchFolder);
            }
            if from == to {
                return Ok(Vec::new());
            }
            let mut moved = Vec::new();
            for key in inner.standing(account, from, uids) {
                let Some(entry) = inner.entries.remove(&key) else { continue };
                let mod_seq = inner.next_mod_seq(now);
                inner.vanished(key, &entry, mod_seq);
                let uid = inner.put(account, to, entry, now);
                inner.moved.insert(key, Moved { mod_seq, purge, to: (to, uid) });
                moved.push((key.2, uid));
            }
            Ok(moved)
        })
    }

    fn set_flags(
        &self,
        account: AccountId,
        folder: FolderId,
        mut uids: Vec<Uid>,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
        now: Timestamp,
    ) -> Pending<'_, FlagsChanged> {
        uids.sort_unstable();
        uids.dedup();
        self.changing([Subject::Mailbox(account)], |inner| {
            let mut all = FlagsChanged::default();
            let mut after = Vec::new();
            for uid in uids {
                let Some(entry) = inner.entries.get(&(account, folder, uid)) else { continue };
                if unchanged_since.is_some_and(|since| entry.mod_seq > since) {
                    all.refused.push(uid);
                    continue;
                }
                let mut entry = entry.clone();
                if change
                    .apply(&mut entry.flags, &mut entry.keywords)
                    .ok_or(StoreError::TooManyKeywords)?
                {
                    all.changed.push(uid);
                    after.push(entry);
                }
            }
            for entry in after {
                inner.change(account, entry, now);
            }
            Ok(all)
        })
    }

    fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Pending<'_, Option<Changes>> {
        self.with(|inner| Ok(inner.changes_since(account, since, limit)))
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            for key in inner.standing(account, FolderId::INBOX, uids) {
                let Some(entry) = inner.entries.get_mut(&key) else { continue };
                if !entry.flags.has(Flags::RETRIEVED) {
                    entry.flags = entry.flags | Flags::RETRIEVED;
                    inner.retrieved.insert((now, key));
                }
            }
            Ok(())
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        let expired = self.with(|inner| {
            let due: Vec<_> = inner.retrieved.extract_if(.., |(time, _)| *time < before).collect();
            let removed = due.into_iter().filter(|&(_, key)| {
                let entry = inner.entries.get(&key);
                // A message that was restored since then has not been retrieved again.
                entry.is_some_and(|entry| entry.flags.has(Flags::RETRIEVED))
                    && inner.remove(key, now, purge)
            });
            Ok(removed.count())
        });
        self.watchers.tell_all_mailboxes();
        expired
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.changing([Subject::Mailbox(account)], |inner| Ok(inner.undelete(account, since)))
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        self.with(|inner| Ok(inner.usage(account)))
    }
}

impl Inner {
    pub(super) fn usage(&self, account: AccountId) -> Usage {
        self.of_account(account).fold(Usage::default(), |usage, entry| Usage {
            messages: usage.messages + 1,
            octets: usage.octets + entry.octets,
        })
    }

    /// Returns all entries of an account.
    pub(super) fn of_account(&self, account: AccountId) -> impl Iterator<Item = &Entry> {
        let first = (account, FolderId(0), Uid(0));
        let last = (account, FolderId(u32::MAX), Uid(u32::MAX));
        self.entries.range(first..=last).map(|(_, entry)| entry)
    }

    pub(super) fn folder_entries(
        &self,
        account: AccountId,
        folder: FolderId,
    ) -> impl Iterator<Item = &Entry> {
        let (first, last) = ((account, folder, Uid(0)), (account, folder, Uid(u32::MAX)));
        self.entries.range(first..=last).map(|(_, entry)| entry)
    }

    /// Returns the present names of messages that are still in a folder, given their names there. A
    /// message that was removed and restored has another name now.
    fn standing(&self, account: AccountId, folder: FolderId, uids: Vec<Uid>) -> Vec<Key> {
        let mut keys = Vec::new();
        for uid in uids {
            let mut key = (account, folder, uid);
            for _ in 0..MOVES {
                match self.moved.get(&key) {
                    Some(Moved { to: (to, uid), .. }) if *to == folder => {
                        key = (account, folder, *uid);
                    }
                    _ => break,
                }
            }
            if self.entries.contains_key(&key) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(super) fn next_mod_seq(&mut self, time: Timestamp) -> ModSeq {
        self.last_mod_seq = ModSeq::after(self.last_mod_seq, time);
        self.last_mod_seq
    }

    /// Records that a message no longer has a name.
    fn vanished(&mut self, key: Key, entry: &Entry, mod_seq: ModSeq) {
        let (account, folder, uid) = key;
        self.changed.remove(&(account, entry.mod_seq));
        self.changed.insert((account, mod_seq), (folder, uid));
        self.touch(account, folder, mod_seq);
    }

    /// Puts an entry into a folder, after all others.
    fn put(&mut self, account: AccountId, folder: FolderId, entry: Entry, time: Timestamp) -> Uid {
        let mod_seq = self.next_mod_seq(time);
        let uid = self.next_uid(account, folder, mod_seq);
        let flags = entry.flags.without(Flags::RETRIEVED);
        let (created, key) = (mod_seq, (account, folder, uid));
        self.entries.insert(key, Entry { folder, uid, flags, created, mod_seq, ..entry });
        uid
    }

    /// Replaces an entry after a change.
    fn change(&mut self, account: AccountId, entry: Entry, time: Timestamp) {
        let mod_seq = self.next_mod_seq(time);
        let Entry { folder, uid, .. } = entry;
        self.changed.remove(&(account, entry.mod_seq));
        self.changed.insert((account, mod_seq), (folder, uid));
        self.touch(account, folder, mod_seq);
        self.entries.insert((account, folder, uid), Entry { mod_seq, ..entry });
    }

    pub(super) fn remove(&mut self, key: Key, time: Timestamp, purge: Timestamp) -> bool {
        let Some(entry) = self.entries.remove(&key) else { return false };
        let mod_seq = self.next_mod_seq(time);
        self.vanished(key, &entry, mod_seq);
        self.removed.insert(key, Removed { entry, time, purge, mod_seq });
        true
    }

    pub(super) fn undelete(&mut self, account: AccountId, since: Timestamp) -> usize {
        let is_meant = |key: &Key, removed: &mut Removed| key.0 == account && removed.time >= since;
        let back: Vec<_> = self.removed.extract_if(.., is_meant).collect();
        let count = back.len();
        for (key, Removed { entry, purge, mod_seq, .. }) in back {
            let is_there = self.has_folder(account, key.1);
            let folder = if is_there { key.1 } else { FolderId::INBOX };
            let flags = entry.flags.without(Flags::DELETED);
            let uid = self.put(account, folder, Entry { flags, ..entry }, since);
            self.moved.insert(key, Moved { mod_seq, purge, to: (folder, uid) });
        }
        count
    }

    fn changes_since(&self, account: AccountId, since: ModSeq, limit: usize) -> Option<Changes> {
        if since < self.horizon(account) {
            return None;
        }
        let entries = self.of_account(account).filter(|entry| entry.mod_seq > since);
        let mut found: Vec<_> = entries.map(|entry| (entry.mod_seq, Ok(entry.clone()))).collect();
        let after = (account, ModSeq(since.0 + 1))..=(account, ModSeq(u64::MAX));
        for (&(_, mod_seq), &(folder, uid)) in self.changed.range(after) {
            if !self.entries.contains_key(&(account, folder, uid)) {
                found.push((mod_seq, Err((folder, uid))));
            }
        }
        found.sort_by_key(|(mod_seq, _)| *mod_seq);
        let is_all = found.len() <= limit;
        found.truncate(limit);
        let up_to = found.last().map_or(since, |(mod_seq, _)| *mod_seq);
        let mut changes = Changes { up_to, is_all, ..Changes::default() };
        for (_, what) in found {
            match what {
                Ok(entry) => changes.entries.push(entry),
                Err(name) => changes.vanished.push(name),
            }
        }
        Some(changes)
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
        let (layout, shown) = (acceptance.layout(), acceptance.shown());
        let Acceptance {
            id,
            time,
            head,
            rest,
            added,
            thread,
            deliveries,
            items,
            events,
            reports,
            collected,
            records,
            ..
        } = acceptance;
        if let Some(Collected { source, unique_id }) = collected {
            self.collected.insert((source, unique_id), time);
        }
        self.put_content(id, layout, head, rest);
        self.shown.insert(id, shown);
        for delivery in deliveries {
            let content = Content { id, layout, added, thread, shared: shown > 1 };
            self.deliver(delivery, content, time);
        }
        for item in items {
            self.queue.insert(item.id, Item { shared: shown > 1, ..item });
        }
        self.events.extend(events);
        for MessageRecord { kind, name, record } in records {
            self.keep((kind, name), Some(record));
        }
        for report in reports {
            self.accept(report);
        }
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, content: Content, time: Timestamp) {
        let Content { id, layout, added, thread, shared } = content;
        let Delivery { account, folder, prefix, unique_id, date, flags, keywords } = delivery;
        let folder = if self.has_folder(account, folder) { folder } else { FolderId::INBOX };
        let mod_seq = self.next_mod_seq(time);
        let uid = self.next_uid(account, folder, mod_seq);
        let entry = Entry {
            folder,
            uid,
            content: id,
            thread,
            octets: layout.octets() + added + prefix.len() as u64,
            added,
            head: layout.head() as u32,
            time: date.unwrap_or(time),
            flags,
            keywords,
            created: mod_seq,
            mod_seq,
            unique_id: UniqueId { number: mod_seq.0, imported: unique_id.map(Into::into) },
            shared,
            prefix,
        };
        self.entries.insert((account, folder, uid), entry);
    }
}
