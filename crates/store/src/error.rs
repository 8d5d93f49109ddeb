//! What a store's method returns: a future of its answer, or of why there is none.

use crate::names::{AliasName, FOLDERS, FolderName};
use posta_mail::{Address, Domain};
use std::{future::Future, path::PathBuf, pin::Pin};

/// The future of a store's method.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

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
    /// There is no such folder.
    #[error("there is no such folder; `posta folder list` shows those of an account")]
    NoSuchFolder,
    /// A folder has the name, or the role, already.
    #[error("the folder {0} exists already, or has that role")]
    FolderExists(FolderName),
    /// The folder is there from the start, and stays.
    #[error("the folder {0} belongs to every account; it can be neither renamed nor removed")]
    FolderIsFixed(FolderName),
    /// The folder has messages or folders in it.
    #[error("the folder {0} is not empty: move or remove what is in it first")]
    FolderNotEmpty(FolderName),
    /// The account has as many folders as it may have.
    #[error("the account has {FOLDERS} folders, and may not have more")]
    TooManyFolders,
    /// A message would have more keywords than it may have.
    #[error("a message would have more keywords than it may have")]
    TooManyKeywords,
    /// There are as many snapshots as there may be.
    #[error("as many backups as there may be are under way; wait for one to end")]
    TooManyBackups,
    /// One process has the store for itself.
    #[error(
        "this store has one node: only a store on PostgreSQL is shared by several servers ([store] engine = \"postgres\")"
    )]
    OneNode,
    /// There is no such node.
    #[error("there is no node {0}; `posta cluster status` shows all")]
    NoSuchNode(String),
    /// Several nodes have the name.
    #[error("several nodes are called {0}: name one by its id, which `posta cluster status` shows")]
    AmbiguousNode(String),
    /// The node lives, and takes work.
    #[error("the node {0} lives: drain it first (`posta cluster drain {0}`), or stop its server")]
    NodeIsLive(String),
    /// Another process has the store open.
    #[error("another process has the store in {0} open; stop it first")]
    InUse(PathBuf),
    /// A copy into the store was begun and is not finished.
    #[error(
        "the store is not complete: a copy of {0} into it was broken off; the same `posta store copy` again finishes it"
    )]
    Incomplete(String),
    /// The store, which was to be made of another, has something in it.
    #[error(
        "there is something else in the store already, which a copy would mix with: copy into an empty database, or a data \
         directory without a store"
    )]
    Occupied,
    /// The store was written by a newer program.
    #[error(
        "the store has format {found}, since a newer posta has opened it, and this program knows formats up to {known}: \
         use the newer posta again, or go back with `posta restore` to a backup that was made before the upgrade"
    )]
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
    /// The object store for large messages cannot be used. The cause and what helps, in words. Small messages are
    /// stored and read all the same.
    #[error("{0}")]
    ObjectStore(String),
    /// A record cannot be read.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The disk, or the engine below, failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Returns a word that names the cause, for programs and for `posta explain`. It does not change in later versions.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AccountExists(_) => "account-exists",
            Self::IsAlias(_) => "is-alias",
            Self::NoSuchAccount => "no-such-account",
            Self::NoSuchAlias(_) => "no-such-alias",
            Self::NoSuchDomain(_) => "no-such-domain",
            Self::DomainInUse(_) => "domain-in-use",
            Self::DomainIsAlias(..) => "domain-is-alias",
            Self::NoSuchFolder => "no-such-folder",
            Self::FolderExists(_) => "folder-exists",
            Self::FolderIsFixed(_) => "folder-is-fixed",
            Self::FolderNotEmpty(_) => "folder-not-empty",
            Self::TooManyFolders => "too-many-folders",
            Self::TooManyKeywords => "too-many-keywords",
            Self::TooManyBackups => "too-many-backups",
            Self::OneNode => "one-node",
            Self::NoSuchNode(_) => "no-such-node",
            Self::AmbiguousNode(_) => "ambiguous-node",
            Self::NodeIsLive(_) => "node-is-live",
            Self::InUse(_) => "store-in-use",
            Self::Incomplete(_) => "store-incomplete",
            Self::Occupied => "store-exists",
            Self::TooNew { .. } => "store-too-new",
            Self::Full => "disk-full",
            Self::Sealed(_) => "sealed",
            Self::ObjectStore(_) => "object-store",
            Self::Damaged(_) => "store-damaged",
            Self::Failed(_) => "store-failed",
        }
    }
}
