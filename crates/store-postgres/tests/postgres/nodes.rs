//! Several nodes on one database.

use super::{add, address, at, cluster, open, settings};
use posta_mail::Secret;
use posta_store::{
    Credentials, Directory as _, Folders as _, KeyId, Mailboxes as _, Queue as _, Records as _,
    SecretOf, StoreError, Subject, Watch as _,
    conformance::{item, message},
};
use posta_store_postgres::PostgresStore;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_make_the_tables_once() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = (0..6).map(|_| {
        let (url, schema) = (url.clone(), schema.clone());
        tokio::spawn(async move { open(&url, &schema).await })
    });
    let mut nodes: Vec<_> = nodes.collect();
    let node = nodes.pop().unwrap().await.unwrap();
    for node in nodes {
        node.await.unwrap();
    }
    assert_eq!(cluster.psql(&format!("SELECT count(*) FROM {schema}.meta")), "1");
    add(&node, "ana@x.test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_refuses_newer_tables() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    drop(open(&url, &schema).await);
    cluster.psql(&format!("UPDATE {schema}.meta SET format = 99"));
    let refused = PostgresStore::open(settings(&url, &schema, "/nowhere".as_ref())).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, StoreError::TooNew { found: 99, known: 4 }), "{error}");
}

/// A node that has enough of a destination in hand keeps no other node from it, nor itself when it was killed and started
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_of_the_node_that_made_it() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let (one, two) = (open(&url, &schema).await, open(&url, &schema).await);
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = (0..2).map(|index| item(1, index, at(0), 0)).collect();
    let destination = queued.items[0].destination.clone();
    one.accept(queued).await.unwrap();
    one.pause(&destination, at(900)).await.unwrap();
    let claimed = async |node: &PostgresStore| node.claim(at(1), at(60), 1, 9).await.unwrap().len();
    assert_eq!(claimed(&one).await, 0);
    assert_eq!(one.next_due().await.unwrap(), Some(at(900)));
    assert_eq!(claimed(&two).await, 1);
    drop(one);
    assert_eq!(claimed(&open(&url, &schema).await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_told_with_a_cure() {
    let nowhere = settings("postgresql://posta@%2Fnowhere/x", "posta", "/nowhere".as_ref());
    let error = PostgresStore::open(nowhere).await.err().unwrap().to_string();
    assert!(error.contains("cannot be reached") && error.contains("[store] url"), "{error}");
}

/// What two nodes deliver at the same moment stands in the mailbox once, in one order of UIDs and mod-sequences.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_deliver_into_one_mailbox_at_once() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await].map(Arc::new);
    let (ana, bob) = (add(&nodes[0], "ana@x.test").await, add(&nodes[0], "bob@x.test").await);
    let mut tasks = Vec::new();
    for number in 0..200u64 {
        let node = nodes[number as usize % 2].clone();
        let to = if number % 3 == 0 { vec![bob, ana] } else { vec![ana] };
        // The clock of one node is an hour behind.
        let time = at(if number % 2 == 0 { 3_600 } else { 0 });
        tasks.push(tokio::spawn(async move {
            node.accept(message(number, time, b"x\r\n", &to)).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for node in &nodes {
        let maildrop = node.maildrop(ana).await.unwrap();
        let uids: Vec<_> = maildrop.iter().map(|message| message.uid.0).collect();
        assert_eq!(uids, (1..=200).collect::<Vec<_>>(), "the order of arrival is that of UIDs");
        let numbers: BTreeSet<_> = maildrop.iter().map(|message| message.number).collect();
        assert_eq!(numbers.len(), 200, "no unique-id twice");
        assert_eq!(node.folders(ana).await.unwrap()[0].messages, 200);
        assert_eq!(node.usage(bob).await.unwrap().messages, 67);
    }
}

/// An import hands over many messages at once, and a mailbox keeps their order, whatever goes to others meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_keeps_the_order_of_its_messages() {
    let Some(cluster) = cluster::shared() else { return };
    let store = open(&cluster.url(), &cluster.new_schema()).await;
    let (ana, bob) = (add(&store, "ana@x.test").await, add(&store, "bob@x.test").await);
    let mut accepted = Vec::new();
    for number in 0..600 {
        let to: &[_] = match number % 3 {
            0 => &[bob],
            1 => &[ana],
            _ => &[ana, bob],
        };
        let text = format!("{}\r\n", "x".repeat(number + 1));
        accepted.push(store.accept(message(number as u64, at(0), text.as_bytes(), to)));
    }
    for accepted in accepted {
        accepted.await.unwrap();
    }
    for account in [ana, bob] {
        let maildrop = store.maildrop(account).await.unwrap();
        let octets: Vec<_> = maildrop.iter().map(|message| message.octets).collect();
        assert_eq!(octets.len(), 400);
        assert!(octets.is_sorted(), "{octets:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_item_is_claimed_twice() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await].map(Arc::new);
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = (0..200).map(|index| item(1, index, at(0), 0)).collect();
    nodes[0].accept(queued).await.unwrap();
    let mut tasks = Vec::new();
    for turn in 0..8 {
        let node = nodes[turn % 2].clone();
        tasks.push(tokio::spawn(async move {
            let mut all = Vec::new();
            loop {
                let claimed = node.claim(at(10), at(100), 7, 7).await.unwrap();
                if claimed.is_empty() {
                    // Another may have had all that were left in its hands.
                    if node.next_due().await.unwrap() != Some(at(0)) {
                        return all;
                    }
                    continue;
                }
                all.extend(claimed.into_iter().map(|claimed| claimed.item.id.index));
            }
        }));
    }
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap());
    }
    claimed.sort_unstable();
    assert_eq!(claimed, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_to_other_nodes() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, other] = [open(&url, &schema).await, open(&url, &schema).await];
    let ana = add(&one, "ana@x.test").await;
    let mailbox = Subject::Mailbox(ana);
    let mut watcher = other.watch(&[Subject::Directory, Subject::Queue, mailbox]);
    let mut hears = async |what: Subject| {
        let mut heard = BTreeSet::new();
        while !heard.contains(&what) {
            let changed = timeout(Duration::from_secs(20), watcher.changed()).await;
            heard.extend(changed.unwrap_or_else(|_| panic!("{what:?} was not told")));
        }
    };
    let version = other.directory_version();
    one.set_quota(&address("ana@x.test"), Some(5)).await.unwrap();
    hears(Subject::Directory).await;
    assert!(other.directory_version() > version);
    one.accept(message(1, at(0), b"x\r\n", &[ana])).await.unwrap();
    hears(mailbox).await;
    assert_eq!(other.maildrop(ana).await.unwrap().len(), 1);
    let mut queued = message(2, at(0), b"x\r\n\n", &[]);
    queued.items = vec![item(2, 0, at(0), 0)];
    one.accept(queued).await.unwrap();
    hears(Subject::Queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_need_the_same_key_file() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let keys = tempfile::tempdir().unwrap();
    let node = async |name: &str| {
        PostgresStore::open(settings(&url, &schema, &keys.path().join(name))).await.unwrap()
    };
    let one = node("one").await;
    let key = SecretOf::Key(KeyId(1));
    let secret = vec![(key, Some(Secret::new(b"secret")))];
    one.keep_with_secrets("kind", "name", None, Some(b"x".to_vec()), secret).await.unwrap();
    assert_eq!(one.secret(key).await.unwrap().unwrap().expose(), b"secret");
    let shown = cluster.psql(&format!("SELECT encode(sealed, 'escape') FROM {schema}.secret"));
    assert!(!shown.contains("secret"), "{shown}");

    let other = node("other").await;
    let missing = other.secret(key).await.err().unwrap();
    assert!(matches!(&missing, StoreError::Sealed(why) if why.contains("is missing: copy")));
    assert!(matches!(other.check_seals().await, Err(StoreError::Sealed(_))));
    // A file of another cluster is no help.
    let elsewhere = cluster.new_schema();
    let stranger = PostgresStore::open(settings(&url, &elsewhere, &keys.path().join("other")));
    let credentials = Credentials { apop: Some(Secret::new(b"x")), ..Credentials::default() };
    stranger.await.unwrap().add_account(&address("ana@x.test"), credentials).await.unwrap();
    let wrong = other.secret(key).await.err().unwrap();
    assert!(matches!(&wrong, StoreError::Sealed(why) if why.contains("is not the one")), "{wrong}");
    std::fs::copy(keys.path().join("one"), keys.path().join("other")).unwrap();
    assert_eq!(other.secret(key).await.unwrap().unwrap().expose(), b"secret");
    other.check_seals().await.unwrap();
}

/// After a failover, which the tables know by the timeline, no UID, mod-sequence or token is given a second time.
#[tokio::test(flavor = "multi_thread")]
async fn names_jump_once_after_a_failover() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let node = open(&url, &schema).await;
    let ana = add(&node, "ana@x.test").await;
    node.accept(message(1, at(0), b"x\r\n", &[ana])).await.unwrap();
    // Two that are open know the list, so the new one must not be built on it.
    let other = open(&url, &schema).await;
    assert_eq!(other.maildrop(ana).await.unwrap().len(), 1);
    let before = node.folders(ana).await.unwrap().remove(0);
    let token = cluster.psql(&format!("SELECT last_value FROM {schema}.token"));
    let remembered = cluster.psql(&format!("SELECT timeline FROM {schema}.meta"));
    assert!(remembered.ends_with("/00000001"), "{remembered}");
    // As if the standby had lost the message.
    cluster.psql(&format!(
        "UPDATE {schema}.meta SET timeline = '1/00000001'; DELETE FROM {schema}.entry; \
         UPDATE {schema}.folder SET uid_next = 1, messages = 0"
    ));
    let opened = (0..4).map(|_| {
        let (url, schema) = (url.clone(), schema.clone());
        tokio::spawn(async move { open(&url, &schema).await })
    });
    let mut opened: Vec<_> = opened.collect();
    let fresh = opened.pop().unwrap().await.unwrap();
    for another in opened {
        another.await.unwrap();
    }
    assert_eq!(cluster.psql(&format!("SELECT timeline FROM {schema}.meta")), remembered);
    fresh.accept(message(2, at(0), b"y\r\n", &[ana])).await.unwrap();
    for node in [&node, &other, &fresh] {
        let uids: Vec<_> = node.maildrop(ana).await.unwrap().iter().map(|it| it.uid.0).collect();
        assert_eq!(uids, [1_001], "UIDNEXT jumped once, and no list remembers what was lost");
    }
    let after = fresh.folders(ana).await.unwrap().remove(0);
    assert!(after.mod_seq.0 >= before.mod_seq.0 + 1_000, "{before:?} {after:?}");
    assert!(fresh.changes_since(ana, before.mod_seq, 9).await.unwrap().is_none());
    let next: i64 =
        cluster.psql(&format!("SELECT last_value FROM {schema}.token")).parse().unwrap();
    assert!(next >= token.parse::<i64>().unwrap() + 1_000, "{token} {next}");
    drop(open(&url, &schema).await);
    fresh.accept(message(3, at(0), b"z\r\n", &[ana])).await.unwrap();
    assert_eq!(fresh.maildrop(ana).await.unwrap().iter().last().unwrap().uid.0, 1_002, "once");
}
