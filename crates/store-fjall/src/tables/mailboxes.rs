//! Reading folders and the entries in them.

use super::{
    key_and_value,
    removals::{Names, Progress, Removal},
    schema::{self, EntryKey, Ledger, Moved, Schema},
};
use crate::error::{damaged, failed};
use posta_store::{AccountId, Entry, Flags, Folder, FolderId, FolderName, Role, StoreError, Uid};

/// The most moves of a message that are followed from an old name.
const MOVES: usize = 100;

/// The ratio of the UIDs' range to their number above which entries are looked up one by one.
const SCATTERED: usize = 4;

impl Schema {
    /// Returns an entry that is in its folder, even if a large removal is about to move it.
    pub(crate) fn entry(&self, key: EntryKey) -> Result<Option<Entry>, StoreError> {
        let value = self.entry.get(key).map_err(failed)?;
        value.map(|value| schema::decode_entry(&key, &value)).transpose()
    }

    fn moved(&self, key: EntryKey) -> Result<Option<Moved>, StoreError> {
        let value = self.moved.get(key).map_err(failed)?;
        value.map(|value| schema::decode_moved(&value)).transpose()
    }

    /// Returns a message by its name or an earlier one, even if it was removed.
    pub(crate) fn find(
        &self,
        account: AccountId,
        folder: FolderId,
        uid: Uid,
    ) -> Result<Option<Entry>, StoreError> {
        let mut key = schema::entry_key(account, folder, uid);
        for _ in 0..MOVES {
            if let Some(entry) = self.entry(key)? {
                return Ok(Some(entry));
            }
            if let Some(value) = self.expunged.get(key).map_err(failed)? {
                return schema::decode_removed(&key, &value).map(|removed| Some(removed.entry));
            }
            let Some(moved) = self.moved(key)? else { break };
            key = schema::entry_key(account, moved.folder, moved.uid);
        }
        Ok(None)
    }

    /// Returns the messages of some UIDs that are still in a folder. A message that was removed and brought back
    /// has a new UID, and is found by the old one.
    pub(crate) fn standing(
        &self,
        account: AccountId,
        folder: FolderId,
        mut uids: Vec<Uid>,
    ) -> Result<Vec<Entry>, StoreError> {
        uids.sort_unstable();
        uids.dedup();
        let mut found = Vec::with_capacity(uids.len());
        // Only the committing thread calls this, so no removal is decided meanwhile.
        let gone = self.gone.of(account);
        let others = self.standing_beside(account, folder, uids, &mut found)?;
        for uid in others {
            let mut key = schema::entry_key(account, folder, uid);
            for _ in 0..MOVES {
                if let Some(entry) = self.entry(key)? {
                    found.push(entry);
                    break;
                }
                match self.moved(key)? {
                    Some(moved) if moved.folder == folder => {
                        key = schema::entry_key(account, folder, moved.uid);
                    }
                    _ => break,
                }
            }
        }
        found.retain(|entry| !gone.has(folder, entry.uid));
        found.sort_unstable_by_key(|entry| entry.uid);
        found.dedup_by_key(|entry| entry.uid);
        Ok(found)
    }

    /// Reads adjacent entries in one go, which is many times faster than looking each up. Returns the UIDs without an
    /// entry, or all UIDs if they are scattered.
    fn standing_beside(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        found: &mut Vec<Entry>,
    ) -> Result<Vec<Uid>, StoreError> {
        let (Some(&first), Some(&last)) = (uids.first(), uids.last()) else { return Ok(uids) };
        if (last.0 - first.0) as usize > SCATTERED * uids.len() {
            return Ok(uids);
        }
        let key = |uid| schema::entry_key(account, folder, uid);
        let (mut others, mut uids) = (Vec::new(), uids.into_iter().peekable());
        for guard in self.entry.range(key(first)..=key(last)) {
            let (key, value) = key_and_value(guard)?;
            let (.., uid) = schema::names_of(&key)?;
            others.extend(std::iter::from_fn(|| uids.next_if(|&wanted| wanted < uid)));
            if uids.next_if_eq(&uid).is_some() {
                found.push(schema::decode_entry(&key, &value)?);
            }
        }
        others.extend(uids);
        Ok(others)
    }

    pub(crate) fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let first = schema::entry_key(account, folder, from);
        let last = schema::entry_key(account, folder, Uid(u32::MAX));
        let (all, gone) = self.gone.with(account, || self.entry.range(first..=last));
        let mut entries = Vec::new();
        for guard in all {
            if entries.len() == limit {
                break;
            }
            let (key, value) = key_and_value(guard)?;
            let (.., uid) = schema::names_of(&key)?;
            if !gone.has(folder, uid) {
                entries.push(schema::decode_entry(&key, &value)?);
            }
        }
        Ok(entries)
    }

    /// Reads the removals that the last run decided and did not carry out, in the order of the decisions.
    pub(crate) fn removals(&self) -> Result<Vec<(Removal, Progress)>, StoreError> {
        let mut found: Vec<(Removal, Progress)> = Vec::new();
        for guard in self.removing.iter() {
            let (key, value) = key_and_value(guard)?;
            let (first, part) = schema::decode_removing_key(&key)?;
            if part == 0 {
                found.push(schema::decode_progress(first, &value)?);
                continue;
            }
            let names = schema::decode_names(&value)?;
            match found.last_mut() {
                Some((Removal { first: of, names: Names::These(all), .. }, _)) if *of == first => {
                    *all |= names;
                }
                _ => return Err(damaged("the names of a removal")),
            }
        }
        Ok(found)
    }

    /// Returns the record of a folder. A folder that every account has is returned even without a record.
    pub(crate) fn folder(
        &self,
        account: AccountId,
        id: FolderId,
    ) -> Result<Option<Folder>, StoreError> {
        match self.folder.get(schema::folder_key(account, id)).map_err(failed)? {
            Some(value) => schema::decode_folder(id, &value).map(Some),
            None => self.fixed(account, id),
        }
    }

    /// Returns a folder that every account has, in its state before its record is written.
    fn fixed(&self, account: AccountId, id: FolderId) -> Result<Option<Folder>, StoreError> {
        let (name, role) = match id {
            FolderId::INBOX => (FolderName::inbox(), Role::Inbox),
            FolderId::JUNK => (FolderName::junk(), Role::Junk),
            _ => return Ok(None),
        };
        let first = schema::entry_key(account, id, Uid(0));
        let last = schema::entry_key(account, id, Uid(u32::MAX));
        // Messages that were removed by an earlier format have their UIDs here.
        let removed =
            self.expunged.range(first..=last).next_back().map(key_and_value).transpose()?;
        let removed = removed.map(|(key, _)| schema::names_of(&key)).transpose()?;
        Ok(Some(Folder {
            // An account that is added again under the same name has another id.
            uid_validity: account.0 as u32,
            uid_next: removed.map_or(Uid(1), |(.., uid)| Uid(uid.0 + 1)),
            ..empty(id, name, Some(role))
        }))
    }

    /// Returns the ids of an account's folders, in ascending order.
    pub(crate) fn folder_ids(&self, account: AccountId) -> Result<Vec<FolderId>, StoreError> {
        let mut ids = vec![FolderId::INBOX, FolderId::JUNK];
        for guard in self.folder.prefix(account.0.to_be_bytes()) {
            let id = schema::folder_of(&guard.key().map_err(failed)?)?;
            ids.extend(id.filter(|&id| id > FolderId::JUNK));
        }
        Ok(ids)
    }

    pub(crate) fn ledger(&self, account: AccountId) -> Result<Ledger, StoreError> {
        match self.folder.get(schema::ledger_key(account)).map_err(failed)? {
            Some(value) => schema::decode_ledger(&value),
            None => Ok(Ledger::default()),
        }
    }
}

/// The counts of a folder's messages, as they are counted anew.
#[derive(Debug, Default)]
pub(crate) struct FolderCounts {
    /// The UID from which on messages are not counted; none to count all.
    below: Option<Uid>,
    messages: u64,
    octets: u64,
    unseen: u64,
    last: Uid,
}

impl FolderCounts {
    /// Begins to count the messages below a UID; without one, all.
    pub(crate) fn below(below: Option<Uid>) -> Self {
        Self { below, ..Self::default() }
    }

    pub(crate) fn add(&mut self, entry: &Entry) {
        if self.below.is_none_or(|below| entry.uid < below) {
            self.messages += 1;
            self.octets += entry.octets;
            self.unseen += u64::from(!entry.flags.has(Flags::SEEN));
            self.last = entry.uid.max(self.last);
        }
    }

    /// Returns whether a folder's record has these counts.
    pub(crate) fn are_of(&self, folder: &Folder) -> bool {
        let Folder { messages, octets, unseen, .. } = *folder;
        (self.messages, self.octets, self.unseen) == (messages, octets, unseen)
    }

    /// Writes the counts into a folder's record.
    pub(crate) fn put_into(&self, folder: &mut Folder) {
        (folder.messages, folder.octets, folder.unseen) = (self.messages, self.octets, self.unseen);
        folder.uid_next = folder.uid_next.max(Uid(self.last.0.saturating_add(1)));
    }
}

/// Returns a folder that never had a message.
pub(crate) fn empty(id: FolderId, name: FolderName, role: Option<Role>) -> Folder {
    let (uid_next, mod_seq) = (Uid(1), Default::default());
    let (uid_validity, messages, octets, unseen) = (1, 0, 0, 0);
    Folder { id, name, role, uid_validity, uid_next, mod_seq, messages, octets, unseen }
}
