//! The operator's requests about the configuration, which only the program around the server reads.

use super::{
    Admin, AdminError, CertificateRequest, DomainKeyLine, DomainLine, KeyRequest, Response,
    checkup::{
        finding::DomainChecked,
        message::{Arrival, Examination, MessageReader, ReadMessage},
        publish::record::RecordLine,
    },
    mailbox::Octets,
    parse_domain,
};
use crate::sign::certificates::IssuedLine;
use posta_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{future::Future, pin::Pin};

/// The program around a running server, which reads the configuration. Errors are in words.
pub trait Program: Send + Sync + 'static {
    /// Returns every option of the configuration as it stands in the file now.
    ///
    /// # Errors
    /// When the configuration cannot be read or has mistakes.
    fn options(&self) -> Result<Vec<OptionLine>, String>;

    /// Checks the configuration and the files that it names.
    ///
    /// # Errors
    /// When anything is wrong with them.
    fn check(&self) -> Result<ConfigChecked, String>;

    /// Has the running server take the configuration and the certificates as they are now, or nothing of them.
    fn reload(&self) -> Reloading<'_>;

    /// Returns the DNS records to publish for a local domain with these keys.
    ///
    /// # Errors
    /// When the configuration cannot be read or has mistakes.
    fn records(&self, domain: LocalDomain) -> Result<Vec<RecordLine>, String>;

    /// Checks that a local domain's records are right, its server reachable and its mail trusted.
    fn check_domain(&self, domain: LocalDomain, query: CheckQuery) -> Checking<'_>;

    /// Checks the origin of a message that came so, with DNS as it is now.
    fn check_message(&self, message: ReadMessage, arrival: Arrival) -> Examining<'_>;
}

/// A local domain, as the store has it.
#[derive(Debug, Clone)]
pub struct LocalDomain {
    /// The domain.
    pub line: DomainLine,
    /// The keys that sign its mail.
    pub keys: Vec<DomainKeyLine>,
    /// The certificates that an authority issues.
    pub issued: Vec<IssuedLine>,
}

/// The future of [`Program::check_domain`].
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<DomainChecked, String>> + Send + 'a>>;

/// The future of [`Program::check_message`].
pub type Examining<'a> = Pin<Box<dyn Future<Output = Result<Examination, String>> + Send + 'a>>;

/// What is asked about a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageQuery {
    /// The message, in base64. Lines may end with LF alone.
    #[schemars(example = "RnJvbTogYW5hQGV4YW1wbGUudGVzdA0KDQo=")]
    pub message: Octets,
    /// How it came; default: what its Received, Return-Path and Authentication-Results fields tell.
    #[serde(default)]
    pub arrival: Arrival,
}

/// What is asked about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// A local domain.
    pub domain: String,
    /// The DNS block lists to ask about the server's addresses; default: some usual ones.
    #[serde(default)]
    pub block_lists: Option<Vec<String>>,
    /// Whether the server's ports are not tried.
    #[serde(default)]
    pub no_ports: bool,
    /// A server elsewhere whose port 25 is tried, to see whether mail can leave.
    #[serde(default)]
    pub outgoing: Option<String>,
}

/// The future of [`Program::reload`]. If anything is wrong with the configuration, it is refused whole.
pub type Reloading<'a> = Pin<Box<dyn Future<Output = Result<Reloaded, String>> + Send + 'a>>;

/// An action on the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigRequest {
    /// Returns every option of the running server's configuration as it stands in the file now, and where its value comes
    /// from.
    Show,
    /// Checks the running server's configuration and the files that it names, without changing anything.
    Check,
    /// Has the running server take the changed configuration and certificates. If anything is wrong with them, nothing
    /// changes.
    Reload,
}

/// An option, its value, and where that comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OptionLine {
    /// The option, such as `limits.message-size`.
    pub option: String,
    /// The value, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<serde_json::Value>,
    /// Where the value comes from.
    pub from: OptionOrigin,
    /// The path of the configuration, if the value is from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The number of its line there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// Where the value of an option comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptionOrigin {
    /// The configuration file.
    File,
    /// The option's default.
    Default,
    /// The command line.
    CommandLine,
    /// Nowhere: the option has no value.
    Unset,
}

/// The result of checking a configuration in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigChecked {
    /// The path of the configuration; null if there is none, and the defaults hold.
    pub file: Option<String>,
    /// The number of options that are set in it.
    pub set: usize,
    /// Remarks on options that no longer exist.
    pub remarks: Vec<String>,
}

/// What a server took of a changed configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// The options that have other values now than before.
    pub changed: Vec<ChangedOption>,
    /// The options that differ from those with which the server started, and hold only after a restart.
    pub restart: Vec<String>,
    /// Remarks on options that no longer exist.
    pub remarks: Vec<String>,
}

/// An option that has another value than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ChangedOption {
    /// The option.
    pub option: String,
    /// The value before, as TOML; null if there was none.
    pub before: Option<String>,
    /// The value now, as TOML; null if there is none.
    pub now: Option<String>,
}

impl Admin {
    /// Shows, checks or takes the configuration.
    pub(super) async fn config(&self, request: ConfigRequest) -> Result<Response, AdminError> {
        let program = self.program.as_ref().ok_or(AdminError::NoServer)?;
        let done = match request {
            ConfigRequest::Show => program.options().map(Response::Options),
            ConfigRequest::Check => program.check().map(Response::ConfigChecked),
            ConfigRequest::Reload => program.reload().await.map(Response::Reloaded),
        };
        done.map_err(AdminError::Config)
    }

    /// Returns the DNS records to publish for a domain.
    pub(super) async fn records(&self, domain: String) -> Result<Response, AdminError> {
        let program = self.program.as_ref().ok_or(AdminError::NoServer)?;
        let domain = self.local_domain(domain).await?;
        program.records(domain).map(Response::Records).map_err(AdminError::Config)
    }

    /// Checks a domain.
    pub(super) async fn check(&self, query: CheckQuery) -> Result<Response, AdminError> {
        let program = self.program.as_ref().ok_or(AdminError::NoServer)?;
        let domain = self.local_domain(query.domain.clone()).await?;
        let checked = program.check_domain(domain, query).await;
        checked.map(Response::Checked).map_err(AdminError::Config)
    }

    /// Checks the origin of a message.
    pub(super) async fn check_message(&self, query: MessageQuery) -> Result<Response, AdminError> {
        let program = self.program.as_ref().ok_or(AdminError::NoServer)?;
        let mut reader = MessageReader::default();
        reader.write(&query.message.0);
        let message = reader.finish();
        let arrival = query.arrival.or(message.arrival());
        let examined = program.check_message(message, arrival).await;
        examined.map(|it| Response::MessageChecked(Box::new(it))).map_err(AdminError::Config)
    }

    async fn local_domain(&self, name: String) -> Result<LocalDomain, AdminError> {
        let domain = parse_domain(name)?;
        let found = match self.domains().await? {
            Response::Domains(lines) => lines.into_iter().find(|it| it.domain == domain.as_str()),
            _ => None,
        };
        let line = found.ok_or_else(|| StoreError::NoSuchDomain(domain.clone()))?;
        let keys = match self.keys(domain.to_string(), KeyRequest::List).await? {
            Response::DomainKeys(keys) => keys,
            _ => Vec::new(),
        };
        let issued = match self.issued_certificates(CertificateRequest::List).await? {
            Response::Certificates(issued) => issued,
            _ => Vec::new(),
        };
        Ok(LocalDomain { line, keys, issued })
    }
}
