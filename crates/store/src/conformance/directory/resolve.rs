//! One call tells everything that the reply to a RCPT command needs.

use super::super::{add, address, at, domain, message};
use crate::{AddressOwner, Alias, Resolution, Store, Usage};

cases![an_address_is_an_account_or_an_alias, quotas_and_usage_are_known, many_are_resolved_at_once,];

async fn set_alias(store: &dyn Store, name: &str, targets: &[&str]) {
    let targets = targets.iter().map(|target| address(target)).collect();
    store.set_alias(Alias { name: name.parse().unwrap(), targets }).await.unwrap();
}

async fn resolve(store: &dyn Store, name: &str) -> Resolution {
    store.resolve(&address(name)).await.unwrap()
}

/// Says what a resolution tells, in short: the kind of the owner and its name, and the targets.
fn told(resolution: &Resolution) -> String {
    let owner = match &resolution.owner {
        Some(AddressOwner::Account(resolved)) => format!("account {}", resolved.account.address),
        Some(AddressOwner::Alias(name, _)) => format!("alias {name}"),
        None if resolution.catch_all.is_some() => "catch-all".to_owned(),
        None => "nobody".to_owned(),
    };
    let targets = resolution.targets().iter().map(|target| format!(" > {target}"));
    owner + &targets.collect::<String>()
}

async fn an_address_is_an_account_or_an_alias(store: &dyn Store) {
    for account in ["ana@x.test", "a+b@x.test", "fwd@x.test"] {
        add(store, account).await;
    }
    store.add_domain(&domain("z.test")).await.unwrap();
    store.set_domain_alias(&domain("y.test"), &domain("x.test")).await.unwrap();
    for (name, target) in [
        ("info@x.test", "Ana@x.test"),
        ("fwd@x.test", "out@w.test"),
        ("ana+list@x.test", "fwd@x.test"),
        ("@z.test", "ana@x.test"),
    ] {
        set_alias(store, name, &[target]).await;
    }
    for (name, expected) in [
        ("ana@x.test", "account ana@x.test"),
        ("ANA@X.test", "account ana@x.test"),
        ("ana@Y.test", "account ana@x.test"),
        ("ana+tag@y.test", "account ana@x.test"),
        ("a+b@x.test", "account a+b@x.test"),
        ("a+c@x.test", "nobody"),
        ("ana+List@x.test", "alias ana+list@x.test > fwd@x.test"),
        ("Info@x.test", "alias info@x.test > Ana@x.test"),
        ("info+x@y.test", "alias info@x.test > Ana@x.test"),
        ("fwd+x@x.test", "account fwd@x.test > out@w.test"),
        ("nobody@x.test", "nobody"),
        ("anybody@z.test", "catch-all > ana@x.test"),
        ("ana@w.test", "nobody"),
    ] {
        assert_eq!(told(&resolve(store, name).await), expected, "{name}");
    }
    for (name, is_local) in
        [("n@x.test", true), ("n@y.test", true), ("n@z.test", true), ("n@w.test", false)]
    {
        assert_eq!(resolve(store, name).await.is_local, is_local, "{name}");
    }
    assert_eq!(resolve(store, "Bob+x@Y.test").await.address, address("bob+x@x.test"));
    store.remove_alias(&"fwd@x.test".parse().unwrap()).await.unwrap();
    assert_eq!(told(&resolve(store, "fwd@x.test").await), "account fwd@x.test");
    store.remove_account(&address("ana@x.test"), at(1), at(9)).await.unwrap();
    assert_eq!(told(&resolve(store, "ana@y.test").await), "nobody");
}

async fn quotas_and_usage_are_known(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let usage = async || match resolve(store, "ana@x.test").await.owner {
        Some(AddressOwner::Account(resolved)) => (resolved.account.quota, resolved.usage),
        other => panic!("{other:?}"),
    };
    store.accept(message(1, at(0), b"one\r\n", &[ana])).await.unwrap();
    assert_eq!(usage().await, (None, None), "nobody has to count");
    store.set_quota(&address("ana@x.test"), Some(99)).await.unwrap();
    let one = store.usage(ana).await.unwrap();
    assert_eq!((one.messages, usage().await), (1, (Some(99), Some(one))));
    store.accept(message(2, at(0), b"one\r\n", &[ana])).await.unwrap();
    let two = Usage { messages: 2, octets: 2 * one.octets };
    assert_eq!(usage().await, (Some(99), Some(two)));
}

async fn many_are_resolved_at_once(store: &dyn Store) {
    add(store, "ana@x.test").await;
    store.set_quota(&address("ana@x.test"), Some(99)).await.unwrap();
    set_alias(store, "info@x.test", &["ana@x.test"]).await;
    assert_eq!(store.resolve_all(&[]).await.unwrap(), []);
    let names = ["who@x.test", "ana+x@x.test", "info@x.test", "ana@w.test", "who@x.test"];
    let names = names.map(address);
    let resolved = store.resolve_all(&names).await.unwrap();
    assert_eq!(resolved.len(), names.len());
    for (name, resolution) in names.iter().zip(resolved) {
        assert_eq!(resolution, store.resolve(name).await.unwrap(), "{name}");
    }
}
