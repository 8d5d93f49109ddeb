//! Mailboxes: which messages an account has, in which folders.

mod entry;
mod flags;
mod maildrop;

pub use entry::{Entry, UniqueId};
pub use flags::{FlagChange, Flags, KEYWORD, KEYWORDS, Keyword, KeywordError};
pub use maildrop::{Block, Maildrop, Summary};

use crate::{
    acceptance::Acceptance,
    error::Pending,
    names::{AccountId, FolderId, ModSeq, Uid},
};
use posta_mail::Timestamp;
use std::sync::Arc;

/// The mailboxes of accounts, and the one way into them for a message that arrives.
pub trait Mailboxes: Send + Sync + 'static {
    /// Accepts a message: its content, an entry in each mailbox, its items in the queue, its history and the
    /// reports that it causes, in one transaction. Once this is `Ok`, and not before, the sender may be told that
    /// the message is accepted.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`](crate::StoreError::NoSuchAccount) when a recipient's account is gone; nothing
    /// is kept then.
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()>;

    /// Returns the messages of an inbox that are not removed, in the order in which they arrived. Quick after
    /// the first time, however many there are; sessions that open it at once share it.
    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>>;

    /// Returns a message by the name that it had in a folder: a removed one too, until it is purged, and one that
    /// was moved or brought back, which has another name by now, for as long as that is remembered.
    fn entry(&self, account: AccountId, folder: FolderId, uid: Uid) -> Pending<'_, Option<Entry>>;

    /// Returns some messages of a folder, from a UID on, in the order of their UIDs.
    fn entries(
        &self,
        account: AccountId,
        folder: FolderId,
        from: Uid,
        limit: usize,
    ) -> Pending<'_, Vec<Entry>>;

    /// Removes messages from a folder, to be purged at `purge`: all or none, however many they are, and whatever
    /// happens meanwhile. Those that are removed already, or were moved to another folder, are passed over.
    /// Returns the number removed. Nobody sees a part of the removal, and others are served while a large one
    /// goes on.
    fn remove(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize>;

    /// Moves messages to another folder, where each gets the next UID. Their flags and unique-ids stay; what
    /// they were called before is remembered until `purge`. Those that are gone are passed over. Returns what each
    /// is called before and after.
    ///
    /// # Errors
    /// [`StoreError::NoSuchFolder`](crate::StoreError::NoSuchFolder) when the other folder is not there.
    fn move_entries(
        &self,
        account: AccountId,
        from: FolderId,
        to: FolderId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, Vec<(Uid, Uid)>>;

    /// Changes flags and keywords of messages in a folder. Those that are gone are passed over; so are, if
    /// `unchanged_since` is given, those that have changed since (RFC 7162 §3.1.3).
    ///
    /// # Errors
    /// [`StoreError::TooManyKeywords`](crate::StoreError::TooManyKeywords), and nothing is changed.
    fn set_flags(
        &self,
        account: AccountId,
        folder: FolderId,
        uids: Vec<Uid>,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
        now: Timestamp,
    ) -> Pending<'_, FlagsChanged>;

    /// Returns some of what has changed in the folders of an account since a mod-sequence, in the order of the
    /// changes; none if the store does not remember so far back, and everything has to be read anew. Call it
    /// again with [`Changes::up_to`] unless [`Changes::is_all`].
    fn changes_since(
        &self,
        account: AccountId,
        since: ModSeq,
        limit: usize,
    ) -> Pending<'_, Option<Changes>>;

    /// Notes that messages of an inbox were retrieved, for [`Mailboxes::expire`]. Those that were before,
    /// or are gone, are passed over. Not durable by itself: what a crash forgets is kept longer.
    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()>;

    /// Removes some of the messages that were retrieved before a time, to be purged at `purge`.
    /// Returns the number removed; call it again until it is none.
    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize>;

    /// Brings back the messages of an account that were removed at `since` or later, into their folders, or
    /// the inbox where these are gone, with their unique-ids, and with UIDs that are new, as RFC 9051 §2.3.1.1
    /// wants it. Returns the number brought back. Many messages come back some at a time: should that be cut off,
    /// by a crash or because the caller is gone, call it again for the rest.
    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize>;

    /// Returns how much an account has in all folders, removed messages not counted. Quick after the first
    /// time: it is asked for every recipient that has a quota.
    fn usage(&self, account: AccountId) -> Pending<'_, Usage>;
}

/// What became of a change of flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagsChanged {
    /// Messages that were changed. Those that had it so already are in neither list.
    pub changed: Vec<Uid>,
    /// Messages that were left as they are, because they have changed since.
    pub refused: Vec<Uid>,
}

/// What has changed in an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Messages that are new in their folders, or have other flags, as they are now.
    pub entries: Vec<Entry>,
    /// Names of messages that are not in their folders any more.
    pub vanished: Vec<(FolderId, Uid)>,
    /// The mod-sequence up to which this tells everything.
    pub up_to: ModSeq,
    /// Whether nothing has changed after that.
    pub is_all: bool,
}

/// How much an account has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages.
    pub messages: u64,
    /// Octets.
    pub octets: u64,
}
