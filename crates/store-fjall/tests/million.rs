//! How long a login on a million messages takes: `cargo test --release -p posta-store-fjall --test million --
//! --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use posta_mail::Timestamp;
use posta_store::{
    Credentials, Directory, FolderId, Mailboxes,
    conformance::{block_on, message},
};
use posta_store_fjall::FjallStore;
use std::{
    thread,
    time::{Duration, Instant},
};

const MESSAGES: u64 = 1_000_000;
const WRITERS: u64 = 100;
const ROUNDS: u64 = 5;

fn timed<T>(about: &str, work: impl FnOnce() -> T) -> T {
    let before = Instant::now();
    let done = work();
    println!("{about}: {:?}", before.elapsed());
    done
}

#[test]
#[ignore = "it measures, for a minute or so"]
fn a_login_on_a_million_messages() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FjallStore::open(directory.path()).unwrap();
    let mut store = open();
    let address = "ana@x.test".parse().unwrap();
    let ana = block_on(store.add_account(&address, Credentials::default())).unwrap();
    let deliver = |store: &FjallStore, number| {
        let time = Timestamp::from_millisecond(1_700_000_000_000 + number as i64).unwrap();
        block_on(store.accept(message(number, time, b"x\r\n", &[ana]))).unwrap();
    };
    timed("delivering", || {
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (store, numbers) = (&store, (writer..MESSAGES).step_by(WRITERS as usize));
                scope.spawn(move || numbers.for_each(|number| deliver(store, number)));
            }
        });
    });
    let length = |store: &FjallStore| block_on(store.maildrop(ana)).unwrap().len() as u64;
    // Blocks are packed while nothing else is to do.
    thread::sleep(Duration::from_secs(5));
    for _ in 0..ROUNDS {
        drop(store);
        store = open();
        assert_eq!(timed("the first login", || length(&store)), MESSAGES);
    }
    assert_eq!(timed("a later one", || length(&store)), MESSAGES);
    for round in 1..=ROUNDS {
        deliver(&store, MESSAGES + round);
        assert_eq!(timed("one after an arrival", || length(&store)), MESSAGES + round);
    }
    let time = Timestamp::from_second(1_800_000_000).unwrap();
    for round in 1..=ROUNDS {
        let uid = block_on(store.maildrop(ana)).unwrap().get(round as usize * 9_999).unwrap().uid;
        block_on(store.remove(ana, FolderId::INBOX, vec![uid], time, time)).unwrap();
        assert_eq!(timed("one after a removal", || length(&store)), MESSAGES + ROUNDS - round);
    }
}
