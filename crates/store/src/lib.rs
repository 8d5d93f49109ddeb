//! Storage of mail: the [`Store`] trait, which is the sum of a small trait for each subject; the records; the
//! in-memory reference store; and the conformance suite for all stores.
//!
//! All stores obey these rules, and the module `conformance` checks them:
//!
//! 1. **Durable before done.** When the future of a changing method resolves to `Ok`, the change
//!    survives the loss of power. Changes that wait at the same moment may share one sync.
//! 2. **All or nothing.** Each method is one transaction; readers see it whole or not at all.
//! 3. **Content is immutable** and stored once, however many mailboxes refer to it. It is removed when the
//!    last entry that refers to it is purged.
//! 4. **Unique-ids and mod-sequences increase and are never reused**, even after restarts and restored
//!    backups: they are derived from the time, and pushed forward where two would be equal. UIDs increase
//!    within their folder, and are never reused either.
//! 5. **Removal is not loss.** A removed message leaves every view opened later, stays readable for
//!    the sessions that saw it, and can be restored until its purge time.
//! 6. **No method assumes one process.**

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

mod contents;
pub mod copies;
mod directory;
mod error;
mod folders;
mod history;
mod item;
mod mailboxes;
mod memory;
mod names;
mod queue;
mod records;
mod sources;
mod upkeep;
mod watch;

pub use contents::{CHUNK, Contents, HEAD, Layout};
pub use directory::{
    Account, AddressOwner, Alias, Credentials, Directory, RemovedAccount, Resolution,
    ResolvedAccount, SendAs, TagSeparators, TagSeparatorsError, keeps_copy, untagged,
};
pub use error::{Pending, StoreError};
pub use folders::{Folder, Folders};
pub use history::{
    CheckResult, CountedClient, CountedRefusals, Event, Fate, FilterResult, History, InMailbox,
    Origin, Refusal, What,
};
pub use item::lease::{Lease, Leases, Token};
pub use item::{Destination, Envelope, Item, ItemId, ItemIdError, ItemState, Waiting};
pub use mailboxes::{
    Acceptance, Block, Changes, Collected, Delivery, Entry, FlagChange, Flags, FlagsChanged,
    KEYWORD, KEYWORDS, Keyword, KeywordError, Mailboxes, Maildrop, Summary, UniqueId, Usage,
};
pub use memory::MemoryStore;
pub use names::{
    AccountId, AliasName, FOLDER_NAME, FOLDERS, FolderId, FolderName, FolderNameError, KeyId,
    ModSeq, Role, RoleError, SourceId, Uid,
};
pub use queue::{Claimed, Queue, Settled, Settlement};
pub use records::{
    APP_PASSWORDS, CERTIFICATE_WISHES, CERTIFICATES, DOMAIN_KEYS, MessageRecord, NAME, Records,
    SecretOf, check_name, is_of_directory,
};
pub use sources::{ClaimedSource, Keep, Login, LoginTls, Source, Sources, Visit};
pub use upkeep::figures::{
    Counter, Histogram, HistogramFigures, MICROSECONDS, ObjectFigures, REQUESTS, StoreFigures,
};
pub use upkeep::nodes::{CLOCK_TOLERANCE, DEAD, NodeStanding, NodeState, Nodes, Vital, Vitals};
pub use upkeep::{
    Backups, PIECES, PieceKey, Restores, Rows, SNAPSHOT_IDLE, Snapshot, SnapshotId, Upkeep,
};
pub use watch::tally::{Change, Count, Shared, Tallies, Tally};
pub use watch::{Followed, HistoryFollower, Subject, Watch, Watcher, Watchers};

/// A whole store: the sum of the traits, each of which has one subject. Each method is one transaction.
/// Code that holds a `dyn Store` can call all of them; code that needs only some subjects should ask for
/// those.
pub trait Store:
    Contents
    + Mailboxes
    + Folders
    + Queue
    + History
    + Directory
    + Sources
    + Records
    + Upkeep
    + Watch
    + Nodes
    + Shared
{
}

impl<S> Store for S where
    S: Contents
        + Mailboxes
        + Folders
        + Queue
        + History
        + Directory
        + Sources
        + Records
        + Upkeep
        + Watch
        + Nodes
        + Shared
{
}
