//! What an operator may ask of accounts.

use super::{Admin, AdminError, Response, parse_address};
use crate::{
    auth::{self, PasswordError},
    maildrop::PURGE_AFTER,
};
use posta_mail::{Secret, Timestamp};
use posta_store::{Account, Credentials, SendAs};
use serde::{Deserialize, Serialize};

/// What an account may be allowed to send as at most: all of it is read with the account.
pub(super) const SEND_AS: usize = 100;

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// Its address.
    pub address: String,
    /// Messages in its mailbox.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// Octets that it may hold; none for no limit.
    pub quota: Option<u64>,
    /// What it may send as beside its own addresses.
    pub send_as: Vec<String>,
}

impl Admin {
    pub(super) async fn remove_account(&self, address: String) -> Result<Response, AdminError> {
        let now = self.clock.now();
        let address = parse_address(address)?;
        let _changing = self.changing.lock().await;
        self.remove_sources(&address).await?;
        self.store.remove_account(&address, now, now + PURGE_AFTER).await?;
        Ok(Response::AccountRemoved { leading: self.leading_to(&address).await? })
    }

    pub(super) async fn undelete(
        &self,
        address: String,
        since: Option<Timestamp>,
    ) -> Result<Response, AdminError> {
        let account = self.account(address).await?;
        let since = since.unwrap_or(Timestamp::MIN);
        Ok(Response::Count(self.store.undelete(account.id, since).await?))
    }

    pub(super) async fn accounts(&self) -> Result<Response, AdminError> {
        let mut lines = Vec::new();
        for account in self.store.accounts().await? {
            let usage = self.store.usage(account.id).await?;
            let address = account.address.to_string();
            let (messages, octets, quota) = (usage.messages, usage.octets, account.quota);
            let send_as = account.send_as.iter().map(SendAs::to_string).collect();
            lines.push(AccountLine { address, messages, octets, quota, send_as });
        }
        Ok(Response::Accounts(lines))
    }

    pub(super) async fn allow(&self, address: String, from: String) -> Result<(), AdminError> {
        let allowed = from.parse().map_err(|error| AdminError::Name(from, error))?;
        let Account { address, mut send_as, .. } = self.account(address).await?;
        if !send_as.contains(&allowed) {
            if send_as.len() >= SEND_AS {
                return Err(AdminError::TooManyAllowed(address));
            }
            send_as.push(allowed);
            self.store.set_send_as(&address, send_as).await?;
        }
        Ok(())
    }

    pub(super) async fn disallow(&self, address: String, from: &str) -> Result<(), AdminError> {
        let Account { address, mut send_as, .. } = self.account(address).await?;
        let parsed = from.parse::<SendAs>();
        let before = send_as.len();
        send_as.retain(|allowed| Ok(allowed) != parsed.as_ref());
        if send_as.len() == before {
            return Err(AdminError::NotAllowed(address, from.to_owned()));
        }
        Ok(self.store.set_send_as(&address, send_as).await?)
    }

    /// Off the async threads: it is meant to be slow.
    pub(super) async fn credentials(
        &self,
        password: String,
        apop: bool,
    ) -> Result<Credentials, PasswordError> {
        let clock = self.clock.clone();
        let password = Secret::new(password.as_bytes());
        let hashed = self.hashers.run(move |memory| {
            let credentials = auth::credentials(&password, &*clock, memory)?;
            Ok(Credentials { apop: apop.then_some(password), ..credentials })
        });
        hashed.await.unwrap_or(Err(PasswordError))
    }
}
