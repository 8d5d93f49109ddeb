//! The directory.
//!
//! Changes of the directory are few. They follow each other on all nodes: each locks the table of domains against the
//! others, and its NOTIFY is part of its transaction.

mod accounts;
mod aliases;
mod domains;
mod removal;
mod resolve;

pub(super) use accounts::{account, by_id as account_by_id};

use super::PostgresStore;
use crate::{
    connection::Connection,
    database::Durability,
    fault::{DatabaseFault, damaged},
    news,
    node::Node,
};
use posta_mail::{Address, Domain, Timestamp};
use posta_store::{
    Account, AccountId, Alias, AliasName, Credentials, Directory, Pending, RemovedAccount,
    Resolution, SendAs, StoreError, Subject, TagSeparators,
};
use std::{
    future::{Future, ready},
    sync::Arc,
};

const LOCK: &str = "LOCK TABLE domain IN SHARE ROW EXCLUSIVE MODE";

/// Tells the other nodes that the directory changes, with the transaction.
pub(super) async fn tell_directory(
    connection: &Arc<Connection>,
    node: &Node,
) -> Result<(), DatabaseFault> {
    connection.query(news::NOTIFY, &[&node.news.of_directory()]).await.map(drop)
}

impl PostgresStore {
    /// Carries out a change of the directory.
    fn directory<T, F>(
        &self,
        work: impl Fn(Arc<Connection>, Arc<Node>) -> F + Send + Sync + 'static,
    ) -> Pending<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DatabaseFault>> + Send + 'static,
    {
        self.run(move |node| change(node, work))
    }
}

async fn change<T, F>(
    node: Arc<Node>,
    work: impl Fn(Arc<Connection>, Arc<Node>) -> F + Send + Sync,
) -> Result<T, StoreError>
where
    T: Send,
    F: Future<Output = Result<T, DatabaseFault>> + Send,
{
    let changed = node.database.change(Durability::Synced, |connection| {
        let worked = work(connection.clone(), node.clone());
        let node = node.clone();
        async move {
            connection.run(LOCK).await?;
            let worked = worked.await?;
            tell_directory(&connection, &node).await?;
            Ok(worked)
        }
    });
    let changed = changed.await?;
    node.watchers.tell(Subject::Directory);
    Ok(changed)
}

impl Directory for PostgresStore {
    fn tags(&self) -> TagSeparators {
        self.node.tags.clone()
    }

    fn resolve(&self, address: &Address) -> Pending<'_, Resolution> {
        let address = address.clone();
        let version = self.node.watchers.directory_version();
        if let Some(resolution) = self.node.resolutions.get(version, &address) {
            return Box::pin(ready(Ok(resolution)));
        }
        self.run(move |node| async move {
            let read = |connection: Arc<Connection>| {
                let (address, tags) = (address.clone(), node.tags.clone());
                async move { resolve::resolve(&connection, &[address], &tags).await }
            };
            let resolution = node.database.read(read).await?.pop();
            let resolution = resolution.ok_or_else(|| damaged("an address"))?;
            node.resolutions.keep(version, address, &resolution);
            Ok(resolution)
        })
    }

    fn resolve_all(&self, addresses: &[Address]) -> Pending<'_, Vec<Resolution>> {
        let (addresses, tags): (Arc<[Address]>, _) = (addresses.into(), self.tags());
        self.read(move |connection| {
            let (addresses, tags) = (addresses.clone(), tags.clone());
            async move { resolve::resolve(&connection, &addresses, &tags).await }
        })
    }

    fn account(&self, address: &Address) -> Pending<'_, Option<Account>> {
        let address = address.folded();
        self.read(move |connection| {
            let address = address.clone();
            async move { accounts::find(&connection, &address).await }
        })
    }

    fn accounts_named(&self, local_part: &str) -> Pending<'_, Vec<Account>> {
        let local_part = local_part.to_ascii_lowercase();
        self.read(move |connection| {
            let local_part = local_part.clone();
            async move { accounts::named(&connection, &local_part).await }
        })
    }

    fn account_by_id(&self, id: AccountId) -> Pending<'_, Option<Account>> {
        self.read(move |connection| async move { accounts::by_id(&connection, id).await })
    }

    fn first_account(&self, domain: &str) -> Pending<'_, Option<Account>> {
        let domain = domain.to_owned();
        self.read(move |connection| {
            let domain = domain.clone();
            async move { accounts::first(&connection, &domain).await }
        })
    }

    fn accounts(&self, after: Option<&Address>, limit: usize) -> Pending<'_, Vec<Account>> {
        let after = after.map(|after| after.folded().as_str().to_owned()).unwrap_or_default();
        self.read(move |connection| {
            let after = after.clone();
            async move { accounts::page(&connection, &after, limit).await }
        })
    }

    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId> {
        let given = Arc::new((address.folded(), credentials));
        self.directory(move |connection, node| {
            let given = given.clone();
            async move { accounts::add(&connection, &node.seals, &given.0, &given.1).await }
        })
    }

    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()> {
        let given = Arc::new((address.folded(), credentials));
        self.directory(move |connection, node| {
            let given = given.clone();
            async move { accounts::set_password(&connection, &node.seals, &given.0, &given.1).await }
        })
    }

    fn replace_password(
        &self,
        address: &Address,
        old: String,
        credentials: Credentials,
    ) -> Pending<'_, bool> {
        let given = Arc::new((address.folded(), credentials, old));
        self.directory(move |connection, node| {
            let given = given.clone();
            async move {
                let (address, credentials, old) = &*given;
                let account = accounts::require(&connection, address).await?;
                let is_old = account.credentials.password_hash == *old;
                if is_old {
                    accounts::set_password(&connection, &node.seals, address, credentials).await?;
                }
                Ok(is_old)
            }
        })
    }

    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()> {
        self.change_account(address, move |account| account.quota = quota)
    }

    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()> {
        self.change_account(address, move |account| account.send_as.clone_from(&send_as))
    }

    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()> {
        self.change_account(address, move |account| account.disabled = disabled)
    }

    fn set_marks_junk(&self, address: &Address, marks_junk: bool) -> Pending<'_, ()> {
        self.change_account(address, move |account| account.marks_junk = marks_junk)
    }

    fn set_send_only(&self, address: &Address, send_only: bool) -> Pending<'_, ()> {
        self.change_account(address, move |account| account.send_only = send_only)
    }

    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()> {
        let given = Arc::new((old.folded(), new.folded(), aliases));
        self.directory(move |connection, _| {
            let given = given.clone();
            async move {
                let (old, new, aliases) = &*given;
                accounts::rename(&connection, old, new, aliases).await
            }
        })
    }

    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()> {
        let address = address.folded();
        self.run(move |node| async move {
            let removed = change(node.clone(), move |connection, node| {
                let address = address.clone();
                async move { removal::remove(&connection, &node, &address, now, purge).await }
            });
            removed.await?;
            node.tell_all_mailboxes();
            Ok(())
        })
    }

    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>> {
        self.read(|connection| async move { removal::removed(&connection).await })
    }

    fn restore_account(&self, account: AccountId) -> Pending<'_, usize> {
        self.run(move |node| async move {
            let restored = change(node.clone(), move |connection, node| async move {
                removal::restore(&connection, &node, account).await
            });
            let restored = restored.await?;
            node.tell_all_mailboxes();
            Ok(restored)
        })
    }

    fn alias(&self, name: &AliasName) -> Pending<'_, Option<Vec<Address>>> {
        let name = name.to_string();
        self.read(move |connection| {
            let name = name.clone();
            async move { aliases::find(&connection, &name).await }
        })
    }

    fn aliases(&self) -> Pending<'_, Vec<Alias>> {
        self.read(|connection| async move { aliases::all(&connection).await })
    }

    fn set_alias(&self, alias: Alias) -> Pending<'_, ()> {
        let alias = Arc::new(alias);
        self.directory(move |connection, _| {
            let alias = alias.clone();
            async move { aliases::set(&connection, &alias).await }
        })
    }

    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()> {
        let name = name.clone();
        self.directory(move |connection, _| {
            let name = name.clone();
            async move { aliases::remove(&connection, &name).await }
        })
    }

    fn is_local(&self, domain: &str) -> Pending<'_, bool> {
        let domain = domain.to_owned();
        self.read(move |connection| {
            let domain = domain.clone();
            async move { Ok(domains::find(&connection, &domain).await?.is_some()) }
        })
    }

    fn domains(&self) -> Pending<'_, Vec<Domain>> {
        self.read(|connection| async move { domains::all(&connection).await })
    }

    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>> {
        let domain = domain.to_owned();
        self.read(move |connection| {
            let domain = domain.clone();
            async move {
                Ok(domains::find(&connection, &domain).await?.and_then(|found| found.stands_for))
            }
        })
    }

    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>> {
        self.read(|connection| async move { domains::aliases(&connection).await })
    }

    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()> {
        let given = Arc::new((alias.clone(), domain.clone()));
        self.directory(move |connection, _| {
            let given = given.clone();
            async move { domains::set_alias(&connection, &given.0, &given.1).await }
        })
    }

    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.directory(move |connection, _| {
            let domain = domain.clone();
            async move { domains::add(&connection, &domain).await }
        })
    }

    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        let domain = domain.clone();
        self.directory(move |connection, _| {
            let domain = domain.clone();
            async move { domains::remove(&connection, &domain).await }
        })
    }
}

impl PostgresStore {
    fn change_account(
        &self,
        address: &Address,
        change: impl Fn(&mut Account) + Clone + Send + Sync + 'static,
    ) -> Pending<'_, ()> {
        let address = address.folded();
        self.directory(move |connection, _| {
            let (address, change) = (address.clone(), change.clone());
            async move {
                let mut account = accounts::require(&connection, &address).await?;
                change(&mut account);
                accounts::update(&connection, &account).await
            }
        })
    }
}
