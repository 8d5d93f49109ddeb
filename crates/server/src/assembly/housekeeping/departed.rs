//! Forgets what the server remembers of accounts that do not exist any more: their app passwords, the senders that got
//! their notes, the networks they were used from, and so on. The store purges an account's mail itself.
//!
//! These records are named after the account's id, which no other account ever gets. So they are looked through whenever
//! an account was purged; and after each start, since a crash may have come in between, and older versions left them.

use crate::{admin, deliver::notes, directory, login};
use posta_mail::Timestamp;
use posta_store::{AccountId, Store, StoreError};

/// The number of records that are read at a time.
const PAGE: usize = 1_000;

/// Returns the kinds of records whose names begin with the id of an account.
fn kinds() -> impl Iterator<Item = &'static str> {
    [&login::OF_ACCOUNTS[..], &notes::OF_ACCOUNTS, &directory::OF_ACCOUNTS, &admin::OF_ACCOUNTS]
        .into_iter()
        .flatten()
        .copied()
}

/// Returns whether an account is about to be purged.
///
/// # Errors
/// When the store fails.
pub(super) async fn are_due(store: &dyn Store, now: Timestamp) -> Result<bool, StoreError> {
    Ok(store.removed_accounts().await?.iter().any(|removed| removed.purge <= now))
}

/// Removes the records of all accounts that neither exist nor can be brought back. Returns the number of records.
///
/// # Errors
/// When the store fails.
pub(super) async fn forget(store: &dyn Store) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    for kind in kinds() {
        let mut after = None;
        // The records of an account follow each other.
        let mut last = None;
        loop {
            let page = store.kept_page(kind, "", after.as_deref(), PAGE).await?;
            let Some((end, _)) = page.last() else { break };
            after = Some(end.clone());
            for (name, _) in page {
                let Some(account) = account_of(&name) else { continue };
                let is_gone = match last {
                    Some((known, is_gone)) if known == account => is_gone,
                    _ => is_gone(store, account).await?,
                };
                last = Some((account, is_gone));
                if is_gone {
                    store.keep(kind, &name, None).await?;
                    forgotten += 1;
                }
            }
        }
    }
    if forgotten > 0 {
        tracing::info!(records = forgotten, "records of purged accounts were removed");
    }
    Ok(forgotten)
}

/// Returns the account in a record's name: `7`, `7 …`, `account 7`, or `account 7 …`; none if the record is about
/// something else, such as a domain.
fn account_of(name: &str) -> Option<AccountId> {
    let name = name.strip_prefix("account ").unwrap_or(name);
    name.split(' ').next()?.parse().ok().map(AccountId)
}

/// Returns whether an account neither exists nor can be brought back. It is looked for again at the end, since it may
/// have been brought back in between.
async fn is_gone(store: &dyn Store, account: AccountId) -> Result<bool, StoreError> {
    if store.account_by_id(account).await?.is_some() {
        return Ok(false);
    }
    let removed = store.removed_accounts().await?;
    let can_return = removed.iter().any(|removed| removed.account.id == account);
    Ok(!can_return && store.account_by_id(account).await?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_store::{
        Credentials, Directory, MemoryStore, Records, Upkeep, conformance::block_on,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Returns all records of all kinds, as `KIND NAME`.
    fn kept(store: &MemoryStore) -> Vec<String> {
        let names = |kind| {
            let records = block_on(store.kept(kind)).unwrap().into_iter();
            records.map(move |(name, _)| format!("{kind}: {name}"))
        };
        kinds().flat_map(names).collect()
    }

    #[test]
    fn the_records_of_an_account_go_when_it_is_purged() {
        let store = MemoryStore::default();
        let add = |address: &str| {
            let credentials =
                Credentials { password_hash: "x".to_owned(), ..Credentials::default() };
            block_on(store.add_account(&address.parse().unwrap(), credentials)).unwrap()
        };
        let (ana, bob) = (add("ana@x.test").0, add("bob@x.test").0);
        for kind in kinds() {
            for name in [
                format!("{ana}"),
                format!("{ana} 1"),
                format!("account {ana}"),
                format!("account {ana} sue@y.test"),
                format!("{bob}"),
                format!("account {bob}"),
                "domain x.test".to_owned(),
                "alias info@x.test".to_owned(),
            ] {
                block_on(store.keep(kind, &name, Some(Vec::new()))).unwrap();
            }
        }
        let all = kept(&store);
        assert_eq!(block_on(forget(&store)).unwrap(), 0, "both accounts exist");
        block_on(store.remove_account(&"ana@x.test".parse().unwrap(), at(1), at(9))).unwrap();
        assert_eq!(block_on(forget(&store)).unwrap(), 0, "it can be brought back");
        assert!(!block_on(are_due(&store, at(8))).unwrap());
        assert!(block_on(are_due(&store, at(9))).unwrap());
        block_on(store.sweep(at(9))).unwrap();
        assert!(!block_on(are_due(&store, at(9))).unwrap());
        assert_eq!(block_on(forget(&store)).unwrap(), all.len() / 2);
        let is_others = |name: &&String| {
            !name.ends_with(&format!(" {ana}")) && !name.contains(&format!(" {ana} "))
        };
        assert_eq!(kept(&store), all.iter().filter(is_others).cloned().collect::<Vec<_>>());
    }
}
