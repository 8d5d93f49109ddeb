//! The operator's requests and their responses. A request is carried out in the same way whether it comes over the
//! control socket ([`control`]) or from a command that has opened the store itself.

mod account;
mod alias;
mod backup;
pub mod checkup;
mod domain;
pub mod http;
pub mod looking;
mod mailbox;
mod program;
mod queue;
mod reports;
mod request;
mod sender;
mod source;
mod token;
mod unknown;

pub use account::{
    AccountLine, JunkOverPop3, RemovedLine,
    app_password::{AppPasswordRequest, AppPasswords},
    arrangement::{ArrangementState, AwayRequest, ForwardRequest},
    personal::PersonalRequest,
};
pub use alias::{AliasError, AliasLine, AliasState};
pub use backup::{
    BackupRequest, BackupResponse, LAST_BACKUP, LastBackup, RestoreRequest, RestoredAccount,
    RestoredMessage,
};
pub use domain::{
    CertificateRequest, DomainLine,
    keys::{DomainKeyLine, KeyRequest},
};
pub use http::control;
pub use looking::cluster::{ClusterRequest, NodeLine};
pub use looking::{LookRequest, Looked, TRACED};
pub use mailbox::{
    FolderLine, FolderRequest, MailLine, MailRequest, Octets, Taken, TransferContent,
    TransferFormat, TransferLine, TransferMessage, TransferRequest, TransferResponse,
    TransferSource,
};
pub use program::{
    ChangedOption, CheckQuery, Checking, ConfigChecked, ConfigRequest, Examining, LocalDomain,
    MessageQuery, OptionLine, OptionOrigin, Program, Reloaded, Reloading,
};
pub use queue::{
    DestinationLine, QueueAction, QueueLine, QueueRecipient, Selection,
    quarantine::{QuarantineLine, QuarantineRequest},
};
pub use reports::{ReportSubject, ReportsQuery, name_sources};
pub use request::{Act, Needs, Request, Scope};
pub use sender::{SenderRequest, SenderScope};
pub use source::{OwnMaildrops, SourceLine};
pub use token::{TokenLine, TokenRequest};

use crate::{
    collect::{CollectError, Collectors, imports::Imports},
    directory::senders::SenderEntry,
    login::{
        AppPasswordError, Authenticator, PasswordError,
        api_tokens::ApiTokenError,
        foreign::ForeignPasswordError,
        hashers::Hashers,
        lockout::{Lockout, Lockouts},
    },
    reports::received::statistics::{DmarcStatistics, TlsStatistics},
    sign::{
        certificates::{
            IssuedLine,
            keeper::{CertificateKeeper, RenewalError},
        },
        key_ring::KeyRingError,
        keys::{KeyRetired, MARGIN},
    },
};
use account::SEND_AS;
use checkup::{finding::DomainChecked, message::Examination, publish::record::RecordLine};
use looking::{RunningServer, survey::Surveys};
use posta_mail::{Address, Domain, Timestamp};
use posta_net::clock::Clock;
use posta_store::{Account, Event, ItemId, SourceId, Store, StoreError, Visit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// The response to a [`Request`] that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The request was carried out.
    Done,
    /// A page of the accounts, by address.
    Accounts {
        /// The accounts of the page.
        lines: Vec<AccountLine>,
        /// The last address of the page; `None` if there are no more accounts.
        next: Option<String>,
    },
    /// An alias after a change.
    Alias(AliasState),
    /// The removed accounts, by address.
    RemovedAccounts(Vec<RemovedLine>),
    /// An account was removed.
    AccountRemoved {
        /// The time until which it can be brought back.
        #[schemars(with = "String", extend("format" = "date-time"))]
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
        /// The accounts that may send from the new address, as they might from the old one.
        #[serde(default)]
        allowed: Vec<String>,
    },
    /// A page of the aliases, by name.
    Aliases {
        /// The aliases of the page.
        lines: Vec<AliasLine>,
        /// The last name of the page; `None` if there are no more aliases.
        next: Option<String>,
    },
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
    /// The certificates that an authority issues, by name.
    Certificates(Vec<IssuedLine>),
    /// The lock-outs.
    Lockouts(Vec<Lockout>),
    /// The nodes of the cluster, by name.
    Nodes(Vec<NodeLine>),
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
    /// What a request about app passwords did.
    AppPasswords(AppPasswords),
    /// Where the mail of an address goes, and what its senders are told.
    Arrangement(ArrangementState),
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
    /// A step of moving a mailbox in or out.
    Transfer(TransferResponse),
    /// Sources, by id.
    Sources(Vec<SourceLine>),
    /// A source that was added or changed.
    Source(SourceId),
    /// The result of a visit; `None` if another visit is under way.
    Visit(Option<Visit>),
    /// A token was added.
    TokenAdded {
        /// Its secret, which is never shown again.
        token: String,
    },
    /// The tokens, by name.
    Tokens(Vec<TokenLine>),
    /// The options of the configuration.
    Options(Vec<OptionLine>),
    /// The configuration is right.
    ConfigChecked(ConfigChecked),
    /// The changed configuration was taken.
    Reloaded(Reloaded),
    /// The DNS records to publish for a domain.
    Records(Vec<RecordLine>),
    /// A domain was checked.
    Checked(DomainChecked),
    /// The origin of a message was checked.
    MessageChecked(Box<Examination>),
    /// Events, ordered by message and then by time.
    Events(Vec<Event>),
    /// What the operator sees of the server.
    Looked(Looked),
    /// A part of a backup.
    Backup(BackupResponse),
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
    /// No running server obtains certificates.
    #[error(
        "certificates are renewed by the running server, if the configuration has [acme] with enabled = true: start \
         it, or ask it with the same --config"
    )]
    NoAuthority,
    /// A certificate is not renewed.
    #[error(transparent)]
    Renewal(#[from] RenewalError),
    /// The alias cannot be changed.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A password from another server cannot be used.
    #[error(transparent)]
    ForeignPassword(#[from] ForeignPasswordError),
    /// The app passwords cannot be changed.
    #[error(transparent)]
    AppPassword(#[from] AppPasswordError),
    /// The old password is not right, or the account cannot be used.
    #[error(
        "the password of {0} is as it was: {1}. The old password is the account's own, not an app password; \
         an operator can set a new one without it (`posta account password`)"
    )]
    NotOwner(String, String),
    /// A note or a forward cannot be set as it was given; the text says why.
    #[error("{0}")]
    Arrangement(String),
    /// The server stops.
    #[error("the server is stopping: try again when it runs")]
    Stopping,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such account exists or can be brought back.
    #[error(
        "there is no account {0}, and none of that address was removed in the last week; `posta account \
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
    /// A request about a backup cannot be carried out; the text says why.
    #[error("{0}")]
    Backup(String),
    /// A list of senders cannot be changed; the text says why.
    #[error("{0}")]
    Senders(String),
    /// The configuration cannot be taken; the text says why.
    #[error("{0}")]
    Config(String),
    /// No server runs.
    #[error("no server runs here: `posta serve` starts one")]
    NoServer,
    /// A token's rights do not allow the request; the text says why.
    #[error("{0}")]
    Forbidden(String),
    /// A token cannot be added or removed.
    #[error(transparent)]
    Token(#[from] ApiTokenError),
    /// The lock-out does not exist.
    #[error("{0} is not locked out; `posta lockout list` names who is")]
    NoLockout(String),
    /// The source does not exist.
    #[error("there is no source {0}; `posta collect list` names them")]
    NoSuchSource(SourceId),
    /// An account would collect from itself.
    #[error("that login leads to the mailbox of {0} here: name a mailbox on another server")]
    OwnMailbox(posta_mail::Address),
    /// A message cannot be imported.
    #[error(transparent)]
    Import(#[from] io::Error),
    /// The login at a source's server failed.
    #[error("nothing is collected from there: {0} (--no-check adds it all the same)")]
    Unchecked(CollectError),
    /// A visit failed.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// The kinds of this floor's records whose names begin with an account's id. They go when the account is purged.
pub(crate) const OF_ACCOUNTS: [&str; 1] = [backup::restore::IN_PLACE];

/// The longest time that a message waits in the queue by default.
const USUAL_QUEUE_LIFETIME: Duration = Duration::from_secs(5 * 24 * 60 * 60);

/// Carries out the operator's requests.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    collectors: Arc<Collectors>,
    /// The way in for mailboxes that move here.
    imports: Arc<Imports>,
    /// Held while the directory is changed, since a change first checks what exists.
    changing: Arc<Mutex<()>>,
    /// The lock-outs of the running server, if there is one.
    lockouts: Option<Arc<Lockouts>>,
    /// What checks passwords in the running server.
    authenticator: Option<Arc<Authenticator>>,
    hashers: Arc<Hashers>,
    /// How long the record of a key stays in DNS after the key has stopped signing.
    key_overlap: Duration,
    /// The names and sockets under which the running server hands mail out.
    own_maildrops: OwnMaildrops,
    /// The running server, if there is one.
    running: Option<Arc<RunningServer>>,
    /// The directory of the store, if it is on a disk.
    data: Option<PathBuf>,
    surveys: Surveys,
    /// What obtains certificates for the running server, if it has an authority.
    certificates: Option<Arc<CertificateKeeper>>,
    /// The program around the running server, if there is one.
    program: Option<Arc<dyn Program>>,
}

impl Admin {
    /// Returns an operator that works on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, collectors: Arc<Collectors>) -> Self {
        let changing = Arc::default();
        let imports =
            Arc::new(Imports::new(store.clone(), clock.clone(), collectors.unique_ids().clone()));
        let hashers = Arc::new(Hashers::new(1));
        let key_overlap = USUAL_QUEUE_LIFETIME + MARGIN;
        let own_maildrops = OwnMaildrops::default();
        Self {
            store,
            clock,
            collectors,
            imports,
            changing,
            lockouts: None,
            authenticator: None,
            hashers,
            key_overlap,
            own_maildrops,
            running: None,
            data: None,
            surveys: Surveys::default(),
            certificates: None,
            program: None,
        }
    }

    /// Sets the data directory, whose disk the operator sees.
    #[must_use]
    pub fn with_data_directory(self, data: PathBuf) -> Self {
        Self { data: Some(data), ..self }
    }

    /// Adds what obtains certificates for the running server.
    #[must_use]
    pub fn with_certificates(self, certificates: Option<Arc<CertificateKeeper>>) -> Self {
        Self { certificates, ..self }
    }

    /// Sets the program around the running server.
    #[must_use]
    pub fn with_program(self, program: Option<Arc<dyn Program>>) -> Self {
        Self { program, ..self }
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
    pub fn with_authenticator(self, authenticator: &Arc<Authenticator>) -> Self {
        let lockouts = Some(authenticator.lockouts().clone());
        let hashers = authenticator.hashers().clone();
        Self { lockouts, hashers, authenticator: Some(authenticator.clone()), ..self }
    }

    async fn carry_out(&self, request: Request) -> Result<Response, AdminError> {
        match request {
            Request::AccountAdd { address, password, apop } => {
                done(self.add_account(address, password, apop).await)
            }
            Request::AccountPassword { address, password, apop } => {
                done(self.change_password(address, password, apop).await)
            }
            Request::AccountRemove { address } => self.remove_account(address).await,
            Request::AccountRename { address, new, alias } => {
                self.rename_account(address, new, alias).await
            }
            Request::AccountDisable { address, disabled } => {
                done(self.close(address, disabled).await)
            }
            Request::AccountJunk { address, junk } => done(self.set_junk(address, junk).await),
            Request::AccountUndelete { address, since } => self.undelete(address, since).await,
            Request::Transfer { address, request } => {
                Box::pin(self.transfer(address, request)).await
            }
            Request::SourceAdd { address, login, password, keep, every, check } => {
                self.add_source(address, (login, password), (keep, every), check).await
            }
            Request::SourceList => self.sources().await,
            Request::SourceRemove { id } => done(self.remove_source(id).await),
            Request::SourceRun { id } => self.run_source(id).await,
            Request::TakeOver { address, login, password, keep } => {
                self.take_over(address, (&login, &password), keep).await
            }
            Request::AccountQuota { address, quota } => done(self.set_quota(address, quota).await),
            Request::AccountAllow { address, from } => done(self.allow(address, from).await),
            Request::AccountDisallow { address, from } => done(self.disallow(address, &from).await),
            Request::AccountList { after } => self.accounts(after).await,
            Request::AccountListRemoved => self.removed_accounts().await,
            Request::AliasAdd { name, targets } => self.add_alias(name, targets).await,
            Request::AliasSet { name, targets } => self.set_alias(name, targets).await,
            Request::AliasRemove { name, targets } => self.remove_alias(name, targets).await,
            Request::AliasList { after } => self.aliases(after).await,
            Request::DomainAdd { domain, postmaster } => self.add_domain(domain, postmaster).await,
            Request::DomainAlias { alias, domain } => self.stand_for(alias, domain).await,
            Request::DomainRemove { domain } => self.remove_domain(domain).await,
            Request::DomainKeys { domain, request } => self.keys(domain, request).await,
            Request::QueueList { selection, after } => self.queue(&selection, after).await,
            Request::QueueSummary { selection } => self.summarise(&selection).await,
            Request::QueueChange { selection, action } => {
                self.change_queue(&selection, action).await
            }
            Request::Quarantine { request } => self.quarantine(request).await,
            Request::Tokens { request } => self.tokens(request).await,
            Request::Config { request } => self.config(request).await,
            Request::DomainDns { domain } => self.records(domain).await,
            Request::Check(query) => self.check(query).await,
            Request::CheckMessage(query) => self.check_message(query).await,
            Request::Reports(query) => self.reports(query).await,
            Request::Look { request } => self.look(request).await,
            Request::Trace { named, within } => self.trace(&named, within).await,
            Request::Mail { address, folder, request } => self.mail(address, folder, request).await,
            Request::Senders { scope, request } => self.senders(scope, request).await,
            Request::Personal { address, request } => self.personal(address, request).await,
            Request::Folder { address, request } => self.folders(address, request).await,
            Request::Backup { request } => self.backup(request).await,
            Request::Restore { request } => self.restore(request).await,
            Request::DomainList => self.domains().await,
            Request::Certificates { request } => self.issued_certificates(request).await,
            Request::Cluster { request } => self.cluster(request).await,
            Request::LockoutList => Ok(Response::Lockouts(self.lockouts())),
            Request::LockoutLift { who } => done(self.lift(who)),
        }
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
}

/// Returns the response to a request that was carried out and has nothing to tell.
fn done(carried_out: Result<(), AdminError>) -> Result<Response, AdminError> {
    carried_out.map(|()| Response::Done)
}

fn parse_address(text: String) -> Result<Address, AdminError> {
    text.parse().map_err(|error| AdminError::Name(text, error))
}

fn parse_domain(text: String) -> Result<Domain, AdminError> {
    text.parse().map_err(|_| AdminError::Domain(text))
}
