//! Folders: how an account's mailbox is divided.
//!
//! Each account has an inbox and a folder for junk from the start; the others are made and named by whoever
//! reads the mail. POP3 shows the inbox. A folder is IMAP's mailbox (RFC 9051 §2.3.1) and JMAP's (RFC 8621 §2).

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
    /// What it is for.
    pub role: Option<Role>,
    /// Changes whenever UIDs that a client knows would mean other messages (RFC 9051 §2.3.1.1). Not 0.
    pub uid_validity: u32,
    /// The UID that the next message gets.
    pub uid_next: Uid,
    /// The mod-sequence of the last change in it (RFC 7162 §3.1.2); 0 if there was none.
    pub mod_seq: ModSeq,
    /// Messages in it.
    pub messages: u64,
    /// Octets of these messages, as lines.
    pub octets: u64,
    /// How many of these messages are not [seen](crate::Flags::SEEN).
    pub unseen: u64,
}

/// The folders of accounts.
pub trait Folders: Send + Sync + 'static {
    /// Returns the folders of an account, by their ids.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount).
    fn folders(&self, account: AccountId) -> Pending<'_, Vec<Folder>>;

    /// Adds a folder. The one that it is to be in has to be there.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount);
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) when the one above is not there;
    /// [`StoreError::FolderExists`](crate::StoreError::FolderExists) when one has the name or the role;
    /// [`StoreError::TooManyFolders`](crate::StoreError::TooManyFolders).
    fn add_folder(
        &self,
        account: AccountId,
        name: FolderName,
        role: Option<Role>,
        now: Timestamp,
    ) -> Pending<'_, FolderId>;

    /// Gives a folder another name, and those below it with it. All of them get another
    /// [UIDVALIDITY](Folder::uid_validity): another folder may have had the name.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) when it is not there, or the one above the new
    /// name; [`StoreError::FolderIsFixed`](crate::StoreError::FolderIsFixed) for the inbox and for junk;
    /// [`StoreError::FolderExists`](crate::StoreError::FolderExists);
    /// [`StoreError::FolderNotEmpty`](crate::StoreError::FolderNotEmpty) when the new name is below the old, or
    /// makes a name too long.
    fn rename_folder(
        &self,
        account: AccountId,
        folder: FolderId,
        name: FolderName,
        now: Timestamp,
    ) -> Pending<'_, ()>;

    /// Removes a folder in which nothing is, neither a message nor a folder. Messages that were in it and were
    /// removed come back into the inbox, if they are brought back.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder);
    /// [`StoreError::FolderIsFixed`](crate::StoreError::FolderIsFixed) for the inbox and for junk;
    /// [`StoreError::FolderNotEmpty`](crate::StoreError::FolderNotEmpty).
    fn remove_folder(&self, account: AccountId, folder: FolderId) -> Pending<'_, ()>;
}
