//! What each request returns, for the description of the interface.

use super::{
    super::{
        account::personal::PersonalRequest,
        backup::{BackupRequest, RestoreRequest},
        domain::{CertificateRequest, keys::KeyRequest},
        looking::cluster::ClusterRequest,
        mailbox::{FolderRequest, MailRequest, TransferRequest},
        program::ConfigRequest,
        queue::quarantine::QuarantineRequest,
        sender::SenderRequest,
        token::TokenRequest,
    },
    Request,
};

/// The name in JSON of a response without content ([`Response::Done`](crate::admin::Response::Done)).
pub const DONE: &str = "done";

/// The names of the responses that a request can have.
type Answers = &'static [&'static str];

impl Request {
    /// Returns the names in JSON of the [responses](crate::admin::Response) that the request can have, `done` for one
    /// without content.
    #[must_use]
    pub const fn answers(&self) -> Answers {
        match self {
            Self::AccountAdd { .. }
            | Self::AccountPassword { .. }
            | Self::AccountDisable { .. }
            | Self::AccountJunk { .. }
            | Self::SourceRemove { .. }
            | Self::AccountQuota { .. }
            | Self::AccountAllow { .. }
            | Self::AccountDisallow { .. }
            | Self::DomainAdd { .. }
            | Self::DomainAlias { .. }
            | Self::LockoutLift { .. } => &[DONE],
            Self::AccountList { .. } => &["accounts"],
            Self::AccountListRemoved => &["removed-accounts"],
            Self::AccountRemove { .. } => &["account-removed"],
            Self::AccountRename { .. } => &["account-renamed"],
            Self::AccountUndelete { .. } => &["account-restored", "count"],
            Self::SourceAdd { .. } => &["source"],
            Self::SourceList => &["sources"],
            Self::SourceRun { .. } => &["visit"],
            Self::TakeOver { .. } => &["taken-over"],
            Self::AliasAdd { .. } | Self::AliasSet { .. } | Self::AliasRemove { .. } => &["alias"],
            Self::AliasList { .. } => &["aliases"],
            Self::DomainList => &["domains"],
            Self::DomainRemove { .. } => &["domain-removed"],
            Self::LockoutList => &["lockouts"],
            Self::QueueList { .. } => &["queue"],
            Self::QueueSummary { .. } => &["queue-summary"],
            Self::QueueChange { .. } => &["count"],
            Self::Trace { .. } => &["events"],
            Self::Mail { request, .. } => request.answers(),
            Self::Transfer { request, .. } => request.answers(),
            Self::Personal { request, .. } => request.answers(),
            Self::Folder { request, .. } => request.answers(),
            Self::Senders { request, .. } => request.answers(),
            Self::DomainKeys { request, .. } => request.answers(),
            Self::Quarantine { request } => request.answers(),
            Self::Config { request } => request.answers(),
            Self::Backup { request } => request.answers(),
            Self::Restore { request } => request.answers(),
            Self::Certificates { request } => request.answers(),
            Self::Cluster { request } => request.answers(),
            Self::DomainDns { .. } => &["records"],
            Self::Check(_) => &["checked"],
            Self::CheckMessage(_) => &["message-checked"],
            Self::Look { .. } => &["looked"],
            Self::Tokens { request } => request.answers(),
            Self::Reports(_) => &["dmarc-reports", "tls-reports"],
        }
    }
}

impl TokenRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Add { .. } => &["token-added"],
            Self::List => &["tokens"],
            Self::Remove { .. } => &[DONE],
        }
    }
}

impl ClusterRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Status => &["nodes"],
            Self::Drain { .. } | Self::Resume { .. } | Self::Remove { .. } => &[DONE],
        }
    }
}

impl CertificateRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List | Self::Renew { .. } => &["certificates"],
            Self::NewAccountKey => &[DONE],
        }
    }
}

impl ConfigRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Show => &["options"],
            Self::Check => &["config-checked"],
            Self::Reload => &["reloaded"],
        }
    }
}

impl BackupRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Begin | Self::Rows { .. } | Self::Pieces { .. } => &["backup"],
            Self::End { .. } | Self::Made(_) => &[DONE],
        }
    }
}

impl RestoreRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Absent { .. } | Self::Id => &["backup"],
            Self::Account(_) | Self::Piece { .. } | Self::Message(_) => &[DONE],
        }
    }
}

impl MailRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List { .. } => &["mail"],
            Self::Read { .. } => &["piece"],
            Self::Move { .. } | Self::Flag { .. } | Self::Delete { .. } => &["count"],
        }
    }
}

impl FolderRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List => &["folders"],
            Self::Add { .. } | Self::Rename { .. } | Self::Remove { .. } => &[DONE],
        }
    }
}

impl SenderRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List => &["senders"],
            Self::Put { .. } | Self::Remove { .. } => &[DONE],
        }
    }
}

impl KeyRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List | Self::Rotate => &["domain-keys"],
            Self::Retire { .. } => &["key-retired"],
        }
    }
}

impl QuarantineRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::List { .. } => &["quarantine"],
            Self::Read { .. } => &["piece"],
            Self::Release { .. } | Self::Drop { .. } => &["count"],
        }
    }
}

impl PersonalRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Password { .. } | Self::SendOnly(_) => &[DONE],
            Self::AppPasswords(_) => &["app-passwords"],
            Self::Away(_) | Self::Forward(_) => &["arrangement"],
        }
    }
}

impl TransferRequest {
    const fn answers(&self) -> Answers {
        match self {
            Self::Account { .. } => &[DONE],
            Self::Known { .. }
            | Self::Piece { .. }
            | Self::Abandon { .. }
            | Self::Take { .. }
            | Self::List { .. }
            | Self::Read { .. } => &["transfer"],
        }
    }
}
