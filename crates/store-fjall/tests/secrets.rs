//! Secrets are kept sealed, and their keys apart from them.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "scratch/copied.rs"]
mod copied;

use copied::copy;
use posta_mail::{Address, Secret, Timestamp};
use posta_store::{
    AccountId, Credentials, Directory, Records, SecretOf, Source, SourceId, Sources, StoreError,
    Upkeep, Visit,
    conformance::{block_on, source},
};
use posta_store_fjall::FjallStore;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const ELSEWHERE: &str = "of-the-mailbox-elsewhere";
const FOR_APOP: &str = "of-the-account-for-apop";

struct Place {
    _directory: tempfile::TempDir,
    store: PathBuf,
    keys: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let (store, keys) = (directory.path().join("store"), directory.path().join("store.keys"));
    Place { _directory: directory, store, keys }
}

impl Place {
    fn open(&self) -> FjallStore {
        FjallStore::open(&self.store).unwrap()
    }
}

fn ana() -> Address {
    "ana@x.test".parse().unwrap()
}

fn with_apop(secret: &str) -> Credentials {
    Credentials { apop: Some(Secret::new(secret.as_bytes())), ..Credentials::default() }
}

/// An account with a password for APOP, and a mailbox elsewhere.
fn fill(store: &FjallStore) -> (AccountId, SourceId) {
    block_on(async {
        let account = store.add_account(&ana(), with_apop(FOR_APOP)).await.unwrap();
        let password = Secret::new(ELSEWHERE.as_bytes());
        (account, store.add_source(source(account), password).await.unwrap())
    })
}

fn read(store: &FjallStore, of: SecretOf) -> Result<Option<String>, StoreError> {
    let secret = block_on(store.secret(of))?;
    Ok(secret.map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap()))
}

/// What a person reads of a secret that cannot be had.
fn refused(store: &FjallStore, of: SecretOf) -> String {
    match read(store, of) {
        Err(StoreError::Sealed(words)) => words,
        other => panic!("{other:?}"),
    }
}

/// How often octets stand in the files of a directory.
fn count(directory: &Path, octets: &str) -> usize {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: PathBuf| {
        if path.is_dir() {
            return count(&path, octets);
        }
        let content = fs::read(path).unwrap();
        let windows = content.windows(octets.len());
        windows.filter(|at| at[0] == octets.as_bytes()[0] && *at == octets.as_bytes()).count()
    };
    entries.map(count).sum()
}

#[test]
fn a_copy_of_the_store_shows_no_password() {
    let place = place();
    let store = place.open();
    let (account, id) = fill(&store);
    block_on(async {
        for collected in 0..57 {
            let visit = Visit { time: Timestamp::UNIX_EPOCH, collected, problem: None };
            let claimed = store.claim_source(id, visit.time, visit.time).await.unwrap().unwrap();
            assert!(store.visited(id, claimed.lease.token, visit).await.unwrap());
        }
        store.set_quota(&ana(), Some(9)).await.unwrap();
        let changed = Source { id, every: 5, ..source(account) };
        store.change_source(changed, Secret::new(ELSEWHERE.as_bytes())).await.unwrap();
        store.set_password(&ana(), with_apop(FOR_APOP)).await.unwrap();
    });
    for secret in [ELSEWHERE, FOR_APOP] {
        assert_eq!(count(place.store.parent().unwrap(), secret), 0, "while it runs");
    }
    drop(store);
    for secret in [ELSEWHERE, FOR_APOP] {
        assert_eq!(count(place.store.parent().unwrap(), secret), 0, "afterwards");
    }
    assert_eq!(fs::metadata(&place.keys).unwrap().permissions().mode() & 0o777, 0o600);
    let store = place.open();
    assert_eq!(read(&store, SecretOf::Source(id)).unwrap().unwrap(), ELSEWHERE);
    assert_eq!(read(&store, SecretOf::Apop(account)).unwrap().unwrap(), FOR_APOP);
    drop(store);
    // Whoever has the copy has nothing that opens it.
    let copied = place.store.with_file_name("copied");
    copy(&place.store, &copied);
    let store = FjallStore::open(&copied).unwrap();
    let words = refused(&store, SecretOf::Source(id));
    assert!(
        words.contains("copied.keys is missing") && words.contains("`posta collect add`"),
        "{words}"
    );
    let words = refused(&store, SecretOf::Apop(account));
    assert!(words.contains("`posta account password ADDRESS --apop`"), "{words}");
    // Everything else works.
    assert_eq!(block_on(store.sources()).unwrap().len(), 1);
    assert!(block_on(store.account(&ana())).unwrap().is_some());
}

/// Copies of the files from before the removal do not open with the key file from after it.
#[test]
fn what_was_removed_does_not_open_any_more() {
    let place = place();
    let store = place.open();
    let (account, id) = fill(&store);
    let other = block_on(store.add_source(source(account), Secret::new(b"other"))).unwrap();
    drop(store);
    let copied = place.store.with_file_name("copied");
    copy(&place.store, &copied);
    let store = place.open();
    block_on(async {
        assert!(store.remove_source(id).await.unwrap());
        store.set_password(&ana(), with_apop("another")).await.unwrap();
    });
    drop(store);
    fs::copy(&place.keys, copied.with_file_name("copied.keys")).unwrap();
    let copied = FjallStore::open(&copied).unwrap();
    for of in [SecretOf::Source(id), SecretOf::Apop(account)] {
        let words = refused(&copied, of);
        assert!(words.contains("is lost") && words.contains("give it again"), "{words}");
    }
    assert_eq!(read(&copied, SecretOf::Source(other)).unwrap().unwrap(), "other");
    drop(copied);
    let store = place.open();
    block_on(store.remove_account(&ana(), Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)).unwrap();
    block_on(store.sweep(Timestamp::UNIX_EPOCH)).unwrap();
    block_on(store.remove_source(other)).unwrap();
    let keys = fs::read(&place.keys).unwrap();
    assert!(keys[64..].iter().all(|&octet| octet == 0), "no key is left");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_cure() {
    let place = place();
    let (_, id) = fill(&place.open());
    fs::set_permissions(&place.keys, fs::Permissions::from_mode(0o640)).unwrap();
    let store = place.open();
    let cure = format!("`chmod 600 {}`", place.keys.display());
    assert!(refused(&store, SecretOf::Source(id)).contains(&cure));
    let added = block_on(store.add_source(source(AccountId(1)), Secret::new(b"x")));
    assert!(matches!(added, Err(StoreError::Sealed(words)) if words.contains(&cure)));
    assert_eq!(block_on(store.sources()).unwrap().len(), 1, "nothing was added");
    // The cure works at once.
    fs::set_permissions(&place.keys, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read(&store, SecretOf::Source(id)).unwrap().unwrap(), ELSEWHERE);
}

/// With a new key file what is given again can be read; with the right one, put back, everything.
#[test]
fn a_lost_or_wrong_key_file_costs_only_the_secrets() {
    let place = place();
    let (account, id) = fill(&place.open());
    let aside = place.store.with_file_name("aside");
    fs::rename(&place.keys, &aside).unwrap();
    let store = place.open();
    assert!(refused(&store, SecretOf::Source(id)).contains("is missing: put it back"));
    assert!(!place.keys.exists(), "nothing is made before it is needed");
    drop(store);

    // That of another store.
    let another = self::place();
    fill(&another.open());
    fs::copy(&another.keys, &place.keys).unwrap();
    let before = fs::read(&place.keys).unwrap();
    let store = place.open();
    assert!(refused(&store, SecretOf::Source(id)).contains("is of another store"));
    let added = block_on(store.add_source(source(account), Secret::new(b"x")));
    assert!(
        matches!(added, Err(StoreError::Sealed(words)) if words.contains("move this one away"))
    );
    assert_eq!(fs::read(&place.keys).unwrap(), before, "its keys are left alone");
    drop(store);

    fs::rename(&aside, &place.keys).unwrap();
    assert_eq!(read(&place.open(), SecretOf::Source(id)).unwrap().unwrap(), ELSEWHERE);

    fs::remove_file(&place.keys).unwrap();
    let store = place.open();
    let again = Source { id, ..source(account) };
    assert!(block_on(store.change_source(again, Secret::new(b"again"))).unwrap());
    assert_eq!(read(&store, SecretOf::Source(id)).unwrap().unwrap(), "again");
    let words = refused(&store, SecretOf::Apop(account));
    assert!(words.contains("was made after the right one was lost"), "{words}");
}

/// A crash between the key file and the store leaves a key that belongs to nothing.
#[test]
fn keys_that_a_crash_left_behind_are_overwritten() {
    let place = place();
    let (_, id) = fill(&place.open());
    let mut keys = fs::read(&place.keys).unwrap();
    let length = keys.len();
    keys.extend_from_slice(&[7; 32]);
    fs::write(&place.keys, keys).unwrap();
    let store = place.open();
    assert!(fs::read(&place.keys).unwrap()[length..].iter().all(|&octet| octet == 0));
    assert_eq!(read(&store, SecretOf::Source(id)).unwrap().unwrap(), ELSEWHERE);
}
