//! Every change of the directory reaches what other nodes remember.

use super::{address, at, cluster, open};
use posta_store::{
    APP_PASSWORDS, Alias, Credentials, DOMAIN_KEYS, Directory as _, Records as _, SendAs, Subject,
    Watch as _, Watcher,
};
use posta_store_postgres::PostgresStore;
use std::{fmt::Debug, time::Duration};
use tokio::time::{sleep, timeout};

/// Waits until a node has heard of a change.
async fn hears(watcher: &mut Watcher, of: &str) {
    let told = timeout(Duration::from_secs(20), watcher.changed()).await;
    assert!(told.is_ok(), "the other node was not told of {of}");
}

/// Waits until a node resolves an address in another way than before, and returns how.
async fn resolves(node: &PostgresStore, to: &str, before: &str) -> String {
    for _ in 0..2_000 {
        let now = in_words(&node.resolve(&address(to)).await.unwrap());
        if now != before {
            return now;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the other node still knows {to} as before: {before}");
}

fn in_words(resolution: &impl Debug) -> String {
    format!("{resolution:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_directory_are_told() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, other] = [open(&url, &schema).await, open(&url, &schema).await];
    let mut watcher = other.watch(&[Subject::Directory]);
    let (ana, anna) = (address("ana@x.test"), address("anna@x.test"));
    let (x, y, z) = ("x.test", "y.test", "z.test");
    let info: posta_store::AliasName = "info@x.test".parse().unwrap();
    let credentials =
        |hash: &str| Credentials { password_hash: hash.to_owned(), ..Credentials::default() };
    macro_rules! told {
        ($change:expr) => {
            let version = other.directory_version();
            $change.await.unwrap();
            hears(&mut watcher, stringify!($change)).await;
            assert!(other.directory_version() > version, "{}", stringify!($change));
        };
    }
    told!(one.add_account(&ana, credentials("first")));
    told!(one.set_password(&ana, credentials("second")));
    told!(one.replace_password(&ana, "second".to_owned(), credentials("third")));
    told!(one.set_quota(&ana, Some(5_000_000)));
    told!(one.set_send_as(&ana, vec![SendAs::Anybody]));
    told!(one.set_disabled(&ana, true));
    told!(one.set_marks_junk(&ana, true));
    told!(one.set_send_only(&ana, true));
    told!(one.set_alias(Alias { name: info.clone(), targets: vec![ana.clone()] }));
    told!(one.rename_account(&ana, &anna, Vec::new()));
    told!(one.remove_alias(&info));
    told!(one.add_domain(&y.parse().unwrap()));
    told!(one.set_domain_alias(&z.parse().unwrap(), &x.parse().unwrap()));
    told!(one.remove_domain(&z.parse().unwrap()));
    told!(one.remove_domain(&y.parse().unwrap()));
    told!(one.keep(DOMAIN_KEYS, x, Some(b"keys".to_vec())));
    told!(one.keep_if(APP_PASSWORDS, "1", None, Some(b"passwords".to_vec())));
    let id = one.account(&anna).await.unwrap().unwrap().id;
    told!(one.remove_account(&anna, at(0), at(9)));
    told!(one.restore_account(id));
    let known = other.account(&anna).await.unwrap().unwrap();
    assert_eq!((known.id, &*known.credentials.password_hash), (id, "third"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_remembers_of_addresses_follows() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, other] = [open(&url, &schema).await, open(&url, &schema).await];
    let ana = address("ana@x.test");
    one.add_account(&ana, Credentials::default()).await.unwrap();
    let unknown = in_words(&other.resolve(&address("info@x.test")).await.unwrap());
    let alias = Alias { name: "info@x.test".parse().unwrap(), targets: vec![ana.clone()] };
    one.set_alias(alias).await.unwrap();
    let known = resolves(&other, "info@x.test", &unknown).await;
    one.remove_alias(&"info@x.test".parse().unwrap()).await.unwrap();
    resolves(&other, "info@x.test", &known).await;
    let owned = in_words(&other.resolve(&ana).await.unwrap());
    one.set_send_only(&ana, true).await.unwrap();
    let owned = resolves(&other, "ana@x.test", &owned).await;
    one.remove_account(&ana, at(0), at(9)).await.unwrap();
    resolves(&other, "ana@x.test", &owned).await;
    let elsewhere = in_words(&other.resolve(&address("eva@z.test")).await.unwrap());
    one.add_domain(&"z.test".parse().unwrap()).await.unwrap();
    resolves(&other, "eva@z.test", &elsewhere).await;
}
