//! Items of the queue are claimed by one at a time, in their order, and settled once.

use super::{INBOX, add, at, delivery, message, read, uids};
use crate::{
    Claimed, Destination, Envelope, Item, ItemId, ItemState, Settled, Settlement, Store, Waiting,
};
use posta_mail::{
    ReversePath, Timestamp,
    envelope::{Body, Notify},
};
use std::collections::BTreeSet;

cases![
    items_are_claimed_once_and_in_order,
    what_is_in_quarantine_stays_there,
    times_are_as_fine_as_the_clock,
    destinations_have_their_turns,
    content_stays_while_anything_shows_it,
    a_settlement_is_one_change,
    an_old_token_changes_nothing,
];

/// An item of a message that [`super::message`] would make of the same number, due at this time.
#[must_use]
pub fn item(number: u64, index: u32, due: Timestamp, priority: i8) -> Item {
    Item {
        id: ItemId { content: posta_mail::MailId::new(at(0), number), index },
        octets: 4,
        head: 0,
        added: 1,
        accepted: at(0),
        message_id: Some("<1@x.test>".to_owned()),
        thread: None,
        envelope: Envelope {
            reverse_path: ReversePath::Null,
            envelope_id: None,
            ret: None,
            body: Body::SevenBit,
            utf8: false,
            require_tls: false,
            deadline: None,
            priority,
        },
        destination: Destination::Domain("y.test".to_owned()),
        recipients: vec![Waiting {
            address: super::address("bob@y.test"),
            notify: Notify::default(),
            original: None,
            reply: None,
        }],
        due,
        state: ItemState::Waiting,
        attempts: 0,
        delay_told: false,
        shared: false,
    }
}

fn done(id: ItemId) -> Settlement {
    let (deliveries, reports, events) = (Vec::new(), Vec::new(), Vec::new());
    Settlement { item: id, token: None, time: at(90), left: None, deliveries, reports, events }
}

/// Accepts a message that goes nowhere but into the queue.
async fn put(store: &dyn Store, number: u64, items: Vec<Item>) {
    let mut acceptance = message(number, at(0), b"x\r\n\n", &[]);
    acceptance.items = items;
    store.accept(acceptance).await.unwrap();
}

async fn claim(store: &dyn Store, now: i64) -> Vec<u32> {
    let claimed = store.claim(at(now), at(now + 100), 2, 2).await.unwrap();
    assert!(claimed.iter().all(|claimed| claimed.item.state == ItemState::Leased));
    claimed.iter().map(|claimed| claimed.item.id.index).collect()
}

async fn items_are_claimed_once_and_in_order(store: &dyn Store) {
    assert_eq!(store.next_due().await.unwrap(), None);
    let items = [(0, 5, 0), (1, 3, 0), (2, 4, 9), (3, 50, 0), (4, 1, -9)];
    let items: Vec<_> =
        items.iter().map(|&(index, due, priority)| item(1, index, at(due), priority)).collect();
    put(store, 1, items.clone()).await;
    assert_eq!(store.next_due().await.unwrap(), Some(at(1)));
    assert_eq!(claim(store, 0).await, [0_u32; 0]);
    assert_eq!(claim(store, 10).await, [2, 1], "the higher priority, then the earlier");
    assert_eq!(claim(store, 10).await, [0, 4]);
    assert_eq!(claim(store, 10).await, [0_u32; 0], "they are leased");
    assert_eq!(claim(store, 115).await, [2, 1], "a lease ends");
    let first = vec![(items[0].id, at(7)), (items[1].id, at(7))];
    let held = store.reschedule(first.clone(), ItemState::Held).await.unwrap();
    assert_eq!(held, 1, "nobody takes an item from who works on it");
    assert_eq!(claim(store, 120).await, [3, 4], "what is held stays");
    assert_eq!(store.reschedule(first.clone(), ItemState::Waiting).await.unwrap(), 1);
    assert_eq!(claim(store, 10).await, [0]);
    let all = store.items(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|item| item.id.index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let some = store.items(Some(all[1].id), 2).await.unwrap();
    assert_eq!(some, all[2..4]);
    assert_eq!(store.settle(done(items[0].id)).await.unwrap(), Settled::Done);
    assert_eq!(store.settle(done(items[0].id)).await.unwrap(), Settled::Gone);
    assert_eq!(store.reschedule(first, ItemState::Waiting).await.unwrap(), 0);
    let left = Item { due: at(60), state: ItemState::Waiting, ..all[1].clone() };
    let settlement = Settlement { left: Some(left), ..done(all[1].id) };
    assert_eq!(store.settle(settlement).await.unwrap(), Settled::Done);
    assert!(store.next_due().await.unwrap() <= Some(at(60)), "a time before which nothing is due");
    assert_eq!(claim(store, 55).await, [0_u32; 0]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(60)));
}

async fn what_is_in_quarantine_stays_there(store: &dyn Store) {
    let quarantined = Item { state: ItemState::Quarantined, ..item(3, 0, at(1), 0) };
    put(store, 3, vec![quarantined.clone()]).await;
    assert_eq!(claim(store, 10).await, [0_u32; 0]);
    assert_eq!(store.items(None, 10).await.unwrap()[0].state, ItemState::Quarantined);
    let released = store.reschedule(vec![(quarantined.id, at(10))], ItemState::Waiting).await;
    assert_eq!(released.unwrap(), 1);
    assert_eq!(claim(store, 10).await, [0]);
}

async fn times_are_as_fine_as_the_clock(store: &dyn Store) {
    let due = Timestamp::new(at(1).as_second(), 123_456_789).unwrap();
    put(store, 1, vec![item(1, 0, due, 0)]).await;
    assert_eq!(claim(store, 1).await, [0_u32; 0]);
    assert_eq!(claim(store, 2).await, [0]);
}

/// Items that are claimed then: the numbers of their messages.
async fn share(store: &dyn Store, now: i64, limit: usize, share: usize) -> Vec<u32> {
    let claimed = store.claim(at(now), at(now + 100), limit, share).await.unwrap();
    let mut numbers: Vec<_> = claimed.iter().map(|claimed| claimed.item.id.index).collect();
    numbers.sort_unstable();
    numbers
}

async fn destinations_have_their_turns(store: &dyn Store) {
    let to = |domain: &str, index, due| Item {
        destination: Destination::Domain(domain.to_owned()),
        ..item(1, index, at(due), 0)
    };
    let (full, empty) = ("full.test", "empty.test");
    let mut items: Vec<_> = (0..6).map(|index| to(full, index, 1 + i64::from(index))).collect();
    items.push(to(empty, 6, 9));
    put(store, 1, items.clone()).await;
    let claimed = store.claim(at(10), at(110), 9, 2).await.unwrap();
    let numbers: BTreeSet<_> = claimed.iter().map(|claimed| claimed.item.id.index).collect();
    assert_eq!(numbers, [0, 1, 6].into(), "no more of one than its share");
    let destination = |domain: &str| Destination::Domain(domain.to_owned());
    store.pause(&destination(full), at(50)).await.unwrap();
    assert_eq!(share(store, 11, 9, 2).await, [0_u32; 0]);
    assert_eq!(store.next_due().await.unwrap(), Some(at(50)));
    store.pause(&destination(full), at(12)).await.unwrap();
    assert_eq!(share(store, 12, 3, 9).await, [2, 3, 4]);
    let first = claimed.iter().find(|claimed| claimed.item.id == items[0].id).unwrap();
    assert!(store.renew(items[0].id, first.lease.token, at(300)).await.unwrap());
    assert_eq!(share(store, 111, 9, 9).await, [1, 5, 6], "a lease is made longer");
    let shown = &store.items(None, 1).await.unwrap()[0];
    assert_eq!((shown.due, shown.state), (at(300), ItemState::Leased));
}

async fn content_stays_while_anything_shows_it(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let (one, two) = (item(1, 0, at(1), 0), item(1, 1, at(1), 0));
    let content = one.id.content;
    let mut acceptance = message(1, at(0), b"x\r\n\n", &[ana]);
    acceptance.items = vec![one.clone(), two.clone()];
    store.accept(acceptance).await.unwrap();
    store.settle(done(one.id)).await.unwrap();
    let uid = uids(store, ana).await[0];
    store.remove(ana, INBOX, vec![uid], at(1), at(2)).await.unwrap();
    assert_eq!(store.sweep(at(3)).await.unwrap(), 1);
    assert!(store.chunk(content, 0).await.unwrap().is_some(), "an item still needs it");
    store.settle(done(two.id)).await.unwrap();
    assert!(store.chunk(content, 0).await.unwrap().is_none());
    // A message that is kept back for a mailbox, and goes there in the end.
    let held = item(2, 0, at(1), 0);
    put(store, 2, vec![held.clone()]).await;
    let to = |account| delivery(account, b"p: \r\n".to_vec());
    let settlement = Settlement { deliveries: vec![to(ana), to(ana)], ..done(held.id) };
    store.settle(settlement).await.unwrap();
    let [one, two] = uids(store, ana).await[..] else { panic!("two deliveries") };
    assert_eq!(read(store, ana, two).await, b"p: \r\nx\r\n\n");
    store.remove(ana, INBOX, vec![one], at(1), at(2)).await.unwrap();
    store.sweep(at(3)).await.unwrap();
    assert_eq!(read(store, ana, two).await, b"p: \r\nx\r\n\n");
    store.remove(ana, INBOX, vec![two], at(1), at(2)).await.unwrap();
    store.sweep(at(3)).await.unwrap();
    assert!(store.chunk(held.id.content, 0).await.unwrap().is_none());
}

async fn a_settlement_is_one_change(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let waiting = item(1, 0, at(1), 0);
    put(store, 1, vec![waiting.clone()]).await;
    let gone = crate::AccountId(99);
    let report = |to| message(7, at(5), b"r\r\n", &[to]);
    let settlement = Settlement { reports: vec![report(gone)], ..done(waiting.id) };
    assert!(store.settle(settlement).await.is_err());
    assert_eq!(store.items(None, 10).await.unwrap(), std::slice::from_ref(&waiting));
    let settlement = Settlement { reports: vec![report(ana)], ..done(waiting.id) };
    assert_eq!(store.settle(settlement).await.unwrap(), Settled::Done);
    assert_eq!(uids(store, ana).await.len(), 1);
    assert_eq!(store.items(None, 10).await.unwrap(), []);
}

/// Whoever held a lease that has ended can do nothing to an item that another has claimed since.
async fn an_old_token_changes_nothing(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let waiting = item(1, 0, at(1), 0);
    put(store, 1, vec![waiting.clone()]).await;
    let claim = async |now, until| store.claim(at(now), at(until), 9, 9).await.unwrap()[0].clone();
    let first = claim(1, 10).await;
    assert_eq!(first.lease.until, at(10));
    let second = claim(10, 20).await;
    assert!(second.lease.token > first.lease.token);
    let id = waiting.id;
    assert!(!store.renew(id, first.lease.token, at(99)).await.unwrap());
    let shown = &store.items(None, 1).await.unwrap()[0];
    assert_eq!((shown.due, shown.state), (at(20), ItemState::Leased), "it is the second's");
    let settlement = |claimed: &Claimed| Settlement {
        token: Some(claimed.lease.token),
        deliveries: vec![delivery(ana, Vec::new())],
        reports: vec![message(7, at(5), b"r\r\n", &[ana])],
        ..done(id)
    };
    assert_eq!(store.settle(settlement(&first)).await.unwrap(), Settled::Fenced);
    assert_eq!(uids(store, ana).await, []);
    assert_eq!(store.items(None, 9).await.unwrap().len(), 1);
    assert_eq!(claim_all(store, 15).await, [0_u32; 0], "the second still has it");
    // A lease that has ended is good for as long as nobody else has claimed the item.
    put(store, 2, vec![item(2, 0, at(1), 0)]).await;
    let other = claim(15, 17).await;
    assert_eq!(store.claim(at(18), at(40), 0, 0).await.unwrap(), []);
    let settled = Settlement { token: Some(other.lease.token), ..done(other.item.id) };
    assert_eq!(store.settle(settled.clone()).await.unwrap(), Settled::Done);
    assert_eq!(store.settle(settled).await.unwrap(), Settled::Gone);
    assert_eq!(store.settle(settlement(&second)).await.unwrap(), Settled::Done);
    assert_eq!(uids(store, ana).await.len(), 2, "the message and the report");
    assert!(!store.renew(id, second.lease.token, at(99)).await.unwrap(), "it is gone");
    // The operator needs no lease.
    put(store, 3, vec![item(3, 0, at(1), 0)]).await;
    let third = claim(50, 60).await;
    assert_eq!(store.settle(done(third.item.id)).await.unwrap(), Settled::Done);
}

/// The numbers of the items that can be claimed then.
async fn claim_all(store: &dyn Store, now: i64) -> Vec<u32> {
    share(store, now, 9, 9).await
}
