//! The operator's requests about sources: mailboxes elsewhere that are collected for accounts.

use super::{Admin, AdminError, Response};
use crate::login::principal::FoundAccount;
use posta_mail::{Address, Domain, Secret};
use posta_net::transport::Endpoint;
use posta_store::{Account, Keep, Login, LoginTls, Source, SourceId, StoreError, Visit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A source in a list, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Where a running server hands mail out itself.
#[derive(Debug, Clone, Default)]
pub struct OwnMaildrops {
    /// The server's name, if it runs.
    pub hostname: Option<Domain>,
    /// The sockets on which it speaks POP3.
    pub sockets: Vec<Endpoint>,
}

impl OwnMaildrops {
    /// Returns whether `server`, `host:port`, is this server, by its name or an address of this machine. Another name
    /// for it in DNS is not recognised.
    fn include(&self, server: &str) -> bool {
        let Some((host, port)) = server.rsplit_once(':') else { return false };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let ip: Option<IpAddr> = host.parse().ok();
        let is_named = host.eq_ignore_ascii_case("localhost")
            || self.hostname.as_ref().is_some_and(|name| host.eq_ignore_ascii_case(name.as_str()));
        let leads_to = |socket: &SocketAddr| {
            let takes_loopback = socket.ip().is_unspecified() || socket.ip().is_loopback();
            let takes = |ip: IpAddr| ip == socket.ip() || (ip.is_loopback() && takes_loopback);
            port.parse() == Ok(socket.port()) && ip.map_or(is_named, takes)
        };
        self.sockets.iter().any(|socket| match socket {
            Endpoint::Tcp(socket) => leads_to(socket),
            Endpoint::Unix(_) => false,
        })
    }
}

impl Admin {
    /// Returns whether a login leads to the account's own mailbox here, whose mail would be collected from itself again
    /// and again.
    async fn is_own(&self, account: &Account, login: &Login) -> Result<bool, StoreError> {
        if !self.own_maildrops.include(&login.server) {
            return Ok(false);
        }
        let named = match login.user.parse::<Address>() {
            Ok(address) => FoundAccount::by_address(&*self.store, &address).await?,
            Err(_) => FoundAccount::by_local_part(&*self.store, &login.user).await?,
        };
        Ok(named.is_some_and(|named| named.id == account.id))
    }

    pub(super) async fn add_source(
        &self,
        address: String,
        (login, password): (Login, String),
        (keep, every): (Keep, u64),
        check: bool,
    ) -> Result<Response, AdminError> {
        let password = Secret::new(password.as_bytes());
        let account = self.account(address).await?;
        if self.is_own(&account, &login).await? {
            return Err(AdminError::OwnMailbox(account.address));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_server_is_recognised_by_its_name_and_addresses() {
        let socket = |text: &str| Endpoint::Tcp(text.parse().unwrap());
        let own = OwnMaildrops {
            hostname: Some("mail.x.test".parse().unwrap()),
            sockets: vec![socket("0.0.0.0:110"), socket("[::]:995"), socket("192.0.2.1:1100")],
        };
        for (server, is_own) in [
            ("mail.x.test:995", true),
            ("MAIL.x.test:110", true),
            ("localhost:110", true),
            ("127.0.0.1:995", true),
            ("[::1]:995", true),
            ("192.0.2.1:1100", true),
            ("mail.x.test:1995", false),
            ("192.0.2.2:1100", false),
            ("127.0.0.1:1100", false),
            ("pop.x.test:995", false),
            ("mail.x.test", false),
        ] {
            assert_eq!(own.include(server), is_own, "{server}");
        }
        assert!(!OwnMaildrops::default().include("localhost:110"), "it does not run");
    }
}
