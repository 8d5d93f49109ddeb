//! Stores of earlier formats are taken over, one of a later format is refused.
#![allow(clippy::unwrap_used)]

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use posta_mail::Timestamp;
use posta_store::{
    AccountId, Alias, CHUNK, Contents, Credentials, Directory, Item, ItemState, Mailboxes,
    Maildrop, Queue, StoreError,
    conformance::{self, block_on, message, read},
};
use posta_store_fjall::FjallStore;
use std::{path::Path, sync::Arc};

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

fn add_account(store: &FjallStore) -> AccountId {
    let address = "ana@x.test".parse().unwrap();
    block_on(store.add_account(&address, Credentials::default())).unwrap()
}

/// Format 2 kept contents in a keyspace.
#[test]
fn contents_of_an_earlier_format_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let account = add_account(&store);
    let mut long = message(1, second(0), b"rest\r\n", &[account]);
    block_on(store.append(long.id, 0, &[b'x'; CHUNK])).unwrap();
    long.chunks = 1;
    block_on(store.accept(long)).unwrap();
    let uid = block_on(store.maildrop(account)).unwrap().messages[0].uid;
    let before = block_on(read(&store, account, uid));
    let id = message(1, second(0), b"", &[]).id;
    let chunks = [0, 1].map(|index| block_on(store.chunk(id, index)).unwrap().unwrap());
    drop(store);
    {
        let database = database(directory.path());
        let table = |name| table(&database, name);
        for (index, chunk) in [0u32, 1].into_iter().zip(chunks) {
            let key = [&id.to_bytes()[..], &index.to_be_bytes()].concat();
            table("content").insert(&key, &chunk[..]).unwrap();
            table("place").remove(&key).unwrap();
        }
        set_format(&database, 2);
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    for _ in 0..2 {
        let store = open(directory.path());
        assert_eq!(block_on(read(&store, account, uid)), before);
    }
    assert!(!database(directory.path()).keyspace_exists("content"));
}

/// Format 3 had one order for all destinations, and wrote leases down.
#[test]
fn a_queue_of_format_3_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let waiting = conformance::item(1, 0, second(5), 0);
    block_on(async {
        let store = open(directory.path());
        let mut acceptance = message(1, second(0), b"x\r\n", &[]);
        acceptance.items = vec![waiting.clone()];
        store.accept(acceptance).await.unwrap();
    });
    {
        let database = database(directory.path());
        let table = |name| table(&database, name);
        let leased = Item { due: second(300), state: ItemState::Leased, ..waiting.clone() };
        let queue = table("queue");
        let key = queue.iter().next().unwrap().key().unwrap();
        queue.insert(key.clone(), serde_json::to_vec(&leased).unwrap()).unwrap();
        let mut old_key = vec![0x80];
        old_key.extend_from_slice(&(300_000_000u64 ^ 1 << 63).to_be_bytes());
        old_key.extend_from_slice(&key);
        table("due").insert(old_key, []).unwrap();
        table("leased").insert(key, []).unwrap();
        set_format(&database, 3);
    }
    block_on(async {
        let store = open(directory.path());
        let claimed = store.claim(second(3), second(300), 9, 9).await.unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].recipients, waiting.recipients);
        assert_eq!(store.claim(second(3), second(300), 9, 9).await.unwrap(), []);
    });
}

/// The mailbox record of format 4: octets as they are kept, and nothing about their lines.
fn entry_of_format_4(entry: &[u8]) -> Vec<u8> {
    const FLAGS: usize = 1 + 8 + 12 + 8 + 4 + 4;
    let number = |at: usize| u64::from_be_bytes(entry[at..at + 8].try_into().unwrap());
    let octets = number(1) - number(FLAGS + 1);
    let (flags, prefix) = (entry[FLAGS] & 1, &entry[FLAGS + 1 + 8..]);
    [&[1][..], &octets.to_be_bytes(), &entry[9..FLAGS], &[flags], prefix].concat()
}

/// Format 4 told POP3 clients the octets that are kept, not those of the lines that are sent.
#[test]
fn lines_of_format_4_are_counted() {
    const BARE: &[u8] = b"a\n.\r\n-ERR forged\rb";
    let directory = tempfile::tempdir().unwrap();
    let waiting = conformance::item(3, 0, second(5), 0);
    let (account, uid, before) = block_on(async {
        let store = open(directory.path());
        let account = add_account(&store);
        for number in [1, 2] {
            store.accept(message(number, second(0), BARE, &[account])).await.unwrap();
        }
        let mut acceptance = message(3, second(0), b"x\r\n\n", &[]);
        acceptance.items = vec![waiting.clone()];
        store.accept(acceptance).await.unwrap();
        let before = store.maildrop(account).await.unwrap();
        let [one, two] = before.messages[..] else { panic!("two messages") };
        store.remove(account, vec![two.uid], second(1), second(900)).await.unwrap();
        (account, one.uid, before)
    });
    {
        let database = database(directory.path());
        let table = |name| table(&database, name);
        let record = |name| table(name).iter().next().unwrap().into_inner().unwrap();
        let (key, entry) = record("mailbox");
        table("mailbox").insert(key, entry_of_format_4(&entry)).unwrap();
        let (key, removed) = record("removed");
        let (times, entry) = removed.split_at(1 + 8 + 8);
        table("removed").insert(key, [times, &entry_of_format_4(entry)].concat()).unwrap();
        let (key, item) = record("queue");
        let mut item: serde_json::Value = serde_json::from_slice(&item).unwrap();
        assert_eq!(item.as_object_mut().unwrap().remove("added"), Some(1.into()));
        table("queue").insert(key, serde_json::to_vec(&item).unwrap()).unwrap();
        set_format(&database, 4);
    }
    for _ in 0..2 {
        let store = open(directory.path());
        let whole = block_on(read(&store, account, uid));
        assert!(whole.ends_with(BARE), "what is kept stays as it is");
        let items = block_on(store.items(None, 9)).unwrap();
        assert_eq!(items[0].added, 1);
    }
    let store = open(directory.path());
    assert_eq!(block_on(store.undelete(account, second(0))).unwrap(), 1);
    let octets = |maildrop: Arc<Maildrop>| {
        maildrop.messages.iter().map(|message| message.octets).collect::<Vec<_>>()
    };
    assert_eq!(octets(block_on(store.maildrop(account)).unwrap()), octets(before));
}

/// Accounts of format 6 neither forward nor are disabled, whatever alias has their name.
#[test]
fn accounts_of_format_6_get_their_mail() {
    let directory = tempfile::tempdir().unwrap();
    let (ana, name) = ("ana@x.test".parse().unwrap(), "ana@x.test".parse().unwrap());
    block_on(async {
        let store = open(directory.path());
        add_account(&store);
        let alias = Alias { name, targets: vec!["bob@y.test".parse().unwrap()] };
        store.set_alias(alias).await.unwrap();
        store.set_disabled(&ana, true).await.unwrap();
    });
    {
        let database = database(directory.path());
        let accounts = table(&database, "account");
        let (key, record) = accounts.iter().next().unwrap().into_inner().unwrap();
        let record = record.strip_suffix(b"\nforwards disabled").expect("the last line");
        accounts.insert(key, record).unwrap();
        set_format(&database, 6);
    }
    for _ in 0..2 {
        let store = open(directory.path());
        let account = block_on(store.account(&ana)).unwrap().unwrap();
        assert!(!account.forwards && !account.disabled);
    }
    let store = open(directory.path());
    block_on(store.set_disabled(&ana, true)).unwrap();
    drop(store);
    assert!(block_on(open(directory.path()).account(&ana)).unwrap().unwrap().disabled);
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    set_format(&database(directory.path()), 9);
    let refused = FjallStore::open(directory.path());
    assert!(matches!(refused, Err(StoreError::TooNew { found: 9, known: 7 })));
}
