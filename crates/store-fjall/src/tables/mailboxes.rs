//! Folders, and the entries in them.

use super::{
    key_and_value,
    removals::{Names, Progress, Removal},
    schema::{self, EntryKey, Ledger, Moved, Schema},
};
use crate::error::{damaged, failed};
use posta_store::{AccountId, Entry, Folder, FolderId, FolderName, Role, StoreError, Uid};

/// How often a message was moved at most whose names are followed.
const MOVES: usize = 100;

/// How many UIDs there are to each that is asked for, where the entries are looked up one by one.
const SCATTERED: usize = 4;

impl Schema {
    /// Returns an entry that is in its folder, or goes from there as part of a large removal.
    pub(crate) fn entry(&self, key: EntryKey) -> Result<Option<Entry>, StoreError> {
        let value = self.entry.get(key).map_err(failed)?;
        value.map(|value| schema::decode_entry(&key, &value)).transpose()
    }

    fn moved(&self, key: EntryKey) -> Result<Option<Moved>, StoreError> {
        let value = self.moved.get(key).map_err(failed)?;
        value.map(|value| schema::decode_moved(&value)).transpose()
    }

    /// Returns a message by a name that it has or had, removed or not.
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

    /// Returns messages that are in a folder still, by what they were called there: one that was removed and
    /// brought back has another name by now.
    pub(crate) fn standing(
        &self,
        account: AccountId,
        folder: FolderId,
        mut uids: Vec<Uid>,
    ) -> Result<Vec<Entry>, StoreError> {
        uids.sort_unstable();
        uids.dedup();
        let mut found = Vec::with_capacity(uids.len());
        // Only the committing thread asks, which takes them out.
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

    /// Reads entries that stand side by side in one go, which is many times faster than to look each up. Returns the
    /// UIDs in which nothing stands, or all where they are scattered.
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

    /// Returns a folder as its record has it, which need not be written for those that every account has.
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

    /// Returns a folder that every account has, as it is before its record is written.
    fn fixed(&self, account: AccountId, id: FolderId) -> Result<Option<Folder>, StoreError> {
        let (name, role) = match id {
            FolderId::INBOX => (FolderName::inbox(), Role::Inbox),
            FolderId::JUNK => (FolderName::junk(), Role::Junk),
            _ => return Ok(None),
        };
        let first = schema::entry_key(account, id, Uid(0));
        let last = schema::entry_key(account, id, Uid(u32::MAX));
        // What was removed while mailboxes had no folders has its UIDs here.
        let removed =
            self.expunged.range(first..=last).next_back().map(key_and_value).transpose()?;
        let removed = removed.map(|(key, _)| schema::names_of(&key)).transpose()?;
        Ok(Some(Folder {
            // An account that is added anew under the same name has another.
            uid_validity: account.0 as u32,
            uid_next: removed.map_or(Uid(1), |(.., uid)| Uid(uid.0 + 1)),
            ..empty(id, name, Some(role))
        }))
    }

    /// Returns the ids of an account's folders, in their order.
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

/// Returns a folder in which nothing was ever.
pub(crate) fn empty(id: FolderId, name: FolderName, role: Option<Role>) -> Folder {
    let (uid_next, mod_seq) = (Uid(1), Default::default());
    let (uid_validity, messages, octets, unseen) = (1, 0, 0, 0);
    Folder { id, name, role, uid_validity, uid_next, mod_seq, messages, octets, unseen }
}
