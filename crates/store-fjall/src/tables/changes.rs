//! What has changed in an account since a mod-sequence.
//!
//! Two kinds of records are read. `changed` names the entries that changed after they arrived and those that are
//! gone, in the order of the changes. The entries of each folder include those that arrived and did not change
//! since; their order by UID is that of their mod-sequences. As many records of each kind are read as the caller
//! asked for, and the results are merged. All reads use one snapshot.

use super::{
    key_and_value,
    removals::{Gone, Names},
    schema::{self, Schema},
};
use crate::error::failed;
use fjall::{Readable, Snapshot};
use posta_store::{AccountId, Changes, Entry, FolderId, ModSeq, StoreError, Uid};

/// A change.
enum Found {
    /// The changed entry.
    Entry(Box<Entry>),
    /// A name that vanished.
    Vanished(FolderId, Uid),
}

/// The changes that were found so far.
struct Gathered {
    limit: usize,
    found: Vec<(ModSeq, Found)>,
    /// The mod-sequence up to which all changes were found.
    complete: ModSeq,
    /// The large removals, whose entries may still be in their table.
    gone: Gone,
}

impl Gathered {
    fn push(&mut self, mod_seq: ModSeq, what: Found) {
        self.found.push((mod_seq, what));
        if self.found.len() > 4 * self.limit {
            self.cut();
        }
    }

    /// Gathers the names that vanish with large removals, as far as the removals list them.
    fn gather_gone(&mut self, since: ModSeq) {
        for removal in self.gone.0.clone() {
            let Names::These(uids) = &removal.names else { continue };
            let from = since.0.saturating_add(1).saturating_sub(removal.first.0);
            let Ok(first) = u32::try_from(from) else { continue };
            let mut mod_seq = ModSeq(removal.first.0 + from);
            let Some(uid) = uids.select(first) else { continue };
            for (seen, uid) in uids.range(uid..).enumerate() {
                if seen == self.limit {
                    self.complete = ModSeq(mod_seq.0 - 1).min(self.complete);
                    break;
                }
                self.push(mod_seq, Found::Vanished(removal.folder, Uid(uid)));
                mod_seq = ModSeq(mod_seq.0 + 1);
            }
        }
    }

    /// Keeps the first changes, as many as the caller asked for.
    fn cut(&mut self) {
        self.found.sort_by_key(|(mod_seq, _)| *mod_seq);
        // A name that is gone may have been moved meanwhile, and is found twice then.
        self.found.dedup_by_key(|(mod_seq, _)| *mod_seq);
        self.found.retain(|(mod_seq, _)| *mod_seq <= self.complete);
        if self.found.len() > self.limit {
            self.found.truncate(self.limit);
            self.complete = self.found.last().map_or(self.complete, |(mod_seq, _)| *mod_seq);
        }
    }
}

impl Schema {
    /// Returns some of the changes since a mod-sequence; none if the store no longer knows all of them.
    pub(crate) fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Result<Option<Changes>, StoreError> {
        let (snapshot, gone) = self.gone.with(account, || self.database.snapshot());
        let ledger = snapshot.get(&self.folder, schema::ledger_key(account)).map_err(failed)?;
        let ledger = ledger.map(|value| schema::decode_ledger(&value)).transpose()?;
        if since < ledger.unwrap_or_default().horizon {
            return Ok(None);
        }
        let mut gathered =
            Gathered { limit: limit.max(1), found: Vec::new(), complete: ModSeq(u64::MAX), gone };
        gathered.gather_gone(since);
        self.gather_changed(&snapshot, account, since, &mut gathered)?;
        for folder in self.folder_ids(account)? {
            self.gather_arrived(&snapshot, account, folder, since, &mut gathered)?;
        }
        gathered.cut();
        let is_all = gathered.complete == ModSeq(u64::MAX);
        let last = gathered.found.last().map_or(since, |(mod_seq, _)| *mod_seq);
        let up_to = if is_all { last } else { gathered.complete };
        let mut changes = Changes { up_to, is_all, ..Changes::default() };
        for (_, found) in gathered.found {
            match found {
                Found::Entry(entry) => changes.entries.push(*entry),
                Found::Vanished(folder, uid) => changes.vanished.push((folder, uid)),
            }
        }
        Ok(Some(changes))
    }

    fn gather_changed(
        &self,
        snapshot: &Snapshot,
        account: AccountId,
        since: ModSeq,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let first = schema::changed_key(account, ModSeq(since.0.saturating_add(1)));
        let last = schema::changed_key(account, ModSeq(u64::MAX));
        let (mut seen, mut reached) = (0, since);
        for guard in snapshot.range(&self.changed, first..=last) {
            if seen == gathered.limit {
                gathered.complete = reached.min(gathered.complete);
                break;
            }
            seen += 1;
            let (key, value) = key_and_value(guard)?;
            reached = schema::mod_seq_of(&key)?;
            let (folder, uid) = schema::decode_name(&value)?;
            let key = schema::entry_key(account, folder, uid);
            let found = match snapshot.get(&self.entry, key).map_err(failed)? {
                // The removal has the change already.
                Some(_) if gathered.gone.has(folder, uid) => continue,
                Some(value) => Found::Entry(schema::decode_entry(&key, &value)?.into()),
                None => Found::Vanished(folder, uid),
            };
            gathered.push(reached, found);
        }
        Ok(())
    }

    fn gather_arrived(
        &self,
        snapshot: &Snapshot,
        account: AccountId,
        folder: FolderId,
        since: ModSeq,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let Some(first) = self.first_after(snapshot, account, folder, since)? else {
            return Ok(());
        };
        let first = schema::entry_key(account, folder, first);
        let last = schema::entry_key(account, folder, Uid(u32::MAX));
        let (mut seen, mut reached) = (0, since);
        for guard in snapshot.range(&self.entry, first..=last) {
            if seen == gathered.limit {
                gathered.complete = reached.min(gathered.complete);
                break;
            }
            seen += 1;
            let (key, value) = key_and_value(guard)?;
            let entry = schema::decode_entry(&key, &value)?;
            reached = entry.created;
            // Entries that changed since they arrived are in `changed`.
            if entry.mod_seq == entry.created && !gathered.gone.has(folder, entry.uid) {
                gathered.push(reached, Found::Entry(entry.into()));
            }
        }
        Ok(())
    }

    /// Returns the first UID of a folder that arrived after a mod-sequence, or a smaller one; none if none did.
    fn first_after(
        &self,
        snapshot: &Snapshot,
        account: AccountId,
        folder: FolderId,
        since: ModSeq,
    ) -> Result<Option<Uid>, StoreError> {
        let key = |uid| schema::entry_key(account, folder, Uid(uid));
        let read = |guard: Option<fjall::Guard>| -> Result<Option<(u32, ModSeq)>, StoreError> {
            let Some(guard) = guard else { return Ok(None) };
            let (key, value) = key_and_value(guard)?;
            let entry = schema::decode_entry(&key, &value)?;
            Ok(Some((entry.uid.0, entry.created)))
        };
        let all = key(0)..=key(u32::MAX);
        let Some((last, created)) = read(snapshot.range(&self.entry, all).next_back())? else {
            return Ok(None);
        };
        if created <= since {
            return Ok(None);
        }
        // Bisection: everything before `low` arrived too early, nothing from `high` on did.
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low + (high - low) / 2;
            match read(snapshot.range(&self.entry, key(middle)..=key(high)).next())? {
                Some((uid, created)) if created <= since => low = uid + 1,
                // An entry that arrived later, or no entry at all.
                Some(_) | None => high = middle,
            }
        }
        Ok(Some(Uid(low)))
    }
}
