//! Accounts, aliases and domains.

mod resolve;

use super::{INBOX, Make, add, address, at, credentials, domain, message, sweep, uids, unique_ids};
use crate::{
    Account, AccountId, Alias, AliasName, Credentials, RemovedAccount, SendAs, Store, StoreError,
};
use posta_mail::{Address, MailId, Secret};

pub(super) async fn run(make: Make<'_>) {
    accounts(&*make()).await;
    accounts_are_found(&*make()).await;
    changes_of_accounts_show(&*make()).await;
    domains(&*make()).await;
    aliases(&*make()).await;
    accounts_forward(&*make()).await;
    removed_accounts(&*make()).await;
    accounts_are_brought_back(&*make()).await;
    accounts_are_renamed(&*make()).await;
    domains_stand_for_others(&*make()).await;
    resolve::run(make).await;
}

async fn accounts(store: &dyn Store) {
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
    let missing = store.set_password(&address("bob@x.test"), credentials("")).await;
    assert!(matches!(missing, Err(StoreError::NoSuchAccount)));
    let names: Vec<_> = store.accounts().await.unwrap();
    let names: Vec<_> = names.iter().map(|account| account.address.as_str()).collect();
    assert_eq!(names, ["ana@x.test", "ana@y.test"]);
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
    assert!(!changed(store.directory_version()), "nothing happened");
    store.remove_account(&ana, at(1), at(2)).await.unwrap();
    assert!(changed(store.directory_version()));
}

async fn domains(store: &dyn Store) {
    add(store, "ana@x.test").await;
    store.add_domain(&domain("Y.test")).await.unwrap();
    store.add_domain(&domain("y.test")).await.unwrap();
    assert_eq!(store.domains().await.unwrap(), [domain("x.test"), domain("y.test")]);
    assert!(store.is_local("x.test").await.unwrap());
    assert!(!store.is_local("test").await.unwrap());
    let used = store.remove_domain(&domain("x.test")).await;
    assert!(matches!(used, Err(StoreError::DomainInUse(_))));
    store.remove_domain(&domain("y.test")).await.unwrap();
    let gone = store.remove_domain(&domain("y.test")).await;
    assert!(matches!(gone, Err(StoreError::NoSuchDomain(_))));
    assert!(!store.is_local("y.test").await.unwrap());
}

async fn aliases(store: &dyn Store) {
    add(store, "ana@x.test").await;
    let name = |text: &str| text.parse::<AliasName>().unwrap();
    let foreign = Alias { name: name("a@y.test"), targets: vec![address("ana@x.test")] };
    assert!(matches!(store.set_alias(foreign).await, Err(StoreError::NoSuchDomain(_))));
    for (text, targets) in [
        ("Info@x.test", &["ana@x.test", "b@x.test"][..]),
        ("@x.test", &["ana@x.test"]),
        ("info@x.test", &["ana@x.test"]),
    ] {
        let targets = targets.iter().map(|target| address(target)).collect();
        store.set_alias(Alias { name: name(text), targets }).await.unwrap();
    }
    assert_eq!(store.alias(&name("INFO@x.test")).await.unwrap().unwrap(), [address("ana@x.test")]);
    assert_eq!(store.alias(&name("other@x.test")).await.unwrap(), None);
    assert_eq!(store.alias(&name("@x.test")).await.unwrap().unwrap().len(), 1);
    assert_eq!(store.aliases().await.unwrap().len(), 2);
    store.remove_account(&address("ana@x.test"), at(0), at(1)).await.unwrap();
    assert!(store.is_local("x.test").await.unwrap(), "an alias keeps its domain");
    assert!(matches!(
        store.remove_domain(&domain("x.test")).await,
        Err(StoreError::DomainInUse(_))
    ));
    store.remove_alias(&name("info@x.test")).await.unwrap();
    let again = store.remove_alias(&name("info@x.test")).await;
    assert!(matches!(again, Err(StoreError::NoSuchAlias(_))));
    store.remove_alias(&name("@x.test")).await.unwrap();
    store.remove_domain(&domain("x.test")).await.unwrap();
}

async fn removed_accounts(store: &dyn Store) {
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

/// An account knows whether an alias of its name says where its mail goes.
async fn accounts_forward(store: &dyn Store) {
    let ana = address("ana@x.test");
    let name = AliasName::Address(ana.clone());
    let alias = |targets: &[&str]| Alias {
        name: name.clone(),
        targets: targets.iter().map(|target| address(target)).collect(),
    };
    let forwards = async || store.account(&ana).await.unwrap().unwrap().forwards;
    add(store, "ana@x.test").await;
    assert!(!forwards().await);
    let version = store.directory_version();
    store.set_alias(alias(&["bob@y.test"])).await.unwrap();
    assert!(forwards().await);
    assert!(store.directory_version() > version, "the account has changed");
    store.set_quota(&ana, Some(5)).await.unwrap();
    assert!(forwards().await, "another change is none of this");
    store.remove_alias(&name).await.unwrap();
    assert!(!forwards().await);
    store.set_alias(alias(&["bob@y.test"])).await.unwrap();
    store.remove_account(&ana, at(0), at(1)).await.unwrap();
    let shadowed = store.add_account(&address("Ana@x.test"), credentials("")).await;
    assert!(matches!(shadowed, Err(StoreError::IsAlias(_))), "it would get no mail");
    store.set_alias(alias(&["bob@y.test", "ANA@x.test"])).await.unwrap();
    add(store, "ana@x.test").await;
    assert!(forwards().await, "the alias was made for the two of them");
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
    // Back, and the other address stays as an alias, which keeps its domain.
    store.rename_account(&new, &old, vec![alias(&new, &old)]).await.unwrap();
    assert!(store.is_local("y.test").await.unwrap());
    assert!(!store.account(&old).await.unwrap().unwrap().forwards);
}

async fn domains_stand_for_others(store: &dyn Store) {
    let (x, y, z) = (domain("x.test"), domain("y.test"), domain("z.test"));
    let missing = store.set_domain_alias(&y, &x).await;
    assert!(matches!(missing, Err(StoreError::NoSuchDomain(_))));
    add(store, "ana@x.test").await;
    add(store, "bob@z.test").await;
    store.set_domain_alias(&y, &x).await.unwrap();
    assert_eq!(store.domain_alias("y.test").await.unwrap(), Some(x.clone()));
    assert_eq!(store.domain_alias("x.test").await.unwrap(), None);
    assert_eq!(store.domain_aliases().await.unwrap(), [(y.clone(), x.clone())]);
    assert!(store.is_local("y.test").await.unwrap());
    assert_eq!(store.domains().await.unwrap().len(), 3);
    for (alias, of) in [(&z, &x), (&x, &z), (&x, &x)] {
        let used = store.set_domain_alias(alias, of).await;
        assert!(matches!(used, Err(StoreError::DomainInUse(_))), "{alias}");
    }
    let chained = store.set_domain_alias(&domain("w.test"), &y).await;
    assert!(matches!(chained, Err(StoreError::DomainIsAlias(..))));
    let eva = address("eva@y.test");
    let refused = store.add_account(&eva, credentials("")).await;
    assert!(matches!(refused, Err(StoreError::DomainIsAlias(..))));
    let alias = Alias { name: AliasName::Address(eva.clone()), targets: vec![eva.clone()] };
    assert!(matches!(store.set_alias(alias).await, Err(StoreError::DomainIsAlias(..))));
    let renamed = store.rename_account(&address("ana@x.test"), &eva, Vec::new()).await;
    assert!(matches!(renamed, Err(StoreError::DomainIsAlias(..))));
    assert!(matches!(store.add_domain(&y).await, Err(StoreError::DomainIsAlias(..))));
    assert!(matches!(store.remove_domain(&x).await, Err(StoreError::DomainInUse(_))));
    store.remove_account(&address("ana@x.test"), at(0), at(1)).await.unwrap();
    assert!(store.is_local("x.test").await.unwrap(), "another stands for it");
    store.remove_domain(&y).await.unwrap();
    assert_eq!(store.domain_aliases().await.unwrap(), []);
    assert_eq!(store.domains().await.unwrap(), [z]);
}
