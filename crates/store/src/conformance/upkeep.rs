//! What is removed or expires can be brought back until it is purged.

use super::{INBOX, add, at, message, read, sweep, uids, unique_ids};
use crate::{AccountId, Store, Uid, Usage};

cases![removal_is_not_loss, retrieved_messages_expire,];

async fn removal_is_not_loss(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    for number in 0..4 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let before = uids(store, ana).await;
    let ids = unique_ids(store, ana).await;
    assert_eq!(store.remove(ana, INBOX, before[..2].to_vec(), at(10), at(100)).await.unwrap(), 2);
    assert_eq!(store.remove(ana, INBOX, before[1..3].to_vec(), at(20), at(100)).await.unwrap(), 1);
    assert_eq!(
        store.remove(AccountId(99), INBOX, before.clone(), at(20), at(100)).await.unwrap(),
        0
    );
    assert_eq!(store.usage(ana).await.unwrap().messages, 1);
    let twice = vec![before[3]; 2];
    assert_eq!(
        store.remove(ana, INBOX, twice, at(5), at(100)).await.unwrap(),
        1,
        "named twice, removed once"
    );
    assert_eq!(store.usage(ana).await.unwrap(), Usage::default());
    store.accept(message(9, at(0), b"x\r\n", &[ana])).await.unwrap();
    let before = [&before[..3], &uids(store, ana).await].concat();
    let ids = [&ids[..3], &unique_ids(store, ana).await].concat();
    assert_eq!(uids(store, ana).await, before[3..]);
    assert_eq!(store.usage(ana).await.unwrap().messages, 1, "what is removed does not count");
    read(store, ana, before[0]).await; // an older view still reads it
    assert_eq!(store.undelete(ana, at(20)).await.unwrap(), 1);
    assert_eq!(unique_ids(store, ana).await, ids[2..], "under the unique-id it had, where it was");
    read(store, ana, before[2]).await; // an older view finds it, though it is called otherwise
    let again = uids(store, ana).await[0];
    assert!(again > before[3], "a UID is not used again, not even for the same message");
    assert_eq!(sweep(store, at(99)).await, 0);
    assert_eq!(sweep(store, at(100)).await, 3);
    assert_eq!(store.entry(ana, INBOX, before[0]).await.unwrap(), None);
    assert_eq!(store.undelete(ana, at(0)).await.unwrap(), 0);
    read(store, ana, again).await; // brought back in time: not purged
}

/// What was retrieved goes after a while, and comes back as if it had not been.
async fn retrieved_messages_expire(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    for number in 0..4 {
        store.accept(message(number, at(0), b"x\r\n", &[ana])).await.unwrap();
    }
    let all = uids(store, ana).await;
    let ids = unique_ids(store, ana).await;
    store.retrieved(ana, vec![all[0], all[1], Uid(7)], at(10)).await.unwrap();
    store.retrieved(ana, vec![all[1], all[2]], at(20)).await.unwrap();
    store.remove(ana, INBOX, vec![all[0]], at(25), at(99)).await.unwrap();
    assert_eq!(store.expire(at(10), at(30), at(99)).await.unwrap(), 0);
    assert_eq!(store.expire(at(11), at(30), at(99)).await.unwrap(), 1, "the first time counts");
    assert_eq!(uids(store, ana).await, [all[2], all[3]]);
    assert_eq!(store.undelete(ana, at(30)).await.unwrap(), 1);
    assert_eq!(store.expire(at(15), at(31), at(99)).await.unwrap(), 0);
    assert_eq!(store.expire(at(21), at(31), at(99)).await.unwrap(), 1);
    assert_eq!(unique_ids(store, ana).await, [&ids[1][..], &ids[3]]);
    store.retrieved(ana, vec![all[1]], at(40)).await.unwrap();
    assert_eq!(store.expire(at(41), at(42), at(99)).await.unwrap(), 1, "it was retrieved again");
    assert_eq!(store.expire(at(41), at(42), at(99)).await.unwrap(), 0);
    assert_eq!(uids(store, ana).await, [all[3]], "what nobody retrieved stays");
}
