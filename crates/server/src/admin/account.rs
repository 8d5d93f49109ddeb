//! The operator's requests about accounts.

pub(super) mod app_password;
pub(super) mod arrangement;
pub(super) mod personal;
mod rename;

use super::{Admin, AdminError, Response, parse_address};
use crate::{
    access::maildrop::PURGE_AFTER,
    directory::postmaster,
    login::{
        self, PasswordError, app_passwords,
        foreign::{self, ForeignPassword},
    },
};
use posta_mail::{Address, Domain, Secret, Timestamp};
use posta_net::scram::Verifier;
use posta_store::{Account, AliasName, Credentials, SendAs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most permissions of an account to send from further addresses: they are read with the account.
pub(super) const SEND_AS: usize = 100;

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountLine {
    /// The account's address.
    pub address: String,
    /// The number of messages in its mailbox.
    pub messages: u64,
    /// The octets of these messages.
    pub octets: u64,
    /// Its quota in octets; `None` means no limit.
    pub quota: Option<u64>,
    /// The further addresses that it may send from.
    pub send_as: Vec<String>,
    /// Whether logins are disabled.
    #[serde(default)]
    pub disabled: bool,
    /// The members that its mail is forwarded to, including its own address if it keeps a copy; empty if its mail
    /// goes to its mailbox only.
    #[serde(default)]
    pub forwards_to: Vec<String>,
    /// Where its owner finds its junk over POP3.
    #[serde(default)]
    pub junk: JunkOverPop3,
    /// Whether it only sends mail, and has no mailbox.
    #[serde(default)]
    pub send_only: bool,
}

/// Where the owner of an account finds its junk over POP3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JunkOverPop3 {
    /// Nowhere: it stays in the folder Junk.
    #[default]
    Folder,
    /// Among the messages of the inbox, with a mark in the subject.
    Mark,
}

/// A removed account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedLine {
    /// The address that it had.
    pub address: String,
    /// The time of its removal.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub removed: Timestamp,
    /// The time until which it can be brought back.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Timestamp,
}

/// The number of accounts in a page of the list.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn add_account(
        &self,
        address: String,
        password: String,
        apop: bool,
    ) -> Result<(), AdminError> {
        let address = parse_address(address)?;
        let credentials = self.credentials(password, apop, None).await?;
        let _changing = self.changing.lock().await;
        self.store.add_account(&address, credentials).await?;
        Ok(())
    }

    pub(super) async fn change_password(
        &self,
        address: String,
        password: String,
        apop: bool,
    ) -> Result<(), AdminError> {
        let account = self.account(address).await?;
        let _changing = self.changing.lock().await;
        // The app passwords of an account have the salt of its own password.
        let has_others = !app_passwords::list(&*self.store, account.id).await?.is_empty();
        let salt_of = match has_others {
            true => app_passwords::salt_of(&*self.store, &account).await?,
            false => None,
        };
        let credentials = self.credentials(password, apop, salt_of).await?;
        self.store.set_password(&account.address, credentials).await?;
        foreign::note(&*self.store, account.id, false).await?;
        Ok(())
    }

    /// Sets whether an account only sends mail.
    pub(super) async fn set_send_only(
        &self,
        address: String,
        send_only: bool,
    ) -> Result<Response, AdminError> {
        self.store.set_send_only(&parse_address(address)?, send_only).await?;
        Ok(Response::Done)
    }

    /// Adds an account with a password that another server kept.
    pub(in crate::admin) async fn import_account(
        &self,
        address: String,
        password: &str,
        quota: Option<u64>,
    ) -> Result<(), AdminError> {
        let address = parse_address(address)?;
        let credentials = match foreign::read(password)? {
            ForeignPassword::Plain(password) => self.hashed(password, false, None).await?,
            ForeignPassword::Hash(password_hash) => {
                Credentials { password_hash, ..Credentials::default() }
            }
        };
        let is_foreign = foreign::is_foreign(&credentials.password_hash);
        let _changing = self.changing.lock().await;
        let account = self.store.add_account(&address, credentials).await?;
        if quota.is_some() {
            self.store.set_quota(&address, quota).await?;
        }
        Ok(foreign::note(&*self.store, account, is_foreign).await?)
    }

    pub(super) async fn removed_accounts(&self) -> Result<Response, AdminError> {
        let removed = self.store.removed_accounts().await?.into_iter();
        let lines = removed.map(|removed| RemovedLine {
            address: removed.account.address.to_string(),
            removed: removed.time,
            until: removed.purge,
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by(|one, other| {
            (&one.address, one.removed).cmp(&(&other.address, other.removed))
        });
        Ok(Response::RemovedAccounts(lines))
    }

    pub(super) async fn remove_account(&self, address: String) -> Result<Response, AdminError> {
        let now = self.clock.now();
        let address = parse_address(address)?;
        let _changing = self.changing.lock().await;
        let until = now + PURGE_AFTER;
        let account = self.store.account(&address).await?;
        self.store.remove_account(&address, now, until).await?;
        if let Some(account) = account {
            self.leave_arrangements(&account).await?;
        }
        let leading = self.leading_to(&address).await?;
        let reads = postmaster::named_for(&*self.store, &address).await?;
        let postmaster_of = reads.iter().map(Domain::to_string).collect();
        Ok(Response::AccountRemoved { until, leading, postmaster_of })
    }

    pub(super) async fn undelete(
        &self,
        address: String,
        since: Option<Timestamp>,
    ) -> Result<Response, AdminError> {
        let address = parse_address(address)?;
        let _changing = self.changing.lock().await;
        let removed = self.store.removed_accounts().await?.into_iter();
        let removed = removed.filter(|removed| removed.account.address == address.folded());
        let last = removed.max_by_key(|removed| removed.time);
        if let Some(account) = self.store.account(&address).await? {
            let since = since.unwrap_or(Timestamp::MIN);
            let count = self.store.undelete(account.id, since).await?;
            return match last {
                // An account that was added again has nothing of the old one's.
                Some(last) if count == 0 => Err(AdminError::Succeeded(address, last.time)),
                _ => Ok(Response::Count(count)),
            };
        }
        let last = last.ok_or_else(|| AdminError::NothingToUndelete(address.clone()))?;
        let messages = self.store.restore_account(last.account.id).await?;
        let members = self.store.alias(&AliasName::Address(address.folded())).await?;
        let members = members.unwrap_or_default().iter().map(Address::to_string).collect();
        Ok(Response::AccountRestored { messages, members })
    }

    /// Returns a page of the accounts: those after an address.
    pub(super) async fn accounts(&self, after: Option<String>) -> Result<Response, AdminError> {
        let after = after.map(parse_address).transpose()?.map(|after| after.folded());
        let accounts = self.store.accounts(after.as_ref(), PAGE).await?;
        let next = accounts.last().filter(|_| accounts.len() == PAGE);
        let next = next.map(|last| last.address.to_string());
        let mut lines = Vec::with_capacity(accounts.len());
        for account in accounts {
            lines.push(self.account_line(account).await?);
        }
        Ok(Response::Accounts { lines, next })
    }

    async fn account_line(&self, account: Account) -> Result<AccountLine, AdminError> {
        let usage = self.store.usage(account.id).await?;
        let address = account.address.to_string();
        let forwards_to = match account.forwards {
            true => self.store.alias(&AliasName::Address(account.address)).await?,
            false => None,
        };
        Ok(AccountLine {
            address,
            messages: usage.messages,
            octets: usage.octets,
            quota: account.quota,
            send_as: account.send_as.iter().map(SendAs::to_string).collect(),
            disabled: account.disabled,
            forwards_to: forwards_to.unwrap_or_default().iter().map(Address::to_string).collect(),
            junk: if account.marks_junk { JunkOverPop3::Mark } else { JunkOverPop3::Folder },
            send_only: account.send_only,
        })
    }

    pub(super) async fn allow(&self, address: String, from: String) -> Result<(), AdminError> {
        let allowed = from.parse().map_err(|_| AdminError::SendAs(from))?;
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

    /// Hashes a password on the threads for that purpose, since hashing is slow by design.
    async fn credentials(
        &self,
        password: String,
        apop: bool,
        salt_of: Option<Verifier>,
    ) -> Result<Credentials, PasswordError> {
        self.hashed(Secret::new(password.as_bytes()), apop, salt_of).await
    }

    async fn hashed(
        &self,
        password: Secret,
        apop: bool,
        salt_of: Option<Verifier>,
    ) -> Result<Credentials, PasswordError> {
        let clock = self.clock.clone();
        let hashed = self.hashers.run(move |memory| {
            let credentials = login::credentials(&password, &*clock, memory, salt_of.as_ref())?;
            Ok(Credentials { apop: apop.then_some(password), ..credentials })
        });
        hashed.await.unwrap_or(Err(PasswordError))
    }
}
