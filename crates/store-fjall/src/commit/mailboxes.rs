//! The changes of mailboxes that read records: removing, moving, flagging, expiring, bringing back, purging.

use super::{Committer, listing::list_out};
use crate::{
    error::failed,
    tables::{
        batch::Batch,
        key_and_value,
        schema::{self, EntryKey, Moved, Removed},
    },
};
use fjall::UserKey;
use posta_mail::{MailId, Timestamp};
use posta_store::{
    AccountId, Entry, FlagChange, Flags, FlagsChanged, FolderId, ModSeq, StoreError, Uid, Usage,
};
use std::collections::{HashMap, HashSet};

/// The most messages that one piece looks at, so that other changes do not wait long.
const SEEN: usize = 1_000;

/// How far ahead of the clock mod-sequences are reserved, in microseconds. The reservation is written once in that
/// time, instead of a counter with every message; a restart skips the rest of it.
const RESERVE: u64 = 10_000_000;

/// The outcome of a piece of an undelete.
pub(crate) struct BroughtBack {
    pub(crate) count: usize,
    /// The name to go on from; none if all messages are back.
    pub(crate) next: Option<EntryKey>,
}

impl Committer {
    /// Removes messages of folders. UIDs without a message are passed over. Returns the number of messages removed.
    pub(crate) fn remove(
        &mut self,
        account: AccountId,
        names: Vec<(FolderId, Vec<Uid>)>,
        times: (Timestamp, Timestamp),
        batch: &mut Batch,
    ) -> Result<usize, StoreError> {
        let mut found = Vec::with_capacity(names.len());
        for (folder, uids) in names {
            if self.load_folder(account, folder)? {
                found.push((folder, self.schema.standing(account, folder, uids)?));
            }
        }
        // Changes begin only when nothing can fail any more: other requests share the batch.
        let mut count = 0;
        for (folder, entries) in found.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            count += entries.len();
            for entry in entries {
                self.take_out(account, entry, times, batch);
            }
            self.save_folder(account, folder, batch);
        }
        Ok(count)
    }

    /// Moves an entry to `expunged`. The folder must be loaded, and the caller saves it in the same batch.
    pub(crate) fn take_out(
        &mut self,
        account: AccountId,
        entry: Entry,
        (time, purge): (Timestamp, Timestamp),
        batch: &mut Batch,
    ) {
        let mod_seq = self.next_mod_seq(time);
        self.count_out(account, &entry, mod_seq);
        list_out(account, &entry, batch);
        self.expunge(account, entry, (time, purge), mod_seq, batch);
    }

    /// Removes an entry from its folder and records that its name is gone, for a move.
    fn vanish(&mut self, account: AccountId, entry: &Entry, mod_seq: ModSeq, batch: &mut Batch) {
        let key = schema::entry_key(account, entry.folder, entry.uid);
        batch.remove(&self.schema.entry, key);
        self.note_change(account, entry, mod_seq, batch);
        self.count_out(account, entry, mod_seq);
        list_out(account, entry, batch);
    }

    /// Returns the mod-sequence of a change. That of an arrival is the message's unique-id.
    pub(crate) fn next_mod_seq(&mut self, time: Timestamp) -> ModSeq {
        self.last_mod_seq = ModSeq::after(self.last_mod_seq, time);
        self.last_mod_seq
    }

    /// Returns the first and the last of `count` consecutive mod-sequences.
    pub(crate) fn next_mod_seqs(&mut self, time: Timestamp, count: u64) -> (ModSeq, ModSeq) {
        let first = self.next_mod_seq(time);
        self.last_mod_seq = ModSeq(first.0 + count.saturating_sub(1));
        (first, self.last_mod_seq)
    }

    /// Puts a new ceiling of mod-sequences into a batch once the old one is reached.
    pub(crate) fn reserve_mod_seqs(&mut self, batch: &mut Batch) {
        if self.last_mod_seq.0 > self.mod_seq_ceiling {
            self.mod_seq_ceiling = self.last_mod_seq.0 + RESERVE;
            let ceiling = self.mod_seq_ceiling.to_be_bytes();
            batch.insert(&self.schema.meta, schema::UID_CEILING, ceiling);
        }
    }

    /// Records the mod-sequence of an entry's change, in place of the one before.
    pub(super) fn note_change(
        &self,
        account: AccountId,
        before: &Entry,
        mod_seq: ModSeq,
        batch: &mut Batch,
    ) {
        if before.mod_seq != before.created {
            let key = schema::changed_key(account, before.mod_seq);
            batch.remove(&self.schema.changed, key);
        }
        let name = schema::encode_name(before.folder, before.uid);
        batch.insert(&self.schema.changed, schema::changed_key(account, mod_seq), name);
    }

    /// Puts an entry into a folder under a new UID, and records its new name under the old one. The folder must be
    /// loaded.
    fn put_again(
        &mut self,
        account: AccountId,
        folder: FolderId,
        before: Entry,
        (vanished, time): (ModSeq, Timestamp),
        batch: &mut Batch,
    ) -> Result<Uid, StoreError> {
        let uid = self.next_uid(account, folder)?;
        let mod_seq = self.next_mod_seq(time);
        let old = schema::entry_key(account, before.folder, before.uid);
        let moved = Moved { mod_seq: vanished, folder, uid };
        batch.insert(&self.schema.moved, old, schema::encode_moved(moved));
        let flags = before.flags.without(Flags::RETRIEVED);
        let (created, key) = (mod_seq, schema::entry_key(account, folder, uid));
        let entry = Entry { folder, uid, flags, created, mod_seq, ..before };
        batch.insert(&self.schema.entry, key, schema::encode_entry(&entry));
        self.count_in(account, &entry, batch);
        Ok(uid)
    }

    pub(crate) fn move_entries(
        &mut self,
        account: AccountId,
        (from, to): (FolderId, FolderId),
        uids: Vec<Uid>,
        (time, purge): (Timestamp, Timestamp),
    ) -> Result<Vec<(Uid, Uid)>, StoreError> {
        if !self.load_folder(account, to)? {
            return Err(StoreError::NoSuchFolder);
        }
        if from == to || !self.load_folder(account, from)? {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new(&self.schema);
        let mut names = Vec::new();
        for entry in self.schema.standing(account, from, uids)? {
            let mod_seq = self.next_mod_seq(time);
            self.vanish(account, &entry, mod_seq, &mut batch);
            let old = entry.uid;
            let key = schema::entry_key(account, from, old);
            batch.insert(&self.schema.purging, schema::timed_key(purge, &key), []);
            let uid = self.put_again(account, to, entry, (mod_seq, time), &mut batch)?;
            names.push((old, uid));
        }
        if !names.is_empty() {
            self.save_folder(account, from, &mut batch);
            self.commit(batch)?;
        }
        Ok(names)
    }

    pub(crate) fn set_flags(
        &mut self,
        account: AccountId,
        folder: FolderId,
        mut uids: Vec<Uid>,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
        time: Timestamp,
    ) -> Result<FlagsChanged, StoreError> {
        uids.sort_unstable();
        uids.dedup();
        let (mut all, mut batch) = (FlagsChanged::default(), Batch::new(&self.schema));
        self.load_folder(account, folder)?;
        let gone = self.schema.gone.of(account);
        for uid in uids {
            let key = schema::entry_key(account, folder, uid);
            let Some(before) = self.schema.entry(key)? else { continue };
            if gone.has(folder, uid) {
                continue;
            }
            if unchanged_since.is_some_and(|since| before.mod_seq > since) {
                all.refused.push(uid);
                continue;
            }
            let mut after = before.clone();
            let is_other = change.apply(&mut after.flags, &mut after.keywords);
            if is_other.ok_or(StoreError::TooManyKeywords)? {
                after.mod_seq = self.next_mod_seq(time);
                self.note_change(account, &before, after.mod_seq, &mut batch);
                self.count_flags(account, before.flags, &after);
                batch.insert(&self.schema.entry, key, schema::encode_entry(&after));
                all.changed.push(uid);
            }
        }
        if !all.changed.is_empty() {
            self.save_folder(account, folder, &mut batch);
            self.commit(batch)?;
        }
        Ok(all)
    }

    /// Records that messages were retrieved. Not synced: a message whose record a crash undoes is kept longer. The
    /// mod-sequences stay, since readers see no change.
    pub(crate) fn retrieved(
        &mut self,
        account: AccountId,
        uids: Vec<Uid>,
        time: Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for mut entry in self.schema.standing(account, FolderId::INBOX, uids)? {
            if !entry.flags.has(Flags::RETRIEVED) {
                entry.flags = entry.flags | Flags::RETRIEVED;
                let key = schema::entry_key(account, entry.folder, entry.uid);
                batch.insert(&self.schema.entry, key, schema::encode_entry(&entry));
                batch.insert(&self.schema.expiring, schema::timed_key(time, &key), []);
            }
        }
        self.begin()?;
        self.write(batch, false)
    }

    /// Removes messages whose time to expire has come, by their keys in `expiring`. Returns the number of messages.
    pub(crate) fn expire(
        &mut self,
        keys: Vec<UserKey>,
        time: Timestamp,
        purge: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut due = Vec::new();
        for timed_key in keys {
            let named = schema::timed(&timed_key);
            batch.remove(&self.schema.expiring, timed_key);
            let Some(key) = named else { continue };
            // A message that was brought back is kept until it is retrieved again.
            let entry = self.schema.entry(key)?.filter(|it| it.flags.has(Flags::RETRIEVED));
            let (account, folder, uid) = schema::names_of(&key)?;
            if let Some(entry) = entry
                && !self.schema.gone.of(account).has(folder, uid)
            {
                due.push((account, entry));
            }
        }
        let changed: HashSet<_> =
            due.iter().map(|(account, entry)| (*account, entry.folder)).collect();
        for &(account, folder) in &changed {
            self.load_folder(account, folder)?;
        }
        let count = due.len();
        for (account, entry) in due {
            self.take_out(account, entry, (time, purge), &mut batch);
        }
        for &(account, folder) in &changed {
            self.save_folder(account, folder, &mut batch);
        }
        self.commit(batch)?;
        Ok(count)
    }

    /// Brings some messages back, in a transaction of its own ([`Committer::bring_back`]).
    pub(crate) fn undelete(
        &mut self,
        account: AccountId,
        since: Timestamp,
        from: Option<EntryKey>,
    ) -> Result<BroughtBack, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let brought_back = self.bring_back(account, since, from, &mut batch)?;
        // Synced, piece by piece: readers see the new UIDs at once, and a UID that a crash undoes would be given again.
        self.commit(batch)?;
        Ok(brought_back)
    }

    /// Brings some messages back that were removed at `since` or later, from a name on. They get new names; the old
    /// ones stay gone, and are purged at their time.
    pub(crate) fn bring_back(
        &mut self,
        account: AccountId,
        since: Timestamp,
        from: Option<EntryKey>,
        batch: &mut Batch,
    ) -> Result<BroughtBack, StoreError> {
        let (mut count, mut seen) = (0, 0);
        let first = from.unwrap_or_else(|| schema::entry_key(account, FolderId(0), Uid(0)));
        let last = schema::entry_key(account, FolderId(u32::MAX), Uid(u32::MAX));
        for guard in self.schema.expunged.range(first..=last) {
            let (key, value) = key_and_value(guard)?;
            if count == self.piece || seen == SEEN {
                let (_, folder, uid) = schema::names_of(&key)?;
                let next = Some(schema::entry_key(account, folder, uid));
                return Ok(BroughtBack { count, next });
            }
            seen += 1;
            let Removed { time, mod_seq, mut entry, .. } = schema::decode_removed(&key, &value)?;
            if time < since {
                continue;
            }
            entry.flags = entry.flags.without(Flags::DELETED);
            batch.remove(&self.schema.expunged, key);
            let folder = self.load_folder_or_inbox(account, entry.folder)?;
            self.put_again(account, folder, entry, (mod_seq, since), batch)?;
            count += 1;
        }
        Ok(BroughtBack { count, next: None })
    }

    /// Removes some messages from the folders of a removed account, which are there if bringing it back was broken
    /// off. Returns the number of messages removed.
    pub(crate) fn take_out_some(
        &mut self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut count = 0;
        let folders = self.all_folders(account)?;
        for guard in self.schema.entry.prefix(account.0.to_be_bytes()).take(SEEN) {
            let (key, value) = key_and_value(guard)?;
            let entry = schema::decode_entry(&key, &value)?;
            self.take_out(account, entry, (now, now), &mut batch);
            count += 1;
        }
        for folder in folders.into_iter().filter(|folder| count > 0 && folder.messages > 0) {
            self.save_folder(account, folder.id, &mut batch);
        }
        self.commit(batch)?;
        Ok(count)
    }

    /// Counts the messages and octets of an account, and keeps the count.
    pub(crate) fn count(&mut self, account: AccountId) -> Result<Usage, StoreError> {
        let folders = self.all_folders(account)?;
        let usage = folders.iter().fold(Usage::default(), |usage, folder| Usage {
            messages: usage.messages + folder.messages,
            octets: usage.octets + folder.octets,
        });
        self.usages.set(account, usage);
        Ok(usage)
    }

    /// Purges messages and earlier names, by their keys in `purging`. Returns the number of messages. Not synced: a
    /// piece that a crash undoes is done again, and the log's segments are not written over before it is durable.
    pub(crate) fn purge(&mut self, keys: Vec<UserKey>) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        // The number of entries that share a content, after this batch.
        let mut shown = HashMap::new();
        let mut horizons: HashMap<AccountId, ModSeq> = HashMap::new();
        let mut count = 0;
        for timed_key in keys {
            let named = schema::timed(&timed_key);
            batch.remove(&self.schema.purging, timed_key);
            let Some(key) = named else { continue };
            let (account, ..) = schema::names_of(&key)?;
            let mod_seq = if let Some(value) = self.schema.expunged.get(key).map_err(failed)? {
                let removed = schema::decode_removed(&key, &value)?;
                batch.remove(&self.schema.expunged, key);
                self.unshow(&removed.entry, &mut shown, &mut batch)?;
                count += 1;
                removed.mod_seq
            } else if let Some(value) = self.schema.moved.get(key).map_err(failed)? {
                batch.remove(&self.schema.moved, key);
                schema::decode_moved(&value)?.mod_seq
            } else {
                continue;
            };
            if mod_seq != ModSeq(0) {
                batch.remove(&self.schema.changed, schema::changed_key(account, mod_seq));
                let horizon = horizons.entry(account).or_default();
                *horizon = mod_seq.max(*horizon);
            }
        }
        self.raise_horizons(horizons, &mut batch)?;
        self.begin()?;
        self.write(batch, false)?;
        self.release_segments();
        Ok(count)
    }

    /// Records the mod-sequence since which vanished names are known, for accounts that exist or can be restored.
    fn raise_horizons(
        &self,
        horizons: HashMap<AccountId, ModSeq>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        for (account, horizon) in horizons {
            let is_known =
                self.accounts.contains(&account) || self.schema.removed_account(account)?.is_some();
            let mut ledger = self.schema.ledger(account)?;
            if is_known && horizon > ledger.horizon {
                ledger.horizon = horizon;
                let key = schema::ledger_key(account);
                batch.insert(&self.schema.folder, key, schema::encode_ledger(ledger));
            }
        }
        Ok(())
    }

    /// Drops a content with its last entry.
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
        let places = self.places(entry.content, entry.layout())?;
        self.drop_places(places, batch);
        Ok(())
    }

    pub(crate) fn discard(&mut self, content: MailId) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        self.drop_content(content, &mut batch)?;
        // Not synced: the next start drops what a crash leaves.
        self.begin()?;
        self.write(batch, false)
    }

    /// Drops the contents whose messages were not accepted before the last run ended.
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
