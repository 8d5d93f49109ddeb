//! The directory of the reference store: accounts, aliases, domains.

use super::{Inner, MemoryStore};
use crate::{
    directory::{
        Account, AddressOwner, Alias, Credentials, Directory, RemovedAccount, Resolution,
        ResolvedAccount, SendAs, TagSeparators, keeps_copy,
    },
    error::{Pending, StoreError},
    names::{AccountId, AliasName, SourceId},
    records::SecretOf,
};
use posta_mail::{Address, Domain, Timestamp};
use std::ops::Bound;

impl Directory for MemoryStore {
    fn tags(&self) -> TagSeparators {
        self.tags.clone()
    }

    fn resolve(&self, address: &Address) -> Pending<'_, Resolution> {
        self.with(|inner| Ok(inner.resolve(address, &self.tags)))
    }

    fn resolve_all(&self, addresses: &[Address]) -> Pending<'_, Vec<Resolution>> {
        self.with(|inner| {
            Ok(addresses.iter().map(|address| inner.resolve(address, &self.tags)).collect())
        })
    }

    fn account(&self, address: &Address) -> Pending<'_, Option<Account>> {
        self.with(|inner| Ok(inner.accounts.get(&address.folded()).cloned()))
    }

    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>> {
        self.with(|inner| {
            let named =
                |account: &&Account| account.address.local_part().eq_ignore_ascii_case(local_part);
            Ok(inner.accounts.values().filter(named).cloned().collect())
        })
    }

    fn account_by_id(&self, id: AccountId) -> Pending<'_, Option<Account>> {
        self.with(|inner| Ok(inner.account_by_id(id)))
    }

    fn first_account(&self, domain: &str) -> Pending<'_, Option<Account>> {
        self.with(|inner| {
            let of_it = inner.accounts.values().filter(|it| it.address.domain() == domain);
            Ok(of_it.min_by_key(|account| (!account.is_read(), account.id)).cloned())
        })
    }

    fn accounts(&self, after: Option<&Address>, limit: usize) -> Pending<'_, Vec<Account>> {
        self.with(|inner| {
            let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.folded()));
            let some = inner.accounts.range((from, Bound::Unbounded)).take(limit);
            Ok(some.map(|(_, account)| account.clone()).collect())
        })
    }

    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId> {
        self.with_directory(|inner| inner.add_account(address.folded(), credentials))
    }

    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.set_password(address, credentials))
    }

    fn replace_password(
        &self,
        address: &Address,
        old: String,
        credentials: Credentials,
    ) -> Pending<'_, bool> {
        self.with_directory(|inner| {
            let account = inner.accounts.get(&address.folded()).ok_or(StoreError::NoSuchAccount)?;
            let is_old = account.credentials.password_hash == old;
            if is_old {
                inner.set_password(address, credentials)?;
            }
            Ok(is_old)
        })
    }

    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.change_account(address, |account| account.quota = quota))
    }

    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()> {
        self.with_directory(|inner| {
            inner.change_account(address, |account| account.send_as = send_as)
        })
    }

    fn set_marks_junk(&self, address: &Address, marks_junk: bool) -> Pending<'_, ()> {
        self.with_directory(|inner| {
            inner.change_account(address, |account| account.marks_junk = marks_junk)
        })
    }

    fn set_send_only(&self, address: &Address, send_only: bool) -> Pending<'_, ()> {
        self.with_directory(|inner| {
            inner.change_account(address, |account| account.send_only = send_only)
        })
    }

    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()> {
        self.with_directory(|inner| {
            inner.change_account(address, |account| account.disabled = disabled)
        })
    }

    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.rename_account(&old.folded(), new.folded(), aliases))
    }

    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()> {
        let changed =
            self.with_directory(|inner| inner.remove_account(&address.folded(), now, purge));
        self.watchers.tell_all_mailboxes();
        changed
    }

    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>> {
        self.with(|inner| Ok(inner.removed_accounts.values().cloned().collect()))
    }

    fn restore_account(&self, account: AccountId) -> Pending<'_, usize> {
        let changed = self.with_directory(|inner| inner.restore_account(account));
        self.watchers.tell_all_mailboxes();
        changed
    }

    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>> {
        self.with(|inner| Ok(inner.aliases.get(name).cloned()))
    }

    fn aliases(&self) -> Pending<'_, Vec<Alias>> {
        self.with(|inner| {
            let alias = |(name, targets): (&AliasName, &Vec<Address>)| Alias {
                name: name.clone(),
                targets: targets.clone(),
            };
            Ok(inner.aliases.iter().map(alias).collect())
        })
    }

    fn set_alias(&self, alias: Alias) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.set_alias(alias))
    }

    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.remove_alias(name))
    }

    fn is_local(&self, domain: &str) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.domains.contains_key(domain)))
    }

    fn domains(&self) -> Pending<'_, Vec<Domain>> {
        self.with(|inner| Ok(inner.domains.keys().cloned().collect()))
    }

    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>> {
        self.with(|inner| Ok(inner.domain_aliases.get(domain).cloned()))
    }

    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>> {
        self.with(|inner| Ok(inner.domain_aliases.clone().into_iter().collect()))
    }

    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.set_domain_alias(alias, domain))
    }

    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        self.with_directory(|inner| {
            inner.require_no_alias(domain.as_str())?;
            inner.domains.insert(domain.clone(), true);
            Ok(())
        })
    }

    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        self.with_directory(|inner| inner.remove_domain(domain))
    }
}

impl Inner {
    fn resolve(&self, address: &Address, tags: &TagSeparators) -> Resolution {
        let stands_for = self.domain_aliases.get(address.domain());
        let is_local = self.domains.contains_key(address.domain());
        let (address, untagged) = Resolution::names_by(address, stands_for, tags);
        let owner = self.owner(&address).or_else(|| self.owner(&untagged?));
        let catch_all = match (&owner, address.domain().parse()) {
            (None, Ok(domain)) => self.aliases.get(&AliasName::CatchAll(domain)).cloned(),
            _ => None,
        };
        Resolution { address, is_local, owner, catch_all }
    }

    /// Returns the account or alias of a name.
    fn owner(&self, name: &Address) -> Option<AddressOwner> {
        let targets = self.aliases.get(&AliasName::Address(name.clone())).cloned();
        let Some(account) = self.accounts.get(name).cloned() else {
            return Some(AddressOwner::Alias(name.clone(), targets?));
        };
        let forward = targets.filter(|_| account.forwards);
        let usage = account.quota.map(|_| self.usage(account.id));
        Some(AddressOwner::Account(Box::new(ResolvedAccount { account, forward, usage })))
    }

    pub(super) fn account_by_id(&self, id: AccountId) -> Option<Account> {
        self.accounts.values().find(|account| account.id == id).cloned()
    }

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

    pub(super) fn require_no_alias(&self, domain: &str) -> Result<(), StoreError> {
        match self.domain_aliases.get_key_value(domain) {
            Some((alias, of)) => Err(StoreError::DomainIsAlias(alias.clone(), of.clone())),
            None => Ok(()),
        }
    }

    /// Returns whether a domain has accounts, aliases or domain aliases.
    fn uses(&self, domain: &str) -> bool {
        self.accounts.keys().any(|address| address.domain() == domain)
            || self.aliases.keys().any(|name| name.domain() == domain)
            || self.domain_aliases.values().any(|of| of.as_str() == domain)
    }

    fn make_local(&mut self, domain: &str) {
        if let Ok(domain) = domain.parse() {
            self.domains.entry(domain).or_insert(false);
        }
    }

    /// Makes a domain no longer local unless it was added separately, or is still used.
    fn leave_domain(&mut self, domain: &str) {
        if !self.uses(domain) && self.domains.get(domain) == Some(&false) {
            self.domains.remove(domain);
        }
    }

    pub(super) fn add_account(
        &mut self,
        address: Address,
        mut credentials: Credentials,
    ) -> Result<AccountId, StoreError> {
        if self.accounts.contains_key(&address) {
            return Err(StoreError::AccountExists(address));
        }
        self.require_no_alias(address.domain())?;
        let alias = self.aliases.get(&AliasName::Address(address.clone()));
        if alias.is_some_and(|targets| !keeps_copy(&address, targets)) {
            return Err(StoreError::IsAlias(address));
        }
        let forwards = alias.is_some();
        self.last_account += 1;
        let id = AccountId(self.last_account);
        self.make_local(address.domain());
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

    /// Changes the record of an account.
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
        let entries = self.of_account(account.id);
        let keys: Vec<_> = entries.map(|entry| (account.id, entry.folder, entry.uid)).collect();
        for key in keys {
            self.remove(key, now, purge);
        }
        self.removed_accounts.insert(account.id, RemovedAccount { account, time: now, purge });
        self.leave_domain(address.domain());
        Ok(())
    }

    pub(super) fn restore_account(&mut self, id: AccountId) -> Result<usize, StoreError> {
        let removed = self.removed_accounts.get(&id).cloned().ok_or(StoreError::NoSuchAccount)?;
        let address = removed.account.address.clone();
        if self.accounts.contains_key(&address) {
            return Err(StoreError::AccountExists(address));
        }
        self.require_no_alias(address.domain())?;
        self.removed_accounts.remove(&id);
        self.make_local(address.domain());
        let forwards = self.aliases.contains_key(&AliasName::Address(address.clone()));
        self.accounts.insert(address, Account { forwards, ..removed.account });
        Ok(self.undelete(id, removed.time))
    }

    /// Purges the removed accounts whose time has come.
    pub(super) fn purge_accounts(&mut self, now: Timestamp) -> usize {
        let due: Vec<_> =
            self.removed_accounts.extract_if(.., |_, removed| removed.purge <= now).collect();
        for (id, _) in &due {
            self.secrets.remove(&SecretOf::Apop(*id));
            self.ledgers.remove(id);
            self.folders.retain(|(account, _), _| account != id);
            let sources = self.sources.values().filter(|source| source.account == *id);
            let sources: Vec<_> = sources.map(|source| source.id).collect();
            for source in sources.into_iter().chain([SourceId::imports_of(*id)]) {
                self.remove_source(source);
            }
        }
        due.len()
    }

    pub(super) fn rename_account(
        &mut self,
        old: &Address,
        new: Address,
        aliases: Vec<Alias>,
    ) -> Result<(), StoreError> {
        if !self.accounts.contains_key(old) {
            return Err(StoreError::NoSuchAccount);
        }
        if self.accounts.contains_key(&new) {
            return Err(StoreError::AccountExists(new));
        }
        self.require_no_alias(new.domain())?;
        if self.aliases.contains_key(&AliasName::Address(new.clone())) {
            return Err(StoreError::IsAlias(new));
        }
        for alias in aliases.iter().filter(|alias| alias.name.domain() != new.domain()) {
            self.require_domain(alias.name.domain())?;
            self.require_no_alias(alias.name.domain())?;
        }
        let Some(account) = self.accounts.remove(old) else { return Ok(()) };
        self.make_local(new.domain());
        self.aliases.remove(&AliasName::Address(old.clone()));
        let account = Account { address: new.clone(), forwards: false, ..account };
        self.accounts.insert(new, account);
        for alias in aliases {
            self.set_alias(alias)?;
        }
        self.leave_domain(old.domain());
        Ok(())
    }

    pub(super) fn set_domain_alias(
        &mut self,
        alias: &Domain,
        domain: &Domain,
    ) -> Result<(), StoreError> {
        self.require_domain(domain.as_str())?;
        self.require_no_alias(domain.as_str())?;
        if alias == domain || self.uses(alias.as_str()) {
            return Err(StoreError::DomainInUse(alias.clone()));
        }
        self.domains.insert(alias.clone(), true);
        self.domain_aliases.insert(alias.clone(), domain.clone());
        Ok(())
    }

    pub(super) fn set_alias(&mut self, alias: Alias) -> Result<(), StoreError> {
        self.require_domain(alias.name.domain())?;
        self.require_no_alias(alias.name.domain())?;
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
        if let Some(of) = self.domain_aliases.remove(domain) {
            self.leave_domain(of.as_str());
        }
        Ok(())
    }
}
