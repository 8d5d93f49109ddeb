//! What is accepted stands in the mailboxes, wholly or not at all, under names that are never used again.

use super::{INBOX, add, at, listed, message, read, sweep, uids, unique_ids};
use crate::{AccountId, Maildrop, Store, StoreError, Uid, Usage};
use posta_mail::MailId;

cases![
    a_message_for_two_is_kept_once,
    maildrops_are_up_to_date,
    acceptance_is_all_or_nothing,
    unique_ids_increase,
];

async fn a_message_for_two_is_kept_once(store: &dyn Store) {
    let (ana, bob) = (add(store, "ana@x.test").await, add(store, "bob@x.test").await);
    store.accept(message(1, at(0), b"one\r\n", &[ana, bob])).await.unwrap();
    store.accept(message(2, at(1), b"two\r\n", &[ana])).await.unwrap();
    let (in_ana, in_bob) = (uids(store, ana).await, uids(store, bob).await);
    assert_eq!((in_ana.len(), in_bob.len()), (2, 1));
    assert_eq!(read(store, ana, in_ana[0]).await, b"Delivered-To: 1\r\none\r\n");
    assert_eq!(read(store, ana, in_ana[1]).await, b"Delivered-To: 1\r\ntwo\r\n");
    assert_eq!(read(store, bob, in_bob[0]).await, b"Delivered-To: 2\r\none\r\n");
    assert_eq!(
        store.entry(bob, INBOX, in_ana[1]).await.unwrap(),
        None,
        "a uid is its mailbox's alone"
    );
    assert_eq!(store.usage(ana).await.unwrap(), Usage { messages: 2, octets: 44 });
    // The content is shared: it outlives the entry that is purged first.
    store.remove(ana, INBOX, vec![in_ana[0]], at(2), at(3)).await.unwrap();
    assert_eq!(sweep(store, at(3)).await, 1);
    assert_eq!(read(store, bob, in_bob[0]).await, b"Delivered-To: 2\r\none\r\n");
    let content = store.entry(bob, INBOX, in_bob[0]).await.unwrap().unwrap().content;
    store.remove(bob, INBOX, in_bob, at(4), at(5)).await.unwrap();
    assert_eq!(sweep(store, at(5)).await, 1);
    assert_eq!(store.chunk(content, 0).await.unwrap(), None, "the last entry takes it along");
}

/// A maildrop is opened again and again, and always as the mailbox is by then.
async fn maildrops_are_up_to_date(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    assert_eq!(*store.maildrop(ana).await.unwrap(), Maildrop::default());
    let mut moved = message(1, at(0), b"one\r\n", &[ana]);
    moved.deliveries[0].unique_id = Some("0001.old".to_owned());
    store.accept(moved).await.unwrap();
    let before = store.maildrop(ana).await.unwrap();
    store.accept(message(2, at(1), b"two\r\n", &[ana])).await.unwrap();
    let after = store.maildrop(ana).await.unwrap();
    assert_eq!((before.len(), after.len()), (1, 2), "the first is as it was");
    let (one, two) = (after.get(0).unwrap(), after.get(1).unwrap());
    assert_eq!(after.octets(), one.octets + two.octets);
    assert_eq!((after.imported(0), after.imported(1)), (Some("0001.old"), None));
    store.remove(ana, INBOX, vec![one.uid], at(2), at(9)).await.unwrap();
    let left = store.maildrop(ana).await.unwrap();
    assert_eq!((left.iter().collect::<Vec<_>>(), left.octets()), (vec![two], two.octets));
    assert_eq!(left.imported_ids().count(), 0);
    assert_eq!(store.undelete(ana, at(2)).await.unwrap(), 1);
    let again = store.maildrop(ana).await.unwrap();
    assert_eq!((listed(&again), again.octets()), (listed(&after), after.octets()), "in its place");
    assert_eq!((again.imported(0), again.imported(1)), (Some("0001.old"), None));
}

async fn acceptance_is_all_or_nothing(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let refused = store.accept(message(1, at(0), b"x", &[ana, AccountId(99)])).await;
    assert!(matches!(refused, Err(StoreError::NoSuchAccount)));
    assert_eq!(uids(store, ana).await, []);
    assert_eq!(store.chunk(MailId::new(at(0), 1), 0).await.unwrap(), None);
}

async fn unique_ids_increase(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let (mut last, mut last_id) = (Uid(0), String::new());
    // Not even when the clock stands, or goes back.
    for (number, second) in [(0, 10), (1, 10), (2, 5), (3, 11), (4, 0)] {
        store.accept(message(number, at(second), b"x", &[ana])).await.unwrap();
        let newest = uids(store, ana).await.pop().unwrap();
        let newest_id = unique_ids(store, ana).await.pop().unwrap();
        assert!(newest > last && newest_id > last_id);
        (last, last_id) = (newest, newest_id);
    }
    store.remove(ana, INBOX, vec![last], at(12), at(13)).await.unwrap();
    sweep(store, at(13)).await;
    store.accept(message(5, at(0), b"x", &[ana])).await.unwrap();
    assert!(uids(store, ana).await.pop().unwrap() > last, "a purged one is not reused");
    assert!(unique_ids(store, ana).await.pop().unwrap() > last_id, "nor is its unique-id");
}
