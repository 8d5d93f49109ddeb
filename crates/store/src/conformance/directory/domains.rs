//! Domains and aliases say which addresses are ours, and where their mail goes.

use super::super::{add, address, at, credentials, domain};
use crate::{Alias, AliasName, Store, StoreError};

cases![domains_are_local, domains_stand_for_others, aliases_lead_to_others, accounts_forward,];

async fn domains_are_local(store: &dyn Store) {
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

async fn aliases_lead_to_others(store: &dyn Store) {
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
