//! The suite that every store passes: one list of [cases](cases), each of which checks one rule, trait by trait;
//! then long random sequences of operations compared with the in-memory reference.
//!
//! A store's own tests call [`run`] with a function that makes empty places for it. Cases are independent: each has a
//! place of its own, and several run at the same moment. A case panics where the store breaks its rule, as tests do;
//! [`run`] goes on with the others and names all that failed. Futures are driven on plain threads, so the suite works
//! with any asynchronous runtime and without one: a store that needs one enters it by itself.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

mod case;

/// Lists the functions of a module that each check a rule, given a store that is empty (or, after `of a site:`, its
/// site).
macro_rules! cases {
    (@ $make:ident [$($name:ident),* $(,)?]) => {
        pub(in crate::conformance) const CASES: &[crate::conformance::Case] =
            &[$(crate::conformance::Case::$make(
                concat!(module_path!(), "::", stringify!($name)),
                |it| Box::pin($name(it)),
            )),*];
    };
    (of a site: $($names:tt)*) => { cases!(@ of_a_site [$($names)*]); };
    ($($names:tt)*) => { cases!(@ of_a_store [$($names)*]); };
}

mod contents;
mod directory;
mod folders;
mod heads;
mod history;
mod large;
mod mailboxes;
mod queue;
mod random;
mod records;
mod restart;
mod sources;
mod upkeep;
mod watch;

pub use case::{Case, Make, Site, run, run_random, run_some};
pub use queue::item;
pub use sources::source;

use crate::{
    Acceptance, AccountId, CHUNK, Credentials, Delivery, Flags, FolderId, HEAD, Maildrop, Store,
    Summary, Uid,
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

/// Returns all cases, which are the same for every store.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    let parts = [
        contents::CASES,
        heads::CASES,
        mailboxes::CASES,
        folders::CASES,
        upkeep::CASES,
        large::CASES,
        records::CASES,
        history::CASES,
        directory::CASES,
        directory::DOMAINS,
        directory::REMOVAL,
        directory::RESOLVE,
        queue::CASES,
        sources::CASES,
        watch::CASES,
        watch::SHARED,
        restart::CASES,
        random::CASES,
    ];
    parts.into_iter().flatten()
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
        records: Vec::new(),
    }
}

/// A delivery into the inbox of an account.
#[must_use]
pub const fn delivery(account: AccountId, prefix: Vec<u8>) -> Delivery {
    let (folder, flags) = (FolderId::INBOX, Flags::NONE);
    Delivery { account, folder, prefix, unique_id: None, date: None, flags, keywords: Vec::new() }
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

async fn sweep(store: &dyn Store, now: Timestamp) -> usize {
    let mut swept = 0;
    loop {
        match store.sweep(now).await.unwrap() {
            0 => return swept,
            some => swept += some,
        }
    }
}
