//! The operator's requests about sources: mailboxes elsewhere that are collected for accounts.

use super::{Admin, AdminError, Response};
use posta_mail::Secret;
use posta_store::{Keep, Login, LoginTls, Source, SourceId, Visit};
use serde::{Deserialize, Serialize};

/// A source in a list, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceLine {
    /// The source's id.
    pub id: SourceId,
    /// The account whose mailbox the mail goes to.
    pub address: String,
    /// The server.
    pub server: String,
    /// The user name at the server.
    pub user: String,
    /// The use of TLS.
    pub tls: LoginTls,
    /// Whether any certificate is accepted.
    pub any_certificate: bool,
    /// The messages that stay on the server.
    pub keep: Keep,
    /// The number of seconds from one visit to the next.
    pub every: u64,
    /// The result of the last visit.
    pub last: Option<Visit>,
}

impl Admin {
    pub(super) async fn add_source(
        &self,
        address: String,
        (login, password): (Login, String),
        (keep, every): (Keep, u64),
        check: bool,
    ) -> Result<Response, AdminError> {
        let password = Secret::new(password.as_bytes());
        let account = self.account(address).await?;
        if check {
            let tried = self.collectors.log_in(account.clone(), &login, &password).await;
            tried.map_err(AdminError::Unchecked)?;
        }
        let account = account.id;
        let source = Source { id: SourceId::default(), account, login, keep, every, last: None };
        // Adding the same mailbox twice would collect mail twice. Adding it again is also the way to
        // give a lost password again, without collecting old mail once more.
        let is_same = |there: &Source| {
            let (there_at, at) = (&there.login, &source.login);
            there.account == account && (&there_at.server, &there_at.user) == (&at.server, &at.user)
        };
        let there = self.store.sources().await?.into_iter().find(is_same);
        if let Some(Source { id, .. }) = there {
            let changed = Source { id, ..source.clone() };
            if self.store.change_source(changed, password.clone()).await? {
                return Ok(Response::Source(id));
            }
        }
        Ok(Response::Source(self.store.add_source(source, password).await?))
    }

    pub(super) async fn remove_source(&self, id: SourceId) -> Result<(), AdminError> {
        let is_removed = self.store.remove_source(id).await?;
        if is_removed { Ok(()) } else { Err(AdminError::NoSuchSource(id)) }
    }

    pub(super) async fn sources(&self) -> Result<Response, AdminError> {
        let mut lines = Vec::new();
        for source in self.store.sources().await? {
            // The sources of removed accounts are inactive.
            let Some(account) = self.store.account_by_id(source.account).await? else { continue };
            lines.push(SourceLine {
                id: source.id,
                address: account.address.to_string(),
                server: source.login.server,
                user: source.login.user,
                tls: source.login.tls,
                any_certificate: source.login.any_certificate,
                keep: source.keep,
                every: source.every,
                last: source.last,
            });
        }
        Ok(Response::Sources(lines))
    }

    pub(super) async fn run_source(&self, id: SourceId) -> Result<Response, AdminError> {
        let sources = self.store.sources().await?;
        if !sources.iter().any(|source| source.id == id) {
            return Err(AdminError::NoSuchSource(id));
        }
        Ok(Response::Visit(self.collectors.visit(id).await?))
    }

    pub(super) async fn take_over(
        &self,
        address: String,
        (login, password): (&Login, &str),
        keep: Keep,
    ) -> Result<Response, AdminError> {
        let password = &Secret::new(password.as_bytes());
        let account = self.account(address).await?;
        let brought = self.collectors.take_over(account, login, password, keep).await?;
        Ok(Response::TakenOver { messages: brought.messages, left: brought.left })
    }
}
