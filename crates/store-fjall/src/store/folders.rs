//! The folders.

use super::FjallStore;
use posta_mail::Timestamp;
use posta_store::{AccountId, Folder, FolderId, FolderName, Folders, Pending, Role};

impl Folders for FjallStore {
    fn folders(&self, account: AccountId) -> Pending<'_, Vec<Folder>> {
        self.alone(move |committer| committer.folders(account))
    }

    fn add_folder(
        &self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Pending<'_, FolderId> {
        self.alone(move |committer| committer.add_folder(account, name, role, now))
    }

    fn rename_folder(
        &self,
        account: AccountId,
        folder: FolderId,
        name: FolderName,
        now: Timestamp,
    ) -> Pending<'_, ()> {
        self.alone(move |committer| committer.rename_folder(account, folder, &name, now))
    }

    fn remove_folder(&self, account: AccountId, folder: FolderId) -> Pending<'_, ()> {
        self.alone(move |committer| committer.remove_folder(account, folder))
    }
}
