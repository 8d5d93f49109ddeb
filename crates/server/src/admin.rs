//! Every request of the operator, with its answer: the same whether it comes over the control socket
//! ([`control`]) or from a command that opened the store itself.

mod account;
mod alias;
pub mod control;
mod domain;
mod mailbox;
mod queue;
mod source;
mod trace;
mod unknown;

pub use account::{AccountLine, RemovedLine};
pub use alias::{AliasError, AliasLine, AliasState};
pub use domain::DomainLine;
pub use mailbox::{FolderLine, FolderRequest, MailLine, MailRequest};
pub use source::SourceLine;

pub use queue::{DestinationLine, QueueAction, QueueLine, QueueRecipient, Selection};
pub use trace::TRACED;

use crate::{
    collect::{
        CollectError, Collectors, Purpose, StoreDestination,
        import::{self, Folders, Import, Imported},
    },
    deliver::wake::Wake,
    login::{
        Authenticator, PasswordError,
        hashers::Hashers,
        lockout::{Guard, Lockout},
    },
};
use account::SEND_AS;
use posta_mail::{Address, Domain, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Account, Event, ItemId, Keep, Login, SourceId, Store, StoreError, Visit};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::Mutex;

/// A request, as JSON: `{"do": "account-add", "address": …, "password": …}`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Adds an account.
    AccountAdd {
        /// Its address.
        address: String,
        /// Its password.
        password: String,
        /// Whether it is kept for APOP too, so that whoever has the store and its key file can read it.
        #[serde(default)]
        apop: bool,
    },
    /// Lists the accounts.
    AccountList,
    /// Lists the accounts that were removed and can be brought back.
    AccountListRemoved,
    /// Removes an account.
    AccountRemove {
        /// Its address.
        address: String,
    },
    /// Changes a password.
    AccountPassword {
        /// The account's address.
        address: String,
        /// The new password.
        password: String,
        /// Whether it is kept for APOP too.
        #[serde(default)]
        apop: bool,
    },
    /// Gives an account another address.
    AccountRename {
        /// Its address.
        address: String,
        /// The new one.
        new: String,
        /// Whether the old one becomes an alias for it.
        #[serde(default)]
        alias: bool,
    },
    /// Says whether nobody may log in to an account.
    AccountDisable {
        /// Its address.
        address: String,
        /// Whether.
        disabled: bool,
    },
    /// Brings an account back that was removed, or the messages of one that is there.
    AccountUndelete {
        /// The account's address.
        address: String,
        /// Those that were removed at this time or later; without it all.
        since: Option<Timestamp>,
    },
    /// Takes a Maildir over into an account's mailbox.
    AccountImport {
        /// The account's address.
        address: String,
        /// The Maildir, as the server sees it.
        maildir: PathBuf,
        /// The list of unique-ids, where it is not in the Maildir.
        unique_ids: Option<PathBuf>,
        /// The folders that are taken.
        folders: Folders,
    },
    /// Has mail collected for an account from a mailbox elsewhere, again and again. Where that is collected
    /// already, the password and the rest are replaced.
    SourceAdd {
        /// The account's address.
        address: String,
        /// Where it is collected.
        login: Login,
        /// The password there.
        password: String,
        /// What stays there.
        keep: Keep,
        /// Seconds from one visit to the next.
        every: u64,
        /// Whether to log in there first.
        check: bool,
    },
    /// Lists the sources.
    SourceList,
    /// Removes a source. What was collected stays.
    SourceRemove {
        /// Which.
        id: SourceId,
    },
    /// Visits a source now.
    SourceRun {
        /// Which.
        id: SourceId,
    },
    /// Collects once, with the unique-ids: the mailbox moves here.
    TakeOver {
        /// The account's address.
        address: String,
        /// Where it is collected.
        login: Login,
        /// The password there.
        password: String,
        /// What stays there.
        keep: Keep,
    },
    /// Limits what an account's mailbox may hold.
    AccountQuota {
        /// The account's address.
        address: String,
        /// Octets; none for no limit.
        quota: Option<u64>,
    },
    /// Allows an account to send as others.
    AccountAllow {
        /// The account's address.
        address: String,
        /// An address, `@domain`, or `any`.
        from: String,
    },
    /// Takes that back.
    AccountDisallow {
        /// The account's address.
        address: String,
        /// What was allowed.
        from: String,
    },
    /// Adds members to an alias, or makes it; an account keeps a copy then.
    AliasAdd {
        /// An address, or `@domain` for all addresses of a domain that mean nothing else.
        name: String,
        /// Where its mail goes, too.
        targets: Vec<String>,
    },
    /// Makes an alias, or replaces it.
    AliasSet {
        /// An address, or `@domain`.
        name: String,
        /// Where its mail goes.
        targets: Vec<String>,
    },
    /// Lists the aliases.
    AliasList,
    /// Removes an alias, or some of its members.
    AliasRemove {
        /// Its name.
        name: String,
        /// The members; none for the whole alias.
        #[serde(default)]
        targets: Vec<String>,
    },
    /// Makes a domain local.
    DomainAdd {
        /// Its name.
        domain: String,
        /// Who reads what is sent to its postmaster and abuse, if that is to change.
        #[serde(default)]
        postmaster: Option<String>,
    },
    /// Makes a domain stand for another: each address of the one is that of the other.
    DomainAlias {
        /// Its name.
        alias: String,
        /// The domain that it stands for.
        domain: String,
    },
    /// Lists the local domains.
    DomainList,
    /// Lists who is locked out for failed logins.
    LockoutList,
    /// Lets them try again.
    LockoutLift {
        /// A client's address or network, or a name.
        who: String,
    },
    /// Does something with the mail in a folder of an account.
    Mail {
        /// The account's address.
        address: String,
        /// The folder's name; the inbox without it.
        #[serde(default)]
        folder: Option<String>,
        /// What is done.
        request: MailRequest,
    },
    /// Does something with the folders of an account.
    Folder {
        /// The account's address.
        address: String,
        /// What is done.
        request: FolderRequest,
    },
    /// Makes a domain foreign.
    DomainRemove {
        /// Its name.
        domain: String,
    },
    /// Lists items of the queue.
    QueueList {
        /// Which.
        selection: Selection,
        /// Only those behind this one: a long list comes in pages.
        #[serde(default)]
        after: Option<ItemId>,
    },
    /// Counts items of the queue by their destinations.
    QueueSummary {
        /// Which.
        selection: Selection,
    },
    /// Changes items of the queue.
    QueueChange {
        /// Which.
        selection: Selection,
        /// What is done with them.
        action: QueueAction,
    },
    /// Tells what happened to messages: the newest [`TRACED`] of them, oldest first.
    Trace {
        /// A message's id, its Message-ID, an address that sent it or was to receive it, or the IP
        /// address of a client.
        named: String,
        /// Only of messages that came within so many seconds.
        #[serde(default)]
        within: Option<u64>,
    },
}

/// The answer to a [`Request`] that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// It is done.
    Done,
    /// The accounts, by address.
    Accounts(Vec<AccountLine>),
    /// What an alias is after a change.
    Alias(AliasState),
    /// The accounts that were removed, by address.
    RemovedAccounts(Vec<RemovedLine>),
    /// An account was removed.
    AccountRemoved {
        /// Until when it can be brought back.
        until: Timestamp,
        /// The aliases that still lead to it.
        leading: Vec<String>,
        /// The domains whose postmaster it was by the operator's word.
        #[serde(default)]
        postmaster_of: Vec<String>,
    },
    /// A removed account was brought back.
    AccountRestored {
        /// With so many messages.
        messages: usize,
        /// Where its mail goes; nowhere if to its mailbox.
        members: Vec<String>,
    },
    /// An account was renamed.
    AccountRenamed {
        /// The aliases that led to it, and lead to its new address now.
        aliases: Vec<String>,
    },
    /// The aliases, by name.
    Aliases(Vec<AliasLine>),
    /// The local domains, by name.
    Domains(Vec<DomainLine>),
    /// A domain was removed.
    DomainRemoved {
        /// The aliases that still lead there, and the member of each that does.
        leading: Vec<(String, String)>,
    },
    /// Who is locked out.
    Lockouts(Vec<Lockout>),
    /// Items of the queue.
    Queue {
        /// A page of them.
        lines: Vec<QueueLine>,
        /// Where the next page goes on; none if this is the last.
        next: Option<ItemId>,
    },
    /// Messages of a folder, by UID.
    Mail {
        /// A page of them.
        lines: Vec<MailLine>,
        /// The last UID of the page; none if there are no more messages.
        next: Option<u32>,
    },
    /// A piece of a message.
    Piece {
        /// Its octets, in base64.
        octets: String,
        /// Where the next piece begins; none if this is the last.
        next: Option<u64>,
    },
    /// The folders of an account.
    Folders(Vec<FolderLine>),
    /// How much of the queue goes where.
    QueueSummary(Vec<DestinationLine>),
    /// So many were changed.
    Count(usize),
    /// What moving a mailbox came to.
    TakenOver {
        /// Messages that came.
        messages: u64,
        /// The first messages that stay there though they were wanted, and why.
        left: Vec<String>,
    },
    /// A Maildir was taken over.
    Imported(Imported),
    /// Sources, by id.
    Sources(Vec<SourceLine>),
    /// A source was added, or changed if it was there.
    Source(SourceId),
    /// How a visit ended; none if somebody else visits it right now.
    Visit(Option<Visit>),
    /// What happened, in the order of the messages and then of time.
    Events(Vec<Event>),
}

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It names no valid address or domain.
    #[error("{}", unknown::not_valid(.0, .1))]
    Name(String, posta_mail::AddressError),
    /// It names no domain.
    #[error("{0:?} is no domain, such as example.org")]
    Domain(String),
    /// It names nobody that an account could send as.
    #[error(
        "{0:?} is not an address to send as: name an address, @example.org for a whole domain, or any"
    )]
    SendAs(String),
    /// There is no such account; what may be meant.
    #[error("there is no account {0}: {1}")]
    UnknownAccount(String, String),
    /// There is no such domain; what may be meant.
    #[error("{0} is no local domain: {1}")]
    UnknownDomain(String, String),
    /// An account has that already, and as much as it may have.
    #[error("{0} may send as {SEND_AS} others at most; allow it a domain, @example.test, or any")]
    TooManyAllowed(Address),
    /// It is not allowed as it is.
    #[error("{0} is not allowed {1}; `posta account list` tells what it may send as")]
    NotAllowed(Address, String),
    /// An alias is not changed.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such account, and was none.
    #[error(
        "there is no account {0}, and none of that address was removed within a week; `posta account \
         list` shows those there are"
    )]
    NothingToUndelete(Address),
    /// The account that was removed has a successor.
    #[error(
        "an account {0} that was removed at {1:.0} can be brought back once the address is free: \
         `posta account rename {0} OTHER`, then `posta account undelete {0}`"
    )]
    Succeeded(Address, Timestamp),
    /// Something about mail or folders cannot be done as it was asked, in words.
    #[error("{0}")]
    Mail(String),
    /// There is no such lock-out.
    #[error("{0} is not locked out; `posta lockout list` names who is")]
    NoLockout(String),
    /// There is no such source.
    #[error("there is no source {0}; `posta collect list` names them")]
    NoSuchSource(SourceId),
    /// A Maildir cannot be taken over.
    #[error("the Maildir is not taken over, or not wholly: {0}")]
    Import(#[from] io::Error),
    /// A source's server could not be logged in to.
    #[error("nothing is collected from there: {0} (--no-check adds it all the same)")]
    Unchecked(CollectError),
    /// A visit broke off.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// Carries out the operator's requests.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    collectors: Arc<Collectors>,
    wake: Arc<Wake>,
    /// Held while the directory is changed: a change first checks what is there.
    changing: Arc<Mutex<()>>,
    /// Of the server that runs, if one does.
    guard: Option<Arc<Guard>>,
    hashers: Arc<Hashers>,
}

impl Admin {
    /// Works on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, collectors: Arc<Collectors>) -> Self {
        let (wake, changing) = (Arc::default(), Arc::default());
        let hashers = Arc::new(Hashers::new(1));
        Self { store, clock, collectors, wake, changing, guard: None, hashers }
    }

    /// The same, of a server whose lock-outs can be listed and lifted, and whose threads hash passwords.
    #[must_use]
    pub fn with_authenticator(self, authenticator: &Authenticator) -> Self {
        let guard = Some(authenticator.guard().clone());
        Self { guard, hashers: authenticator.hashers().clone(), ..self }
    }

    /// The same, and the relay is woken when the queue changes.
    #[must_use]
    pub fn waking(self, wake: Arc<Wake>) -> Self {
        Self { wake, ..self }
    }

    async fn carry_out(&self, request: Request) -> Result<Response, AdminError> {
        match request {
            Request::AccountAdd { address, password, apop } => {
                self.add_account(address, password, apop).await?;
            }
            Request::AccountPassword { address, password, apop } => {
                self.change_password(address, password, apop).await?;
            }
            Request::AccountRemove { address } => return self.remove_account(address).await,
            Request::AccountRename { address, new, alias } => {
                return self.rename_account(address, new, alias).await;
            }
            Request::AccountDisable { address, disabled } => {
                self.store.set_disabled(&parse_address(address)?, disabled).await?;
            }
            Request::AccountUndelete { address, since } => {
                return self.undelete(address, since).await;
            }
            Request::AccountImport { address, maildir, unique_ids, folders } => {
                return self.import(address, (&maildir, unique_ids.as_deref()), folders).await;
            }
            Request::SourceAdd { address, login, password, keep, every, check } => {
                return self.add_source(address, (login, password), (keep, every), check).await;
            }
            Request::SourceList => return self.sources().await,
            Request::SourceRemove { id } => {
                if !self.store.remove_source(id).await? {
                    return Err(AdminError::NoSuchSource(id));
                }
            }
            Request::SourceRun { id } => return self.run_source(id).await,
            Request::TakeOver { address, login, password, keep } => {
                return self.take_over(address, (&login, &password), keep).await;
            }
            Request::AccountQuota { address, quota } => {
                self.store.set_quota(&parse_address(address)?, quota).await?;
            }
            Request::AccountAllow { address, from } => self.allow(address, from).await?,
            Request::AccountDisallow { address, from } => self.disallow(address, &from).await?,
            Request::AccountList => return self.accounts().await,
            Request::AccountListRemoved => return self.removed_accounts().await,
            Request::AliasAdd { name, targets } => return self.add_alias(name, targets).await,
            Request::AliasSet { name, targets } => return self.set_alias(name, targets).await,
            Request::AliasRemove { name, targets } => {
                return self.remove_alias(name, targets).await;
            }
            Request::AliasList => return self.aliases().await,
            Request::DomainAdd { domain, postmaster } => {
                return self.add_domain(domain, postmaster).await;
            }
            Request::DomainAlias { alias, domain } => {
                return self.set_domain_alias(alias, domain).await;
            }
            Request::DomainRemove { domain } => return self.remove_domain(domain).await,
            Request::QueueList { selection, after } => return self.queue(&selection, after).await,
            Request::QueueSummary { selection } => return self.summarise(&selection).await,
            Request::QueueChange { selection, action } => {
                return self.change_queue(&selection, action).await;
            }
            Request::Trace { named, within } => return self.trace(&named, within).await,
            Request::Mail { address, folder, request } => {
                return self.mail(address, folder, request).await;
            }
            Request::Folder { address, request } => return self.folders(address, request).await,
            Request::DomainList => return self.domains().await,
            Request::LockoutList => return Ok(Response::Lockouts(self.lockouts())),
            Request::LockoutLift { who } => self.lift(who)?,
        }
        Ok(Response::Done)
    }

    /// Lock-outs end with the process: there are none while no server runs.
    fn lockouts(&self) -> Vec<Lockout> {
        self.guard.as_ref().map(|guard| guard.lockouts()).unwrap_or_default()
    }

    fn lift(&self, who: String) -> Result<(), AdminError> {
        let is_lifted = self.guard.as_ref().is_some_and(|guard| guard.lift(&who));
        if is_lifted { Ok(()) } else { Err(AdminError::NoLockout(who)) }
    }

    /// The account of an address.
    async fn account(&self, address: String) -> Result<Account, AdminError> {
        let account = self.store.account(&parse_address(address)?).await?;
        Ok(account.ok_or(StoreError::NoSuchAccount)?)
    }

    async fn import(
        &self,
        address: String,
        (maildir, unique_ids): (&Path, Option<&Path>),
        folders: Folders,
    ) -> Result<Response, AdminError> {
        let import = Import { maildir, unique_ids, folders };
        let account = self.account(address).await?;
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let from = maildir.display().to_string();
        let destination = StoreDestination::new(store, clock, account, from, Purpose::Move);
        let mut destination = destination.of_files();
        Ok(Response::Imported(import::maildir(import, &mut destination).await?))
    }
}

fn parse_address(text: String) -> Result<Address, AdminError> {
    text.parse().map_err(|error| AdminError::Name(text, error))
}

fn parse_domain(text: String) -> Result<Domain, AdminError> {
    text.parse().map_err(|_| AdminError::Domain(text))
}
