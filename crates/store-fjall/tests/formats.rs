//! Stores of earlier formats are taken over, one of a later format is refused.
//!
//! `formats/format-7.gz` is a store that the last program of format 7 wrote, all of its files one behind the other;
//! `formats/format-7.txt` is what is in it, as that program told it. Stores of formats before that are made of it,
//! by giving its tables the records that these formats had. `formats/format-9.gz` is the same store as a program of
//! format 9 left it; `write_fixture` below writes that of another format.
#![allow(clippy::unwrap_used)]

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use posta_mail::{MailId, Timestamp};
use posta_store::{
    AccountId, Contents, Directory, FolderId, History, Item, ItemState, Mailboxes, Queue, Records,
    SecretOf, Sources, StoreError, Upkeep,
    conformance::{block_on, read},
};
use posta_store_fjall::FjallStore;
use std::{
    fmt::Write as _,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::xxh3_64;

fn open(directory: &Path) -> FjallStore {
    FjallStore::open(directory).unwrap()
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// Opens the engine's files by themselves, while no store is open.
fn database(directory: &Path) -> Database {
    Database::builder(directory).open().unwrap()
}

fn table(database: &Database, name: &str) -> Keyspace {
    database.keyspace(name, KeyspaceCreateOptions::default).unwrap()
}

fn set_format(database: &Database, format: u64) {
    table(database, "meta").insert("format", format.to_be_bytes()).unwrap();
}

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)
}

/// Unpacks the store of format 7. Returns where it is.
fn format_7(directory: &Path) -> PathBuf {
    unpacked("format-7.gz", directory)
}

/// Unpacks a store. Returns where it is.
fn unpacked(name: &str, directory: &Path) -> PathBuf {
    let mut files = Vec::new();
    let archive = fs::File::open(asset(name)).unwrap();
    flate2::read::GzDecoder::new(archive).read_to_end(&mut files).unwrap();
    let mut rest = &files[..];
    while !rest.is_empty() {
        let mut take = |octets: usize| rest.split_off(..octets).unwrap();
        let length = u32::from_be_bytes(take(4).try_into().unwrap());
        let name = str::from_utf8(take(length as usize)).unwrap();
        let length = u64::from_be_bytes(take(8).try_into().unwrap());
        let (path, content) = (directory.join(name), take(length as usize));
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    let keys = fs::Permissions::from_mode(0o600);
    fs::set_permissions(directory.join("store.keys"), keys).unwrap();
    directory.join("store")
}

/// What POP3 tells of an account, and what it would send.
async fn list(store: &FjallStore, account: AccountId, text: &mut String) {
    let maildrop = store.maildrop(account).await.unwrap();
    for (index, message) in maildrop.iter().enumerate() {
        let entry = store.entry(account, FolderId::INBOX, message.uid).await.unwrap().unwrap();
        let whole = read(store, account, message.uid).await;
        let mut unique_id = String::new();
        maildrop.write_unique_id(index, &mut unique_id);
        writeln!(
            text,
            "  {unique_id} octets {} added {} accepted {} content {} retrieved {} kept {} hash {:016x}",
            message.octets,
            entry.added,
            entry.time,
            entry.content,
            entry.flags.0 & 1,
            whole.len(),
            xxh3_64(&whole)
        )
        .unwrap();
    }
    let usage = store.usage(account).await.unwrap();
    let (messages, octets) = (usage.messages, usage.octets);
    writeln!(text, "  in all {messages} messages, {octets} octets, {}", maildrop.octets()).unwrap();
}

/// Everything that is in a store; what was removed, by bringing it back.
async fn dump(store: &FjallStore) -> String {
    let mut text = String::new();
    let secret = async |of| {
        let secret = store.secret(of).await.unwrap();
        secret.map(|it| String::from_utf8_lossy(it.expose()).into_owned())
    };
    for account in store.accounts(None, usize::MAX).await.unwrap() {
        let apop = secret(SecretOf::Apop(account.id)).await;
        writeln!(text, "account {account:?} apop {apop:?}").unwrap();
        list(store, account.id, &mut text).await;
    }
    for item in store.items(None, 99).await.unwrap() {
        let content = store.chunk(item.id.content, 0).await.unwrap().unwrap();
        let (chunks, hash) = (item.layout().chunks(), xxh3_64(&content));
        let Item { id, destination, octets, added, accepted, message_id, envelope, .. } = &item;
        write!(text, "item {id} to {destination:?}, {octets} + {added} octets, {chunks} chunks, ")
            .unwrap();
        write!(text, "hash {hash:016x}, accepted {accepted}, {message_id:?}, {envelope:?}, ")
            .unwrap();
        let Item { due, state, attempts, delay_told, shared, recipients, .. } = &item;
        write!(text, "due {due}, {state:?}, attempts {attempts}, delay told {delay_told}, ")
            .unwrap();
        writeln!(text, "shared {shared}, {recipients:?}").unwrap();
    }
    for event in store.events(None, 999).await.unwrap() {
        writeln!(text, "event {event:?}").unwrap();
    }
    for source in store.sources().await.unwrap() {
        let password = secret(SecretOf::Source(source.id)).await;
        let collected = store.collected(source.id).await.unwrap();
        writeln!(text, "source {source:?} password {password:?} collected {collected:?}").unwrap();
    }
    for alias in store.aliases().await.unwrap() {
        writeln!(text, "alias {alias:?}").unwrap();
    }
    let aliases = store.domain_aliases().await.unwrap();
    writeln!(text, "domains {:?} {aliases:?}", store.domains().await.unwrap()).unwrap();
    for kind in ["srs", "mta-sts"] {
        writeln!(text, "kept {:?}", store.kept(kind).await.unwrap()).unwrap();
    }
    for removed in store.removed_accounts().await.unwrap() {
        let apop = secret(SecretOf::Apop(removed.account.id)).await;
        writeln!(text, "removed {removed:?} apop {apop:?}").unwrap();
    }
    for (address, since) in [("ana@x.test", 150), ("ana@x.test", 0), ("bob@x.test", 0)] {
        let account = store.account(&address.parse().unwrap()).await.unwrap().unwrap().id;
        let count = store.undelete(account, second(since)).await.unwrap();
        writeln!(text, "undeleted of {address} since {since}: {count}").unwrap();
        list(store, account, &mut text).await;
    }
    for removed in store.removed_accounts().await.unwrap() {
        let restored = store.restore_account(removed.account.id).await.unwrap();
        writeln!(text, "restored {restored}").unwrap();
        list(store, removed.account.id, &mut text).await;
    }
    for before in [301, 401] {
        let expired = store.expire(second(before), second(1_000), second(9_000)).await.unwrap();
        writeln!(text, "expired before {before}: {expired}").unwrap();
    }
    text
}

/// Byte for byte, and unique-id for unique-id.
fn has_everything(store: &Path) {
    for _ in 0..2 {
        drop(open(store));
    }
    let told = block_on(dump(&open(store)));
    let expected = fs::read_to_string(asset("format-7.txt")).unwrap();
    for (told, expected) in told.lines().zip(expected.lines()) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), expected.len());
}

/// Packs what is in a directory, in the form that `unpacked` reads.
fn pack(directory: &Path, root: &Path, packed: &mut Vec<u8>) {
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        // It is made again, and holds zeros.
        if name.ends_with("reserve") {
            continue;
        }
        let (name, content) = match path.is_dir() {
            true => (name + "/", Vec::new()),
            false => (name, fs::read(&path).unwrap()),
        };
        packed.extend_from_slice(&(name.len() as u32).to_be_bytes());
        packed.extend_from_slice(name.as_bytes());
        packed.extend_from_slice(&(content.len() as u64).to_be_bytes());
        packed.extend_from_slice(&content);
        if path.is_dir() {
            pack(&path, root, packed);
        }
    }
}

/// Writes the store of today's format, which later programs have to open: `cargo test -p posta-store-fjall --test formats
/// -- --ignored write_fixture`.
#[test]
#[ignore = "writes a file of the sources"]
fn write_fixture() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    drop(open(&path));
    let format = table(&database(&path), "meta").get("format").unwrap().unwrap();
    let format = u64::from_be_bytes(format.as_ref().try_into().unwrap());
    let mut packed = Vec::new();
    pack(directory.path(), directory.path(), &mut packed);
    let file = fs::File::create(asset(&format!("format-{format}.gz"))).unwrap();
    let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    writer.write_all(&packed).unwrap();
    writer.finish().unwrap();
}

/// What a program of format 9 left has everything, whichever program opens it.
#[test]
fn a_store_of_format_9_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    has_everything(&unpacked("format-9.gz", directory.path()));
}

#[test]
fn a_store_of_format_7_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    has_everything(&format_7(directory.path()));
}

/// Messages get UIDs in the order of their unique-ids, and belong to the conversations that they name.
#[test]
fn messages_of_format_7_have_folders() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&format_7(directory.path()));
    block_on(async {
        use posta_store::{Folders, ModSeq, Uid};
        for account in store.accounts(None, usize::MAX).await.unwrap() {
            let folders = store.folders(account.id).await.unwrap();
            assert_eq!(folders.len(), 2);
            let entries = store.entries(account.id, FolderId::INBOX, Uid(0), 999).await.unwrap();
            let uids: Vec<_> = entries.iter().map(|entry| entry.uid.0).collect();
            assert_eq!(uids, (1..=entries.len() as u32).collect::<Vec<_>>());
            assert!(entries.is_sorted_by_key(|entry| entry.unique_id.number));
            assert_eq!(folders[0].messages, entries.len() as u64);
            assert_eq!(folders[0].octets, entries.iter().map(|entry| entry.octets).sum::<u64>());
            let changes = store.changes_since(account.id, ModSeq(0), 999).await.unwrap().unwrap();
            assert_eq!(changes.entries.len(), entries.len(), "nobody knows any other");
            // What was removed has UIDs too, and the next is behind all of them.
            let removed = store.undelete(account.id, second(0)).await.unwrap() as u32;
            let next = store.folders(account.id).await.unwrap()[0].uid_next;
            assert_eq!(next.0, entries.len() as u32 + 2 * removed + 1);
        }
        let thread = async |number: u64, name: &str| {
            let account = store.account(&name.parse().unwrap()).await.unwrap().unwrap().id;
            let entries = store.entries(account, FolderId::INBOX, Uid(0), 999).await.unwrap();
            let id = MailId::new(second(number as i64 / 3), number);
            entries.into_iter().find(|entry| entry.content == id).unwrap().thread
        };
        assert_eq!(thread(5, "ana@x.test").await, thread(1, "ana@x.test").await, "References");
        assert_eq!(thread(6, "bob@x.test").await, thread(2, "cid@y.test").await, "In-Reply-To");
        assert_ne!(thread(12, "ana@x.test").await, thread(1, "ana@x.test").await);
    });
    // What was removed is purged when it would have been.
    let directory = tempfile::tempdir().unwrap();
    let store = open(&format_7(directory.path()));
    let swept = |at| block_on(store.sweep(second(at))).unwrap();
    assert_eq!([swept(699_999), swept(700_000), swept(800_000)], [0, 6, 1]);
}

/// Format 2 kept contents in a keyspace.
#[test]
fn contents_of_format_2_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    let mut contents = Vec::new();
    {
        // The contents are read from the log by a copy of the store.
        let copy = tempfile::tempdir().unwrap();
        let store = open(&format_7(copy.path()));
        let keys: Vec<_> = {
            let database = database(&path);
            let place = table(&database, "place");
            place.iter().map(|guard| guard.key().unwrap().to_vec()).collect()
        };
        for key in keys {
            let id = MailId::from_bytes(key[..12].try_into().unwrap());
            let index = u32::from_be_bytes(key[12..].try_into().unwrap());
            // What was still arriving is gone.
            if let Some(chunk) = block_on(store.chunk(id, index)).unwrap() {
                contents.push((key, chunk));
            }
        }
    }
    {
        let database = database(&path);
        for (key, chunk) in contents {
            table(&database, "content").insert(&key, &chunk[..]).unwrap();
            table(&database, "place").remove(&key).unwrap();
        }
        set_format(&database, 2);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    has_everything(&path);
    assert!(!database(&path).keyspace_exists("content"));
}

/// Format 3 had one order for all destinations, and wrote leases down.
#[test]
fn a_queue_of_format_3_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    {
        let database = database(&path);
        let table = |name| table(&database, name);
        let (queue, due, leased) = (table("queue"), table("due"), table("leased"));
        for guard in due.iter() {
            due.remove(guard.key().unwrap()).unwrap();
        }
        for guard in queue.iter() {
            let (key, value) = guard.into_inner().unwrap();
            let mut item: Item = serde_json::from_slice(&value).unwrap();
            let micros = item.due.as_microsecond() as u64 ^ 1 << 63;
            let mut old_key = vec![0x80 ^ item.envelope.priority as u8];
            old_key.extend_from_slice(&micros.to_be_bytes());
            old_key.extend_from_slice(&key);
            if item.state != ItemState::Held {
                due.insert(old_key, []).unwrap();
            }
            if item.attempts == 0 && item.state == ItemState::Waiting && item.due == second(5) {
                item.state = ItemState::Leased;
                leased.insert(key.clone(), []).unwrap();
                queue.insert(key, serde_json::to_vec(&item).unwrap()).unwrap();
            }
        }
        set_format(&database, 3);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    let store = open(&path);
    // What was leased is due since it was accepted, and nothing is twice.
    let due = block_on(store.claim(second(3), second(300), 9, 9)).unwrap();
    let claimed = block_on(store.claim(second(901), second(950), 9, 9)).unwrap();
    assert_eq!((due.len(), claimed.len()), (2, 4), "the leases have lapsed by then");
    let all = block_on(store.items(None, 99)).unwrap();
    assert_eq!(all.iter().filter(|item| item.state == ItemState::Held).count(), 1);
    let again = block_on(store.claim(second(901), second(950), 9, 9)).unwrap();
    assert_eq!((all.len(), again.len()), (5, 0));
}

/// The mailbox record of format 4: octets as they are kept, and nothing about their lines.
fn entry_of_format_4(entry: &[u8]) -> Vec<u8> {
    const BITS: usize = 1 + 8 + 12 + 8 + 4 + 4;
    let number = |at: usize| u64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
    let (added, prefix) = match entry[BITS] & 2 {
        0 => (0, &entry[BITS + 1..]),
        _ => (number(BITS + 1), &entry[BITS + 1 + 8..]),
    };
    let octets = number(1) - added;
    [&[1][..], &octets.to_be_bytes(), &entry[9..BITS], &[entry[BITS] & 1], prefix].concat()
}

/// Format 4 told POP3 clients the octets that are kept, not those of the lines that are sent.
#[test]
fn lines_of_format_4_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    {
        let database = database(&path);
        for (name, before) in [("mailbox", 0), ("removed", 1 + 8 + 8)] {
            let table = table(&database, name);
            for guard in table.iter() {
                let (key, value) = guard.into_inner().unwrap();
                let (times, entry) = value.split_at(before);
                table.insert(key, [times, &entry_of_format_4(entry)].concat()).unwrap();
            }
        }
        let queue = table(&database, "queue");
        for guard in queue.iter() {
            let (key, value) = guard.into_inner().unwrap();
            let mut item: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert!(item.as_object_mut().unwrap().remove("added").is_some());
            queue.insert(key, serde_json::to_vec(&item).unwrap()).unwrap();
        }
        set_format(&database, 4);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    has_everything(&path);
}

/// Accounts of format 6 neither forward nor are disabled, whatever alias has their name.
#[test]
fn accounts_of_format_6_get_their_mail() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    {
        let database = database(&path);
        let accounts = table(&database, "account");
        let mut changed = 0;
        for guard in accounts.iter() {
            let (key, record) = guard.into_inner().unwrap();
            for last in [&b"\nforwards"[..], b"\ndisabled"] {
                if let Some(record) = record.strip_suffix(last) {
                    accounts.insert(key.clone(), record).unwrap();
                    changed += 1;
                }
            }
        }
        assert_eq!(changed, 2, "one forwards, one is disabled");
        set_format(&database, 6);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    for _ in 0..2 {
        let store = open(&path);
        for account in block_on(store.accounts(None, usize::MAX)).unwrap() {
            assert!(!account.forwards && !account.disabled);
        }
    }
    let (store, ana) = (open(&path), "ana@x.test".parse().unwrap());
    block_on(store.set_disabled(&ana, true)).unwrap();
    drop(store);
    assert!(block_on(open(&path).account(&ana)).unwrap().unwrap().disabled);
}

/// Format 8 carried every removal out at once; a program of that format is kept away from one that is not.
#[test]
fn format_8_becomes_format_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    let store = open(&path);
    let ana = block_on(store.account(&"ana@x.test".parse().unwrap())).unwrap().unwrap().id;
    let before = block_on(store.maildrop(ana)).unwrap();
    drop(store);
    set_format(&database(&path), 8);
    assert_eq!(block_on(open(&path).maildrop(ana)).unwrap(), before);
    let format = table(&database(&path), "meta").get("format").unwrap();
    assert_eq!(format.as_deref(), Some(&9u64.to_be_bytes()[..]));
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    set_format(&database(directory.path()), 10);
    let refused = FjallStore::open(directory.path());
    assert!(matches!(refused, Err(StoreError::TooNew { found: 10, known: 9 })));
}

/// Nothing has to be taken over of format 8.
#[test]
fn a_store_of_format_8_becomes_one_of_today() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    drop(open(&path));
    set_format(&database(&path), 8);
    has_everything(&path);
    let meta = table(&database(&path), "meta");
    assert_eq!(meta.get("format").unwrap().as_deref(), Some(&9u64.to_be_bytes()[..]));
}

/// A program of before must not take a store that is being taken over for one of its own.
#[test]
fn the_format_is_written_before_the_first_message_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = format_7(directory.path());
    drop(open(&path));
    let database = database(&path);
    let meta = table(&database, "meta");
    assert_eq!(meta.get("format").unwrap().as_deref(), Some(&9u64.to_be_bytes()[..]));
    assert_eq!(meta.get("without-folders").unwrap(), None);
    for name in ["mailbox", "removed", "imported", "retrieved", "purge"] {
        assert!(table(&database, name).is_empty().unwrap(), "{name}");
    }
}
