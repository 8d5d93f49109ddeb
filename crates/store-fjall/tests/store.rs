//! The embedded store passes the suite, and keeps its promises over a restart.
#![allow(clippy::unwrap_used)]

mod scratch;

use posta_mail::{MailId, Timestamp};
use posta_store::{
    CHUNK, Contents, Credentials, Destination, Directory as _, Item, Mailboxes, Queue, Store,
    StoreError,
    conformance::{self, Site, block_on, message},
};
use posta_store_fjall::FjallStore;
use std::{num::NonZeroUsize, path::Path, sync::Arc};

fn open(directory: &Path) -> FjallStore {
    FjallStore::open(directory).unwrap()
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A directory for a store, which goes with it.
struct Directory {
    directory: tempfile::TempDir,
    piece: Option<NonZeroUsize>,
}

impl Site for Directory {
    fn open(&self) -> Arc<dyn Store> {
        let path = self.directory.path().join("store");
        Arc::new(match self.piece {
            Some(piece) => FjallStore::open_in_pieces(&path, piece).unwrap(),
            None => open(&path),
        })
    }
}

fn directory(piece: Option<NonZeroUsize>) -> Box<dyn Site> {
    Box::new(Directory { directory: scratch::directory(), piece })
}

#[test]
fn conforms() {
    conformance::run(&|| directory(None));
}

/// The same with removals that go in pieces of a few messages, which is how large ones go.
#[test]
fn conforms_in_small_pieces() {
    let about_removals = ["removal", "removed", "many", "expire", "purged", "random::mailboxes"];
    conformance::run_some(&|| directory(NonZeroUsize::new(3)), &about_removals);
}

/// Many other sequences than those of an ordinary run: `cargo test -p posta-store-fjall --test store -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn conforms_in_many_sequences() {
    conformance::run_random(&|| directory(None), 100..200);
    conformance::run_random(&|| directory(NonZeroUsize::new(3)), 200..300);
}

#[test]
fn what_arrived_in_part_is_gone_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let id = MailId::new(second(2), 3);
    let store = open(directory.path());
    block_on(store.append(id, 0, &vec![b'x'; CHUNK])).unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(block_on(store.chunk(id, 0)).unwrap(), None);
}

/// Whoever held a lease is gone with the process.
#[test]
fn leases_end_with_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let waiting = conformance::item(1, 0, second(0), 0);
    block_on(async {
        let store = open(directory.path());
        let mut acceptance = message(1, second(0), b"x\r\n", &[]);
        acceptance.items = vec![waiting.clone()];
        store.accept(acceptance).await.unwrap();
        assert_eq!(store.claim(second(1), second(300), 9, 9).await.unwrap().len(), 1);
        assert_eq!(store.claim(second(2), second(300), 9, 9).await.unwrap(), []);
    });
    block_on(async {
        let store = open(directory.path());
        let claimed = store.claim(second(3), second(300), 9, 9).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].item.recipients, waiting.recipients);
    });
}

#[test]
fn a_second_process_is_told_that_the_store_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path());
    assert!(matches!(FjallStore::open(directory.path()), Err(StoreError::InUse(_))));
}

/// Many writers at once: every acknowledged message is there, in one mailbox and in all.
#[test]
fn writers_at_the_same_moment_share_commits() {
    const WRITERS: u64 = 8;
    const EACH: u64 = 50;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let account =
        block_on(store.add_account(&"ana@x.test".parse().unwrap(), Credentials::default()))
            .unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for number in 0..EACH {
                    let id = writer * EACH + number;
                    block_on(store.accept(message(id, second(0), b"x", &[account]))).unwrap();
                }
            });
        }
    });
    let maildrop = block_on(store.maildrop(account)).unwrap();
    assert_eq!(maildrop.len() as u64, WRITERS * EACH);
}

/// However many wait, a claim takes what is due and looks at nothing else. `POSTA_ITEMS=1000000` asks
/// for a million.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "this test measures real time, and may be asked for more"
)]
fn a_claim_costs_the_same_however_many_wait() {
    const EACH: usize = 10;
    let asked = std::env::var("POSTA_ITEMS").ok().and_then(|text| text.parse().ok());
    let items: usize = asked.unwrap_or(20_000);
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        for number in 0..items / EACH {
            let number = number as u64;
            let mut acceptance = message(number, second(0), b"x\r\n", &[]);
            acceptance.items = (0..EACH as u32)
                .map(|index| Item {
                    destination: Destination::Domain(format!(
                        "d{}.test",
                        (number + u64::from(index) * 100) % 1_000
                    )),
                    ..conformance::item(number, index, second(i64::from(index)), 0)
                })
                .collect();
            // What waits together is synced together.
            block_on(store.accept(acceptance)).unwrap();
        }
    }
    let started = std::time::Instant::now();
    let store = open(directory.path());
    let opened = started.elapsed();
    let mut times = Vec::new();
    for _ in 0..1_000 {
        let started = std::time::Instant::now();
        let claimed = block_on(store.claim(second(100), second(1_000), 1, 1)).unwrap();
        times.push(started.elapsed());
        assert_eq!(claimed.len(), 1);
    }
    times.sort();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{items} items: opened in {opened:?}; a claim takes {median:?}, {most:?} at most");
    assert!(median < std::time::Duration::from_millis(1), "{median:?}");
}
