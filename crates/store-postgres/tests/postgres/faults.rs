//! A database that fails, and answers that are lost.

use super::{
    add, at,
    cluster::{self, Cluster},
    open,
    proxy::{Lose, MARK, Proxy},
};
use posta_store::{
    CHUNK, Contents as _, Folders as _, Mailboxes as _, Queue as _, Settled, Settlement,
    StoreError, Upkeep as _,
    conformance::{delivery, item, message},
};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

/// What an acceptance waits for is the store's affair, even where others that use the database do not wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_is_synced_whatever_the_database_does_otherwise() {
    let Some(cluster) = Cluster::start(&["fsync=off", "synchronous_commit=off"]) else { return };
    assert_eq!(cluster.psql("SHOW synchronous_commit"), "off");
    let schema = cluster.new_schema();
    let store = open(&cluster.url(), &schema).await;
    let ana = add(&store, "ana@x.test").await;
    cluster.psql(&format!(
        "SET search_path TO {schema}; CREATE TABLE seen (setting text); \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS \
         $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
         CREATE TRIGGER see AFTER INSERT ON content FOR EACH STATEMENT EXECUTE FUNCTION see()"
    ));
    store.accept(message(0, at(0), b"x\r\n", &[ana])).await.unwrap();
    assert_eq!(cluster.psql(&format!("SELECT DISTINCT setting FROM {schema}.seen")), "on");
}

/// A message whose commit was answered to nobody is neither lost nor there twice, and the sender hears that it is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_found_again() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let door = Proxy::open(cluster.directory());
    let store = open(&door.url(), &schema).await;
    let ana = add(&store, "ana@x.test").await;
    // The statements are prepared, so that the next thing that the store sends is the message itself.
    store.accept(message(0, at(0), b"x\r\n", &[ana])).await.unwrap();
    for number in 1..=5 {
        door.lose(Lose::NextAnswer);
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
        assert_eq!(door.lost(), number as usize);
        assert_eq!(store.maildrop(ana).await.unwrap().len(), number as usize + 1);
    }
    assert_eq!(store.folders(ana).await.unwrap()[0].messages, 6);
}

/// A message that is on its way to another server, and out of the queue, before its acceptance is sent again, is not
/// queued a second time.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_relayed_before_its_lost_answer_was_found_is_not_queued_again() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let door = Proxy::open(cluster.directory());
    let store = Arc::new(open(&door.url(), &schema).await);
    let other = open(&cluster.url(), &schema).await;
    // The second has a chunk that was stored before, and that goes with it.
    for (lost, chunk) in [None, Some(vec![b'x'; CHUNK])].into_iter().enumerate() {
        let number = lost as u64;
        let mut queued = message(number, at(0), MARK, &[]);
        queued.items = vec![item(number, 0, at(0), 0)];
        if let Some(chunk) = chunk {
            store.append(queued.id, 0, &chunk).await.unwrap();
            queued.chunks = 1;
        }
        door.lose(Lose::AnswerToMarked);
        door.shut(true);
        let accepting = tokio::spawn({
            let store = store.clone();
            async move { store.accept(queued).await }
        });
        let claimed = loop {
            let claimed = other.claim(at(1), at(60), 1, 1).await.unwrap().pop();
            match claimed {
                Some(claimed) => break claimed,
                None => sleep(Duration::from_millis(10)).await,
            }
        };
        let settlement = Settlement {
            item: claimed.item.id,
            token: Some(claimed.lease.token),
            time: at(2),
            left: None,
            deliveries: Vec::new(),
            reports: Vec::new(),
            events: Vec::new(),
        };
        assert_eq!(other.settle(settlement).await.unwrap(), Settled::Done);
        assert!(!accepting.is_finished(), "it does not know that the message is accepted");
        door.shut(false);
        accepting.await.unwrap().unwrap();
        assert_eq!(door.lost(), lost + 1);
        assert_eq!(other.items(None, 9).await.unwrap(), [], "it was settled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_is_found_again() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let door = Proxy::open(cluster.directory());
    let store = open(&door.url(), &schema).await;
    let ana = add(&store, "ana@x.test").await;
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = (0..3).map(|index| item(1, index, at(0), 0)).collect();
    let items = queued.items.clone();
    store.accept(queued).await.unwrap();
    for (done, item) in items.iter().enumerate() {
        let settlement = Settlement {
            item: item.id,
            token: None,
            time: at(1),
            left: None,
            deliveries: vec![delivery(ana, Vec::new())],
            reports: Vec::new(),
            events: Vec::new(),
        };
        door.lose(Lose::AnswerToCommit);
        assert_eq!(store.settle(settlement).await.unwrap(), Settled::Done, "not that it is gone");
        assert_eq!(door.lost(), done + 1);
        assert_eq!(store.maildrop(ana).await.unwrap().len(), done + 1, "and it came once");
    }
    let all: Vec<_> = store.maildrop(ana).await.unwrap().iter().map(|it| it.uid).collect();
    door.lose(Lose::AnswerToCommit);
    let inbox = posta_store::FolderId::INBOX;
    assert_eq!(store.remove(ana, inbox, all, at(2), at(9)).await.unwrap(), 3, "not none");
}

/// A mailbox that is being changed for long holds up nobody's mail but its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_mailbox_holds_up_no_other() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let store = Arc::new(open(&cluster.url(), &schema).await);
    let (ana, bob) = (add(&store, "ana@x.test").await, add(&store, "bob@x.test").await);
    let holder =
        cluster.hold(&format!("SELECT FROM {schema}.ledger WHERE account = {} FOR UPDATE", ana.0));
    let accept = |number, to| {
        let store = store.clone();
        tokio::spawn(async move { store.accept(message(number, at(0), b"x\r\n", &[to])).await })
    };
    let waiting: Vec<_> = (0..6).map(|number| accept(number, ana)).collect();
    let others: Vec<_> = (10..40).map(|number| accept(number, bob)).collect();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(store.maildrop(bob).await.unwrap().len(), 30);
    assert_eq!(store.maildrop(ana).await.unwrap().len(), 0);
    drop(holder);
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    assert_eq!(store.maildrop(ana).await.unwrap().len(), 6);
}

/// While the database crashes and restarts, every message that is acknowledged stays, and none is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_loses_nothing_acknowledged() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let store = Arc::new(open(&cluster.url(), "posta").await);
    let ana = add(&store, "ana@x.test").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut senders = Vec::new();
    for sender in 0..4u64 {
        let (store, is_over) = (store.clone(), is_over.clone());
        senders.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            let mut number = sender << 32;
            while !is_over.load(Ordering::SeqCst) {
                let text = format!("Subject: {number}\r\n");
                match store.accept(message(number, at(0), text.as_bytes(), &[ana])).await {
                    Ok(()) => accepted.push(number),
                    Err(StoreError::Failed(_)) => {}
                    Err(error) => panic!("{error}"),
                }
                number += 1;
                sleep(Duration::from_millis(5)).await;
            }
            accepted
        }));
    }
    sleep(Duration::from_millis(300)).await;
    let crashed = tokio::task::spawn_blocking(move || {
        cluster.crash_for(Duration::from_secs(5));
        cluster
    });
    let cluster = crashed.await.unwrap();
    // Service is back without anybody's doing.
    let again = async || store.accept(message(9, at(0), b"after\r\n", &[ana])).await;
    for attempt in 0.. {
        match again().await {
            Ok(()) => break,
            Err(error) => assert!(attempt < 100, "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(500)).await;
    is_over.store(true, Ordering::SeqCst);
    let mut accepted = Vec::new();
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }
    store.ready().await.unwrap();
    let there = cluster.psql("SELECT count(*), count(DISTINCT content), max(uid) FROM posta.entry");
    let [all, distinct, last] = there.split('|').collect::<Vec<_>>()[..] else { panic!("{there}") };
    assert_eq!((all, distinct), (last, all), "no message and no UID twice");
    let there = cluster.psql("SELECT encode(content, 'hex') FROM posta.entry");
    let there: HashSet<_> = there.lines().collect();
    assert!(accepted.len() > 4, "{}", accepted.len());
    for number in &accepted {
        let id = posta_mail::MailId::new(at(0), *number).to_bytes();
        let id: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(there.contains(&id[..]), "{number} was acknowledged");
    }
    assert_eq!(store.maildrop(ana).await.unwrap().len().to_string(), all);
}
