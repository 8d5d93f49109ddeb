//! The changes of mailboxes that read what they change.

use super::Committer;
use crate::{
    error::failed,
    tables::{
        batch::Batch,
        key_and_value,
        schema::{self, Removed},
    },
};
use posta_mail::{MailId, Timestamp};
use posta_store::{AccountId, Entry, RETRIEVED, StoreError, Uid, Usage};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Messages that one sweep purges at most, so that a large one does not hold up the mail.
const SWEEP: usize = 1_000;

impl Committer {
    /// Moves entries to `removed`. Those that are not in the mailbox are passed over.
    pub(crate) fn remove(
        &self,
        account: AccountId,
        mut uids: Vec<Uid>,
        time: Timestamp,
        purge: Timestamp,
        batch: &mut Batch,
    ) -> Result<usize, StoreError> {
        // The batch does not show its own removals: a message that is named twice would count twice.
        uids.sort_unstable();
        uids.dedup();
        let mut found = Vec::with_capacity(uids.len());
        for uid in uids {
            let key = schema::mailbox_key(account, uid);
            if let Some(value) = self.schema.mailbox.get(key).map_err(failed)? {
                found.push((key, schema::decode_entry(&value)?));
            }
        }
        // Only now, when nothing can fail any more: the batch belongs to others too.
        let count = found.len();
        for (key, entry) in found {
            self.usages.take(account, entry.octets);
            self.move_to_removed(key, Removed { time, purge, entry }, batch);
        }
        Ok(count)
    }

    pub(crate) fn move_to_removed(
        &self,
        key: schema::MailboxKey,
        removed: Removed,
        batch: &mut Batch,
    ) {
        batch.remove(&self.schema.mailbox, key);
        batch.insert(&self.schema.purge, schema::purge_key(removed.purge, &key), []);
        batch.insert(&self.schema.removed, key, schema::encode_removed(&removed));
    }

    /// Notes what was retrieved. Not synced: what a crash forgets is kept longer.
    pub(crate) fn retrieved(
        &mut self,
        account: AccountId,
        uids: Vec<Uid>,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for uid in uids {
            let key = schema::mailbox_key(account, uid);
            let Some(value) = self.schema.mailbox.get(key).map_err(failed)? else { continue };
            let mut entry = schema::decode_entry(&value)?;
            if entry.flags & RETRIEVED == 0 {
                entry.flags |= RETRIEVED;
                batch.insert(&self.schema.mailbox, key, schema::encode_entry(&entry));
                batch.insert(&self.schema.retrieved, schema::purge_key(time, &key), []);
            }
        }
        self.begin()?;
        self.write(batch, false)
    }

    pub(crate) fn expire(
        &mut self,
        before: Timestamp,
        time: Timestamp,
        purge: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut changed = HashSet::new();
        let (mut seen, mut count) = (0, 0);
        // Due is what is at or before a time; what was retrieved at `before` is not.
        let last = before - Duration::from_micros(1);
        for guard in self.schema.retrieved.iter().take(SWEEP) {
            let retrieved_key = guard.key().map_err(failed)?;
            let Some(key) = schema::due(&retrieved_key, last) else { break };
            batch.remove(&self.schema.retrieved, retrieved_key);
            seen += 1;
            let Some(value) = self.schema.mailbox.get(key).map_err(failed)? else { continue };
            let entry = schema::decode_entry(&value)?;
            // One that was brought back since has not been retrieved again.
            if entry.flags & RETRIEVED != 0 {
                let account = schema::account_of(&key)?;
                self.usages.take(account, entry.octets);
                self.move_to_removed(key, Removed { time, purge, entry }, &mut batch);
                changed.insert(account);
                count += 1;
            }
        }
        self.commit(batch)?;
        changed.into_iter().for_each(|account| self.views.forget(account));
        if seen == SWEEP && count == 0 { self.expire(before, time, purge) } else { Ok(count) }
    }

    pub(crate) fn undelete(
        &mut self,
        account: AccountId,
        since: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let count = self.bring_back(account, since, &mut batch)?;
        self.commit(batch)?;
        self.views.forget(account);
        Ok(count)
    }

    /// Brings messages back that were removed at `since` or later. Returns how many.
    pub(crate) fn bring_back(
        &self,
        account: AccountId,
        since: Timestamp,
        batch: &mut Batch,
    ) -> Result<usize, StoreError> {
        let mut count = 0;
        for guard in self.schema.removed.prefix(account.0.to_be_bytes()) {
            let (key, value) = key_and_value(guard)?;
            let mut removed = schema::decode_removed(&value)?;
            if removed.time < since {
                continue;
            }
            removed.entry.flags &= !RETRIEVED;
            batch.remove(&self.schema.purge, schema::purge_key(removed.purge, &key));
            batch.insert(&self.schema.mailbox, key.clone(), schema::encode_entry(&removed.entry));
            batch.remove(&self.schema.removed, key);
            self.usages.add(account, removed.entry.octets);
            count += 1;
        }
        Ok(count)
    }

    /// Counts what a mailbox holds, and keeps the count.
    pub(crate) fn count(&self, account: AccountId) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        for guard in self.schema.mailbox.prefix(account.0.to_be_bytes()) {
            usage.messages += 1;
            usage.octets += schema::octets_of(&guard.value().map_err(failed)?)?;
        }
        self.usages.set(account, usage);
        Ok(usage)
    }

    pub(crate) fn sweep(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let accounts = self.purge_accounts(now)?;
        let mut batch = Batch::new(&self.schema);
        // Entries that show a content, counting what this batch takes away.
        let mut shown = HashMap::new();
        let mut count = 0;
        for guard in self.schema.purge.iter().take(SWEEP) {
            let purge_key = guard.key().map_err(failed)?;
            let Some(key) = schema::due(&purge_key, now) else { break };
            batch.remove(&self.schema.purge, purge_key);
            count += 1;
            let Some(value) = self.schema.removed.get(key).map_err(failed)? else { continue };
            let entry = schema::decode_removed(&value)?.entry;
            batch.remove(&self.schema.removed, key);
            if self.schema.imported.contains_key(key).map_err(failed)? {
                batch.remove(&self.schema.imported, key);
            }
            self.unshow(&entry, &mut shown, &mut batch)?;
        }
        self.commit(batch)?;
        self.release_segments();
        Ok(accounts + count)
    }

    /// Takes a content away when its last entry goes.
    fn unshow(
        &self,
        entry: &Entry,
        shown: &mut HashMap<MailId, u64>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if entry.shared {
            let key = entry.content.to_bytes();
            let before = match shown.get(&entry.content) {
                Some(&count) => count,
                None => self.schema.shown(entry.content)?,
            };
            let left = before.saturating_sub(1);
            shown.insert(entry.content, left);
            if left > 0 {
                batch.insert(&self.schema.shown, key, left.to_be_bytes());
                return Ok(());
            }
            batch.remove(&self.schema.shown, key);
        }
        let places = self.places(entry.content, entry.chunks())?;
        self.drop_places(places, batch);
        Ok(())
    }

    pub(crate) fn discard(&mut self, content: MailId) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        self.drop_content(content, &mut batch)?;
        // Not synced: what a crash leaves of it is dropped at the next start.
        self.begin()?;
        self.write(batch, false)
    }

    /// Drops what was arriving when the last run ended.
    pub(crate) fn drop_arriving(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.arriving.iter() {
            let key = guard.key().map_err(failed)?;
            let octets = key.as_ref().try_into();
            let octets = octets.map_err(|_| StoreError::Damaged("an arriving message".into()))?;
            self.drop_content(MailId::from_bytes(octets), &mut batch)?;
        }
        self.commit(batch)
    }
}
