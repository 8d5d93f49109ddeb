//! The directory of the reference store: accounts, aliases, domains.

use super::Inner;
use crate::{Account, AccountId, Alias, AliasName, Credentials, SecretOf, StoreError, keeps_copy};
use posta_mail::{Address, Domain, Timestamp};

impl Inner {
    pub(super) fn has_account(&self, id: AccountId) -> bool {
        self.accounts.values().any(|account| account.id == id)
    }

    pub(super) fn require_domain(&self, name: &str) -> Result<(), StoreError> {
        match name.parse::<Domain>() {
            Ok(domain) if !self.domains.contains_key(&domain) => {
                Err(StoreError::NoSuchDomain(domain))
            }
            _ => Ok(()),
        }
    }

    /// Whether a domain has accounts or aliases.
    pub(super) fn uses(&self, domain: &str) -> bool {
        self.accounts.keys().any(|address| address.domain() == domain)
            || self.aliases.keys().any(|name| name.domain() == domain)
    }

    pub(super) fn add_account(
        &mut self,
        address: Address,
        mut credentials: Credentials,
    ) -> Result<AccountId, StoreError> {
        if self.accounts.contains_key(&address) {
            return Err(StoreError::AccountExists(address));
        }
        let alias = self.aliases.get(&AliasName::Address(address.clone()));
        if alias.is_some_and(|targets| !keeps_copy(&address, targets)) {
            return Err(StoreError::IsAlias(address));
        }
        let forwards = alias.is_some();
        self.last_account += 1;
        let id = AccountId(self.last_account);
        if let Ok(domain) = address.domain().parse() {
            self.domains.entry(domain).or_insert(false);
        }
        if let Some(secret) = credentials.apop.take() {
            self.secrets.insert(SecretOf::Apop(id), secret);
        }
        let account = Account { forwards, ..Account::new(id, address.clone(), credentials) };
        self.accounts.insert(address, account);
        Ok(id)
    }

    pub(super) fn set_password(
        &mut self,
        address: &Address,
        mut credentials: Credentials,
    ) -> Result<(), StoreError> {
        let account = self.accounts.get_mut(&address.folded()).ok_or(StoreError::NoSuchAccount)?;
        match credentials.apop.take() {
            Some(secret) => self.secrets.insert(SecretOf::Apop(account.id), secret),
            None => self.secrets.remove(&SecretOf::Apop(account.id)),
        };
        account.credentials = credentials;
        Ok(())
    }

    /// Changes what is kept of an account.
    pub(super) fn change_account(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut Account),
    ) -> Result<(), StoreError> {
        let account = self.accounts.get_mut(&address.folded());
        change(account.ok_or(StoreError::NoSuchAccount)?);
        Ok(())
    }

    pub(super) fn remove_account(
        &mut self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Result<(), StoreError> {
        let account = self.accounts.remove(address).ok_or(StoreError::NoSuchAccount)?;
        self.secrets.remove(&SecretOf::Apop(account.id));
        let uids: Vec<_> = self.mailbox(account.id).map(|(uid, _)| uid).collect();
        for uid in uids {
            self.remove((account.id, uid), now, purge);
        }
        let domain = address.domain();
        if !self.uses(domain) && self.domains.get(domain) == Some(&false) {
            self.domains.remove(domain);
        }
        Ok(())
    }

    pub(super) fn set_alias(&mut self, alias: Alias) -> Result<(), StoreError> {
        self.require_domain(alias.name.domain())?;
        self.set_forwards(&alias.name, true);
        self.aliases.insert(alias.name, alias.targets);
        Ok(())
    }

    pub(super) fn remove_alias(&mut self, name: &AliasName) -> Result<(), StoreError> {
        if self.aliases.remove(name).is_none() {
            return Err(StoreError::NoSuchAlias(name.clone()));
        }
        self.set_forwards(name, false);
        Ok(())
    }

    fn set_forwards(&mut self, name: &AliasName, forwards: bool) {
        let AliasName::Address(address) = name else { return };
        if let Some(account) = self.accounts.get_mut(address) {
            account.forwards = forwards;
        }
    }

    pub(super) fn remove_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        if !self.domains.contains_key(domain) {
            return Err(StoreError::NoSuchDomain(domain.clone()));
        }
        if self.uses(domain.as_str()) {
            return Err(StoreError::DomainInUse(domain.clone()));
        }
        self.domains.remove(domain);
        Ok(())
    }
}
