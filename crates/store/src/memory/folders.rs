//! The folders of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    error::{Pending, StoreError},
    folders::{Folder, Folders},
    mailboxes::Flags,
    names::{AccountId, FOLDERS, FolderId, FolderName, ModSeq, Role, Uid},
};
use posta_mail::Timestamp;

/// The data that the folders of an account share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ledger {
    /// The id of the next folder.
    next: FolderId,
    /// The greatest UIDVALIDITY given to an added folder.
    uid_validity: u32,
    /// The mod-sequence before which vanished names are no longer remembered.
    pub(super) horizon: ModSeq,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { next: FolderId(2), uid_validity: 0, horizon: ModSeq(0) }
    }
}

impl Folders for MemoryStore {
    fn folders(&self, account: AccountId) -> Pending<'_, Vec<Folder>> {
        self.with(|inner| {
            if !inner.has_account(account) {
                return Err(StoreError::NoSuchAccount);
            }
            inner.make_fixed(account);
            let mut all = Vec::new();
            for folder in inner.folders_of(account).cloned().collect::<Vec<_>>() {
                let entries = || inner.folder_entries(account, folder.id);
                all.push(Folder {
                    messages: entries().count() as u64,
                    octets: entries().map(|entry| entry.octets).sum(),
                    unseen: entries().filter(|it| !it.flags.has(Flags::SEEN)).count() as u64,
                    ..folder
                });
            }
            Ok(all)
        })
    }

    fn add_folder(
        &self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Pending<'_, FolderId> {
        self.with(|inner| {
            if !inner.has_account(account) {
                return Err(StoreError::NoSuchAccount);
            }
            inner.make_fixed(account);
            inner.require_free(account, &name)?;
            if let Some(other) =
                inner.folders_of(account).find(|it| role.is_some() && it.role == role)
            {
                return Err(StoreError::FolderExists(other.name.clone()));
            }
            if inner.folders_of(account).count() >= FOLDERS {
                return Err(StoreError::TooManyFolders);
            }
            let uid_validity = inner.next_validity(account, now);
            let ledger = inner.ledgers.entry(account).or_default();
            let id = ledger.next;
            ledger.next = FolderId(id.0 + 1);
            inner.folders.insert((account, id), empty(id, name, role, uid_validity));
            Ok(id)
        })
    }

    fn rename_folder(
        &self,
        account: AccountId,
        folder: FolderId,
        name: FolderName,
        now: Timestamp,
    ) -> Pending<'_, ()> {
        self.with(|inner| {
            let old = inner.changeable(account, folder)?;
            if name == old {
                return Ok(());
            }
            if name.is_below(&old) {
                return Err(StoreError::FolderNotEmpty(old));
            }
            inner.require_free(account, &name)?;
            let mut renamed = vec![(folder, name.clone())];
            for below in inner.folders_of(account).filter(|it| it.name.is_below(&old)) {
                let along = below.name.moved_along(&old, &name);
                let along = along.ok_or_else(|| StoreError::FolderNotEmpty(old.clone()))?;
                renamed.push((below.id, along));
            }
            for (id, name) in renamed {
                let uid_validity = inner.next_validity(account, now);
                if let Some(folder) = inner.folders.get_mut(&(account, id)) {
                    (folder.name, folder.uid_validity) = (name, uid_validity);
                }
            }
            Ok(())
        })
    }

    fn remove_folder(&self, account: AccountId, folder: FolderId) -> Pending<'_, ()> {
        self.with(|inner| {
            let name = inner.changeable(account, folder)?;
            if inner.folder_entries(account, folder).next().is_some()
                || inner.folders_of(account).any(|it| it.name.is_below(&name))
            {
                return Err(StoreError::FolderNotEmpty(name));
            }
            inner.folders.remove(&(account, folder));
            Ok(())
        })
    }
}

fn empty(id: FolderId, name: FolderName, role: Option<Role>, uid_validity: u32) -> Folder {
    let (uid_next, mod_seq, messages, octets, unseen) = (Uid(1), ModSeq(0), 0, 0, 0);
    Folder { id, name, role, uid_validity, uid_next, mod_seq, messages, octets, unseen }
}

impl Inner {
    fn folders_of(&self, account: AccountId) -> impl Iterator<Item = &Folder> {
        let all = (account, FolderId(0))..=(account, FolderId(u32::MAX));
        self.folders.range(all).map(|(_, folder)| folder)
    }

    pub(super) fn has_folder(&self, account: AccountId, folder: FolderId) -> bool {
        folder <= FolderId::JUNK || self.folders.contains_key(&(account, folder))
    }

    /// Creates the folders that every account has.
    fn make_fixed(&mut self, account: AccountId) {
        // An account that is added again under the same name has another id.
        let validity = account.0 as u32;
        let fixed = [
            (FolderId::INBOX, FolderName::inbox(), Role::Inbox),
            (FolderId::JUNK, FolderName::junk(), Role::Junk),
        ];
        for (id, name, role) in fixed {
            let folder = empty(id, name, Some(role), validity);
            self.folders.entry((account, id)).or_insert(folder);
        }
    }

    /// Returns the UID of the next message in a folder, and records that the folder changes.
    pub(super) fn next_uid(&mut self, account: AccountId, folder: FolderId, at: ModSeq) -> Uid {
        self.make_fixed(account);
        let Some(folder) = self.folders.get_mut(&(account, folder)) else { return Uid(0) };
        let uid = folder.uid_next;
        (folder.uid_next, folder.mod_seq) = (Uid(uid.0 + 1), at);
        uid
    }

    /// Records that a folder changes.
    pub(super) fn touch(&mut self, account: AccountId, folder: FolderId, at: ModSeq) {
        self.make_fixed(account);
        if let Some(folder) = self.folders.get_mut(&(account, folder)) {
            folder.mod_seq = at;
        }
    }

    fn next_validity(&mut self, account: AccountId, now: Timestamp) -> u32 {
        let ledger = self.ledgers.entry(account).or_default();
        let seconds = u32::try_from(now.as_second()).unwrap_or_default();
        ledger.uid_validity = seconds.max(ledger.uid_validity + 1);
        ledger.uid_validity
    }

    pub(super) fn horizon(&self, account: AccountId) -> ModSeq {
        self.ledgers.get(&account).map_or(ModSeq(0), |ledger| ledger.horizon)
    }

    /// Checks that a folder can get a name.
    fn require_free(&self, account: AccountId, name: &FolderName) -> Result<(), StoreError> {
        if self.folders_of(account).any(|it| it.name == *name) {
            return Err(StoreError::FolderExists(name.clone()));
        }
        let parent = name.parent();
        let is_there = |parent: &FolderName| self.folders_of(account).any(|it| it.name == *parent);
        parent.is_none_or(|it| is_there(&it)).then_some(()).ok_or(StoreError::NoSuchFolder)
    }

    /// Returns the name of a folder, if it can be renamed and removed.
    fn changeable(
        &mut self,
        account: AccountId,
        folder: FolderId,
    ) -> Result<FolderName, StoreError> {
        if !self.has_account(account) {
            return Err(StoreError::NoSuchAccount);
        }
        self.make_fixed(account);
        let name = self.folders.get(&(account, folder)).map(|it| it.name.clone());
        let name = name.ok_or(StoreError::NoSuchFolder)?;
        if folder <= FolderId::JUNK {
            return Err(StoreError::FolderIsFixed(name));
        }
        Ok(name)
    }
}
