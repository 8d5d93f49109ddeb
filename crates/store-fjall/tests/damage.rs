//! What a start does about damage: it finds it, tells of it, and mends what the log can mend.
#![allow(clippy::unwrap_used)]

#[path = "scratch/copied.rs"]
mod copied;
mod scratch;

use copied::{copy, files};
use posta_mail::Timestamp;
use posta_store::{
    AccountId, CHUNK, Contents, Credentials, Directory, FolderId, Mailboxes, Upkeep,
    conformance::{block_on, message, read},
};
use posta_store_fjall::{FjallStore, Missing};
use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn open(directory: &Path) -> FjallStore {
    FjallStore::open(directory).unwrap()
}

fn add_account(store: &FjallStore, address: &str) -> AccountId {
    block_on(store.add_account(&address.parse().unwrap(), Credentials::default())).unwrap()
}

/// Accepts a message of one chunk and a line that tells its number.
fn accept(store: &FjallStore, number: u64, account: AccountId) {
    let line = format!("{number}\r\n");
    let mut acceptance = message(number, second(0), line.as_bytes(), &[account]);
    block_on(store.append(acceptance.id, 0, &vec![b'x'; CHUNK])).unwrap();
    acceptance.chunks = 1;
    block_on(store.accept(acceptance)).unwrap();
}

fn with_extension(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect()
}

fn messages(store: &FjallStore, account: AccountId) -> usize {
    block_on(store.maildrop(account)).unwrap().len()
}

/// How many messages of an account are whole.
fn whole(store: &FjallStore, account: AccountId) -> usize {
    let maildrop = block_on(store.maildrop(account)).unwrap();
    let is_whole = |uid| {
        let Ok(Some(entry)) = block_on(store.entry(account, FolderId::INBOX, uid)) else {
            return false;
        };
        let chunk = |index| matches!(block_on(store.chunk(entry.content, index)), Ok(Some(_)));
        entry.layout().pieces().all(chunk)
    };
    maildrop.iter().filter(|message| is_whole(message.uid)).count()
}

/// One octet of the engine's journal is another: nothing is lost, not even what was written so long ago
/// that its segment of the log was given back.
#[test]
fn a_damaged_journal_costs_nothing() {
    let live = scratch::directory();
    let store = open(live.path());
    let account = add_account(&store, "ana@x.test");
    // Until the first segment is given back.
    for number in 0..1_100 {
        accept(&store, number, account);
        let uid = block_on(store.maildrop(account)).unwrap().get(0).unwrap().uid;
        block_on(store.remove(account, FolderId::INBOX, vec![uid], second(1), second(2))).unwrap();
        block_on(store.sweep(second(3))).unwrap();
    }
    for number in 2_000..2_020 {
        accept(&store, number, account);
    }
    let mut set_aside = 0;
    for part in 0..12 {
        let dead = scratch::directory();
        copy(live.path(), dead.path());
        for journal in with_extension(dead.path(), "jnl") {
            let file = File::options().read(true).write(true).open(&journal).unwrap();
            let end = scratch::end(&fs::read(&journal).unwrap());
            let mut octet = [0];
            let at = end as u64 * part / 12;
            if file.read_exact_at(&mut octet, at).is_ok() {
                file.write_all_at(&[octet[0] ^ 0x40], at).unwrap();
            }
        }
        for _ in 0..2 {
            let store = open(dead.path());
            assert_eq!(block_on(store.accounts(None, usize::MAX)).unwrap().len(), 1, "{part}");
            assert_eq!((messages(&store, account), whole(&store, account)), (20, 20), "{part}");
            assert_eq!(store.unreadable(), []);
        }
        let aside = dead.path().join("damaged-journal-1");
        if aside.exists() {
            set_aside += 1;
            assert!(!with_extension(&aside, "jnl").is_empty(), "it is kept");
        }
    }
    assert!(set_aside > 0, "the engine noticed none of it");
}

/// The number of a group of changes in the engine's journal is another, which the engine does not notice: an old group
/// does not go over what is newer.
#[test]
fn a_journal_with_other_numbers_costs_nothing() {
    let live = scratch::directory();
    let live = live.path().join("store");
    let store = open(&live);
    let account = add_account(&store, "ana@x.test");
    for number in 0..20 {
        accept_small(&store, number, account);
        let uid = block_on(store.maildrop(account)).unwrap().get(0).unwrap().uid;
        block_on(store.remove(account, FolderId::INBOX, vec![uid], second(1), second(2))).unwrap();
        block_on(store.sweep(second(3))).unwrap();
    }
    // From here on the tables have all that in their files, and the journal has it too.
    drop(store);
    let store = open(&live);
    (2_000..2_020).for_each(|number| accept_small(&store, number, account));
    drop(store);
    let [journal] = &with_extension(&live, "jnl")[..] else { panic!("one journal") };
    let octets = fs::read(journal).unwrap();
    // The mark at a group's end, that of the next one's beginning, and the number of its items.
    let begins = (0..octets.len() - 20).filter(|&at| octets[at..].starts_with(b"FJL\x03\x01"));
    let numbers: Vec<_> = begins.map(|at| at + 5 + 4).collect();
    assert!(numbers.len() > 60, "{}", numbers.len());
    let mut set_aside = 0;
    for (case, &at) in numbers.iter().step_by(5).enumerate() {
        let dead = scratch::directory();
        let dead = dead.path().join("store");
        copy(&live, &dead);
        let copied = dead.join(journal.file_name().unwrap());
        let file = File::options().write(true).open(copied).unwrap();
        // Higher, and lower than any.
        let number = if case % 2 == 0 { [octets[at], 0, 0, 0, 1, 0, 0, 0] } else { [0; 8] };
        file.write_all_at(&number, at as u64).unwrap();
        for _ in 0..2 {
            let store = open(&dead);
            assert_eq!((messages(&store, account), whole(&store, account)), (20, 20), "at {at}");
            assert_eq!((store.unreadable(), store.missing()), (vec![], None));
        }
        set_aside += usize::from(dead.join("damaged-journal-1").exists());
    }
    assert!(set_aside > 10, "{set_aside} were noticed");
}

/// The log is gone: the store starts, says whose messages cannot be read, and takes new ones. Each start
/// says so again.
#[test]
fn a_log_that_is_gone_is_told_of() {
    let directory = scratch::directory();
    let store = open(directory.path());
    let [ana, bob] = ["ana@x.test", "bob@x.test"].map(|address| add_account(&store, address));
    for number in 0..80 {
        accept(&store, number, ana);
    }
    accept(&store, 100, bob);
    drop(store);
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    for start in 0..2 {
        let store = open(directory.path());
        let told = store.unreadable();
        assert_eq!(told, [("ana@x.test".to_owned(), 80), ("bob@x.test".to_owned(), 1)]);
        accept(&store, 200 + start, bob);
        assert_eq!((messages(&store, ana), whole(&store, ana)), (80, 0));
        assert_eq!(whole(&store, bob), 1 + start as usize);
        let uid = block_on(store.maildrop(bob)).unwrap().iter().last().unwrap().uid;
        assert!(block_on(read(&store, bob, uid)).ends_with(b"\r\n"));
    }
    // What cannot be read can be removed, and then it is no trouble any more.
    let store = open(directory.path());
    let uids = block_on(store.maildrop(ana)).unwrap().iter().map(|it| it.uid).collect();
    assert_eq!(
        block_on(store.remove(ana, FolderId::INBOX, uids, second(1), second(2))).unwrap(),
        80
    );
    block_on(store.sweep(second(3))).unwrap();
    drop(store);
    assert_eq!(open(directory.path()).unreadable(), [("bob@x.test".to_owned(), 1)]);
}

/// Killed, and then the log was cut: every message that was acknowledged is there, or told of.
#[test]
fn a_log_that_is_cut_is_told_of() {
    let live = scratch::directory();
    let store = open(live.path());
    let ana = add_account(&store, "ana@x.test");
    for number in 0..160 {
        accept(&store, number, ana);
    }
    // Until the engine's journal has what was acknowledged last.
    thread::sleep(Duration::from_millis(200));
    for part in [1, 3, 7] {
        let dead = scratch::directory();
        copy(live.path(), dead.path());
        let segment = dead.path().join("log/000000000001");
        let end = scratch::end(&fs::read(&segment).unwrap()) as u64;
        File::options().write(true).open(&segment).unwrap().set_len(end * part / 8).unwrap();
        let mut before = None;
        for start in 0..3 {
            let store = open(dead.path());
            let [(name, unreadable)] = &store.unreadable()[..] else {
                unreachable!("told of ana's")
            };
            assert_eq!(name, "ana@x.test");
            assert!(*before.get_or_insert(*unreadable) == *unreadable, "the same each time");
            let here = 160 + start;
            assert_eq!(messages(&store, ana), here, "cut at {part}/8");
            assert_eq!(
                whole(&store, ana),
                here - *unreadable as usize,
                "start {start} at {part}/8"
            );
            assert!((160 - 160 * part / 8).abs_diff(*unreadable) <= 2, "{unreadable} at {part}/8");
            accept(&store, 1_000 + start as u64, ana);
        }
    }
}

/// Accepts a message of some three thousand octets.
fn accept_small(store: &FjallStore, number: u64, account: AccountId) {
    let body = format!("{number}\r\n{}", "x".repeat(3_000));
    block_on(store.accept(message(number, second(0), body.as_bytes(), &[account]))).unwrap();
}

/// A store with 160 small messages, as a kill leaves it.
fn killed() -> (tempfile::TempDir, AccountId) {
    let live = scratch::directory();
    let store = open(live.path());
    let ana = add_account(&store, "ana@x.test");
    (0..160).for_each(|number| accept_small(&store, number, ana));
    // Until the engine's journal has what was acknowledged last.
    thread::sleep(Duration::from_millis(200));
    let dead = scratch::directory();
    copy(live.path(), dead.path());
    (dead, ana)
}

fn segment(directory: &Path) -> (File, u64) {
    let path = directory.join("log/000000000001");
    let end = scratch::end(&fs::read(&path).unwrap()) as u64;
    (File::options().write(true).open(path).unwrap(), end)
}

fn change_octet(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, at).unwrap();
    file.write_all_at(&[octet[0] ^ 0x41], at).unwrap();
}

/// The engine's journal is damaged, and the log was cut: what only the journal knew is told of, once.
#[test]
fn a_log_that_is_cut_beside_a_damaged_journal_is_told_of() {
    for cut in [0, 1, 40_000, 300_000] {
        let (dead, ana) = killed();
        for journal in with_extension(dead.path(), "jnl") {
            change_octet(&journal, 2_000);
        }
        let (file, end) = segment(dead.path());
        if cut > 0 {
            file.set_len(end - cut).unwrap();
        }
        let store = open(dead.path());
        assert!(dead.path().join("damaged-journal-1").exists(), "the engine noticed nothing");
        let here = messages(&store, ana);
        assert_eq!(whole(&store, ana), here);
        let lost = (cut > 0).then_some(160 - here as u64);
        assert!(cut < 40_000 || lost > Some(10), "{lost:?}");
        assert_eq!(store.missing().map(|missing| missing.messages), lost.map(Some), "{cut}");
        let after = store.missing().and_then(|missing| missing.after);
        assert_eq!(after.is_some(), cut > 0);
        accept_small(&store, 1_000, ana);
        drop(store);
        let store = open(dead.path());
        assert_eq!((store.missing(), whole(&store, ana)), (None, here + 1));
    }
}

/// The same where nothing is left of the journal: the file ends where no write does.
#[test]
fn a_log_that_is_cut_in_the_middle_of_something_is_told_of() {
    let (dead, ana) = killed();
    for journal in with_extension(dead.path(), "jnl") {
        File::options().write(true).open(journal).unwrap().set_len(0).unwrap();
    }
    let (file, end) = segment(dead.path());
    file.set_len(end - 40_001).unwrap();
    let store = open(dead.path());
    assert!(messages(&store, ana) < 160);
    assert!(matches!(store.missing(), Some(Missing { messages: None, after: Some(_) })));
    // The room that is kept ahead of the log may go without a word.
    let (dead, ana) = killed();
    let (file, end) = segment(dead.path());
    file.set_len(end + 5_001).unwrap();
    let store = open(dead.path());
    assert_eq!((store.missing(), whole(&store, ana)), (None, 160));
}

/// The end of the log is zeros, or an octet of it is another, as after a write that was lost within the file:
/// each start tells which messages cannot be read, after a kill and after a stop.
#[test]
fn a_log_that_lost_a_write_is_told_of() {
    for (is_stopped, is_zeroed) in [(false, true), (true, true), (true, false)] {
        let (dead, ana) = killed();
        if is_stopped {
            drop(open(dead.path()));
        }
        let (file, end) = segment(dead.path());
        match is_zeroed {
            true => file.write_all_at(&[0; 40_000], end - 40_000).unwrap(),
            false => {
                let path = dead.path().join("log/000000000001");
                let octets = fs::read(&path).unwrap();
                let is_content = |at: &u64| octets[*at as usize..].starts_with(&[b'x'; 100]);
                change_octet(&path, (end / 2..).find(is_content).unwrap());
            }
        }
        for start in 0..3 {
            let store = open(dead.path());
            assert_eq!(messages(&store, ana), 160 + start, "{is_stopped} {is_zeroed} {start}");
            let lost = (160 + start - whole(&store, ana)) as u64;
            assert!(if is_zeroed { (10..14).contains(&lost) } else { lost == 1 }, "{lost}");
            assert_eq!(store.unreadable(), [("ana@x.test".to_owned(), lost)], "{start}");
            assert_eq!(store.missing(), None);
            accept_small(&store, 1_000 + start as u64, ana);
        }
        let store = open(dead.path());
        let maildrop = block_on(store.maildrop(ana)).unwrap();
        let uids = maildrop.iter().map(|message| message.uid).collect();
        block_on(store.remove(ana, FolderId::INBOX, uids, second(1), second(2))).unwrap();
        block_on(store.sweep(second(3))).unwrap();
        drop(store);
        assert_eq!(open(dead.path()).unreadable(), []);
    }
}

/// A file of the tables is cut, missing or another: the store opens all the same, or says where the
/// damage is and what helps, in words.
#[test]
fn damaged_tables_are_told_of_with_the_cure() {
    let live = scratch::directory();
    let store = open(live.path());
    let ana = add_account(&store, "ana@x.test");
    (0..10).for_each(|number| accept_small(&store, number, ana));
    drop(store);
    let tables = live.path().join("keyspaces");
    let of = |name: &str| files(&tables.join(name));
    let mut damaged = [of("0"), vec![live.path().join("version")]].concat();
    let mut folders = HashMap::<_, u32>::new();
    damaged.retain(|path| {
        let seen = folders.entry(path.parent().unwrap().to_owned()).or_default();
        *seen += 1;
        *seen <= 2 && fs::metadata(path).unwrap().len() > 0
    });
    let mut refused = 0;
    for path in damaged {
        let octets = fs::read(&path).unwrap();
        let half = octets[..octets.len() / 2].to_vec();
        for octets in [Some(half), Some(b"999".to_vec()), None] {
            let dead = scratch::directory();
            copy(live.path(), dead.path());
            let path = dead.path().join(path.strip_prefix(live.path()).unwrap());
            match &octets {
                Some(octets) => fs::write(&path, octets).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let Err(error) = FjallStore::open(dead.path()) else { continue };
            refused += 1;
            let (error, place) = (error.to_string(), dead.path().display().to_string());
            assert!(error.starts_with("the store is damaged: "), "{path:?} {octets:?}: {error}");
            assert!(error.contains(&place) && error.contains("backup"), "{path:?}: {error}");
            assert!(!error.contains("os error") && !error.contains(" {"), "{path:?}: {error}");
        }
    }
    assert!(refused > 3, "{refused}");
}
