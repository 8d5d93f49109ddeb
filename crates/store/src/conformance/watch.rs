//! Whoever watches is told of every change, once, and of nothing else.

mod shared;

pub(super) use shared::CASES as SHARED;

use super::{add, address, at, credentials, delivery, domain, message, queue::item};
use crate::{Alias, FlagChange, Flags, FolderId, ItemState, Settlement, Store, Subject, Watcher};
use std::{
    collections::BTreeSet,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

cases![
    mailboxes_are_watched,
    the_directory_is_watched,
    the_queue_is_watched,
    a_watcher_hears_what_came_after_it,
    a_slow_watcher_hears_of_each_subject_once,
    a_watcher_that_waits_is_woken,
];

fn is_told(watcher: &mut Watcher, expected: &[Subject], what: &str) {
    assert_eq!(watcher.take(), expected.iter().copied().collect::<BTreeSet<_>>(), "{what}");
}

async fn mailboxes_are_watched(store: &dyn Store) {
    let inbox = FolderId::INBOX;
    let (ana, bob) = (add(store, "ana@x.test").await, add(store, "bob@x.test").await);
    let of_ana = Subject::Mailbox(ana);
    let mut watcher = store.watch(&[of_ana]);
    store.accept(message(1, at(0), b"x\r\n", &[ana, bob])).await.unwrap();
    is_told(&mut watcher, &[of_ana], "a message came");
    store.accept(message(2, at(0), b"x\r\n", &[bob])).await.unwrap();
    is_told(&mut watcher, &[], "it came to another");
    store.maildrop(ana).await.unwrap();
    store.usage(ana).await.unwrap();
    is_told(&mut watcher, &[], "reading changes nothing");
    let uid = super::uids(store, ana).await[0];
    let seen = FlagChange { add: Flags::SEEN, ..FlagChange::default() };
    store.set_flags(ana, inbox, vec![uid], seen, None, at(1)).await.unwrap();
    is_told(&mut watcher, &[of_ana], "flags");
    let moved = store.move_entries(ana, inbox, FolderId::JUNK, vec![uid], at(2), at(9)).await;
    is_told(&mut watcher, &[of_ana], "moved");
    let uid = moved.unwrap()[0].1;
    store.remove(ana, FolderId::JUNK, vec![uid], at(3), at(9)).await.unwrap();
    is_told(&mut watcher, &[of_ana], "removed");
    store.undelete(ana, at(3)).await.unwrap();
    is_told(&mut watcher, &[of_ana], "brought back");
    store.remove_account(&address("ana@x.test"), at(4), at(9)).await.unwrap();
    is_told(&mut watcher, &[of_ana], "the account is gone");
}

async fn the_directory_is_watched(store: &dyn Store) {
    let ana = address("ana@x.test");
    let mut watcher = store.watch(&[Subject::Directory]);
    let mut last = store.directory_version();
    let mut told = |what: &str| {
        is_told(&mut watcher, &[Subject::Directory], what);
        let before = std::mem::replace(&mut last, store.directory_version());
        assert!(last > before, "the version grows: {what}");
    };
    add(store, "ana@x.test").await;
    told("an account");
    store.set_password(&ana, credentials("new")).await.unwrap();
    told("a password");
    store.set_disabled(&ana, true).await.unwrap();
    told("disabled");
    store.set_marks_junk(&ana, true).await.unwrap();
    told("junk is marked");
    let targets = vec![ana.clone()];
    store.set_alias(Alias { name: "info@x.test".parse().unwrap(), targets }).await.unwrap();
    told("an alias");
    store.remove_alias(&"info@x.test".parse().unwrap()).await.unwrap();
    told("no alias");
    store.add_domain(&domain("y.test")).await.unwrap();
    told("a domain");
    store.set_domain_alias(&domain("z.test"), &domain("y.test")).await.unwrap();
    told("a domain that stands for another");
    store.remove_account(&ana, at(1), at(9)).await.unwrap();
    told("no account");
    store.resolve(&ana).await.unwrap();
    is_told(&mut watcher, &[], "reading changes nothing");
}

async fn the_queue_is_watched(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let queue = Subject::Queue;
    let mut watcher = store.watch(&[queue, Subject::Rescheduled, Subject::Mailbox(ana)]);
    store.accept(message(1, at(0), b"x\r\n", &[ana])).await.unwrap();
    is_told(&mut watcher, &[Subject::Mailbox(ana)], "nothing for the queue");
    let mut queued = message(2, at(0), b"x\r\n", &[]);
    queued.items = vec![item(2, 0, at(5), 0)];
    store.accept(queued).await.unwrap();
    is_told(&mut watcher, &[queue], "an item is new");
    let claimed = store.claim(at(6), at(60), 9, 9).await.unwrap().remove(0);
    is_told(&mut watcher, &[], "a claim brings nothing");
    let settlement = |left, deliveries| Settlement {
        item: claimed.item.id,
        token: None,
        time: at(7),
        left,
        deliveries,
        reports: Vec::new(),
        events: Vec::new(),
    };
    store.settle(settlement(Some(claimed.item.clone()), Vec::new())).await.unwrap();
    is_told(&mut watcher, &[queue], "it is due again");
    let due = (claimed.item.id, at(8));
    store.reschedule(vec![due], ItemState::Waiting).await.unwrap();
    is_told(&mut watcher, &[queue, Subject::Rescheduled], "it is to be tried now");
    let here = delivery(ana, Vec::new());
    store.settle(settlement(None, vec![here])).await.unwrap();
    is_told(&mut watcher, &[Subject::Mailbox(ana)], "it is done with, and came into a mailbox");
}

async fn a_watcher_hears_what_came_after_it(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let accept = async |number| store.accept(message(number, at(0), b"x", &[ana])).await.unwrap();
    accept(1).await;
    let mut first = store.watch(&[Subject::Mailbox(ana)]);
    is_told(&mut first, &[], "what was before is no news");
    accept(2).await;
    let mut second = store.watch(&[Subject::Mailbox(ana)]);
    accept(3).await;
    is_told(&mut first, &[Subject::Mailbox(ana)], "the first");
    is_told(&mut second, &[Subject::Mailbox(ana)], "the second");
    drop(first);
    accept(4).await;
    is_told(&mut second, &[Subject::Mailbox(ana)], "that the first is gone matters to nobody");
}

async fn a_slow_watcher_hears_of_each_subject_once(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let mut watcher = store.watch(&[Subject::Mailbox(ana), Subject::Directory]);
    for number in 0..100 {
        store.accept(message(number, at(0), b"x", &[ana])).await.unwrap();
        store.set_quota(&address("ana@x.test"), Some(number)).await.unwrap();
    }
    is_told(&mut watcher, &[Subject::Directory, Subject::Mailbox(ana)], "200 changes");
    is_told(&mut watcher, &[], "it was told");
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

async fn a_watcher_that_waits_is_woken(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let mut watcher = store.watch(&[Subject::Mailbox(ana)]);
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    {
        let mut changed = pin!(watcher.changed());
        assert_eq!(changed.as_mut().poll(&mut context), Poll::Pending);
        store.accept(message(1, at(0), b"x", &[ana])).await.unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "woken");
        store.accept(message(2, at(0), b"x", &[ana])).await.unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "nobody waits");
        // A future that is dropped before it is asked loses nothing.
    }
    assert_eq!(watcher.changed().await, BTreeSet::from([Subject::Mailbox(ana)]));
}
