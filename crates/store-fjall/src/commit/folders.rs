//! Folders: their states in the committing thread's memory, and the changes of folders.

use super::{Committer, removals::Counts};
use crate::tables::{batch::Batch, key_and_value, mailboxes::empty, schema};
use posta_mail::Timestamp;
use posta_store::{
    AccountId, Entry, FOLDERS, Flags, Folder, FolderId, FolderName, ModSeq, Role, StoreError, Uid,
};
use std::collections::HashMap;

/// The most messages that arrive in a folder before its record is written again, which is also the most that must
/// be read to load its state.
const UNSAVED: u32 = 512;

/// The number of folders in memory beyond which all are forgotten.
const KNOWN: usize = 100_000;

/// The states of loaded folders, which are ahead of their records in the tables.
#[derive(Debug, Default)]
pub(crate) struct FolderStates(HashMap<(AccountId, FolderId), State>);

#[derive(Debug)]
struct State {
    folder: Folder,
    /// The number of messages that arrived since the record was written.
    unsaved: u32,
}

impl FolderStates {
    /// Forgets all states. Call it only if all changes are in the tables, or those that are not never will be.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Forgets all states if there are many. Call it only between two groups.
    pub(crate) fn trim(&mut self) {
        if self.0.len() > KNOWN {
            self.forget();
        }
    }

    /// Adds an entry to the counts of its folder, if that is loaded.
    fn count(&mut self, account: AccountId, entry: &Entry) -> Option<&mut State> {
        let state = self.0.get_mut(&(account, entry.folder))?;
        add(&mut state.folder, entry);
        Some(state)
    }
}

/// Adds an entry to the counts of a folder.
pub(super) fn add(folder: &mut Folder, entry: &Entry) {
    folder.messages += 1;
    folder.octets += entry.octets;
    folder.unseen += u64::from(!entry.flags.has(Flags::SEEN));
    folder.mod_seq = folder.mod_seq.max(entry.mod_seq);
    folder.uid_next = folder.uid_next.max(Uid(entry.uid.0.saturating_add(1)));
}

impl Committer {
    /// Loads a folder's state. Returns whether the folder exists.
    pub(crate) fn load_folder(
        &mut self,
        account: AccountId,
        id: FolderId,
    ) -> Result<bool, StoreError> {
        if self.folders.0.contains_key(&(account, id)) {
            return Ok(true);
        }
        let Some(mut folder) = self.schema.folder(account, id)? else { return Ok(false) };
        let first = schema::entry_key(account, id, folder.uid_next);
        let last = schema::entry_key(account, id, Uid(u32::MAX));
        let mut unsaved = 0;
        for guard in self.schema.entry.range(first..=last) {
            let (key, value) = key_and_value(guard)?;
            add(&mut folder, &schema::decode_entry(&key, &value)?);
            unsaved += 1;
        }
        if folder.uid_next == Uid(u32::MAX) {
            return Err(StoreError::Failed(format!("the folder {} has no more UIDs", folder.name)));
        }
        self.folders.0.insert((account, id), State { folder, unsaved });
        Ok(true)
    }

    /// Loads the folder that a message goes to, or the inbox if that folder is gone. Returns its id.
    pub(crate) fn load_folder_or_inbox(
        &mut self,
        account: AccountId,
        id: FolderId,
    ) -> Result<FolderId, StoreError> {
        if self.load_folder(account, id)? {
            return Ok(id);
        }
        self.load_folder(account, FolderId::INBOX)?;
        Ok(FolderId::INBOX)
    }

    /// Returns the UID that the next message of a loaded folder gets.
    pub(crate) fn next_uid(&self, account: AccountId, id: FolderId) -> Result<Uid, StoreError> {
        let state = self.folders.0.get(&(account, id));
        let unknown = || StoreError::Failed("a folder was not looked at".to_owned());
        state.map(|state| state.folder.uid_next).ok_or_else(unknown)
    }

    /// Counts an entry that arrives in its folder. The record is written every [`UNSAVED`] messages.
    pub(crate) fn count_in(&mut self, account: AccountId, entry: &Entry, batch: &mut Batch) {
        self.usages.add(account, entry.octets);
        self.list_in(account, entry, batch);
        let Some(state) = self.folders.count(account, entry) else { return };
        state.unsaved += 1;
        if state.unsaved >= UNSAVED {
            self.save_folder(account, entry.folder, batch);
        }
    }

    /// Subtracts an entry from its folder's counts. The caller must save the folder in the same batch.
    pub(crate) fn count_out(&mut self, account: AccountId, entry: &Entry, mod_seq: ModSeq) {
        self.usages.take(account, 1, entry.octets);
        self.large.left(account, entry);
        let Some(State { folder, .. }) = self.folders.0.get_mut(&(account, entry.folder)) else {
            return;
        };
        folder.messages = folder.messages.saturating_sub(1);
        folder.octets = folder.octets.saturating_sub(entry.octets);
        let unseen = u64::from(!entry.flags.has(Flags::SEEN));
        folder.unseen = folder.unseen.saturating_sub(unseen);
        folder.mod_seq = mod_seq;
    }

    /// Subtracts many entries from their folder's counts, which get mod-sequences up to `last`. The caller must
    /// save the folder in the same batch.
    pub(crate) fn count_all_out(
        &mut self,
        account: AccountId,
        id: FolderId,
        counts: Counts,
        last: ModSeq,
    ) {
        self.usages.take(account, counts.messages, counts.octets);
        let Some(State { folder, .. }) = self.folders.0.get_mut(&(account, id)) else { return };
        folder.messages = folder.messages.saturating_sub(counts.messages);
        folder.octets = folder.octets.saturating_sub(counts.octets);
        folder.unseen = folder.unseen.saturating_sub(counts.unseen);
        folder.mod_seq = last;
    }

    /// Corrects the counts for an entry whose flags change. The caller must save the folder in the same batch.
    pub(crate) fn count_flags(&mut self, account: AccountId, before: Flags, entry: &Entry) {
        self.large.has_other_flags(account, before, entry);
        let Some(State { folder, .. }) = self.folders.0.get_mut(&(account, entry.folder)) else {
            return;
        };
        match (before.has(Flags::SEEN), entry.flags.has(Flags::SEEN)) {
            (false, true) => folder.unseen = folder.unseen.saturating_sub(1),
            (true, false) => folder.unseen += 1,
            _ => {}
        }
        folder.mod_seq = entry.mod_seq;
    }

    /// Puts the record of a loaded folder into a batch.
    pub(crate) fn save_folder(&mut self, account: AccountId, id: FolderId, batch: &mut Batch) {
        let Some(state) = self.folders.0.get_mut(&(account, id)) else { return };
        state.unsaved = 0;
        let value = schema::encode_folder(&state.folder);
        batch.insert(&self.schema.folder, schema::folder_key(account, id), value);
    }

    /// Returns the folders of an account that exists.
    pub(crate) fn folders(&mut self, account: AccountId) -> Result<Vec<Folder>, StoreError> {
        if !self.accounts.contains(&account) {
            return Err(StoreError::NoSuchAccount);
        }
        self.all_folders(account)
    }

    /// Returns the folders of an account, even of a removed one.
    pub(crate) fn all_folders(&mut self, account: AccountId) -> Result<Vec<Folder>, StoreError> {
        let mut folders = Vec::new();
        for id in self.schema.folder_ids(account)? {
            self.load_folder(account, id)?;
            folders.extend(self.folders.0.get(&(account, id)).map(|state| state.folder.clone()));
        }
        Ok(folders)
    }

    pub(crate) fn add_folder(
        &mut self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Result<FolderId, StoreError> {
        let folders = self.folders(account)?;
        require_free(&folders, &name)?;
        if let Some(other) = folders.iter().find(|it| role.is_some() && it.role == role) {
            return Err(StoreError::FolderExists(other.name.clone()));
        }
        if folders.len() >= FOLDERS {
            return Err(StoreError::TooManyFolders);
        }
        let mut ledger = self.schema.ledger(account)?;
        let id = ledger.next;
        ledger.next = FolderId(id.0 + 1);
        let uid_validity = next_validity(&mut ledger, now);
        let folder = Folder { uid_validity, ..empty(id, name, role) };
        let mut batch = Batch::new(&self.schema);
        let key = schema::folder_key(account, id);
        batch.insert(&self.schema.folder, key, schema::encode_folder(&folder));
        let value = schema::encode_ledger(ledger);
        batch.insert(&self.schema.folder, schema::ledger_key(account), value);
        self.commit(batch)?;
        Ok(id)
    }

    pub(crate) fn rename_folder(
        &mut self,
        account: AccountId,
        id: FolderId,
        name: &FolderName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let folders = self.folders(account)?;
        let old = changeable(&folders, id)?;
        if *name == old {
            return Ok(());
        }
        if name.is_below(&old) {
            return Err(StoreError::FolderNotEmpty(old));
        }
        require_free(&folders, name)?;
        let mut ledger = self.schema.ledger(account)?;
        let mut renamed = vec![(id, name.clone())];
        for below in folders.iter().filter(|it| it.name.is_below(&old)) {
            let along = below.name.moved_along(&old, name);
            let along = along.ok_or_else(|| StoreError::FolderNotEmpty(old.clone()))?;
            renamed.push((below.id, along));
        }
        let mut batch = Batch::new(&self.schema);
        for (id, name) in renamed {
            let uid_validity = next_validity(&mut ledger, now);
            if let Some(State { folder, .. }) = self.folders.0.get_mut(&(account, id)) {
                (folder.name, folder.uid_validity) = (name, uid_validity);
            }
            self.save_folder(account, id, &mut batch);
        }
        let value = schema::encode_ledger(ledger);
        batch.insert(&self.schema.folder, schema::ledger_key(account), value);
        self.commit(batch)
    }

    pub(crate) fn remove_folder(
        &mut self,
        account: AccountId,
        id: FolderId,
    ) -> Result<(), StoreError> {
        let folders = self.folders(account)?;
        let name = changeable(&folders, id)?;
        let has_messages = folders.iter().any(|it| it.id == id && it.messages > 0);
        if has_messages || folders.iter().any(|it| it.name.is_below(&name)) {
            return Err(StoreError::FolderNotEmpty(name));
        }
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.folder, schema::folder_key(account, id));
        self.commit(batch)?;
        self.folders.0.remove(&(account, id));
        Ok(())
    }

    /// Drops the records of an account's folders and packed blocks, when it is purged.
    pub(crate) fn drop_folders(
        &mut self,
        account: AccountId,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        for guard in self.schema.folder.prefix(account.0.to_be_bytes()) {
            let (key, _) = key_and_value(guard)?;
            batch.remove(&self.schema.folder, key);
        }
        // Removals drop the blocks of the ranges that they take messages from; these are the others.
        for guard in self.schema.listing.prefix(account.0.to_be_bytes()) {
            let Ok(key) = guard.key() else { break };
            batch.remove(&self.schema.listing, key);
        }
        self.folders.0.retain(|(of, _), _| *of != account);
        Ok(())
    }
}

fn next_validity(ledger: &mut schema::Ledger, now: Timestamp) -> u32 {
    let seconds = u32::try_from(now.as_second()).unwrap_or_default();
    ledger.uid_validity = seconds.max(ledger.uid_validity + 1);
    ledger.uid_validity
}

/// Checks that a folder can get a name: it is unused, and the folder above exists.
fn require_free(folders: &[Folder], name: &FolderName) -> Result<(), StoreError> {
    if folders.iter().any(|it| it.name == *name) {
        return Err(StoreError::FolderExists(name.clone()));
    }
    let is_there = |parent: &FolderName| folders.iter().any(|it| it.name == *parent);
    name.parent().is_none_or(|it| is_there(&it)).then_some(()).ok_or(StoreError::NoSuchFolder)
}

/// Returns the name of a folder, which must be one that can be renamed and removed.
fn changeable(folders: &[Folder], id: FolderId) -> Result<FolderName, StoreError> {
    let folder = folders.iter().find(|it| it.id == id).ok_or(StoreError::NoSuchFolder)?;
    if id <= FolderId::JUNK {
        return Err(StoreError::FolderIsFixed(folder.name.clone()));
    }
    Ok(folder.name.clone())
}
