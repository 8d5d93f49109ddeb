//! The operator's requests about accounts.

use super::{Admin, AdminError, Response, parse_address};
use crate::{
    access::maildrop::PURGE_AFTER,
    directory::{canonical, postmaster},
    login::{self, PasswordError},
};
use posta_mail::{Address, Domain, Secret, Timestamp};
use posta_store::{Account, Alias, AliasName, Credentials, SendAs, untagged};
use serde::{Deserialize, Serialize};

/// The most permissions of an account to send from further addresses: they are read with the account.
pub(super) const SEND_AS: usize = 100;

/// An account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Where the owner of an account finds its junk over POP3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JunkOverPop3 {
    /// Nowhere: it stays in the folder Junk.
    #[default]
    Folder,
    /// Among the messages of the inbox, with a mark in the subject.
    Mark,
}

/// A removed account in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedLine {
    /// The address that it had.
    pub address: String,
    /// The time of its removal.
    pub removed: Timestamp,
    /// The time until which it can be brought back.
    pub until: Timestamp,
}

/// The number of accounts read at a time.
const PAGE: usize = 1_000;

impl Admin {
    pub(super) async fn add_account(
        &self,
        address: String,
        password: String,
        apop: bool,
    ) -> Result<(), AdminError> {
        let address = parse_address(address)?;
        let credentials = self.credentials(password, apop).await?;
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
        let address = parse_address(address)?;
        let credentials = self.credentials(password, apop).await?;
        Ok(self.store.set_password(&address, credentials).await?)
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
        self.store.remove_account(&address, now, until).await?;
        let leading = self.leading_to(&address).await?;
        let reads = postmaster::named_for(&*self.store, &address).await?;
        let postmaster_of = reads.iter().map(Domain::to_string).collect();
        Ok(Response::AccountRemoved { until, leading, postmaster_of })
    }

    /// Renames an account. Aliases that led to it lead to its new address, with the tags of subaddresses.
    pub(super) async fn rename_account(
        &self,
        old: String,
        new: String,
        keeps_old: bool,
    ) -> Result<Response, AdminError> {
        let (old, new) = (parse_address(old)?.folded(), parse_address(new)?);
        let _changing = self.changing.lock().await;
        let (forward, renamed) =
            (AliasName::Address(old.clone()), AliasName::Address(new.folded()));
        let mut aliases = Vec::new();
        for alias in self.store.aliases().await? {
            let mut targets = Vec::with_capacity(alias.targets.len());
            for target in &alias.targets {
                let meant = canonical(&*self.store, target).await?;
                let renamed = renamed_target(&meant, &old, &new);
                targets.push(renamed.unwrap_or_else(|| target.clone()));
            }
            let name = if alias.name == forward { renamed.clone() } else { alias.name.clone() };
            let changed = Alias { name, targets };
            if changed != alias {
                aliases.push(changed);
            }
        }
        let names = aliases.iter().filter(|alias| alias.name != renamed);
        let names = names.map(|alias| alias.name.to_string()).collect();
        if keeps_old {
            aliases.push(Alias { name: forward, targets: vec![new.clone()] });
        }
        let reads = postmaster::named_for(&*self.store, &old).await?;
        self.store.rename_account(&old, &new, aliases).await?;
        for domain in &reads {
            postmaster::name(&*self.store, domain, Some(&new)).await?;
        }
        Ok(Response::AccountRenamed { aliases: names })
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

    pub(super) async fn accounts(&self) -> Result<Response, AdminError> {
        let (mut lines, mut after) = (Vec::new(), None);
        loop {
            let accounts = self.store.accounts(after.as_ref(), PAGE).await?;
            let Some(last) = accounts.last() else { return Ok(Response::Accounts(lines)) };
            after = Some(last.address.clone());
            for account in accounts {
                lines.push(self.account_line(account).await?);
            }
        }
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
    ) -> Result<Credentials, PasswordError> {
        let clock = self.clock.clone();
        let password = Secret::new(password.as_bytes());
        let hashed = self.hashers.run(move |memory| {
            let credentials = login::credentials(&password, &*clock, memory)?;
            Ok(Credentials { apop: apop.then_some(password), ..credentials })
        });
        hashed.await.unwrap_or(Err(PasswordError))
    }
}

/// Returns a member of an alias after an account was renamed, or `None` if the member does not change.
fn renamed_target(target: &Address, old: &Address, new: &Address) -> Option<Address> {
    let folded = target.folded();
    if folded == *old {
        return Some(new.clone());
    }
    let tag = target.local_part().split_once('+').map(|(_, tag)| tag);
    match (untagged(&folded), tag, new.domain().parse()) {
        (Some(user), Some(tag), Ok(domain)) if user == *old => {
            let local_part = format!("{}+{tag}", new.local_part());
            Some(Address::new(&local_part, &domain).unwrap_or_else(|_| new.clone()))
        }
        _ => None,
    }
}
