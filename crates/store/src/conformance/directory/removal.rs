//! A removed account can be brought back with what it had, until it is purged.

use super::super::{INBOX, add, address, at, domain, message, sweep, uids, unique_ids};
use crate::{Alias, AliasName, RemovedAccount, Store, StoreError};
use posta_mail::MailId;

cases![removed_accounts_are_known, accounts_are_brought_back,];

async fn removed_accounts_are_known(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let bob = add(store, "bob@y.test").await;
    store.add_domain(&domain("y.test")).await.unwrap();
    store.accept(message(1, at(0), b"x", &[ana, bob])).await.unwrap();
    store.remove_account(&address("ana@x.test"), at(1), at(2)).await.unwrap();
    store.remove_account(&address("bob@y.test"), at(1), at(2)).await.unwrap();
    let again = store.remove_account(&address("ana@x.test"), at(1), at(2)).await;
    assert!(matches!(again, Err(StoreError::NoSuchAccount)));
    assert_eq!(store.domains().await.unwrap(), [domain("y.test")], "added by itself, it stays");
    let late = store.accept(message(2, at(1), b"x", &[ana])).await;
    assert!(matches!(late, Err(StoreError::NoSuchAccount)));
    assert_eq!(sweep(store, at(2)).await, 4, "two messages, two accounts");
    assert_eq!(store.chunk(MailId::new(at(0), 1), 0).await.unwrap(), None);
    let anew = add(store, "ana@x.test").await;
    assert_ne!(anew, ana, "another account, though its address is the same");
    assert!(uids(store, anew).await.is_empty());
}

/// What was removed with an account comes back with it: nothing else, and not for ever.
async fn accounts_are_brought_back(store: &dyn Store) {
    let name = address("ana@x.test");
    let ana = add(store, "ana@x.test").await;
    for number in 0..3 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let (all, ids) = (uids(store, ana).await, unique_ids(store, ana).await);
    store.remove(ana, INBOX, vec![all[0]], at(1), at(90)).await.unwrap();
    store.set_quota(&name, Some(7)).await.unwrap();
    store.set_disabled(&name, true).await.unwrap();
    let before = store.account(&name).await.unwrap().unwrap();
    assert!(before.disabled);
    assert_eq!(store.usage(ana).await.unwrap().messages, 2);
    store.remove_account(&name, at(2), at(50)).await.unwrap();
    assert!(!store.is_local("x.test").await.unwrap());
    let removed = store.removed_accounts().await.unwrap();
    let RemovedAccount { account, time, purge } = &removed[0];
    assert_eq!((removed.len(), account, *time, *purge), (1, &before, at(2), at(50)));
    assert_eq!(store.usage(ana).await.unwrap().messages, 0);
    let version = store.directory_version();
    // Another has the address meanwhile.
    let other = add(store, "ana@x.test").await;
    let taken = store.restore_account(ana).await;
    assert!(matches!(taken, Err(StoreError::AccountExists(_))));
    store.remove_account(&name, at(3), at(50)).await.unwrap();
    assert_eq!(store.removed_accounts().await.unwrap().len(), 2);
    assert_eq!(store.restore_account(ana).await.unwrap(), 2);
    assert!(store.directory_version() > version);
    assert_eq!(store.account(&name).await.unwrap().unwrap(), before, "as it was");
    assert!(store.is_local("x.test").await.unwrap());
    assert_eq!(
        unique_ids(store, ana).await,
        ids[1..],
        "with its unique-ids; what it had deleted stays so"
    );
    assert_eq!(store.usage(ana).await.unwrap().messages, 2);
    store.accept(message(9, at(4), b"x\r\n", &[ana])).await.unwrap();
    assert_eq!(uids(store, ana).await.len(), 3);
    assert!(matches!(store.restore_account(ana).await, Err(StoreError::NoSuchAccount)));
    assert_eq!(sweep(store, at(50)).await, 1, "the other account");
    assert!(matches!(store.restore_account(other).await, Err(StoreError::NoSuchAccount)));
    assert_eq!(store.removed_accounts().await.unwrap(), []);
    // An alias that was made meanwhile takes the mail, and the account knows it.
    store.remove_account(&name, at(60), at(70)).await.unwrap();
    store.add_domain(&domain("x.test")).await.unwrap();
    let alias =
        Alias { name: AliasName::Address(name.clone()), targets: vec![address("b@y.test")] };
    store.set_alias(alias).await.unwrap();
    store.restore_account(ana).await.unwrap();
    assert!(store.account(&name).await.unwrap().unwrap().forwards);
}
