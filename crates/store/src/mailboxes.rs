//! Mailboxes: the messages of an account, in its folders.

mod acceptance;
mod entry;
mod flags;
mod maildrop;

pub use acceptance::{Acceptance, Collected, Delivery};
pub use entry::{Entry, UniqueId};
pub use flags::{FlagChange, Flags, KEYWORD, KEYWORDS, Keyword, KeywordError};
pub use maildrop::{Block, Maildrop, Summary};

use crate::{
    error::Pending,
    names::{AccountId, FolderId, ModSeq, Uid},
};
use posta_mail::Timestamp;
use std::sync::Arc;

/// The mailboxes of accounts, and the only way into them for an arriving message.
pub trait Mailboxes: Send + Sync + 'static {
    /// Accepts a message: its content, an entry in each mailbox, its items in the queue, its history and
    /// the reports that it causes, in one transaction. Only after this has returned `Ok` may the sender
    /// be told that the message is accepted.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount) if a recipient's account no
    /// longer exists; nothing is stored then.
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()>;

    /// Returns the messages of an inbox that are not removed, in the order of arrival. All calls but the
    /// first are quick, however many messages there are; sessions that open the inbox at the same time
    /// share the result.
    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>> {
        self.listed(account, FolderId::INBOX)
    }

    /// Returns the same of any folder.
    fn listed(&self, account: AccountId, folder: FolderId) -> Pending<'_, Arc<Maildrop>>;

    /// Returns a message by its name in a folder. A removed message is found until it is purged. A
    /// message that was moved or restored, and has another name now, is found by its old name as long as
    /// that is remembered.
    fn entry(&self, account: AccountId, folder: FolderId, uid: Uid) -> Pending<'_, Option<Entry>>;

    /// Returns messages of a folder, from a UID on, in the order of their UIDs.
    fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Pending<'_, Vec<Entry>>;

    /// Removes messages from folders, each of which is named once, to be purged at `purge`: all or none,
    /// however many there are, and whatever happens meanwhile. Messages that are already removed, or were
    /// moved to another folder, are skipped. Returns the number removed. No reader sees part of a removal
    /// from a folder, and other calls are served while a large one is in progress.
    fn remove_from(
        &self,
        account: AccountId,
        names: Vec<(FolderId, Vec<Uid>)>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize>;

    /// Removes messages from one folder, as [`Mailboxes::remove_from`] does.
    fn remove(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.remove_from(account, vec![(folder, uids)], now, purge)
    }

    /// Moves messages to another folder, where each gets the next UID. Their flags and unique-ids stay,
    /// and their old names are remembered until `purge`. Messages that no longer exist are skipped.
    /// Returns the old and the new name of each.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) if the other folder does not exist.
    fn move_entries(
        &self,
        account: AccountId,
        from: FolderId,
        to: FolderId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, Vec<(Uid, Uid)>>;

    /// Changes flags and keywords of messages in a folder. Messages that no longer exist are skipped,
    /// and so are, if `unchanged_since` is given, those that have changed since then (RFC 7162 §3.1.3).
    ///
    /// # Errors
    /// [`StoreError::TooManyKeywords`](crate::StoreError::TooManyKeywords); nothing is changed then.
    fn set_flags(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
        now: Timestamp,
    ) -> Pending<'_, FlagsChanged>;

    /// Returns some of the changes in the folders of an account since a mod-sequence, in their order;
    /// none if the store's memory does not reach back that far, and everything has to be read again.
    /// Unless [`Changes::is_all`], the next call continues with [`Changes::up_to`].
    fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Pending<'_, Option<Changes>>;

    /// Records that messages of an inbox were retrieved, for [`Mailboxes::expire`]. Messages that were
    /// already recorded, or no longer exist, are skipped. The call is not durable by itself: after a
    /// crash, messages may be kept longer.
    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()>;

    /// Removes some of the messages that were retrieved before a time, to be purged at `purge`. Returns
    /// the number removed; the caller repeats the call until that is 0.
    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize>;

    /// Restores the messages of an account that were removed at `since` or later, into their folders, or
    /// into the inbox if these no longer exist, with their unique-ids, and with new UIDs as RFC 9051
    /// §2.3.1.1 requires. Returns the number restored. Many messages are restored in several steps: if
    /// that is interrupted, by a crash or because the caller is gone, another call restores the rest.
    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize>;

    /// Returns the usage of an account in all folders, without removed messages. All calls but the first
    /// are quick, since this is asked for every recipient with a quota.
    fn usage(&self, account: AccountId) -> Pending<'_, Usage>;
}

/// The result of a change of flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagsChanged {
    /// The messages that were changed. Those that already had these flags are in neither list.
    pub changed: Vec<Uid>,
    /// The messages that were not changed, because they have changed since the given mod-sequence.
    pub refused: Vec<Uid>,
}

/// The changes in an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Messages that are new in their folders, or have other flags, in their present state.
    pub entries: Vec<Entry>,
    /// Names of messages that are no longer in their folders.
    pub vanished: Vec<(FolderId, Uid)>,
    /// The mod-sequence up to which these changes are complete.
    pub up_to: ModSeq,
    /// Whether there are no further changes.
    pub is_all: bool,
}

/// The usage of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of messages.
    pub messages: u64,
    /// The number of octets in them.
    pub octets: u64,
}
