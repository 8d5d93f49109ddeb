//! Folders: the parts of an account's mailbox.
//!
//! Each account has an inbox and a folder for junk from the start; users create and name the others.
//! POP3 serves the inbox. A folder is a mailbox in the terms of IMAP (RFC 9051 §2.3.1) and JMAP (RFC
//! 8621 §2).

use crate::{
    error::Pending,
    names::{AccountId, FolderId, FolderName, ModSeq, Role, Uid},
};
use posta_mail::Timestamp;

/// A folder of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its id.
    pub id: FolderId,
    /// Its name.
    pub name: FolderName,
    /// The role, if the folder has one.
    pub role: Option<Role>,
    /// A number that changes whenever UIDs known to a client would refer to other messages (RFC 9051
    /// §2.3.1.1). Never 0.
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// The mod-sequence of the last change in the folder (RFC 7162 §3.1.2); 0 if there was none.
    pub mod_seq: ModSeq,
    /// The number of messages.
    pub messages: u64,
    /// The number of octets in these messages, as lines.
    pub octets: u64,
    /// The number of messages that are not [seen](crate::Flags::SEEN).
    pub unseen: u64,
}

/// The folders of accounts.
pub trait Folders: Send + Sync + 'static {
    /// Returns the folders of an account, by their ids.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn folders(&self, account: AccountId) -> Pending<'_, Vec<Folder>>;

    /// Adds a folder. Its parent folder must exist.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount);
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) if the parent does not exist;
    /// [`StoreError::FolderExists`](crate::StoreError::FolderExists) if a folder has the name or the
    /// role; [`StoreError::TooManyFolders`](crate::StoreError::TooManyFolders).
    fn add_folder(
        &self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Pending<'_, FolderId>;

    /// Renames a folder, and those below it. All of them get a new [UIDVALIDITY](Folder::uid_validity),
    /// since another folder may have had the name before.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) if the folder, or the parent of the
    /// new name, does not exist; [`StoreError::FolderIsFixed`](crate::StoreError::FolderIsFixed) for the
    /// inbox and for junk; [`StoreError::FolderExists`](crate::StoreError::FolderExists);
    /// [`StoreError::FolderNotEmpty`](crate::StoreError::FolderNotEmpty) if the new name is below the
    /// old one, or makes a name too long.
    fn rename_folder(
        &self,
        account: AccountId,
        folder: FolderId,
        name: FolderName,
        now: Timestamp,
    ) -> Pending<'_, ()>;

    /// Removes an empty folder, which contains neither a message nor a folder. Removed messages that
    /// were in it are restored into the inbox.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder);
    /// [`StoreError::FolderIsFixed`](crate::StoreError::FolderIsFixed) for the inbox and for junk;
    /// [`StoreError::FolderNotEmpty`](crate::StoreError::FolderNotEmpty).
    fn remove_folder(&self, account: AccountId, folder: FolderId) -> Pending<'_, ()>;
}
