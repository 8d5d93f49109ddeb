//! Accounts are added, found, changed and renamed.

mod domains;
mod removal;
mod resolve;

pub(in crate::conformance) use domains::CASES as DOMAINS;
pub(in crate::conformance) use removal::CASES as REMOVAL;
pub(in crate::conformance) use resolve::CASES as RESOLVE;

use super::{add, address, at, credentials, domain, message, unique_ids};
use crate::{
    APP_PASSWORDS, Account, AccountId, Alias, AliasName, Credentials, SendAs, Store, StoreError,
};
use posta_mail::{Address, Secret};

cases![
    accounts_are_added_and_changed,
    accounts_are_found,
    changes_of_accounts_show,
    accounts_are_renamed,
];

async fn accounts_are_added_and_changed(store: &dyn Store) {
    assert!(store.account(&address("ana@x.test")).await.unwrap().is_none());
    let ana = add(store, "Ana@x.test").await;
    let other = add(store, "ana@y.test").await;
    assert_ne!(ana, other);
    let exists = store.add_account(&address("ANA@x.test"), credentials("")).await;
    assert!(matches!(exists, Err(StoreError::AccountExists(_))));
    let found = store.account(&address("aNa@X.test")).await.unwrap().unwrap();
    assert_eq!((found.id, found.address.as_str()), (ana, "ana@x.test"));
    assert_eq!(store.accounts_named("ANA").await.unwrap().len(), 2);
    assert_eq!(store.accounts_named("an").await.unwrap().len(), 0);
    let new = Credentials {
        password_hash: "new".into(),
        scram: Some("verifier".into()),
        apop: Some(Secret::new(b"new")),
    };
    store.set_password(&address("ana@x.test"), new.clone()).await.unwrap();
    let found = store.account(&address("ana@x.test")).await.unwrap().unwrap();
    let new = Credentials { apop: None, ..new };
    assert_eq!(found.credentials, new);
    for quota in [Some(5), None, Some(u64::MAX)] {
        store.set_quota(&address("Ana@x.test"), quota).await.unwrap();
        let found = store.account(&address("ana@x.test")).await.unwrap().unwrap();
        assert_eq!((found.quota, &found.credentials), (quota, &new));
    }
    let missing = store.set_quota(&address("bob@x.test"), None).await;
    assert!(matches!(missing, Err(StoreError::NoSuchAccount)));
    let (ana, hash) = (address("Ana@x.test"), new.password_hash.clone());
    assert!(!store.replace_password(&ana, "other".to_owned(), credentials("y")).await.unwrap());
    assert_eq!(store.account(&ana).await.unwrap().unwrap().credentials.password_hash, hash);
    assert!(store.replace_password(&ana, hash.clone(), credentials("y")).await.unwrap());
    assert!(!store.replace_password(&ana, hash, credentials("z")).await.unwrap());
    assert_eq!(store.account(&ana).await.unwrap().unwrap().credentials, credentials("y"));
    store.set_password(&ana, new.clone()).await.unwrap();
    let bob = store.replace_password(&address("bob@x.test"), String::new(), credentials("")).await;
    assert!(matches!(bob, Err(StoreError::NoSuchAccount)));
    let missing = store.set_password(&address("bob@x.test"), credentials("")).await;
    assert!(matches!(missing, Err(StoreError::NoSuchAccount)));
    let names = async |after: Option<&str>, limit| {
        let accounts = store.accounts(after.map(address).as_ref(), limit).await.unwrap();
        accounts.into_iter().map(|account| account.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 9).await, ["ana@x.test", "ana@y.test"]);
    assert_eq!(names(None, 1).await, ["ana@x.test"], "some of them");
    assert_eq!(names(Some("Ana@X.test"), 9).await, ["ana@y.test"], "those that follow");
    assert_eq!(names(Some("ana@w.test"), 1).await, ["ana@x.test"], "it need not exist");
    assert_eq!(names(Some("ana@y.test"), 9).await, [""; 0]);
}

/// An account is found by its id, and the first of a domain, whatever was done to accounts before.
async fn accounts_are_found(store: &dyn Store) {
    let first = async |domain: &str| {
        let first = store.first_account(domain).await.unwrap();
        first.map(|account| account.address.to_string())
    };
    assert_eq!(first("x.test").await, None);
    let bob = add(store, "bob@x.test").await;
    let ana = add(store, "ana@x.test").await;
    add(store, "cid@y.test").await;
    add(store, "dan@sub.x.test").await;
    assert_eq!(
        first("x.test").await.as_deref(),
        Some("bob@x.test"),
        "the one that was added first"
    );
    let found = store.account_by_id(ana).await.unwrap().unwrap();
    assert_eq!((found.id, found.address.as_str()), (ana, "ana@x.test"));
    assert_eq!(store.account_by_id(AccountId(99)).await.unwrap(), None);
    store.set_disabled(&address("bob@x.test"), true).await.unwrap();
    assert_eq!(first("x.test").await.as_deref(), Some("ana@x.test"), "one that can log in");
    store.set_disabled(&address("ana@x.test"), true).await.unwrap();
    assert_eq!(first("x.test").await.as_deref(), Some("bob@x.test"), "none can");
    store.set_disabled(&address("bob@x.test"), false).await.unwrap();
    store.set_disabled(&address("ana@x.test"), false).await.unwrap();
    store.set_send_only(&address("bob@x.test"), true).await.unwrap();
    assert_eq!(first("x.test").await.as_deref(), Some("ana@x.test"), "one that has a mailbox");
    store.set_send_only(&address("bob@x.test"), false).await.unwrap();
    assert_eq!(first("x.test").await.as_deref(), Some("bob@x.test"));
    store.rename_account(&address("bob@x.test"), &address("bob@y.test"), Vec::new()).await.unwrap();
    assert_eq!(first("x.test").await.as_deref(), Some("ana@x.test"));
    assert_eq!(first("y.test").await.as_deref(), Some("bob@y.test"), "it is older");
    let found = store.account_by_id(bob).await.unwrap().unwrap();
    assert_eq!(found.address.as_str(), "bob@y.test");
    store.remove_account(&address("bob@y.test"), at(1), at(9)).await.unwrap();
    assert_eq!(store.account_by_id(bob).await.unwrap(), None);
    assert_eq!(first("y.test").await.as_deref(), Some("cid@y.test"));
    store.restore_account(bob).await.unwrap();
    assert_eq!(first("y.test").await.as_deref(), Some("bob@y.test"));
    assert_eq!(store.account_by_id(bob).await.unwrap().unwrap().id, bob);
}

/// Whoever remembers what an account was hears of each change, and reads the new.
async fn changes_of_accounts_show(store: &dyn Store) {
    let ana = address("ana@x.test");
    let mut last = store.directory_version();
    let mut changed = |now: u64| now > std::mem::replace(&mut last, now);
    add(store, "ana@x.test").await;
    assert!(changed(store.directory_version()));
    store.set_password(&ana, credentials("new")).await.unwrap();
    assert!(changed(store.directory_version()));
    let send_as: Vec<SendAs> =
        ["any", "@y.test", "\"b c\"@z.test"].iter().map(|text| text.parse().unwrap()).collect();
    for send_as in [send_as, Vec::new()] {
        store.set_send_as(&ana, send_as.clone()).await.unwrap();
        assert!(changed(store.directory_version()));
        let found = store.account(&ana).await.unwrap().unwrap();
        assert_eq!((found.send_as, found.credentials), (send_as, credentials("new")));
    }
    for marks_junk in [true, false] {
        store.set_marks_junk(&ana, marks_junk).await.unwrap();
        assert!(changed(store.directory_version()));
        assert_eq!(store.account(&ana).await.unwrap().unwrap().marks_junk, marks_junk);
    }
    for send_only in [true, false] {
        store.set_send_only(&ana, send_only).await.unwrap();
        assert!(changed(store.directory_version()));
        assert_eq!(store.account(&ana).await.unwrap().unwrap().send_only, send_only);
    }
    store.keep(APP_PASSWORDS, "1", Some(b"[]".to_vec())).await.unwrap();
    assert!(changed(store.directory_version()), "sessions that logged in with one hear of it");
    assert!(!changed(store.directory_version()), "nothing happened");
    store.remove_account(&ana, at(1), at(2)).await.unwrap();
    assert!(changed(store.directory_version()));
}

async fn accounts_are_renamed(store: &dyn Store) {
    let (old, new) = (address("ana@x.test"), address("Ana.Pop@y.test"));
    let ana = add(store, "ana@x.test").await;
    add(store, "bob@z.test").await;
    store.accept(message(1, at(0), b"x\r\n", &[ana])).await.unwrap();
    let before = (store.account(&old).await.unwrap().unwrap(), unique_ids(store, ana).await);
    let missing = store.rename_account(&new, &old, Vec::new()).await;
    assert!(matches!(missing, Err(StoreError::NoSuchAccount)));
    let taken = store.rename_account(&old, &address("bob@z.test"), Vec::new()).await;
    assert!(matches!(taken, Err(StoreError::AccountExists(_))));
    let alias = |name: &Address, to: &Address| Alias {
        name: AliasName::Address(name.folded()),
        targets: vec![to.clone()],
    };
    let info = address("info@z.test");
    store.set_alias(alias(&info, &old)).await.unwrap();
    let taken = store.rename_account(&old, &info, Vec::new()).await;
    assert!(matches!(taken, Err(StoreError::IsAlias(_))));
    store.set_alias(alias(&old, &info)).await.unwrap();
    let nowhere = alias(&address("a@nowhere.test"), &new);
    let refused = store.rename_account(&old, &new, vec![nowhere]).await;
    assert!(matches!(refused, Err(StoreError::NoSuchDomain(_))));
    assert_eq!(store.account(&new).await.unwrap(), None, "all or nothing");
    let version = store.directory_version();
    let aliases = vec![alias(&info, &new), alias(&new, &info)];
    store.rename_account(&old, &new, aliases).await.unwrap();
    assert!(store.directory_version() > version);
    let renamed = store.account(&new).await.unwrap().unwrap();
    let expected = Account { address: new.folded(), forwards: true, ..before.0 };
    assert_eq!((&renamed, unique_ids(store, ana).await), (&expected, before.1));
    assert_eq!(store.account(&old).await.unwrap(), None);
    assert_eq!(store.alias(&AliasName::Address(old.clone())).await.unwrap(), None);
    assert!(!store.is_local("x.test").await.unwrap(), "nothing uses it any more");
    store.accept(message(2, at(1), b"x\r\n", &[ana])).await.unwrap();
    // An alias that comes with it may have the name of a third account, which forwards its mail from then on.
    let bob = address("bob@z.test");
    store.rename_account(&new, &address("a@y.test"), vec![alias(&bob, &old)]).await.unwrap();
    assert!(store.account(&bob).await.unwrap().unwrap().forwards);
    let away = address("a@other.test");
    store.set_domain_alias(&domain("other.test"), &domain("z.test")).await.unwrap();
    let refused = store.rename_account(&address("a@y.test"), &new, vec![alias(&away, &new)]).await;
    assert!(matches!(refused, Err(StoreError::DomainIsAlias(..))), "{refused:?}");
    store.rename_account(&address("a@y.test"), &new, Vec::new()).await.unwrap();
    // Back, and the other address stays as an alias, which keeps its domain.
    store.rename_account(&new, &old, vec![alias(&new, &old)]).await.unwrap();
    assert!(store.is_local("y.test").await.unwrap());
    assert!(!store.account(&old).await.unwrap().unwrap().forwards);
}
