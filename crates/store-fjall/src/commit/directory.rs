//! The changes of the directory: accounts, aliases, domains.

use super::{Committer, mailboxes::BroughtBack, removals::Counts};
use crate::{
    error::failed,
    tables::{
        batch::Batch,
        removals::{Names, Removal},
        schema::{self, EntryKey},
    },
};
use posta_mail::{Address, Domain, Timestamp};
use posta_store::{
    Account, AccountId, Alias, AliasName, Credentials, Folder, RemovedAccount, SecretOf,
    StoreError, Uid, Usage, keeps_copy,
};
use std::sync::Arc;

impl Committer {
    pub(crate) fn add_account(
        &mut self,
        address: Address,
        mut credentials: Credentials,
    ) -> Result<AccountId, StoreError> {
        if self.schema.account(&address)?.is_some() {
            return Err(StoreError::AccountExists(address));
        }
        let forwards = match self.schema.targets(&AliasName::Address(address.clone()))? {
            Some(targets) if !keeps_copy(&address, &targets) => {
                return Err(StoreError::IsAlias(address));
            }
            targets => targets.is_some(),
        };
        let id = AccountId(self.last_account + 1);
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::LAST_ACCOUNT, id.0.to_be_bytes());
        self.make_local(address.domain(), &mut batch)?;
        if let Some(secret) = credentials.apop.take() {
            self.put_secret(SecretOf::Apop(id), &secret, &mut batch)?;
        }
        let account = Account { forwards, ..Account::new(id, address, credentials) };
        let key = account.address.as_str();
        batch.insert(&self.schema.account, key, schema::encode_account(&account));
        self.index(&account, &mut batch);
        self.commit(batch)?;
        self.last_account = id.0;
        self.accounts.insert(id);
        Ok(id)
    }

    pub(crate) fn set_password(
        &mut self,
        address: &Address,
        mut credentials: Credentials,
    ) -> Result<(), StoreError> {
        let mut account = self.schema.account(address)?.ok_or(StoreError::NoSuchAccount)?;
        let (mut batch, of) = (Batch::new(&self.schema), SecretOf::Apop(account.id));
        let old = match credentials.apop.take() {
            Some(secret) => self.put_secret(of, &secret, &mut batch)?,
            None => self.drop_secret(of, &mut batch)?,
        };
        account.credentials = credentials;
        batch.insert(&self.schema.account, address.as_str(), schema::encode_account(&account));
        self.commit(batch)?;
        self.wipe(of, old);
        Ok(())
    }

    pub(crate) fn replace_password(
        &mut self,
        address: &Address,
        old: &str,
        credentials: Credentials,
    ) -> Result<bool, StoreError> {
        let account = self.schema.account(address)?.ok_or(StoreError::NoSuchAccount)?;
        let is_old = account.credentials.password_hash == old;
        if is_old {
            self.set_password(address, credentials)?;
        }
        Ok(is_old)
    }

    /// Changes an account's record.
    pub(crate) fn change_account(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut Account),
    ) -> Result<(), StoreError> {
        let mut account = self.schema.account(address)?.ok_or(StoreError::NoSuchAccount)?;
        let mut batch = Batch::new(&self.schema);
        let old = account.clone();
        change(&mut account);
        self.index_anew(&old, &account, &mut batch);
        batch.insert(&self.schema.account, address.as_str(), schema::encode_account(&account));
        self.commit(batch)
    }

    pub(crate) fn remove_account(
        &mut self,
        address: &Address,
        time: Timestamp,
        purge: Timestamp,
    ) -> Result<(), StoreError> {
        let account = self.schema.account(address)?.ok_or(StoreError::NoSuchAccount)?;
        let mut batch = Batch::new(&self.schema);
        let removals = self.take_out_all(account.id, (time, purge), &mut batch)?;
        batch.remove(&self.schema.account, address.as_str());
        let (id, domain) = (account.id, address.domain());
        self.unindex(&account, &mut batch);
        let removed = RemovedAccount { account, time, purge };
        let value = schema::encode_removed_account(&removed);
        batch.insert(&self.schema.kept, schema::removed_account_key(id), value);
        if !self.schema.uses(domain, Some(address), None)? {
            self.leave_domain(domain, &mut batch)?;
        }
        self.commit(batch)?;
        self.accounts.remove(&id);
        self.usages.set(id, Usage::default());
        self.are_decided(id, removals);
        Ok(())
    }

    /// Removes all messages of an account from their folders: at once if they are few, otherwise by large removals,
    /// which are returned.
    fn take_out_all(
        &mut self,
        account: AccountId,
        times: (Timestamp, Timestamp),
        batch: &mut Batch,
    ) -> Result<Vec<Arc<Removal>>, StoreError> {
        let folders = self.all_folders(account)?;
        if folders.iter().map(|folder| folder.messages).sum::<u64>() > self.piece as u64 {
            let all = folders.into_iter().map(|folder| {
                let Folder { id, uid_next, messages, octets, unseen, .. } = folder;
                (id, Names::Below(uid_next), Counts { messages, octets, unseen })
            });
            return self.put_removals(account, all.collect(), times, batch);
        }
        for folder in folders.into_iter().filter(|folder| folder.messages > 0) {
            for entry in self.schema.entries(account, folder.id, Uid(0), self.piece)? {
                self.take_out(account, entry, times, batch);
            }
            self.save_folder(account, folder.id, batch);
        }
        Ok(Vec::new())
    }

    /// Brings some messages of a removed account back, and the account with the last of them.
    pub(crate) fn restore_account(
        &mut self,
        id: AccountId,
        from: Option<EntryKey>,
    ) -> Result<BroughtBack, StoreError> {
        let removed = self.schema.removed_account(id)?.ok_or(StoreError::NoSuchAccount)?;
        let RemovedAccount { account, time, .. } = removed;
        let address = account.address.clone();
        if self.schema.account(&address)?.is_some() {
            return Err(StoreError::AccountExists(address));
        }
        let forwards = self.schema.targets(&AliasName::Address(address.clone()))?.is_some();
        let account = Account { forwards, ..account };
        let mut batch = Batch::new(&self.schema);
        self.require_no_alias(address.domain())?;
        let brought_back = self.bring_back(id, time, from, &mut batch)?;
        if brought_back.next.is_some() {
            self.commit(batch)?;
            return Ok(brought_back);
        }
        self.make_local(address.domain(), &mut batch)?;
        batch.insert(&self.schema.account, address.as_str(), schema::encode_account(&account));
        self.index(&account, &mut batch);
        batch.remove(&self.schema.kept, schema::removed_account_key(id));
        self.commit(batch)?;
        self.accounts.insert(id);
        Ok(brought_back)
    }

    /// Purges removed accounts, with their secrets, sources and folders. Each comes with whether it had messages in
    /// its folders a moment ago, as after bringing it back was broken off; some of these are removed first. Returns
    /// the number of accounts, or of such messages.
    pub(crate) fn purge_accounts(
        &mut self,
        due: Vec<(RemovedAccount, bool)>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        for (RemovedAccount { account, .. }, had_messages) in &due {
            // It may have been brought back or purged since.
            if self.schema.removed_account(account.id)?.is_none() {
                continue;
            }
            let has_messages = self.all_folders(account.id)?.iter().any(|it| it.messages > 0);
            if *had_messages || has_messages {
                let left = self.take_out_some(account.id, now)?;
                if left > 0 {
                    return Ok(left);
                }
            }
            let forgotten = self.forget_some_imports(account.id)?;
            if forgotten > 0 {
                return Ok(forgotten);
            }
            for source in self.schema.sources()? {
                if source.account == account.id {
                    self.remove_source(source.id)?;
                }
            }
            let mut batch = Batch::new(&self.schema);
            let apop = self.drop_secret(SecretOf::Apop(account.id), &mut batch)?;
            batch.remove(&self.schema.kept, schema::removed_account_key(account.id));
            self.drop_folders(account.id, &mut batch)?;
            self.commit(batch)?;
            self.wipe(SecretOf::Apop(account.id), apop);
        }
        Ok(due.len())
    }

    pub(crate) fn rename_account(
        &mut self,
        old: &Address,
        new: &Address,
        aliases: &[Alias],
    ) -> Result<(), StoreError> {
        let account = self.schema.account(old)?.ok_or(StoreError::NoSuchAccount)?;
        if self.schema.account(new)?.is_some() {
            return Err(StoreError::AccountExists(new.clone()));
        }
        if self.schema.targets(&AliasName::Address(new.clone()))?.is_some() {
            return Err(StoreError::IsAlias(new.clone()));
        }
        let mut batch = Batch::new(&self.schema);
        self.make_local(new.domain(), &mut batch)?;
        batch.remove(&self.schema.account, old.as_str());
        batch.remove(&self.schema.alias, old.as_str());
        let forward = AliasName::Address(old.clone());
        let (mut forwards, mut keeps_domain) = (false, old.domain() == new.domain());
        for alias in aliases {
            if alias.name.domain() != new.domain() {
                self.require_domain(alias.name.domain())?;
                self.require_no_alias(alias.name.domain())?;
            }
            if alias.name != forward {
                // It may be the name of a third account.
                self.put_forwards(&alias.name, true, &mut batch)?;
            }
            forwards |= alias.name == AliasName::Address(new.clone());
            keeps_domain |= alias.name.domain() == old.domain();
            self.put_alias(alias, &mut batch);
        }
        let renamed = Account { address: new.clone(), forwards, ..account.clone() };
        self.index_anew(&account, &renamed, &mut batch);
        batch.insert(&self.schema.account, new.as_str(), schema::encode_account(&renamed));
        if !keeps_domain && !self.schema.uses(old.domain(), Some(old), Some(&forward))? {
            self.leave_domain(old.domain(), &mut batch)?;
        }
        self.commit(batch)
    }
}

/// The indexes of accounts, by id and by domain.
impl Committer {
    pub(crate) fn index(&self, account: &Account, batch: &mut Batch) {
        for key in schema::index_keys(account) {
            batch.insert(&self.schema.kept, key, account.address.as_str());
        }
    }

    fn unindex(&self, account: &Account, batch: &mut Batch) {
        for key in schema::index_keys(account) {
            batch.remove(&self.schema.kept, key);
        }
    }

    /// Updates the indexes of an account that changes. No key is both removed and set in one batch.
    fn index_anew(&self, old: &Account, new: &Account, batch: &mut Batch) {
        let keys = schema::index_keys(new);
        for key in schema::index_keys(old) {
            if !keys.contains(&key) {
                batch.remove(&self.schema.kept, key);
            }
        }
        if (old.is_read(), &old.address) != (new.is_read(), &new.address) {
            self.index(new, batch);
        }
    }
}

/// Domains, and aliases.
impl Committer {
    /// Makes a domain local for as long as an account or alias uses it.
    fn make_local(&self, domain: &str, batch: &mut Batch) -> Result<(), StoreError> {
        self.require_no_alias(domain)?;
        if !self.schema.domain.contains_key(domain).map_err(failed)? {
            batch.insert(&self.schema.domain, domain, schema::USED);
        }
        Ok(())
    }

    /// Makes an unused domain no longer local, unless it was added by itself.
    fn leave_domain(&self, domain: &str, batch: &mut Batch) -> Result<(), StoreError> {
        if self.schema.domain.get(domain).map_err(failed)?.as_deref() == Some(schema::USED) {
            batch.remove(&self.schema.domain, domain);
        }
        Ok(())
    }

    fn require_no_alias(&self, domain: &str) -> Result<(), StoreError> {
        match self.schema.domain_alias(domain)? {
            Some(of) => {
                let alias = schema::decode_domain(domain.as_bytes())?;
                Err(StoreError::DomainIsAlias(alias, of))
            }
            None => Ok(()),
        }
    }

    fn require_domain(&self, domain: &str) -> Result<(), StoreError> {
        if !self.schema.domain.contains_key(domain).map_err(failed)? {
            return Err(StoreError::NoSuchDomain(schema::decode_domain(domain.as_bytes())?));
        }
        Ok(())
    }

    pub(crate) fn set_domain_alias(
        &mut self,
        alias: &Domain,
        domain: &Domain,
    ) -> Result<(), StoreError> {
        self.require_domain(domain.as_str())?;
        self.require_no_alias(domain.as_str())?;
        if alias == domain || self.schema.uses(alias.as_str(), None, None)? {
            return Err(StoreError::DomainInUse(alias.clone()));
        }
        let mut batch = Batch::new(&self.schema);
        let value = schema::encode_domain_alias(domain);
        batch.insert(&self.schema.domain, alias.as_str(), value);
        self.commit(batch)
    }

    pub(crate) fn add_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        self.require_no_alias(domain.as_str())?;
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.domain, domain.as_str(), schema::ADDED_BY_ITSELF);
        self.commit(batch)
    }

    pub(crate) fn remove_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        if !self.schema.domain.contains_key(domain.as_str()).map_err(failed)? {
            return Err(StoreError::NoSuchDomain(domain.clone()));
        }
        if self.schema.uses(domain.as_str(), None, None)? {
            return Err(StoreError::DomainInUse(domain.clone()));
        }
        let of = self.schema.domain_alias(domain.as_str())?;
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.domain, domain.as_str());
        self.commit(batch)?;
        if let Some(of) = of
            && !self.schema.uses(of.as_str(), None, None)?
        {
            let mut batch = Batch::new(&self.schema);
            self.leave_domain(of.as_str(), &mut batch)?;
            self.commit(batch)?;
        }
        Ok(())
    }

    pub(crate) fn set_alias(&mut self, alias: &Alias) -> Result<(), StoreError> {
        let domain = alias.name.domain();
        self.require_domain(domain)?;
        self.require_no_alias(domain)?;
        let mut batch = Batch::new(&self.schema);
        self.put_alias(alias, &mut batch);
        self.put_forwards(&alias.name, true, &mut batch)?;
        self.commit(batch)
    }

    fn put_alias(&self, alias: &Alias, batch: &mut Batch) {
        let targets = schema::encode_targets(&alias.targets);
        batch.insert(&self.schema.alias, alias.name.to_string(), targets);
    }

    pub(crate) fn remove_alias(&mut self, name: AliasName) -> Result<(), StoreError> {
        let key = name.to_string();
        if !self.schema.alias.contains_key(&key).map_err(failed)? {
            return Err(StoreError::NoSuchAlias(name));
        }
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.alias, key);
        self.put_forwards(&name, false, &mut batch)?;
        self.commit(batch)
    }

    /// Records in the account with an alias's name, if there is one, whether the alias exists.
    fn put_forwards(
        &self,
        name: &AliasName,
        forwards: bool,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let AliasName::Address(address) = name else { return Ok(()) };
        if let Some(account) = self.schema.account(address)?
            && account.forwards != forwards
        {
            let account = Account { forwards, ..account };
            batch.insert(&self.schema.account, address.as_str(), schema::encode_account(&account));
        }
        Ok(())
    }
}
