//! The operator's requests and their responses. A request is carried out in the same way whether it comes over the
//! control socket ([`control`]) or from a command that has opened the store itself.

mod account;
mod alias;
pub mod checkup;
pub mod control;
mod domain;
mod keys;
mod mailbox;
mod quarantine;
mod queue;
mod reports;
mod request;
mod sender;
mod source;
mod trace;
mod unknown;

pub use account::{AccountLine, JunkOverPop3, RemovedLine};
pub use alias::{AliasError, AliasLine, AliasState};
pub use domain::DomainLine;
pub use keys::{DomainKeyLine, KeyRequest};
pub use mailbox::{FolderLine, FolderRequest, MailLine, MailRequest};
pub use quarantine::{QuarantineLine, QuarantineRequest};
pub use queue::{DestinationLine, QueueAction, QueueLine, QueueRecipient, Selection};
pub use reports::{ReportSubject, ReportsQuery};
pub use request::Request;
pub use sender::{SenderRequest, SenderScope};
pub use source::{OwnMaildrops, SourceLine};
pub use trace::TRACED;

use crate::{
    collect::{
        CollectError, Collectors, Purpose, StoreDestination,
        import::{self, Folders, Import, Imported},
    },
    directory::senders::SenderEntry,
    login::{
        Authenticator, PasswordError,
        hashers::Hashers,
        lockout::{Lockout, Lockouts},
    },
    reports::received::statistics::{DmarcStatistics, TlsStatistics},
    sign::{
        key_ring::KeyRingError,
        keys::{KeyRetired, MARGIN},
    },
};
use account::SEND_AS;
use posta_mail::{Address, Domain, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Account, Event, ItemId, SourceId, Store, StoreError, Visit};
use serde::{Deserialize, Serialize};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// The response to a [`Request`] that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The request was carried out.
    Done,
    /// The accounts, by address.
    Accounts(Vec<AccountLine>),
    /// An alias after a change.
    Alias(AliasState),
    /// The removed accounts, by address.
    RemovedAccounts(Vec<RemovedLine>),
    /// An account was removed.
    AccountRemoved {
        /// The time until which it can be brought back.
        until: Timestamp,
        /// The aliases that still lead to it.
        leading: Vec<String>,
        /// The domains whose postmaster the operator had made it.
        #[serde(default)]
        postmaster_of: Vec<String>,
    },
    /// A removed account was brought back.
    AccountRestored {
        /// The number of its messages.
        messages: usize,
        /// The members that its mail is forwarded to; empty if it goes to the mailbox.
        members: Vec<String>,
    },
    /// An account was renamed.
    AccountRenamed {
        /// The aliases that led to the old address and now lead to the new one.
        aliases: Vec<String>,
    },
    /// The aliases, by name.
    Aliases(Vec<AliasLine>),
    /// The local domains, by name.
    Domains(Vec<DomainLine>),
    /// The keys that sign a domain's mail, in the order in which they were made.
    DomainKeys(Vec<DomainKeyLine>),
    /// A key of a domain was retired.
    KeyRetired(KeyRetired),
    /// A domain was removed.
    DomainRemoved {
        /// The aliases that still lead to the domain, with the member of each.
        leading: Vec<(String, String)>,
    },
    /// The lock-outs.
    Lockouts(Vec<Lockout>),
    /// A page of the queue.
    Queue {
        /// The entries of the page.
        lines: Vec<QueueLine>,
        /// Where the next page begins; `None` if this is the last.
        next: Option<ItemId>,
    },
    /// A page of a folder's messages, by UID.
    Mail {
        /// The entries of the page.
        lines: Vec<MailLine>,
        /// The last UID of the page; `None` if there are no more messages.
        next: Option<u32>,
    },
    /// A piece of a message.
    Piece {
        /// The octets, in base64.
        octets: String,
        /// The offset of the next piece; `None` if this is the last.
        next: Option<u64>,
    },
    /// A page of the messages in quarantine.
    Quarantine {
        /// The entries of the page.
        lines: Vec<QuarantineLine>,
        /// Where the next page begins; `None` if this is the last.
        next: Option<ItemId>,
    },
    /// What DMARC reports say.
    DmarcReports(DmarcStatistics),
    /// What TLS reports say.
    TlsReports(TlsStatistics),
    /// A list of senders.
    Senders(Vec<SenderEntry>),
    /// The folders of an account.
    Folders(Vec<FolderLine>),
    /// The number of items for each destination.
    QueueSummary(Vec<DestinationLine>),
    /// The number of items or messages that were changed.
    Count(usize),
    /// The result of collecting a mailbox once.
    TakenOver {
        /// The number of messages collected.
        messages: u64,
        /// The first messages that could not be collected, and why.
        left: Vec<String>,
    },
    /// The result of importing a Maildir.
    Imported(Imported),
    /// Sources, by id.
    Sources(Vec<SourceLine>),
    /// A source that was added or changed.
    Source(SourceId),
    /// The result of a visit; `None` if another visit is under way.
    Visit(Option<Visit>),
    /// Events, ordered by message and then by time.
    Events(Vec<Event>),
}

/// The error of a request that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address or a domain is invalid.
    #[error("{}", unknown::not_valid(.0, .1))]
    Name(String, posta_mail::AddressError),
    /// A domain is invalid.
    #[error("{0:?} is no domain, such as example.org")]
    Domain(String),
    /// A permission names neither an address nor a domain nor `any`.
    #[error(
        "{0:?} is not an address to send as: name an address, @example.org for a whole domain, or any"
    )]
    SendAs(String),
    /// The account does not exist; with suggestions.
    #[error("there is no account {0}: {1}")]
    UnknownAccount(String, String),
    /// The domain does not exist; with suggestions.
    #[error("{0} is no local domain: {1}")]
    UnknownDomain(String, String),
    /// The domain has no such key.
    #[error("{0} has no key {1}; `posta domain keys list {0}` names those it has")]
    NoSuchKey(String, String),
    /// The domain has keys that are still waiting to be published.
    #[error(
        "{0} has new keys already, which wait until DNS has their records: `posta domain keys list {0}` shows \
         what to publish, `posta domain keys retire {0} SELECTOR` gives one up"
    )]
    KeysWait(String),
    /// A domain was added, but no keys could be made.
    #[error("{0} is a local domain now, but its mail is not signed: {1}")]
    NoKeys(Domain, KeyRingError),
    /// Keys cannot be made.
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    /// The account already has as many permissions as it may have.
    #[error("{0} may send as {SEND_AS} others at most; allow it a domain, @example.test, or any")]
    TooManyAllowed(Address),
    /// The account does not have the permission.
    #[error("{0} is not allowed {1}; `posta account list` tells what it may send as")]
    NotAllowed(Address, String),
    /// The alias cannot be changed.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such account exists or can be brought back.
    #[error(
        "there is no account {0}, and none of that address was removed within a week; `posta account \
         list` shows those there are"
    )]
    NothingToUndelete(Address),
    /// Another account has the address of the removed one.
    #[error(
        "an account {0} that was removed at {1:.0} can be brought back once the address is free: \
         `posta account rename {0} OTHER`, then `posta account undelete {0}`"
    )]
    Succeeded(Address, Timestamp),
    /// A request about mail or folders cannot be carried out; the text says why.
    #[error("{0}")]
    Mail(String),
    /// A list of senders cannot be changed; the text says why.
    #[error("{0}")]
    Senders(String),
    /// The lock-out does not exist.
    #[error("{0} is not locked out; `posta lockout list` names who is")]
    NoLockout(String),
    /// The source does not exist.
    #[error("there is no source {0}; `posta collect list` names them")]
    NoSuchSource(SourceId),
    /// An account would collect from itself.
    #[error("that login leads to the mailbox of {0} here: name a mailbox on another server")]
    OwnMailbox(posta_mail::Address),
    /// The Maildir cannot be imported.
    #[error("the Maildir is not taken over, or not wholly: {0}")]
    Import(#[from] io::Error),
    /// The login at a source's server failed.
    #[error("nothing is collected from there: {0} (--no-check adds it all the same)")]
    Unchecked(CollectError),
    /// A visit failed.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// The longest time that a message waits in the queue by default.
const USUAL_QUEUE_LIFETIME: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// Carries out the operator's requests.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    collectors: Arc<Collectors>,
    /// Held while the directory is changed, since a change first checks what exists.
    changing: Arc<Mutex<()>>,
    /// The lock-outs of the running server, if there is one.
    lockouts: Option<Arc<Lockouts>>,
    hashers: Arc<Hashers>,
    /// How long the record of a key stays in DNS after the key has stopped signing.
    key_overlap: Duration,
    /// The names and sockets under which the running server hands mail out.
    own_maildrops: OwnMaildrops,
}

impl Admin {
    /// Returns an operator that works on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, collectors: Arc<Collectors>) -> Self {
        let changing = Arc::default();
        let hashers = Arc::new(Hashers::new(1));
        let key_overlap = USUAL_QUEUE_LIFETIME + MARGIN;
        let own_maildrops = OwnMaildrops::default();
        Self {
            store,
            clock,
            collectors,
            changing,
            lockouts: None,
            hashers,
            key_overlap,
            own_maildrops,
        }
    }

    /// Sets where the running server hands mail out, so that no account collects from itself.
    #[must_use]
    pub fn with_own_maildrops(self, own_maildrops: OwnMaildrops) -> Self {
        Self { own_maildrops, ..self }
    }

    /// Sets the longest time that a message waits in the queue. The record of a key that no longer signs has to stay in
    /// DNS for that time and a margin.
    #[must_use]
    pub fn with_queue_lifetime(self, lifetime: Duration) -> Self {
        Self { key_overlap: lifetime + MARGIN, ..self }
    }

    /// Adds a server's authenticator: its lock-outs can be listed and lifted, and its threads hash passwords.
    #[must_use]
    pub fn with_authenticator(self, authenticator: &Authenticator) -> Self {
        let lockouts = Some(authenticator.lockouts().clone());
        Self { lockouts, hashers: authenticator.hashers().clone(), ..self }
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
            Request::AccountDisable { address, disabled } => self.close(address, disabled).await?,
            Request::AccountJunk { address, junk } => self.set_junk(address, junk).await?,
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
            Request::SourceRemove { id } => self.remove_source(id).await?,
            Request::SourceRun { id } => return self.run_source(id).await,
            Request::TakeOver { address, login, password, keep } => {
                return self.take_over(address, (&login, &password), keep).await;
            }
            Request::AccountQuota { address, quota } => self.set_quota(address, quota).await?,
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
            Request::DomainKeys { domain, request } => {
                return self.domain_keys(domain, request).await;
            }
            Request::QueueList { selection, after } => return self.queue(&selection, after).await,
            Request::QueueSummary { selection } => return self.summarise(&selection).await,
            Request::QueueChange { selection, action } => {
                return self.change_queue(&selection, action).await;
            }
            Request::Quarantine { request } => return self.quarantine(request).await,
            Request::Reports(query) => return self.reports(query).await,
            Request::Trace { named, within } => return self.trace(&named, within).await,
            Request::Mail { address, folder, request } => {
                return self.mail(address, folder, request).await;
            }
            Request::Senders { scope, request } => return self.senders(scope, request).await,
            Request::Folder { address, request } => return self.folders(address, request).await,
            Request::DomainList => return self.domains().await,
            Request::LockoutList => return Ok(Response::Lockouts(self.lockouts())),
            Request::LockoutLift { who } => self.lift(who)?,
        }
        Ok(Response::Done)
    }

    async fn set_junk(&self, address: String, junk: JunkOverPop3) -> Result<(), AdminError> {
        let address = self.account(address).await?.address;
        self.store.set_marks_junk(&address, junk == JunkOverPop3::Mark).await?;
        Ok(())
    }

    /// Returns the lock-outs. They end with the server's process, so there are none while no server runs.
    fn lockouts(&self) -> Vec<Lockout> {
        self.lockouts.as_ref().map(|lockouts| lockouts.active()).unwrap_or_default()
    }

    fn lift(&self, who: String) -> Result<(), AdminError> {
        let is_lifted = self.lockouts.as_ref().is_some_and(|lockouts| lockouts.lift(&who));
        if is_lifted { Ok(()) } else { Err(AdminError::NoLockout(who)) }
    }

    /// Disables or enables logins to an account.
    async fn close(&self, address: String, disabled: bool) -> Result<(), AdminError> {
        Ok(self.store.set_disabled(&parse_address(address)?, disabled).await?)
    }

    async fn set_quota(&self, address: String, quota: Option<u64>) -> Result<(), AdminError> {
        Ok(self.store.set_quota(&parse_address(address)?, quota).await?)
    }

    /// Returns the account of an address.
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
