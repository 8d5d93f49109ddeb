//! Any octet of any file of a store may change, and any file may be cut: a check finds it, or the octet is used by
//! nobody; a repair saves every other message, octet for octet.
#![allow(clippy::unwrap_used)]

mod scratch;

use posta_mail::{Secret, Timestamp};
use posta_store::{
    AccountId, AliasName, CHUNK, Contents, Credentials, Directory, FlagChange, Flags, FolderId,
    Folders, History, Item, ItemId, Mailboxes, Queue, Uid, Upkeep as _,
    conformance::{block_on, item, message},
};
use posta_store_fjall::{Checked, FjallStore, LostMessage, check, repair};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn keys(store: &Path) -> PathBuf {
    let mut keys = store.as_os_str().to_owned();
    keys.push(".keys");
    keys.into()
}

/// Every message: by account, folder and UID, with a hash of all its octets; those of the queue by their ids.
type Dump = BTreeMap<(String, String, u32), u64>;

async fn dump(store: &FjallStore) -> Dump {
    let mut dump = Dump::new();
    for account in store.accounts(None, usize::MAX).await.unwrap() {
        for folder in store.folders(account.id).await.unwrap() {
            let entries = store.entries(account.id, folder.id, Uid(0), usize::MAX).await.unwrap();
            assert_eq!(
                entries.len() as u64,
                folder.messages,
                "{} {}",
                account.address,
                folder.name
            );
            for entry in entries {
                let mut octets = entry.prefix.clone();
                for index in entry.layout().pieces() {
                    let piece = store.chunk(entry.content, index).await.unwrap();
                    octets.extend_from_slice(&piece.unwrap_or_default());
                }
                octets.extend_from_slice(entry.unique_id.to_string().as_bytes());
                octets.extend_from_slice(&entry.flags.0.to_be_bytes());
                let name = (account.address.to_string(), folder.name.to_string(), entry.uid.0);
                dump.insert(name, xxh3_64(&octets));
            }
        }
    }
    for item in store.items(None, usize::MAX).await.unwrap() {
        let piece = store.chunk(item.id.content, 0).await.unwrap().unwrap_or_default();
        dump.insert((item.id.to_string(), "queue".to_owned(), 0), xxh3_64(&piece));
    }
    dump
}

/// Makes a store with something of everything, and closes it.
async fn fill(store: &FjallStore) {
    let mut ids = Vec::new();
    for name in ["ana", "bob", "eve"] {
        let address = format!("{name}@x.test").parse().unwrap();
        let apop = (name == "ana").then(|| Secret::new(b"secret"));
        let credentials =
            Credentials { password_hash: format!("hash of {name}"), scram: None, apop };
        ids.push(store.add_account(&address, credentials).await.unwrap());
    }
    let work = store.add_folder(ids[0], "Work".parse().unwrap(), None, second(1)).await.unwrap();
    for number in 0..24_u64 {
        let to: &[AccountId] =
            if number % 5 == 0 { &ids[..2] } else { &ids[number as usize % 3..][..1] };
        let body = format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(number as usize * 40));
        let mut accepted = message(number, second(number as i64), body.as_bytes(), to);
        if number == 7 {
            store.append(accepted.id, 0, &vec![b'y'; CHUNK]).await.unwrap();
            accepted.chunks = 1;
        }
        if number % 8 == 1 {
            let (octets, head) = (accepted.octets(), accepted.head.len() as u32);
            let id = ItemId { content: accepted.id, index: 0 };
            accepted.items = vec![Item { id, octets, head, ..item(number, 0, second(0), 0) }];
        }
        store.accept(accepted).await.unwrap();
    }
    let uids = vec![Uid(2), Uid(3)];
    let moved = store.move_entries(ids[0], FolderId::INBOX, work, uids, second(50), second(900));
    moved.await.unwrap();
    let flags = FlagChange { add: Flags::SEEN, ..FlagChange::default() };
    store.set_flags(ids[0], work, vec![Uid(1)], flags, None, second(51)).await.unwrap();
    store.remove(ids[1], FolderId::INBOX, vec![Uid(1)], second(52), second(900_000)).await.unwrap();
    let targets = vec!["ana@x.test".parse().unwrap()];
    let name: AliasName = "info@x.test".parse().unwrap();
    store.set_alias(posta_store::Alias { name, targets }).await.unwrap();
}

struct Bench {
    _directory: tempfile::TempDir,
    store: PathBuf,
    whole: Dump,
}

impl Bench {
    fn new() -> Self {
        let directory = scratch::directory();
        let path = directory.path().join("store");
        let store = FjallStore::open(&path).unwrap();
        block_on(fill(&store));
        drop(store);
        let store = FjallStore::open(&path).unwrap();
        let whole = block_on(dump(&store));
        drop(store);
        // What is in them is in the log; they are large.
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "jnl") {
                fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
            }
        }
        fs::remove_file(path.join("reserve")).unwrap();
        Self { _directory: directory, store: path, whole }
    }

    fn check(&self) -> Checked {
        check(&self.store, &keys(&self.store), &mut |_| {}).unwrap()
    }

    /// The files that are looked at.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = files(&self.store);
        files.push(keys(&self.store));
        files.retain(|path| fs::metadata(path).unwrap().len() > 0);
        files.sort();
        files
    }

    fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let copy = scratch::directory();
        let store = copy.path().join("store");
        for path in files(&self.store) {
            let to = store.join(path.strip_prefix(&self.store).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
        for path in directories(&self.store) {
            fs::create_dir_all(store.join(path.strip_prefix(&self.store).unwrap())).unwrap();
        }
        fs::copy(keys(&self.store), keys(&store)).unwrap();
        (copy, store)
    }

    /// What is there after a repair is what was there before, but for what is named as lost.
    fn repaired(&self, about: &str) {
        let (_copy, store) = self.copy();
        let repaired = repair(&store, &keys(&store), second(100), &mut |_| {}).unwrap();
        let before = repaired.before.unwrap();
        assert!(before.join("log").exists() && keys(&before).exists(), "{about}");
        let again = check(&store, &keys(&store), &mut |_| {}).unwrap();
        let secrets = |it: &&String| it.contains("cannot be opened");
        let left = again.damage.records.iter().filter(|it| !secrets(it)).count();
        assert!(again.damage.files.is_empty() && left == 0, "{about}: {:?}", again.damage);
        assert_eq!(again.damage.messages, [], "{about}");
        let opened = FjallStore::open(&store).unwrap();
        let mut expected = self.whole.clone();
        for LostMessage { of, folder, uid, id, .. } in &repaired.checked.damage.messages {
            match folder.as_str() {
                "queue" => {
                    let is_it =
                        |(item, ..): &(String, String, u32)| item.starts_with(&id.to_string());
                    expected.retain(|name, _| !is_it(name));
                }
                "removed" => {}
                folder => {
                    let lost = expected.remove(&(of.clone(), folder.to_owned(), *uid));
                    assert!(lost.is_some(), "{about}: {of} {folder} {uid}");
                }
            }
        }
        assert_eq!(block_on(dump(&opened)), expected, "{about}");
        // Mail goes on, and nothing is given out again.
        let ana = block_on(opened.account(&"ana@x.test".parse().unwrap())).unwrap().unwrap().id;
        block_on(opened.accept(message(900, second(200), b"new\r\n", &[ana]))).unwrap();
        let listed = block_on(opened.maildrop(ana)).unwrap();
        let numbers: Vec<_> = listed.iter().map(|message| message.number).collect();
        assert!(numbers.is_sorted_by(|one, other| one < other), "{about}: {numbers:?}");
        while block_on(opened.sweep(second(2_000_000))).unwrap() > 0 {}
        assert!(block_on(opened.events(None, 9)).is_ok());
    }

    /// What a check does not find, nobody uses.
    fn unused(&self, about: &str) {
        let (_copy, store) = self.copy();
        let opened = FjallStore::open(&store).unwrap();
        assert_eq!(block_on(dump(&opened)), self.whole, "{about}");
        assert_eq!(opened.unreadable(), [], "{about}");
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let within = entries.filter(|path| path.is_dir());
    within.flat_map(|path| [directories(&path), vec![path]].concat()).collect()
}

/// Numbers that look random, and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

#[test]
fn a_whole_store_is_whole() {
    let bench = Bench::new();
    let checked = bench.check();
    assert!(checked.damage.is_none(), "{:?}", checked.damage);
    assert!(checked.messages >= bench.whole.len() as u64);
    let repaired = repair(&bench.store, &keys(&bench.store), second(100), &mut |_| {}).unwrap();
    assert_eq!(repaired.before, None);
    let open = FjallStore::open(&bench.store).unwrap();
    let refused = check(&bench.store, &keys(&bench.store), &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("open; stop it first"), "{refused}");
    drop(open);
}

/// Without the key file nothing in the store is wrong, and a repair would not bring the keys back.
#[test]
fn a_missing_key_file_is_no_damage() {
    let bench = Bench::new();
    let aside = bench.store.with_file_name("aside");
    fs::rename(keys(&bench.store), &aside).unwrap();
    let refused = [
        check(&bench.store, &keys(&bench.store), &mut |_| {}).map(drop),
        repair(&bench.store, &keys(&bench.store), second(100), &mut |_| {}).map(drop),
    ];
    for refused in refused {
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("store.keys is missing: put it back"), "{words}");
    }
    fs::rename(&aside, keys(&bench.store)).unwrap();
    assert!(bench.check().damage.is_none());
}

/// Damages every `every`th file at `places` places, and the log at more. Returns how often that was found, and how often
/// nobody uses the place.
fn damage(bench: &Bench, seed: u64, every: usize, places: usize) -> (usize, usize) {
    let (mut numbers, mut found, mut unused) = (Numbers(seed), 0, 0);
    for (file, path) in bench.files().into_iter().enumerate() {
        let name = path.strip_prefix(bench.store.parent().unwrap()).unwrap().display().to_string();
        let is_other = !name.contains("keyspaces");
        if file % every != 0 && !is_other {
            continue;
        }
        let octets = fs::read(&path).unwrap();
        let last = scratch::end(&octets).saturating_sub(1);
        for number in 0..if name.contains("/log/") { 16 * places } else { places } {
            let at = match number {
                0 => numbers.below(64.min(last + 1)),
                1 => last - numbers.below(40.min(last + 1)),
                _ => numbers.below(last + 1),
            };
            let mut damaged = octets.clone();
            let is_cut = numbers.below(4) == 0;
            match is_cut {
                true => damaged.truncate(at),
                false => damaged[at] ^= 1 << numbers.below(8),
            }
            let about = format!("{name} at {at}{}", if is_cut { ", cut" } else { "" });
            fs::write(&path, &damaged).unwrap();
            if bench.check().damage.is_none() {
                unused += 1;
                bench.unused(&about);
            } else {
                found += 1;
                if found % 4 == 0 {
                    bench.repaired(&about);
                }
            }
            fs::write(&path, &octets).unwrap();
        }
    }
    assert!(bench.check().damage.is_none());
    (found, unused)
}

#[test]
fn damage_is_found_and_the_rest_is_saved() {
    let (found, unused) = damage(&Bench::new(), 7, 9, 1);
    assert!(found > 10, "{found} found, {unused} unused");
}

/// The same at hundreds of places: `cargo test -p posta-store-fjall --test salvage -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn damage_anywhere_is_found_and_the_rest_is_saved() {
    let (found, unused) = damage(&Bench::new(), 11, 1, 5);
    assert!(found > 300 && unused > 0, "{found} found, {unused} unused");
}

/// A message is named by its account and folder, and it alone is lost.
#[test]
fn a_lost_message_is_named() {
    let bench = Bench::new();
    let segment = bench.store.join("log/000000000001");
    let octets = fs::read(&segment).unwrap();
    let at = octets.windows(11).position(|at| at == b"Subject: 14").unwrap();
    let mut damaged = octets;
    damaged[at] ^= 1;
    fs::write(&segment, damaged).unwrap();
    let damage = bench.check().damage;
    let [lost] = &damage.messages[..] else { panic!("{damage:?}") };
    assert_eq!((lost.of.as_str(), lost.folder.as_str()), ("eve@x.test", "INBOX"));
    bench.repaired("one message");
}
