//! What each request needs of whoever sends it. The operator on the machine may do everything; a program with a token
//! ([`ApiToken`](crate::login::api_tokens::ApiToken)) may do what its rights allow.
//!
//! The `match` in [`Request::needs`] has no catch-all arm, so a new request does not compile until it is classified.
//! In doubt, a request is about the whole server ([`Scope::Server`]), which is refused to tokens for certain domains.

use super::{
    super::{
        account::{
            app_password::AppPasswordRequest,
            arrangement::{AwayRequest, ForwardRequest},
            personal::PersonalRequest,
        },
        domain::{CertificateRequest, keys::KeyRequest},
        looking::cluster::ClusterRequest,
        mailbox::{FolderRequest, MailRequest, TransferRequest},
        program::ConfigRequest,
        queue::quarantine::QuarantineRequest,
        reports::ReportsQuery,
        sender::{SenderRequest, SenderScope},
        token::TokenRequest,
    },
    Request,
};

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// It reads lists, settings, figures or the history.
    Look,
    /// It reads what is in messages.
    ReadMail,
    /// It changes something.
    Change,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Accounts, aliases and domains with these names: `ana@example.test`, `@example.test` or `example.test`.
    Names(Vec<String>),
    /// A list, of which each may see the lines about its own domains.
    List,
    /// The whole server.
    Server,
    /// What only the operator on the machine decides: who else may do anything.
    Machine,
}

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// What it does.
    pub act: Act,
    /// What it is about.
    pub scope: Scope,
}

impl Request {
    /// Returns what the request needs of whoever sends it.
    #[must_use]
    pub fn needs(&self) -> Needs {
        use Act::{Change, Look};
        use Scope::{List, Machine, Server};
        let (act, scope) = match self {
            Self::AccountAdd { address, .. }
            | Self::AccountRemove { address }
            | Self::AccountPassword { address, .. }
            | Self::AccountDisable { address, .. }
            | Self::AccountJunk { address, .. }
            | Self::AccountUndelete { address, .. }
            | Self::AccountQuota { address, .. } => (Change, names([address])),
            Self::AccountList { .. }
            | Self::AccountListRemoved
            | Self::AliasList { .. }
            | Self::DomainList => (Look, List),
            Self::AccountRename { address, new, .. } => (Change, names([address, new])),
            Self::AccountAllow { address, from } | Self::AccountDisallow { address, from } => {
                (Change, sender_names(address, from))
            }
            // Members elsewhere get no right: only mail for the name goes there.
            Self::AliasAdd { name, .. }
            | Self::AliasSet { name, .. }
            | Self::AliasRemove { name, .. } => (Change, names([name])),
            // They make the server connect to any host, or concern all of it.
            Self::SourceAdd { .. }
            | Self::SourceRemove { .. }
            | Self::SourceRun { .. }
            | Self::TakeOver { .. }
            | Self::DomainAdd { .. }
            | Self::DomainAlias { .. }
            | Self::DomainRemove { .. }
            | Self::LockoutLift { .. }
            | Self::QueueChange { .. } => (Change, Server),
            Self::SourceList
            | Self::LockoutList
            | Self::QueueList { .. }
            | Self::QueueSummary { .. }
            | Self::Trace { .. } => (Look, Server),
            Self::Mail { address, request, .. } => (request.act(), names([address])),
            Self::Transfer { address, request } => (request.act(), names([address])),
            Self::Personal { address, request } => (request.act(), names([address])),
            Self::Folder { address, request } => (request.act(), names([address])),
            Self::Senders { scope, request } => (request.act(), scope.names()),
            Self::DomainKeys { domain, request } => (request.act(), names([domain])),
            Self::Quarantine { request } => (request.act(), Server),
            Self::Config { request } => match request {
                ConfigRequest::Show | ConfigRequest::Check => (Look, Server),
                ConfigRequest::Reload => (Change, Server),
            },
            // Whoever may read a backup has every password's hash and every key.
            Self::Backup { .. } | Self::Restore { .. } => (Change, Machine),
            Self::Certificates { request } => (request.act(), Server),
            Self::Cluster { request } => (request.act(), Server),
            Self::DomainDns { domain } => (Look, names([domain])),
            // A check of a domain connects to servers that the query names.
            Self::Check(_) | Self::CheckMessage(_) => (Look, Server),
            Self::Look { .. } => (Look, Server),
            Self::Tokens { request } => match request {
                TokenRequest::List => (Look, Machine),
                TokenRequest::Add { .. } | TokenRequest::Remove { .. } => (Change, Machine),
            },
            Self::Reports(ReportsQuery { domain, .. }) => {
                (Look, domain.as_ref().map_or(Server, |domain| names([domain])))
            }
        };
        Needs { act, scope }
    }
}

fn names<const N: usize>(names: [&String; N]) -> Scope {
    Scope::Names(names.map(String::clone).to_vec())
}

/// An account may send as addresses of its keeper's domains, not as any.
fn sender_names(address: &String, from: &String) -> Scope {
    if from.contains('@') { names([address, from]) } else { Scope::Server }
}

impl MailRequest {
    const fn act(&self) -> Act {
        match self {
            // A list shows authors and subjects.
            Self::List { .. } | Self::Read { .. } => Act::ReadMail,
            Self::Move { .. } | Self::Flag { .. } | Self::Delete { .. } => Act::Change,
        }
    }
}

impl TransferRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List { .. } | Self::Read { .. } => Act::ReadMail,
            Self::Account { .. }
            | Self::Known { .. }
            | Self::Piece { .. }
            | Self::Abandon { .. }
            | Self::Take { .. } => Act::Change,
        }
    }
}

impl PersonalRequest {
    const fn act(&self) -> Act {
        match self {
            Self::AppPasswords(AppPasswordRequest::List)
            | Self::Away(AwayRequest::Show)
            | Self::Forward(ForwardRequest::Show) => Act::Look,
            Self::Password { .. }
            | Self::SendOnly(_)
            | Self::AppPasswords(
                AppPasswordRequest::Add { .. } | AppPasswordRequest::Remove { .. },
            )
            | Self::Away(AwayRequest::Set { .. } | AwayRequest::Off)
            | Self::Forward(ForwardRequest::Set { .. } | ForwardRequest::Off) => Act::Change,
        }
    }
}

impl FolderRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List => Act::Look,
            Self::Add { .. } | Self::Rename { .. } | Self::Remove { .. } => Act::Change,
        }
    }
}

impl SenderRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List => Act::Look,
            Self::Put { .. } | Self::Remove { .. } => Act::Change,
        }
    }
}

impl SenderScope {
    fn names(&self) -> Scope {
        match self {
            Self::Account(name) | Self::Domain(name) => names([name]),
        }
    }
}

impl ClusterRequest {
    const fn act(&self) -> Act {
        match self {
            Self::Status => Act::Look,
            Self::Drain { .. } | Self::Resume { .. } | Self::Remove { .. } => Act::Change,
        }
    }
}

impl CertificateRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List => Act::Look,
            Self::Renew { .. } | Self::NewAccountKey => Act::Change,
        }
    }
}

impl KeyRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List => Act::Look,
            Self::Rotate | Self::Retire { .. } => Act::Change,
        }
    }
}

impl QuarantineRequest {
    const fn act(&self) -> Act {
        match self {
            Self::List { .. } | Self::Read { .. } => Act::ReadMail,
            Self::Release { .. } | Self::Drop { .. } => Act::Change,
        }
    }
}
