//! The directory.

use super::{FjallStore, now};
use crate::{commit::removals::Until, error::failed, tables::schema};
use posta_mail::{Address, Domain, Timestamp};
use posta_store::{
    Account, AccountId, AddressOwner, Alias, AliasName, Credentials, Directory, Mailboxes as _,
    Pending, RemovedAccount, Resolution, SendAs, StoreError, TagSeparators,
};

impl Directory for FjallStore {
    fn tags(&self) -> TagSeparators {
        self.tags.clone()
    }

    fn resolve(&self, address: &Address) -> Pending<'_, Resolution> {
        let resolution = self.schema().and_then(|schema| schema.resolve(address, &self.tags));
        Box::pin(async move {
            let mut resolution = resolution?;
            self.add_usage(&mut resolution).await?;
            Ok(resolution)
        })
    }

    fn resolve_all(&self, addresses: &[Address]) -> Pending<'_, Vec<Resolution>> {
        let (addresses, tags) = (addresses.to_vec(), self.tags.clone());
        let resolutions = self.read(move |schema| {
            let resolved = addresses.iter().map(|address| schema.resolve(address, &tags));
            resolved.collect::<Result<Vec<_>, _>>()
        });
        Box::pin(async move {
            let mut resolutions = resolutions.await?;
            for resolution in &mut resolutions {
                self.add_usage(resolution).await?;
            }
            Ok(resolutions)
        })
    }

    fn account(&self, address: &Address) -> Pending<'_, Option<Account>> {
        now(|| self.schema()?.account(&address.folded()))
    }

    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>> {
        let beginning = format!("{}@", local_part.to_ascii_lowercase());
        self.read(move |schema| schema.accounts(&beginning))
    }

    fn account_by_id(&self, id: AccountId) -> Pending<'_, Option<Account>> {
        now(|| self.schema()?.account_by_id(id))
    }

    fn first_account(&self, domain: &str) -> Pending<'_, Option<Account>> {
        now(|| self.schema()?.first_account(domain))
    }

    fn accounts(&self, after: Option<&Address>, limit: usize) -> Pending<'_, Vec<Account>> {
        let after = after.map(Address::folded);
        self.read(move |schema| schema.accounts_after(after.as_ref(), limit))
    }

    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId> {
        let address = address.folded();
        self.alone(move |committer| committer.add_account(address, credentials))
    }

    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| committer.set_password(&address, credentials))
    }

    fn replace_password(
        &self,
        address: &Address,
        old: String,
        credentials: Credentials,
    ) -> Pending<'_, bool> {
        let address = address.folded();
        self.alone(move |committer| committer.replace_password(&address, &old, credentials))
    }

    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| {
            committer.change_account(&address, |account| account.quota = quota)
        })
    }

    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| {
            committer.change_account(&address, |account| account.send_as = send_as)
        })
    }

    fn set_send_only(&self, address: &Address, send_only: bool) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| {
            committer.change_account(&address, |account| account.send_only = send_only)
        })
    }

    fn set_marks_junk(&self, address: &Address, marks_junk: bool) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| {
            committer.change_account(&address, |account| account.marks_junk = marks_junk)
        })
    }

    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| {
            committer.change_account(&address, |account| account.disabled = disabled)
        })
    }

    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()> {
        let (old, new) = (old.folded(), new.folded());
        self.alone(move |committer| committer.rename_account(&old, &new, &aliases))
    }

    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()> {
        let address = address.folded();
        self.alone(move |committer| committer.remove_account(&address, now, purge))
    }

    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>> {
        self.read(|schema| schema.removed_accounts())
    }

    fn restore_account(&self, account: AccountId) -> Pending<'_, usize> {
        Box::pin(async move {
            let (mut count, mut from) = (0, None);
            loop {
                let some = self.after(Until::Of(account), move |committer| {
                    committer.restore_account(account, from)
                });
                let some = some.await?;
                count += some.count;
                match some.next {
                    Some(_) => from = some.next,
                    None => return Ok(count),
                }
            }
        })
    }

    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>> {
        now(|| self.schema()?.targets(name))
    }

    fn aliases(&self) -> Pending<'_, Vec<Alias>> {
        self.read(|schema| schema.aliases())
    }

    fn set_alias(&self, alias: Alias) -> Pending<'_, ()> {
        self.alone(move |committer| committer.set_alias(&alias))
    }

    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()> {
        let name = name.clone();
        self.alone(move |committer| committer.remove_alias(name))
    }

    fn is_local(&self, domain: &str) -> Pending<'_, bool> {
        now(|| self.schema()?.domain.contains_key(domain).map_err(failed))
    }

    fn domains(&self) -> Pending<'_, Vec<Domain>> {
        self.read(|schema| {
            let mut domains = Vec::new();
            for guard in schema.domain.iter() {
                domains.push(schema::decode_domain(&guard.key().map_err(failed)?)?);
            }
            Ok(domains)
        })
    }

    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>> {
        now(|| self.schema()?.domain_alias(domain))
    }

    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>> {
        self.read(|schema| schema.domain_aliases())
    }

    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()> {
        let (alias, domain) = (alias.clone(), domain.clone());
        self.alone(move |committer| committer.set_domain_alias(&alias, &domain))
    }

    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.alone(move |committer| committer.add_domain(&domain))
    }

    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.alone(move |committer| committer.remove_domain(&domain))
    }
}

impl FjallStore {
    /// Adds what the mailbox of an account with a quota holds. It is known in memory, unless nobody has asked for
    /// it since the start.
    async fn add_usage(&self, resolution: &mut Resolution) -> Result<(), StoreError> {
        if let Some(AddressOwner::Account(resolved)) = &mut resolution.owner
            && resolved.account.quota.is_some()
        {
            resolved.usage = Some(self.usage(resolved.account.id).await?);
        }
        Ok(())
    }
}
