//! The suite that every store passes: each rule of the crate, then long random sequences of
//! operations compared with the in-memory reference.
//!
//! It panics where a store breaks a rule, as tests do, and drives futures by itself, so that it
//! works without any asynchronous runtime.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod directory;
mod folders;
mod heads;
mod large;
mod queue;
mod random;
mod sources;
mod watch;

pub use queue::item;
pub use sources::source;

use crate::{
    Acceptance, AccountId, CHUNK, Credentials, Delivery, FolderId, HEAD, Maildrop, Store,
    StoreError, Summary, Uid, Usage,
};
use posta_mail::{Address, Domain, MailId, ThreadId, Timestamp, crlf::lines_of};
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

const INBOX: FolderId = FolderId::INBOX;

/// Makes an empty store.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// Runs the whole suite.
///
/// # Panics
/// When the store breaks a rule.
pub fn run(make: Make<'_>) {
    block_on(async {
        a_message_for_two(&*make()).await;
        maildrops_are_up_to_date(&*make()).await;
        retrieved_messages_expire(&*make()).await;
        long_content(&*make()).await;
        heads::run(make).await;
        folders::run(make).await;
        acceptance_is_all_or_nothing(&*make()).await;
        removal_is_not_loss(&*make()).await;
        unique_ids_increase(&*make()).await;
        small_records_are_kept(&*make()).await;
        directory::run(make).await;
        queue::run(make).await;
        sources::run(make).await;
        watch::run(make).await;
        large::run(make).await;
        for seed in 1..=8 {
            random::run(&*make(), seed).await;
        }
    });
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A message with this content for these accounts.
#[must_use]
pub fn message(number: u64, time: Timestamp, content: &[u8], to: &[AccountId]) -> Acceptance {
    let prefix = |account: AccountId| format!("Delivered-To: {}\r\n", account.0).into_bytes();
    let id = MailId::new(time, number);
    Acceptance {
        id,
        time,
        head: Vec::new(),
        chunks: 0,
        rest: content.to_vec(),
        added: lines_of(content).len() as u64 - content.len() as u64,
        thread: ThreadId::of_message(content).unwrap_or_else(|| ThreadId::alone(id)),
        deliveries: to.iter().map(|&account| delivery(account, prefix(account))).collect(),
        items: Vec::new(),
        events: Vec::new(),
        reports: Vec::new(),
        collected: None,
    }
}

/// A delivery into the inbox of an account.
#[must_use]
pub const fn delivery(account: AccountId, prefix: Vec<u8>) -> Delivery {
    Delivery { account, folder: FolderId::INBOX, prefix, unique_id: None }
}

/// All of a message of an inbox, as it is kept.
///
/// # Panics
/// When it cannot be read.
pub async fn read(store: &dyn Store, account: AccountId, uid: Uid) -> Vec<u8> {
    let entry = store.entry(account, INBOX, uid).await.unwrap().expect("the message is readable");
    let listed = store.maildrop(account).await.unwrap();
    let listed = listed.iter().find(|it| entry.folder == INBOX && it.uid == entry.uid);
    let mut whole = entry.prefix.clone();
    let layout = entry.layout();
    for index in layout.pieces() {
        let piece = store.chunk(entry.content, index).await.unwrap().expect("so is its content");
        let offset = (whole.len() - entry.prefix.len()) as u64;
        assert_eq!(layout.at(offset), (index, 0), "each piece stands where it should");
        let is_chunk = index != HEAD && index + 1 < layout.chunks();
        assert!(piece.len() == CHUNK || !is_chunk, "only the last is shorter");
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole.len() as u64, entry.kept(), "the octet count is exact");
    let lines = lines_of(&whole).len() as u64;
    assert_eq!(lines, entry.octets, "and so is that of its lines");
    // One that is removed is in no list.
    assert_eq!(lines, listed.map_or(lines, |listed| listed.octets), "as the list tells");
    whole
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn credentials(hash: &str) -> Credentials {
    Credentials { password_hash: hash.to_owned(), ..Credentials::default() }
}

/// A moment, in seconds after some beginning.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

async fn add(store: &dyn Store, name: &str) -> AccountId {
    store.add_account(&address(name), credentials("hash")).await.unwrap()
}

async fn uids(store: &dyn Store, account: AccountId) -> Vec<Uid> {
    store.maildrop(account).await.unwrap().iter().map(|message| message.uid).collect()
}

/// What POP3 calls the messages of an account, in its order.
async fn unique_ids(store: &dyn Store, account: AccountId) -> Vec<String> {
    listed(&store.maildrop(account).await.unwrap()).into_iter().map(|(id, _)| id).collect()
}

/// What POP3 tells of a maildrop.
fn listed(maildrop: &Maildrop) -> Vec<(String, u64)> {
    let line = |(index, message): (usize, Summary)| {
        let mut unique_id = String::new();
        maildrop.write_unique_id(index, &mut unique_id);
        (unique_id, message.octets)
    };
    maildrop.iter().enumerate().map(line).collect()
}

async fn a_message_for_two(store: &dyn Store) {
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

async fn long_content(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let chunk: Vec<u8> = (0..CHUNK).map(|octet| octet as u8).collect();
    for (number, rest) in [(1, &b"rest"[..]), (2, &chunk)] {
        let mut acceptance = message(number, at(0), rest, &[ana]);
        for index in 0..2 {
            store.append(acceptance.id, index, &chunk).await.unwrap();
        }
        assert_eq!(uids(store, ana).await.len() as u64, number - 1, "nothing shows it yet");
        acceptance.chunks = 2;
        let whole = [&chunk, &chunk, rest].concat();
        acceptance.added = (lines_of(&whole).len() - whole.len()) as u64;
        let id = acceptance.id;
        store.accept(acceptance).await.unwrap();
        let uid = uids(store, ana).await.pop().unwrap();
        let expected = [&b"Delivered-To: 1\r\n"[..], &chunk, &chunk, rest].concat();
        assert!(read(store, ana, uid).await == expected);
        store.remove(ana, INBOX, vec![uid], at(1), at(2)).await.unwrap();
        sweep(store, at(2)).await;
        for index in 0..3 {
            assert_eq!(store.chunk(id, index).await.unwrap(), None);
        }
        add_filler(store, number).await;
    }
    let abandoned = MailId::new(at(9), 9);
    store.append(abandoned, 0, &chunk).await.unwrap();
    store.discard(abandoned).await.unwrap();
    assert_eq!(store.chunk(abandoned, 0).await.unwrap(), None);
}

/// Keeps the number of messages in the first mailbox at `number`.
async fn add_filler(store: &dyn Store, number: u64) {
    store.accept(message(100 + number, at(3), b"x", &[AccountId(1)])).await.unwrap();
}

async fn acceptance_is_all_or_nothing(store: &dyn Store) {
    let ana = add(store, "ana@x.test").await;
    let refused = store.accept(message(1, at(0), b"x", &[ana, AccountId(99)])).await;
    assert!(matches!(refused, Err(StoreError::NoSuchAccount)));
    assert_eq!(uids(store, ana).await, []);
    assert_eq!(store.chunk(MailId::new(at(0), 1), 0).await.unwrap(), None);
}

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

async fn sweep(store: &dyn Store, now: Timestamp) -> usize {
    let mut swept = 0;
    loop {
        match store.sweep(now).await.unwrap() {
            0 => return swept,
            some => swept += some,
        }
    }
}

async fn small_records_are_kept(store: &dyn Store) {
    for (kind, name, record) in [
        ("a", "y", &b"1"[..]),
        ("a", "x", b"2"),
        ("a", "y", b"3"),
        ("ab", "z", b""),
        ("a", "z", b"4"),
    ] {
        store.keep(kind, name, Some(record.to_vec())).await.unwrap();
    }
    store.keep("a", "z", None).await.unwrap();
    let kept = store.kept("a").await.unwrap();
    assert_eq!(kept, [("x".to_owned(), b"2".to_vec()), ("y".to_owned(), b"3".to_vec())]);
    assert_eq!(store.kept("ab").await.unwrap().len(), 1);
    assert!(store.kept("b").await.unwrap().is_empty());
    assert_eq!(store.kept_one("a", "x").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.kept_one("a", "z").await.unwrap(), None);
    keep_if_unchanged(store).await;
}

/// What another has kept meanwhile is not overwritten.
async fn keep_if_unchanged(store: &dyn Store) {
    let record = |text: &str| Some(text.as_bytes().to_vec());
    let keep_if = async |expected, new| store.keep_if("key", "k", expected, new).await.unwrap();
    assert_eq!(keep_if(record("0"), record("1")).await, None, "there is none to be replaced");
    // Two make the first at once, and end with the same.
    let (one, other) = (
        store.keep_if("key", "k", None, record("1")),
        store.keep_if("key", "k", None, record("2")),
    );
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert!(one.is_some() && one == other, "{one:?}, {other:?}");
    let theirs = if one == record("1") { "2" } else { "1" };
    assert_eq!(keep_if(record(theirs), record("3")).await, one, "that is not what is there");
    assert_eq!(keep_if(one, record("3")).await, record("3"));
    assert_eq!(keep_if(record("2"), None).await, record("3"));
    assert_eq!(keep_if(record("3"), None).await, None);
    assert_eq!(store.kept_one("key", "k").await.unwrap(), None);
}
