//! Accounts, aliases and domains.

use super::{Make, add, address, at, credentials, domain, message, sweep, uids};
use crate::{Alias, AliasName, Credentials, SendAs, Store, StoreError};
use posta_mail::{MailId, Secret};

pub(super) async fn run(make: Make<'_>) {
    accounts(&*make()).await;
    changes_of_accounts_show(&*make()).await;
    domains(&*make()).await;
    aliases(&*make()).await;
    accounts_forward(&*make()).await;
    removed_accounts(&*make()).await;
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
    assert_eq!(sweep(store, at(2)).await, 2);
    assert_eq!(store.chunk(MailId::new(at(0), 1), 0).await.unwrap(), None);
    let anew = add(store, "ana@x.test").await;
    assert_ne!(anew, ana, "another account, though its address is the same");
    assert_eq!(uids(store, anew).await, []);
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
