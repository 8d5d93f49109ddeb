//! The operator's requests. Each is an operation of the interface over HTTP ([`http`](super::http)), which derives its
//! name, its fields and its description from the types here.

mod answers;
mod needs;

pub(super) use answers::DONE;
pub use needs::{Act, Needs, Scope};

use super::{
    account::{JunkOverPop3, personal::PersonalRequest},
    backup::{BackupRequest, RestoreRequest},
    domain::{CertificateRequest, keys::KeyRequest},
    looking::{LookRequest, cluster::ClusterRequest},
    mailbox::{FolderRequest, MailRequest, TransferRequest},
    program::{CheckQuery, ConfigRequest, MessageQuery},
    queue::{QueueAction, Selection, quarantine::QuarantineRequest},
    reports::ReportsQuery,
    sender::{SenderRequest, SenderScope},
    token::TokenRequest,
};
use posta_mail::Timestamp;
use posta_store::{ItemId, Keep, Login, SourceId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request. A field called `request` holds the action of a group, and makes an operation of each of its variants:
/// `mail-list`, `mail-move`. A new variant has to say in `needs` what it needs, and in `answers` what it returns.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Adds an account.
    AccountAdd {
        /// The account's address.
        address: String,
        /// The account's password.
        password: String,
        /// Whether the password itself is also kept, for APOP. It can then be read with the store and its key file.
        #[serde(default)]
        apop: bool,
    },
    /// Lists the accounts, a page at a time.
    AccountList {
        /// Only accounts after this address.
        #[serde(default)]
        after: Option<String>,
    },
    /// Lists the removed accounts that can be brought back.
    AccountListRemoved,
    /// Removes an account and its mail.
    AccountRemove {
        /// The account's address.
        address: String,
    },
    /// Changes an account's password.
    AccountPassword {
        /// The account's address.
        address: String,
        /// The new password.
        password: String,
        /// Whether the password itself is also kept, for APOP.
        #[serde(default)]
        apop: bool,
    },
    /// Acts on what belongs to the person or program that has an account.
    Personal {
        /// The account's address.
        address: String,
        /// The action.
        request: PersonalRequest,
    },
    /// Changes an account's address.
    AccountRename {
        /// The account's address.
        address: String,
        /// The new address.
        new: String,
        /// Whether the old address becomes an alias of the new one.
        #[serde(default)]
        alias: bool,
    },
    /// Disables or enables logins to an account.
    AccountDisable {
        /// The account's address.
        address: String,
        /// Whether logins are disabled.
        disabled: bool,
    },
    /// Sets where the owner of an account finds its junk over POP3.
    AccountJunk {
        /// The account's address.
        address: String,
        /// Where.
        junk: JunkOverPop3,
    },
    /// Brings back a removed account, or removed messages of an existing one.
    AccountUndelete {
        /// The account's address.
        address: String,
        /// Only messages removed at this time or later; default: all.
        #[schemars(with = "Option<String>", extend("format" = "date-time"))]
        since: Option<Timestamp>,
    },
    /// Moves a mailbox in or out.
    Transfer {
        /// The account's address.
        address: String,
        /// The step.
        request: TransferRequest,
    },
    /// Adds a source: a mailbox elsewhere whose mail is collected for an account regularly. If the source exists,
    /// its password and settings are replaced.
    SourceAdd {
        /// The account's address.
        address: String,
        /// The server and the login there.
        login: Login,
        /// The password for the login.
        password: String,
        /// What stays on the server.
        keep: Keep,
        /// The seconds from one visit to the next.
        every: u64,
        /// Whether to test the login first.
        check: bool,
    },
    /// Lists the sources.
    SourceList,
    /// Removes a source. Mail that was collected stays.
    SourceRemove {
        /// The source's id.
        id: SourceId,
    },
    /// Visits a source at once.
    SourceRun {
        /// The source's id.
        id: SourceId,
    },
    /// Collects a mailbox once, with its unique-ids, to move it here.
    TakeOver {
        /// The account's address.
        address: String,
        /// The server and the login there.
        login: Login,
        /// The password for the login.
        password: String,
        /// What stays on the server.
        keep: Keep,
    },
    /// Sets an account's quota.
    AccountQuota {
        /// The account's address.
        address: String,
        /// The quota in octets; `None` means no limit.
        quota: Option<u64>,
    },
    /// Allows an account to send from further addresses.
    AccountAllow {
        /// The account's address.
        address: String,
        /// An address, `@domain`, or `any`.
        #[schemars(example = "@example.test")]
        from: String,
    },
    /// Withdraws such a permission.
    AccountDisallow {
        /// The account's address.
        address: String,
        /// The address, domain or `any` to withdraw.
        #[schemars(example = "@example.test")]
        from: String,
    },
    /// Adds members to an alias, or creates it. An account keeps a copy of its mail.
    AliasAdd {
        /// An address, or `@domain` for all addresses of a domain that are neither accounts nor aliases.
        name: String,
        /// The members to add.
        targets: Vec<String>,
    },
    /// Creates an alias or replaces its members.
    AliasSet {
        /// An address, or `@domain`.
        name: String,
        /// The members.
        targets: Vec<String>,
    },
    /// Lists the aliases, a page at a time.
    AliasList {
        /// Only aliases after this name.
        #[serde(default)]
        after: Option<String>,
    },
    /// Removes an alias, or some of its members.
    AliasRemove {
        /// The name.
        name: String,
        /// The members to remove; empty for the whole alias.
        #[serde(default)]
        targets: Vec<String>,
    },
    /// Makes a domain local.
    DomainAdd {
        /// The name.
        domain: String,
        /// The new recipient of mail for postmaster and abuse, if it is to change.
        #[serde(default)]
        postmaster: Option<String>,
    },
    /// Makes a domain an alias of another: each of its addresses means the same address of the other.
    DomainAlias {
        /// The name.
        alias: String,
        /// The domain that the alias stands for.
        domain: String,
    },
    /// Lists the local domains.
    DomainList,
    /// Lists the certificates that an authority issues, or has them renewed.
    Certificates {
        /// The action.
        request: CertificateRequest,
    },
    /// Acts on the nodes of the cluster, if several servers share the store.
    Cluster {
        /// The action.
        request: ClusterRequest,
    },
    /// Lists the lock-outs after failed logins.
    LockoutList,
    /// Lifts a lock-out.
    LockoutLift {
        /// A client's address or network, or an account name.
        who: String,
    },
    /// Acts on the mail in a folder of an account.
    Mail {
        /// The account's address.
        address: String,
        /// The folder's name; default: the inbox.
        #[serde(default)]
        folder: Option<String>,
        /// The action.
        request: MailRequest,
    },
    /// Acts on the folders of an account.
    Folder {
        /// The account's address.
        address: String,
        /// The action.
        request: FolderRequest,
    },
    /// Acts on the list of senders of an account or a domain.
    Senders {
        /// Whose list it is.
        scope: SenderScope,
        /// The action.
        request: SenderRequest,
    },
    /// Shows, checks or takes the configuration of the running server.
    Config {
        /// The action.
        request: ConfigRequest,
    },
    /// Returns the DNS records to publish for a local domain.
    DomainDns {
        /// The domain's name.
        domain: String,
    },
    /// Checks that a local domain's records are right, its server reachable and its mail trusted.
    Check(CheckQuery),
    /// Checks the origin of a message: iprev, SPF, DKIM, ARC and DMARC, with DNS as it is now.
    CheckMessage(MessageQuery),
    /// Acts on the tokens with which programs use this interface over HTTPS.
    Tokens {
        /// The action.
        request: TokenRequest,
    },
    /// Makes a domain no longer local.
    DomainRemove {
        /// The name.
        domain: String,
    },
    /// Lists or changes the keys that sign a domain's mail.
    DomainKeys {
        /// The domain's name.
        domain: String,
        /// The action.
        request: KeyRequest,
    },
    /// Lists items of the queue.
    QueueList {
        /// The items that are selected; default: all.
        #[serde(default)]
        selection: Selection,
        /// Only items after this one: a long list comes in pages.
        #[serde(default)]
        after: Option<ItemId>,
    },
    /// Counts the items of the queue by destination.
    QueueSummary {
        /// The items that are selected; default: all.
        #[serde(default)]
        selection: Selection,
    },
    /// Changes items of the queue.
    QueueChange {
        /// The items that are selected.
        selection: Selection,
        /// The action.
        action: QueueAction,
    },
    /// Acts on the messages in quarantine.
    Quarantine {
        /// The action.
        request: QuarantineRequest,
    },
    /// Reads the store for a backup.
    Backup {
        /// The action.
        request: BackupRequest,
    },
    /// Brings accounts and messages back from a backup.
    Restore {
        /// The action.
        request: RestoreRequest,
    },
    /// Adds up the reports of other servers.
    Reports(ReportsQuery),
    /// Looks at the state and the figures of the server.
    Look {
        /// The action.
        request: LookRequest,
    },
    /// Returns the history of messages: the newest [`TRACED`](super::TRACED) that match, oldest first.
    Trace {
        /// A message's id, its Message-ID, the address of a sender or recipient, or a client's IP address.
        named: String,
        /// Only messages that arrived within this many seconds.
        #[serde(default)]
        within: Option<u64>,
    },
}
