//! The log: what a crash leaves of it, what becomes of its space, and what came before it.
#![allow(clippy::unwrap_used)]

#[path = "scratch/copied.rs"]
mod copied;

use copied::copy;
use posta_mail::{MailId, Timestamp};
use posta_store::{
    AccountId, CHUNK, Contents, Credentials, Directory, FolderId, Mailboxes, Upkeep,
    conformance::{block_on, message, read},
};
use posta_store_fjall::FjallStore;
use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn add_account(store: &FjallStore) -> AccountId {
    block_on(store.add_account(&"ana@x.test".parse().unwrap(), Credentials::default())).unwrap()
}

/// Accepts a message of one chunk and a line that tells its number.
fn accept(store: &FjallStore, number: u64, account: AccountId) {
    let line = format!("{number}\r\n");
    let mut acceptance = message(number, second(0), line.as_bytes(), &[account]);
    block_on(store.append(acceptance.id, 0, &vec![b'x'; CHUNK])).unwrap();
    acceptance.chunks = 1;
    block_on(store.accept(acceptance)).unwrap();
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<_> =
        fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    segments
}

/// The tables were never synced: all is in the log.
#[test]
fn a_crash_leaves_everything_in_the_log() {
    let live = tempfile::tempdir().unwrap();
    let dead = tempfile::tempdir().unwrap();
    let store = FjallStore::open(live.path()).unwrap();
    let account = add_account(&store);
    for number in 0..20 {
        accept(&store, number, account);
    }
    copy(live.path(), dead.path());
    for _ in 0..2 {
        let store = FjallStore::open(dead.path()).unwrap();
        let messages = block_on(store.maildrop(account)).unwrap().iter().collect::<Vec<_>>();
        assert_eq!(messages.len(), 20);
        for (number, summary) in messages.iter().enumerate() {
            let content = block_on(read(&store, account, summary.uid));
            assert!(content.ends_with(format!("x{number}\r\n").as_bytes()));
        }
        // It goes on from there, and the copy's end was no clean one: the second round is.
        drop(store);
    }
}

/// The log is cut off, or garbled, at any place: the messages before it are there, whole.
#[test]
fn a_torn_end_takes_only_what_was_not_acknowledged() {
    let live = tempfile::tempdir().unwrap();
    let store = FjallStore::open(live.path()).unwrap();
    let account = add_account(&store);
    let mut ends = Vec::new();
    for number in 0..6 {
        let acceptance = message(number, second(0), b"small\r\n", &[account]);
        block_on(store.accept(acceptance)).unwrap();
        ends.push(used(&segments(live.path())[0]));
    }
    for at in (ends[1]..ends[4]).step_by(97) {
        let dead = tempfile::tempdir().unwrap();
        copy(live.path(), dead.path());
        // The tables know nothing of it, as after a loss of power.
        for entry in fs::read_dir(dead.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "jnl") {
                fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
            }
        }
        let segment = &segments(dead.path())[0];
        let mut octets = fs::read(segment).unwrap();
        octets[at] ^= 0x55;
        fs::write(segment, octets).unwrap();
        let whole = ends.iter().filter(|&&end| end <= at).count();
        let store = FjallStore::open(dead.path()).unwrap();
        let messages = block_on(store.maildrop(account)).unwrap().iter().collect::<Vec<_>>();
        assert_eq!(messages.len(), whole, "garbled at {at} of {ends:?}");
        for summary in &messages {
            let content = block_on(read(&store, account, summary.uid));
            assert!(content.ends_with(b"small\r\n"));
        }
        // What stands behind the tear never comes back, whatever is written now.
        for number in 0..3 {
            let acceptance = message(100 + number, second(1), b"later\r\n", &[account]);
            block_on(store.accept(acceptance)).unwrap();
        }
        drop(store);
        let store = FjallStore::open(dead.path()).unwrap();
        assert_eq!(block_on(store.maildrop(account)).unwrap().len(), whole + 3);
    }
}

/// Up to where a segment holds anything but zeros.
fn used(segment: &Path) -> usize {
    let octets = fs::read(segment).unwrap();
    octets.len() - octets.iter().rev().take_while(|&&octet| octet == 0).count()
}

/// Messages come and go: the space of those that are gone is used again, and a message that stays
/// does not hold its whole segment.
#[test]
fn space_is_used_again() {
    const ROUND: u64 = 900;
    let directory = tempfile::tempdir().unwrap();
    let store = FjallStore::open(directory.path()).unwrap();
    let account = add_account(&store);
    let mut kept = Vec::new();
    for round in 0..3 {
        for number in 0..ROUND {
            accept(&store, round * ROUND + number, account);
        }
        let messages = block_on(store.maildrop(account)).unwrap().iter().collect::<Vec<_>>();
        let mut uids: Vec<_> = messages.iter().map(|summary| summary.uid).collect();
        // One in fifty stays.
        kept.extend(uids.iter().copied().skip(kept.len()).step_by(50));
        uids.retain(|uid| !kept.contains(uid));
        block_on(store.remove(account, FolderId::INBOX, uids, second(1), second(2))).unwrap();
        while block_on(store.sweep(second(3))).unwrap() > 0 {}
    }
    // 675 MiB went through it, 14 MiB are left. The rest is moved while nothing else is to be done.
    for _ in 0..1_000 {
        if segments(directory.path()).len() <= 7 {
            break;
        }
        sleep(Duration::from_millis(100));
        block_on(store.sweep(second(3))).unwrap();
    }
    let left = segments(directory.path());
    assert!(left.len() <= 7, "{left:?}");
    let check = |store: &FjallStore| {
        let messages = block_on(store.maildrop(account)).unwrap().iter().collect::<Vec<_>>();
        let uids: Vec<_> = messages.iter().map(|summary| summary.uid).collect();
        assert_eq!(uids, kept);
        for (index, &uid) in kept.iter().enumerate() {
            let content = block_on(read(store, account, uid));
            let number = (index as u64 * 50) % ROUND + index as u64 * 50 / ROUND * ROUND;
            assert!(content.ends_with(format!("x{number}\r\n").as_bytes()), "{index}");
        }
    };
    check(&store);
    drop(store);
    check(&FjallStore::open(directory.path()).unwrap());
}

/// Reading goes on while the contents are moved and their files written over.
#[test]
fn a_content_that_is_gone_is_none_and_never_another() {
    let directory = tempfile::tempdir().unwrap();
    let store = FjallStore::open(directory.path()).unwrap();
    let account = add_account(&store);
    let id = |number| message(number, second(0), b"", &[]).id;
    let gone: Vec<MailId> = (0..300).map(id).collect();
    for number in 0..300 {
        accept(&store, number, account);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20 {
                for &id in &gone {
                    if let Some(rest) = block_on(store.chunk(id, 1)).unwrap() {
                        let number = gone.iter().position(|other| *other == id).unwrap();
                        assert_eq!(rest, format!("{number}\r\n"));
                    }
                }
            }
        });
        for round in 1..4 {
            let messages = block_on(store.maildrop(account)).unwrap().iter().collect::<Vec<_>>();
            let uids = messages.iter().map(|summary| summary.uid).collect();
            block_on(store.remove(account, FolderId::INBOX, uids, second(1), second(2))).unwrap();
            while block_on(store.sweep(second(3))).unwrap() > 0 {}
            for number in 0..300 {
                accept(&store, round * 1000 + number, account);
            }
        }
    });
}
