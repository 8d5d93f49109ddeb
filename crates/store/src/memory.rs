//! The reference store: the rules in their simplest form, kept in memory. Tests and simulations run
//! on it, and every other store is compared with it.

mod acceptance;
mod directory;
mod queue;
mod sources;

use crate::{
    Acceptance, Account, AccountId, Alias, AliasName, Credentials, Destination, Entry, Event, Item,
    ItemId, ItemState, Maildrop, Pending, RETRIEVED, RemovedAccount, SecretOf, SendAs, Settlement,
    Source, SourceId, Store, StoreError, Summary, Uid, Usage, Visit,
};
use bytes::Bytes;
use parking_lot::Mutex;
use posta_mail::{Address, Domain, MailId, Secret, Timestamp};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    future::ready,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Octets of content that the store may keep chunks of: `chunk` copies nothing.
type Chunks = Vec<Bytes>;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
    /// Grows after each change of an account.
    directory_version: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    last_uid: u64,
    last_account: u64,
    accounts: BTreeMap<Address, Account>,
    aliases: BTreeMap<AliasName, Vec<Address>>,
    /// Whether each local domain was added by itself.
    domains: BTreeMap<Domain, bool>,
    /// What domains stand for that stand for others.
    domain_aliases: BTreeMap<Domain, Domain>,
    removed_accounts: BTreeMap<AccountId, RemovedAccount>,
    content: HashMap<MailId, Chunks>,
    /// How many entries show a content.
    shown: HashMap<MailId, usize>,
    mailboxes: BTreeMap<(AccountId, Uid), Entry>,
    removed: BTreeMap<(AccountId, Uid), Removed>,
    /// The unique-ids that messages brought along.
    imported: BTreeMap<(AccountId, Uid), String>,
    retrieved: BTreeSet<(Timestamp, AccountId, Uid)>,
    queue: BTreeMap<ItemId, Item>,
    leased: HashMap<ItemId, Timestamp>,
    paused: HashMap<Destination, Timestamp>,
    last_source: u64,
    sources: BTreeMap<SourceId, Source>,
    secrets: BTreeMap<SecretOf, Secret>,
    collected: BTreeMap<(SourceId, String), Timestamp>,
    kept: BTreeMap<(&'static str, String), Vec<u8>>,
    /// In the order in which they were told.
    events: Vec<Event>,
}

#[derive(Debug)]
struct Removed {
    entry: Entry,
    time: Timestamp,
    purge: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a transaction. A panic inside one is a bug that leaves the maps whole, so the lock's
    /// poison is ignored.
    fn with<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let mut inner = self.inner.lock();
        Box::pin(ready(transaction(&mut inner)))
    }

    /// The same for one that changes an account.
    fn with_account<'a, T: Send + 'a>(
        &self,
        transaction: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Pending<'a, T> {
        let changed = self.with(transaction);
        self.directory_version.fetch_add(1, Ordering::Release);
        changed
    }
}

impl Inner {
    fn mailbox(&self, account: AccountId) -> impl Iterator<Item = (Uid, &Entry)> {
        let all = (Bound::Included((account, Uid(0))), Bound::Included((account, Uid(u64::MAX))));
        self.mailboxes.range(all).map(|(&(_, uid), entry)| (uid, entry))
    }

    fn remove(&mut self, key: (AccountId, Uid), time: Timestamp, purge: Timestamp) -> bool {
        let Some(entry) = self.mailboxes.remove(&key) else { return false };
        self.removed.insert(key, Removed { entry, time, purge });
        true
    }

    fn undelete(&mut self, account: AccountId, since: Timestamp) -> usize {
        let is_meant = |key: &(AccountId, Uid), removed: &mut Removed| {
            key.0 == account && removed.time >= since
        };
        let back: Vec<_> = self.removed.extract_if(.., is_meant).collect();
        let count = back.len();
        for (key, Removed { mut entry, .. }) in back {
            entry.flags &= !RETRIEVED;
            self.mailboxes.insert(key, entry);
        }
        count
    }

    fn unshow(&mut self, content: MailId) {
        if let Some(shown) = self.shown.get_mut(&content) {
            *shown -= 1;
            if *shown == 0 {
                self.shown.remove(&content);
                self.content.remove(&content);
            }
        }
    }
}

impl Store for MemoryStore {
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()> {
        self.with(|inner| {
            let chunks = inner.content.entry(content).or_default();
            debug_assert_eq!(chunks.len(), index as usize);
            chunks.push(Bytes::copy_from_slice(chunk));
            Ok(())
        })
    }

    fn discard(&self, content: MailId) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.content.remove(&content);
            Ok(())
        })
    }

    fn accept(&self, acceptance: Acceptance) -> Pending<'_, ()> {
        self.with(|inner| {
            if !inner.can_accept(&acceptance) {
                return Err(StoreError::NoSuchAccount);
            }
            if inner.has_collected(&acceptance) {
                inner.content.remove(&acceptance.id);
                return Ok(());
            }
            inner.accept(acceptance);
            Ok(())
        })
    }

    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Item>> {
        self.with(|inner| Ok(inner.claim(now, lease, limit, share)))
    }

    fn renew(&self, item: ItemId, lease: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.leased.entry(item).and_modify(|until| *until = lease);
            Ok(())
        })
    }

    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.paused.insert(destination.clone(), until);
            Ok(())
        })
    }

    fn settle(&self, settlement: Settlement) -> Pending<'_, bool> {
        self.with(|inner| inner.settle(settlement))
    }

    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize> {
        self.with(|inner| Ok(inner.reschedule(&items, state)))
    }

    fn next_due(&self) -> Pending<'_, Option<Timestamp>> {
        self.with(|inner| Ok(inner.queue.values().filter_map(|item| inner.claimable(item)).min()))
    }

    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>> {
        self.with(|inner| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let some = inner.queue.range((from, Bound::Unbounded)).take(limit);
            let mut items: Vec<_> = some.map(|(_, item)| item.clone()).collect();
            items.iter_mut().for_each(|item| inner.show(item));
            Ok(items)
        })
    }

    fn note(&self, events: Vec<Event>) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.events.extend(events);
            Ok(())
        })
    }

    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>> {
        self.with(|inner| {
            let of_it = inner.events.iter().filter(|event| event.id == message);
            Ok(of_it.cloned().collect())
        })
    }

    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>> {
        self.with(|inner| {
            let is_meant = |event: &&Event| before.is_none_or(|before| event.id < before);
            let mut events: Vec<_> = inner.events.iter().filter(is_meant).cloned().collect();
            events.sort_by_key(|event| Reverse(event.id));
            let last = events.get(limit.saturating_sub(1)).map(|event| event.id);
            events.retain(|event| last.is_none_or(|last| event.id >= last));
            Ok(events)
        })
    }

    fn forget(&self, before: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let count = inner.events.len();
            let oldest = MailId::new(before, 0);
            inner.events.retain(|event| event.id >= oldest);
            Ok(count - inner.events.len())
        })
    }

    fn maildrop(&self, account: AccountId) -> Pending<'_, Arc<Maildrop>> {
        self.with(|inner| {
            let mut maildrop = Maildrop::default();
            for (uid, entry) in inner.mailbox(account) {
                maildrop.push(Summary { uid, octets: entry.octets });
                if let Some(imported) = inner.imported.get(&(account, uid)) {
                    maildrop.imported.insert(uid, imported.clone());
                }
            }
            Ok(Arc::new(maildrop))
        })
    }

    fn entry(&self, account: AccountId, uid: Uid) -> Pending<'_, Option<Entry>> {
        self.with(|inner| {
            let key = (account, uid);
            let kept = inner.mailboxes.get(&key);
            Ok(kept.or_else(|| inner.removed.get(&key).map(|removed| &removed.entry)).cloned())
        })
    }

    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>> {
        self.with(|inner| {
            let chunks = inner.content.get(&content);
            Ok(chunks.and_then(|chunks| chunks.get(index as usize)).cloned())
        })
    }

    fn remove(
        &self,
        account: AccountId,
        uids: Vec<Uid>,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, usize> {
        self.with(|inner| {
            Ok(uids.into_iter().filter(|&uid| inner.remove((account, uid), now, purge)).count())
        })
    }

    fn retrieved(&self, account: AccountId, uids: Vec<Uid>, now: Timestamp) -> Pending<'_, ()> {
        self.with(|inner| {
            for uid in uids {
                let Some(entry) = inner.mailboxes.get_mut(&(account, uid)) else { continue };
                if entry.flags & RETRIEVED == 0 {
                    entry.flags |= RETRIEVED;
                    inner.retrieved.insert((now, account, uid));
                }
            }
            Ok(())
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp, purge: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let due: Vec<_> = inner.retrieved.extract_if(.., |(time, ..)| *time < before).collect();
            let removed = due.into_iter().filter(|&(_, account, uid)| {
                let key = (account, uid);
                let entry = inner.mailboxes.get(&key);
                // One that was brought back since has not been retrieved again.
                entry.is_some_and(|entry| entry.flags & RETRIEVED != 0)
                    && inner.remove(key, now, purge)
            });
            Ok(removed.count())
        })
    }

    fn undelete(&self, account: AccountId, since: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| Ok(inner.undelete(account, since)))
    }

    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let accounts = inner.purge_accounts(now);
            let due: Vec<_> =
                inner.removed.extract_if(.., |_, removed| removed.purge <= now).collect();
            for (key, removed) in &due {
                inner.imported.remove(key);
                inner.unshow(removed.entry.content);
            }
            Ok(accounts + due.len())
        })
    }

    fn usage(&self, account: AccountId) -> Pending<'_, Usage> {
        self.with(|inner| {
            Ok(inner.mailbox(account).fold(Usage::default(), |usage, (_, entry)| Usage {
                messages: usage.messages + 1,
                octets: usage.octets + entry.octets,
            }))
        })
    }

    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId> {
        self.with(|inner| inner.add_source(source, password))
    }

    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.change_source(source, password)))
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        self.with(|inner| Ok(inner.secrets.get(&of).cloned()))
    }

    fn sources(&self) -> Pending<'_, Vec<Source>> {
        self.with(|inner| Ok(inner.sources.values().cloned().collect()))
    }

    fn visited(&self, source: SourceId, visit: Visit) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.visited(source, visit)))
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.remove_source(source)))
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        self.with(|inner| {
            let all = inner.collected.iter().filter(|((of, _), _)| *of == source);
            Ok(all.map(|((_, unique_id), time)| (unique_id.clone(), *time)).collect())
        })
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        self.with(|inner| {
            for unique_id in unique_ids {
                inner.collected.remove(&(source, unique_id));
            }
            Ok(())
        })
    }

    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        let key = (kind, name.to_owned());
        self.with(|inner| {
            match record {
                Some(record) => inner.kept.insert(key, record),
                None => inner.kept.remove(&key),
            };
            Ok(())
        })
    }

    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        self.with(|inner| {
            let kept = inner.kept.range((kind, String::new())..);
            let kept = kept.take_while(|((other, _), _)| *other == kind);
            Ok(kept.map(|((_, name), record)| (name.clone(), record.clone())).collect())
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

    fn accounts(&self) -> Pending<'_, Vec<Account>> {
        self.with(|inner| Ok(inner.accounts.values().cloned().collect()))
    }

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let key = (kind, name.to_owned());
        self.with(|inner| Ok(inner.kept.get(&key).cloned()))
    }

    fn keep_first(&self, kind: &'static str, name: &str, record: Vec<u8>) -> Pending<'_, Vec<u8>> {
        let key = (kind, name.to_owned());
        self.with(|inner| Ok(inner.kept.entry(key).or_insert(record).clone()))
    }

    fn directory_version(&self) -> u64 {
        self.directory_version.load(Ordering::Acquire)
    }

    fn add_account(&self, address: &Address, credentials: Credentials) -> Pending<'_, AccountId> {
        self.with_account(|inner| inner.add_account(address.folded(), credentials))
    }

    fn set_password(&self, address: &Address, credentials: Credentials) -> Pending<'_, ()> {
        self.with_account(|inner| inner.set_password(address, credentials))
    }

    fn set_quota(&self, address: &Address, quota: Option<u64>) -> Pending<'_, ()> {
        self.with_account(|inner| inner.change_account(address, |account| account.quota = quota))
    }

    fn set_send_as(&self, address: &Address, send_as: Vec<SendAs>) -> Pending<'_, ()> {
        self.with_account(|inner| {
            inner.change_account(address, |account| account.send_as = send_as)
        })
    }

    fn remove_account(
        &self,
        address: &Address,
        now: Timestamp,
        purge: Timestamp,
    ) -> Pending<'_, ()> {
        self.with_account(|inner| inner.remove_account(&address.folded(), now, purge))
    }

    fn set_disabled(&self, address: &Address, disabled: bool) -> Pending<'_, ()> {
        self.with_account(|inner| {
            inner.change_account(address, |account| account.disabled = disabled)
        })
    }

    fn rename_account(&self, old: &Address, new: &Address, aliases: Vec<Alias>) -> Pending<'_, ()> {
        self.with_account(|inner| inner.rename_account(&old.folded(), new.folded(), aliases))
    }

    fn removed_accounts(&self) -> Pending<'_, Vec<RemovedAccount>> {
        self.with(|inner| Ok(inner.removed_accounts.values().cloned().collect()))
    }

    fn restore_account(&self, account: AccountId) -> Pending<'_, usize> {
        self.with_account(|inner| inner.restore_account(account))
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
        self.with_account(|inner| inner.set_alias(alias))
    }

    fn remove_alias(&self, name: &AliasName) -> Pending<'_, ()> {
        self.with_account(|inner| inner.remove_alias(name))
    }

    fn is_local(&self, domain: &str) -> Pending<'_, bool> {
        self.with(|inner| Ok(inner.domains.contains_key(domain)))
    }

    fn domain_alias(&self, domain: &str) -> Pending<'_, Option<Domain>> {
        self.with(|inner| Ok(inner.domain_aliases.get(domain).cloned()))
    }

    fn domain_aliases(&self) -> Pending<'_, Vec<(Domain, Domain)>> {
        self.with(|inner| Ok(inner.domain_aliases.clone().into_iter().collect()))
    }

    fn set_domain_alias(&self, alias: &Domain, domain: &Domain) -> Pending<'_, ()> {
        self.with(|inner| inner.set_domain_alias(alias, domain))
    }

    fn domains(&self) -> Pending<'_, Vec<Domain>> {
        self.with(|inner| Ok(inner.domains.keys().cloned().collect()))
    }

    fn add_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.require_no_alias(domain.as_str())?;
            inner.domains.insert(domain.clone(), true);
            Ok(())
        })
    }

    fn remove_domain(&self, domain: &Domain) -> Pending<'_, ()> {
        self.with(|inner| inner.remove_domain(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn conforms() {
        conformance::run(&|| Box::new(MemoryStore::new()));
    }
}
