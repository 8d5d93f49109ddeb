//! A full disk: mail is refused, reading and removing go on, and so does everything once there is room
//! again, without a restart. Each test runs on a small file system of its own, in a mount namespace
//! that ends with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use posta_mail::{MailId, Timestamp};
use posta_store::{
    AccountId, CHUNK, Contents, Credentials, Directory, Event, FolderId, History, Mailboxes,
    Origin, Refusal, StoreError, Upkeep, What,
    conformance::{block_on, message, read},
};
use posta_store_fjall::FjallStore;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread::{self, sleep},
    time::Duration,
};

/// Tells a test that it has its own mount namespace.
const APART: &str = "POSTA_TEST_APART";

/// How long the store may take to notice that there is room again.
const SECONDS: u32 = 30;

/// Runs a test again in a mount namespace of its own, on small file systems. Returns whether this is
/// that run.
#[expect(clippy::disallowed_methods, reason = "how a test that starts itself knows")]
fn is_apart(test: &str) -> bool {
    if std::env::var_os(APART).is_some() {
        return true;
    }
    let apart = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "--propagation", "private"]).arg(program);
        command
    };
    if !apart(Path::new("true")).output().is_ok_and(|tried| tried.status.success()) {
        skipped(test, "a small disk must be mounted, which only root may do");
        return false;
    }
    let mut again = apart(&std::env::current_exe().unwrap());
    let ran = again.args(["--exact", test, "--nocapture"]).env(APART, "1").status().unwrap();
    assert!(ran.success(), "{test} failed in its own namespace: {ran}");
    false
}

/// Says that a check could not be made on this machine. `cargo xtask test` counts these.
fn skipped(check: &str, why: &str) {
    eprintln!("SKIPPED {check}: {why}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/skipped");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(check), why).unwrap();
}

/// A file system of so many MiB, until its namespace ends.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn tmpfs(size: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path());
        assert!(mount.status().unwrap().success());
        Self { directory }
    }

    /// One that allocates late, as ext4 does; none where there are no loop devices.
    fn ext4(size: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(size << 20).unwrap();
        let (path, place) = (image.to_str().unwrap(), directory.path().join("disk"));
        fs::create_dir(&place).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-m", "0", path]).status();
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop", path]).arg(&place);
        let is_mounted = made.is_ok_and(|made| made.success())
            && mount.output().is_ok_and(|mounted| mounted.status.success());
        if !is_mounted {
            skipped("full_disk_ext4", "there is no mkfs.ext4, or no loop device");
        }
        is_mounted.then_some(Self { directory })
    }

    fn all(size: u64) -> Vec<Self> {
        [Self::tmpfs(size)].into_iter().chain(Self::ext4(size)).collect()
    }

    fn path(&self) -> PathBuf {
        let place = self.directory.path().join("disk");
        if place.exists() { place } else { self.directory.path().to_owned() }
    }

    fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// Something else takes all that is left.
    fn fill(&self) {
        let file = File::create(self.path().join("filler")).unwrap();
        let mut at = 0;
        for size in [1 << 20, 4096, 1] {
            let block = vec![1; size];
            while file.write_all_at(&block, at).is_ok() {
                at += size as u64;
            }
        }
        let _ = file.sync_all();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).output();
    }
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn add_account(store: &FjallStore) -> AccountId {
    block_on(store.add_account(&"ana@x.test".parse().unwrap(), Credentials::default())).unwrap()
}

/// Accepts a message of so many chunks and a line with its number.
fn accept(store: &FjallStore, number: u64, chunks: u32, to: AccountId) -> Result<(), StoreError> {
    let line = format!("{number}\r\n");
    let mut acceptance = message(number, second(number as i64), line.as_bytes(), &[to]);
    for index in 0..chunks {
        block_on(store.append(acceptance.id, index, &vec![b'x'; CHUNK]))?;
    }
    acceptance.chunks = chunks;
    block_on(store.accept(acceptance))
}

/// Tells of a session in which a hundred recipients were refused.
fn note(store: &FjallStore, number: u64) -> Result<(), StoreError> {
    let about = format!("RCPT TO:<{}@x.test>", "u".repeat(60));
    let reply = format!("550 5.1.1 no such user here {number}");
    let refusal = Refusal { about, reply, why: None, times: 1 };
    let what = What::Refused { origin: Origin::default(), from: None, refused: vec![refusal; 100] };
    let time = second(number as i64);
    block_on(store.note(vec![Event { id: MailId::new(time, number), time, what }]))
}

/// What a store does again by itself, within seconds.
fn soon<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut last = None;
    for _ in 0..SECONDS * 10 {
        match attempt() {
            Ok(done) => return done,
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(100));
    }
    panic!("still after {SECONDS} seconds: {}", last.unwrap());
}

fn is_full<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    assert!(matches!(outcome, Err(StoreError::Full)), "{outcome:?}");
}

/// Every message is there, in order, and whole.
fn all_whole(store: &FjallStore, account: AccountId, numbers: &[u64]) {
    let maildrop = block_on(store.maildrop(account)).unwrap();
    assert_eq!(maildrop.len(), numbers.len());
    for (summary, number) in maildrop.iter().zip(numbers) {
        let content = block_on(read(store, account, summary.uid));
        assert!(content.ends_with(format!("{number}\r\n").as_bytes()), "{number}");
    }
}

/// However much strangers have told of them, mail still has room, and whatever gives room back works.
#[test]
fn history_leaves_room_for_mail() {
    if !is_apart("history_leaves_room_for_mail") {
        return;
    }
    for disk in Disk::all(300) {
        let store = FjallStore::open(&disk.store()).unwrap();
        let account = add_account(&store);
        for number in 0..10 {
            accept(&store, number, 0, account).unwrap();
        }
        fs::write(disk.path().join("filler"), vec![1; 32 << 20]).unwrap();
        let mut told = 0;
        let refused = loop {
            match note(&store, told) {
                Ok(()) => told += 1,
                Err(error) => break error,
            }
            assert!(told < 40_000, "the disk is smaller than that");
        };
        assert!(matches!(refused, StoreError::Full), "{refused}");
        assert!(told > 1_000 && told < 8_000, "{told}");
        for number in 10..20 {
            accept(&store, number, 1, account).unwrap();
        }
        all_whole(&store, account, &(0..20).collect::<Vec<_>>());
        let uid = block_on(store.maildrop(account)).unwrap().get(0).unwrap().uid;
        block_on(store.remove(account, FolderId::INBOX, vec![uid], second(1), second(2))).unwrap();
        assert_eq!(block_on(store.sweep(second(3))).unwrap(), 1);
        while block_on(store.forget(second(1_000_000))).unwrap() > 0 {}
        disk.free();
        soon(|| note(&store, told));
        drop(store);
        let store = FjallStore::open(&disk.store()).unwrap();
        all_whole(&store, account, &(1..20).collect::<Vec<_>>());
    }
}

/// Something else fills the disk to the last octet.
#[test]
fn a_disk_that_others_fill_is_read_and_emptied() {
    if !is_apart("a_disk_that_others_fill_is_read_and_emptied") {
        return;
    }
    for disk in Disk::all(300) {
        let mut store = FjallStore::open(&disk.store()).unwrap();
        let account = add_account(&store);
        let mut kept: Vec<u64> = (0..100).collect();
        for &number in &kept {
            accept(&store, number, 1, account).unwrap();
        }
        for round in 0..3 {
            disk.fill();
            is_full(accept(&store, 1_000, 0, account));
            is_full(accept(&store, 1_001, 1, account));
            is_full(note(&store, 1));
            all_whole(&store, account, &kept);
            // What is removed one by one makes many changes.
            for _ in 0..10 {
                let uid = block_on(store.maildrop(account)).unwrap().get(0).unwrap().uid;
                let removed =
                    store.remove(account, FolderId::INBOX, vec![uid], second(1), second(2));
                assert_eq!(block_on(removed).unwrap(), 1);
                kept.remove(0);
                block_on(store.sweep(second(3))).unwrap();
            }
            all_whole(&store, account, &kept);
            if round > 0 {
                // A restart on the full disk, too.
                drop(store);
                store = FjallStore::open(&disk.store()).unwrap();
                all_whole(&store, account, &kept);
                is_full(accept(&store, 1_002, 0, account));
                let uid = block_on(store.maildrop(account)).unwrap().get(0).unwrap().uid;
                let removed =
                    store.remove(account, FolderId::INBOX, vec![uid], second(1), second(2));
                assert_eq!(block_on(removed).unwrap(), 1);
                kept.remove(0);
            }
            disk.free();
            let number = 2_000 + round;
            soon(|| accept(&store, number, 1, account));
            kept.push(number);
            all_whole(&store, account, &kept);
        }
        drop(store);
        let store = FjallStore::open(&disk.store()).unwrap();
        all_whole(&store, account, &kept);
    }
}

/// The disk fills up and is emptied at any moment while mail arrives and history is written: whatever
/// fails, nothing that was acknowledged is lost, and nothing needs a restart.
#[test]
fn a_disk_that_fills_at_any_moment_loses_nothing() {
    if !is_apart("a_disk_that_fills_at_any_moment_loses_nothing") {
        return;
    }
    for disk in Disk::all(300) {
        let store = FjallStore::open(&disk.store()).unwrap();
        let account = add_account(&store);
        let (number, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut kept = thread::scope(|scope| {
            let write = |chunks: u32| {
                let (store, number, stop) = (&store, &number, &stop);
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    while !stop.load(SeqCst) {
                        let number = number.fetch_add(1, SeqCst);
                        match accept(store, number, chunks, account) {
                            Ok(()) => kept.push(number),
                            Err(StoreError::Full) => sleep(Duration::from_millis(5)),
                            Err(_) => sleep(Duration::from_millis(5)),
                        }
                        let _ = note(store, number);
                        sleep(Duration::from_millis(5));
                    }
                    kept
                })
            };
            let writers = [write(0), write(0), write(1)];
            for round in 0..12 {
                sleep(Duration::from_millis(100 + 17 * round));
                disk.fill();
                sleep(Duration::from_millis(150));
                disk.free();
                // What was told long ago gives its room back.
                while block_on(store.forget(second(1_000_000))).is_ok_and(|count| count > 0) {}
            }
            stop.store(true, SeqCst);
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        });
        soon(|| accept(&store, 1_000_000, 1, account));
        kept.push(1_000_000);
        kept.sort_unstable();
        let check = |store: &FjallStore| {
            let maildrop = block_on(store.maildrop(account)).unwrap();
            let mut found = Vec::new();
            for summary in maildrop.iter() {
                let content = block_on(read(store, account, summary.uid));
                let line = content.rsplit(|octet| *octet == b'\n').nth(1).unwrap();
                let line = str::from_utf8(line).unwrap().trim_end();
                let digits = line.trim_start_matches('x');
                found.push(digits.parse::<u64>().unwrap());
            }
            found.sort_unstable();
            for number in &kept {
                assert!(
                    found.binary_search(number).is_ok(),
                    "{number} was acknowledged and is lost"
                );
            }
            found.len()
        };
        let found = check(&store);
        writeln!(std::io::stderr(), "{} acknowledged, {found} kept", kept.len()).unwrap();
        drop(store);
        check(&FjallStore::open(&disk.store()).unwrap());
    }
}

/// Something takes every octet as soon as it is free, the reserve included.
#[test]
fn a_disk_that_others_keep_full_breaks_nothing() {
    if !is_apart("a_disk_that_others_keep_full_breaks_nothing") {
        return;
    }
    let disk = Disk::tmpfs(200);
    let store = FjallStore::open(&disk.store()).unwrap();
    let account = add_account(&store);
    let mut kept: Vec<u64> = (0..200).collect();
    for &number in &kept {
        accept(&store, number, 0, account).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::create(disk.path().join("filler")).unwrap();
            let mut at = 0;
            while !stop.load(SeqCst) {
                for size in [1 << 20, 4096] {
                    while file.write_all_at(&vec![1; size], at).is_ok() {
                        at += size as u64;
                    }
                }
            }
        });
        // Whatever becomes of them, the messages that stay are whole.
        let mut closed = 0;
        for number in 1_000..1_400 {
            match accept(&store, number, 0, account) {
                Ok(()) => kept.push(number),
                Err(StoreError::Full) => {
                    let _ = block_on(store.set_quota(&"ana@x.test".parse().unwrap(), Some(number)));
                }
                // The tables met the end of the disk, and are opened anew once there is room: each refusal takes as long as
                // the pause between two attempts.
                Err(_) => closed += 1,
            }
            if closed == 20 {
                break;
            }
            sleep(Duration::from_millis(2));
        }
        stop.store(true, SeqCst);
    });
    disk.free();
    soon(|| accept(&store, 2_000, 1, account));
    // What was refused may be there all the same, if it was in the log; nothing else is missing.
    let maildrop = block_on(store.maildrop(account)).unwrap();
    assert!(maildrop.len() > kept.len());
    for summary in maildrop.iter() {
        block_on(read(&store, account, summary.uid));
    }
}
