//! The changes of the directory: accounts, aliases, domains.

use crate::{
    batch::Batch,
    commit::Committer,
    failed, key_and_value,
    schema::{self, Removed},
};
use posta_mail::{Address, Domain, Timestamp};
use posta_store::{
    Account, AccountId, Alias, AliasName, Credentials, SecretOf, StoreError, Usage, keeps_copy,
};

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
        if !self.schema.domain.contains_key(address.domain()).map_err(failed)? {
            batch.insert(&self.schema.domain, address.domain(), [0]);
        }
        if let Some(secret) = credentials.apop.take() {
            self.put_secret(SecretOf::Apop(id), &secret, &mut batch)?;
        }
        let account = Account { forwards, ..Account::new(id, address, credentials) };
        let key = account.address.as_str();
        batch.insert(&self.schema.account, key, schema::encode_account(&account));
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

    /// Changes what is kept of an account.
    pub(crate) fn change_account(
        &mut self,
        address: &Address,
        change: impl FnOnce(&mut Account),
    ) -> Result<(), StoreError> {
        let mut account = self.schema.account(address)?.ok_or(StoreError::NoSuchAccount)?;
        change(&mut account);
        let mut batch = Batch::new(&self.schema);
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
        for guard in self.schema.mailbox.prefix(account.id.0.to_be_bytes()) {
            let (key, value) = key_and_value(guard)?;
            let key = schema::mailbox_key(account.id, schema::uid_of(&key)?);
            let entry = schema::decode_entry(&value)?;
            self.move_to_removed(key, Removed { time, purge, entry }, &mut batch);
        }
        batch.remove(&self.schema.account, address.as_str());
        let apop = self.drop_secret(SecretOf::Apop(account.id), &mut batch)?;
        let domain = address.domain();
        let by_itself = self.schema.domain.get(domain).map_err(failed)?.as_deref() == Some(&[1]);
        if !by_itself && !self.schema.uses(domain, Some(address))? {
            batch.remove(&self.schema.domain, domain);
        }
        self.commit(batch)?;
        self.wipe(SecretOf::Apop(account.id), apop);
        self.accounts.remove(&account.id);
        self.usages.set(account.id, Usage::default());
        self.views.forget(account.id);
        Ok(())
    }

    pub(crate) fn add_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.domain, domain.as_str(), [1]);
        self.commit(batch)
    }

    pub(crate) fn remove_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        if !self.schema.domain.contains_key(domain.as_str()).map_err(failed)? {
            return Err(StoreError::NoSuchDomain(domain.clone()));
        }
        if self.schema.uses(domain.as_str(), None)? {
            return Err(StoreError::DomainInUse(domain.clone()));
        }
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.domain, domain.as_str());
        self.commit(batch)
    }

    pub(crate) fn set_alias(&mut self, alias: &Alias) -> Result<(), StoreError> {
        let domain = alias.name.domain();
        if !self.schema.domain.contains_key(domain).map_err(failed)? {
            return Err(StoreError::NoSuchDomain(schema::decode_domain(domain.as_bytes())?));
        }
        let mut batch = Batch::new(&self.schema);
        let targets = schema::encode_targets(&alias.targets);
        batch.insert(&self.schema.alias, alias.name.to_string(), targets);
        self.put_forwards(&alias.name, true, &mut batch)?;
        self.commit(batch)
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

    /// Notes with the account of an alias's name, if there is one, whether the alias is there.
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
