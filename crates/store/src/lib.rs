//! What keeps the mail: the [`Store`] trait, its records, the in-memory reference store and the
//! suite that every store passes.
//!
//! Rules that every store keeps, and [`conformance`] checks:
//!
//! 1. **Durable before done.** When the future of a changing method resolves to `Ok`, the change
//!    survives the loss of power. Changes that wait at the same moment may share one sync.
//! 2. **All or nothing.** Each method is one transaction; readers see it whole or not at all.
//! 3. **Content is immutable** and kept once, however many mailboxes show it. It goes when the last
//!    entry that shows it is purged.
//! 4. **Unique-ids increase and are never reused**, over restarts and restored backups too: they
//!    are drawn from the time of acceptance, pushed forward where two would be equal.
//! 5. **Removal is not loss.** A removed message leaves every view opened later, stays readable for
//!    the sessions that saw it, and can be brought back until its purge time.
//! 6. **No method assumes one process.**

pub mod conformance;
mod history;
mod memory;
mod queue;
mod records;
mod sources;

pub use history::{CountedClient, CountedRefusals, Event, Fate, InMailbox, Origin, Refusal, What};
pub use memory::MemoryStore;
pub use queue::{Destination, Envelope, Item, ItemId, ItemIdError, ItemState, Settlement, Waiting};
pub use records::{
    Acceptance, Account, AccountId, Alias, AliasName, CHUNK, Credentials, Delivery, Entry,
    Maildrop, RETRIEVED, RemovedAccount, SendAs, Summary, Uid, Usage, keeps_copy,
};

pub use sources::{Collected, Keep, Login, LoginTls, SecretOf, Source, SourceId, Visit};

use bytes::Bytes;
use posta_mail::{Address, Domain, MailId, Secret, Timestamp};
use std::{collections::BTreeMap, future::Future, path::PathBuf, pin::Pin, sync::Arc};

/// The future of a store's method.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps content, mailboxes and the directory of accounts. See the crate for the rules.
pub trait Store: Send + Sync + 'static {
    /// Keeps a chunk of a message that is still arriving. Each has exactly [`CHUNK`] octets; the
    /// rest, shorter or not, comes with [`Store::accept`]. Not durable by itself, and no mailbox
    /// shows it until the message is accepted. What is never to be accepted may come in pieces of
    /// any length up to that; [`Store::chunk`] reads them until they are discarded.
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()>;

    /// Forgets the chunks of a message that will not be accepted. A store forgets those that a
    /// crash left behind by itself, and so this need not be durable.
    fn discard(&self, content: MailId) -> Pending<'_, ()>;

    /// Accepts a message: its content, an entry in each mailbox, its items in the queue, what is told
    /// of it and the reports that it causes, in one transaction. Once this
    /// is `Ok`, and not before, the sender may be told so.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`] when a recipient's account is gone; nothing is kept then.
    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()>;

    /// Takes items of the queue whose time has come, and leases them until `lease`: nobody else gets
    /// them before. At most `limit`, and at most `share` of one destination: each has its turn. Of
    /// one destination those of higher priority come first, then those that are due for longer.
    /// Leases need not outlive the process that holds them.
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Item>>;

    /// Makes a lease longer, if it has not ended.
    fn renew(&self, item: ItemId, lease: Timestamp) -> Pending<'_, ()>;

    /// Until then nothing of a destination is claimed; a time that has passed ends that. Need not
    /// outlive the process.
    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()>;

    /// Ends an attempt. An item that is gone, as when the operator removed it meanwhile, is passed
    /// over with all that belongs to it. Answers whether it was there.
    fn settle(&self, settlement: Settlement) -> Pending<'_, bool>;

    /// Sets when items are to be tried, and whether they are held. Those that are gone, or that
    /// somebody works on, are passed over. Returns the number of items changed.
    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize>;

    /// A time before which nothing can be claimed: exact after a claim that found nothing.
    fn next_due(&self) -> Pending<'_, Option<Timestamp>>;

    /// Some items of the queue, in the order of their names, those after `after`.
    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>>;

    /// Tells events that belong to no other change. Not durable by itself.
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()>;

    /// Everything that is told of a message, in order.
    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>>;

    /// Some events of messages before `before`, the newest messages first: `limit` of them, and what
    /// else belongs to the last message. The events of one message are in order.
    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>>;

    /// Forgets some of what is told of messages older than `before`. Returns the number of events
    /// forgotten; call it again until it is none.
    fn forget(&self, before: Timestamp) -> Pending<'_, usize>;

    /// The messages of a mailbox that are not removed, in the order of their unique-ids. Quick after
    /// the first time, however many there are; sessions that open it at once share it.
    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>>;

    /// A message of a mailbox, removed or not, until it is purged.
    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>>;

    /// A chunk of a message's content: [`CHUNK`] octets, fewer only for the last.
    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>>;

    /// Removes messages from a mailbox, to be purged at `purge`. Those that are removed already
    /// are passed over. Returns the number removed.
    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize>;

    /// Notes that messages of a mailbox were retrieved, for [`Store::expire`]. Those that were before,
    /// or are gone, are passed over. Not durable by itself: what a crash forgets is kept longer.
    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()>;

    /// Removes some of the messages that were retrieved before a time, to be purged at `purge`.
    /// Returns the number removed; call it again until it is none.
    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize>;

    /// Brings back the messages of a mailbox that were removed at `since` or later. Returns
    /// the number brought back.
    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize>;

    /// Purges some of the removed messages and accounts whose time has come, the latter with their
    /// secrets and sources. Returns the number purged; call it again until it is none.
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize>;

    /// How much a mailbox holds, removed messages not counted. Quick after the first time: it is
    /// asked for every recipient that has a quota.
    fn usage(&self, account: AccountId) -> Pending<'_, Usage>;

    /// Adds a source, whose id and last visit are not looked at, with its password.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`]; [`StoreError::Sealed`] when the password cannot be sealed.
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId>;

    /// Replaces the source of an id, and its password. What was collected stays known. Returns whether the
    /// source is there.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the password cannot be sealed.
    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool>;

    /// Returns a secret; none if there is none. Nothing but what needs it should hold it.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when it is kept, but cannot be read.
    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>>;

    /// All sources, by id.
    fn sources(&self) -> Pending<'_, Vec<Source>>;

    /// Notes how a visit ended. Answers whether the source is there.
    fn visited(&self, source: SourceId, visit: Visit) -> Pending<'_, bool>;

    /// Removes a source, its password for good, and what is known of its messages. Answers whether it was there.
    fn remove_source(&self, source: SourceId) -> Pending<'_, bool>;

    /// The unique-ids of the messages that were accepted from a source, and when.
    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>>;

    /// Forgets messages of a source, which has them no longer.
    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()>;

    /// Keeps a small record of the server's own, in place of what had its kind and its name; none
    /// forgets that. A kind has no NUL.
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()>;

    /// The records of a kind, by their names.
    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>>;

    /// Returns a record of a kind by its name.
    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>>;

    /// Keeps a record unless there is one of its kind and name, and returns the one that is kept
    /// then: two that make a key at the same moment end with the same.
    fn keep_first(&self, kind: &'static str, name: &str, record: Vec<u8>) -> Pending<'_, Vec<u8>>;

    /// Returns a number that grows after every change of an account, whoever made it. Reading it
    /// costs no more than a look into memory, so that a session can ask at each command whether
    /// what it knows of its account may be out of date. Where accounts are read after it, they are
    /// at least as new.
    fn directory_version(&self) -> u64;

    /// The account of an address, found without regard to case.
    fn account(&self, address: &Address) -> Pending<'_, Option<Account>>;

    /// The accounts with this local-part in any domain, found without regard to case.
    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>>;

    /// All accounts, by address.
    fn accounts(&self) -> Pending<'_, Vec<Account>>;

    /// Adds an account, and its domain to those that are local. An alias of its name has to name the
    /// address itself as a target: it forwards the account's mail then.
    ///
    /// # Errors
    /// [`StoreError::AccountExists`]; [`StoreError::IsAlias`]; [`StoreError::DomainIsAlias`]; [`StoreError::Sealed`] when a password for APOP cannot be sealed.
    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId>;

    /// Replaces an account's password; the one for APOP too, or removes it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`]; [`StoreError::Sealed`] when a password for APOP cannot be sealed.
    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()>;

    /// Limits what an account's mailbox may hold, in octets; none for no limit. The store only
    /// keeps the number: whoever accepts mail asks for it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`].
    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()>;

    /// Replaces what an account may send as beside its own addresses.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`].
    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()>;

    /// Says whether nobody may log in to an account ([`Account::disabled`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`].
    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()>;

    /// Gives an account another address, whose domain becomes local; its mailbox, unique-ids and
    /// credentials stay. In the same transaction an alias of the old name goes, and `aliases` are set.
    /// The old domain stays local as after [`Store::remove_account`].
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`]; [`StoreError::AccountExists`]; [`StoreError::IsAlias`] where an
    /// alias has the new name; [`StoreError::DomainIsAlias`].
    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()>;

    /// Removes an account, and its messages as [`Store::remove`] does: it can be brought back with them
    /// until `purge`. Its domain stays local only if it was added by itself or something uses it: an
    /// account, an alias, another domain that stands for it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`].
    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()>;

    /// The accounts that were removed and are not purged, in the order in which they were added.
    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>>;

    /// Brings a removed account back, with the messages that it had when it was removed, their
    /// unique-ids and its credentials. Returns the number of messages.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAccount`] if it is not among those that were removed;
    /// [`StoreError::AccountExists`] where another has its address now; [`StoreError::DomainIsAlias`].
    fn restore_account(&self, account: AccountId) -> Pending<'_, usize>;

    /// Where an alias leads.
    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>>;

    /// All aliases, by name.
    fn aliases(&self) -> Pending<'_, Vec<Alias>>;

    /// Adds an alias, or replaces it. Where there is an account of its name, it forwards the account's
    /// mail ([`Account::forwards`]).
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`] when its domain is not local; [`StoreError::DomainIsAlias`].
    fn set_alias(&self, alias: Alias) -> Pending<'_, ()>;

    /// Removes an alias.
    ///
    /// # Errors
    /// [`StoreError::NoSuchAlias`].
    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()>;

    /// Whether mail for a domain, given in lower case, is ours to keep.
    fn is_local(&self, domain: &str) -> Pending<'_, bool>;

    /// All local domains, by name.
    fn domains(&self) -> Pending<'_, Vec<Domain>>;

    /// The domain that a domain, given in lower case, stands for; none if it stands for itself.
    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>>;

    /// All domains that stand for others, by name, and these.
    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>>;

    /// Makes a domain stand for a local one: each address of the one is that of the other.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`] when the other is not local; [`StoreError::DomainIsAlias`] when it
    /// stands for another itself; [`StoreError::DomainInUse`] while the first has accounts or aliases,
    /// or others stand for it.
    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain local. Doing so again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::DomainIsAlias`].
    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()>;

    /// Makes a domain foreign, one that stands for another too.
    ///
    /// # Errors
    /// [`StoreError::NoSuchDomain`]; [`StoreError::DomainInUse`] while it has accounts or aliases, or
    /// others stand for it.
    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()>;
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The account is there already.
    #[error("the account {0} exists already; `posta account password` changes its password")]
    AccountExists(Address),
    /// The address is an alias, which would not bring the account its mail.
    #[error(
        "{0} is an alias, and an account of that name would get no mail: remove the alias first \
         (`posta alias remove {0}`); `posta alias add {0} MEMBER` makes the account forward \
         afterwards"
    )]
    IsAlias(Address),
    /// There is no such account, or no longer.
    #[error("there is no such account; `posta account list` shows those there are")]
    NoSuchAccount,
    /// There is no such alias.
    #[error("there is no alias {0}; `posta alias list` shows all")]
    NoSuchAlias(AliasName),
    /// There is no such local domain.
    #[error("{0} is no local domain; `posta domain add {0}` makes it one")]
    NoSuchDomain(Domain),
    /// The domain has accounts or aliases.
    #[error(
        "{0} has accounts or aliases, or other domains stand for it; remove them first (`posta account \
         list`, `posta alias list`, `posta domain list`)"
    )]
    DomainInUse(Domain),
    /// The domain stands for another.
    #[error("{0} stands for {1}: use that, or end it with `posta domain remove {0}`")]
    DomainIsAlias(Domain, Domain),
    /// Another process has the store open.
    #[error("another process has the store in {0} open; stop it first")]
    InUse(PathBuf),
    /// The store was written by a newer program.
    #[error("the store has format {found}, this program knows {known}; use a newer posta")]
    TooNew {
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// The disk has no room for more mail. What is in the store can still be read and removed.
    #[error("the disk is full: free some room; what is kept can still be read and removed")]
    Full,
    /// A secret cannot be sealed, or one that is sealed cannot be opened: its key is missing. The cause and
    /// what helps, in words. Everything else works.
    #[error("{0}")]
    Sealed(String),
    /// A record cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The disk, or the engine below, failed.
    #[error("the store failed: {0}")]
    Failed(String),
}
