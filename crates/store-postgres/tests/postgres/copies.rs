//! A whole store is copied from one engine to another and back, and has everything it had.
//!
//! The stores' own suite is the judge: a site that moves the store to the other engine at every restart must not be told
//! from one that stays, by long random sequences of operations compared with the reference.

use crate::{
    cluster::{self, Cluster},
    seaweed::{self, KEY},
};
use posta_mail::{MailId, Secret, Timestamp};
use posta_store::{
    Acceptance, AccountId, Alias, CHUNK, Collected, Credentials, Directory as _, Event, FlagChange,
    Flags, FolderId, KeyId, Rows, SecretOf, Store, StoreError, Uid, What,
    conformance::{self, Site, block_on, item, message, read, source},
    copies::{Copies, CopyPlace, Digest, Part, digest, fill, push_domain},
};
use posta_store_fjall::FjallStore;
use posta_store_postgres::{ObjectSettings, PostgresStore, Settings};
use std::{
    future::{Future as _, poll_fn},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Instant,
};
use tokio::runtime::Runtime;

/// Where a store is.
#[derive(Debug, Clone)]
enum Home {
    Embedded(PathBuf),
    Database(String),
}

/// A store that moves to the other engine whenever it is opened again.
struct Traveller {
    cluster: &'static Cluster,
    runtime: Arc<Runtime>,
    directory: tempfile::TempDir,
    /// The object store of its databases, if they have one.
    objects: Option<ObjectSettings>,
    homes: Mutex<Vec<Home>>,
}

impl Traveller {
    fn new(cluster: &'static Cluster, runtime: &Arc<Runtime>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let homes = Mutex::default();
        Self { cluster, runtime: runtime.clone(), directory, objects: None, homes }
    }

    fn settings(&self, schema: &str) -> Settings {
        let keys = self.directory.path().join(format!("{schema}.keys"));
        let mut settings = Settings::new(&self.cluster.url(), keys).unwrap().in_schema(schema);
        settings.objects = self.objects.clone();
        settings
    }

    fn new_home(&self, is_embedded: bool) -> Home {
        let name = self.cluster.new_schema();
        match is_embedded {
            true => Home::Embedded(self.directory.path().join(name)),
            false => Home::Database(name),
        }
    }

    /// Opens a store for a copy.
    fn alone(&self, home: &Home) -> Arc<dyn Copies> {
        match home {
            Home::Embedded(path) => Arc::new(FjallStore::open(path).unwrap()),
            Home::Database(schema) => {
                let opened = PostgresStore::open_alone(self.settings(schema));
                Arc::new(self.runtime.block_on(opened).unwrap())
            }
        }
    }

    fn open_home(&self, home: &Home) -> Arc<dyn Store> {
        match home {
            Home::Embedded(path) => Arc::new(FjallStore::open(path).unwrap()),
            Home::Database(schema) => {
                let opened = PostgresStore::open(self.settings(schema));
                Arc::new(self.runtime.block_on(opened).unwrap())
            }
        }
    }

    /// Copies a store, and returns what both have.
    fn copy(&self, from: &Home, to: &Home) -> Digest {
        let source = self.alone(from);
        let target = self.alone(to);
        let filled = self.runtime.block_on(fill(&*source, &*target, "test", &mut |_, _| ()));
        assert!(!filled.unwrap().went_on);
        drop(target);
        let target = self.alone(to);
        let there = self.runtime.block_on(digest(&*source, &mut |_, _| ())).unwrap();
        let here = self.runtime.block_on(digest(&*target, &mut |_, _| ())).unwrap();
        assert_eq!(there.differences(&here), [], "{from:?} {to:?}\n{there:?}\n{here:?}");
        self.runtime.block_on(target.complete_copy()).unwrap();
        here
    }
}

impl Site for Traveller {
    fn open(&self) -> Arc<dyn Store> {
        let mut homes = self.homes.lock().unwrap();
        let home = match homes.last() {
            None => self.new_home(true),
            Some(last) => {
                let next = self.new_home(matches!(last, Home::Database(_)));
                self.copy(last, &next);
                next
            }
        };
        homes.push(home.clone());
        self.open_home(&home)
    }
}

fn maker() -> Option<impl Fn() -> Box<dyn Site> + Sync> {
    let (cluster, runtime) = (cluster::shared()?, Arc::new(Runtime::new().unwrap()));
    Some(move || Box::new(Traveller::new(cluster, &runtime)) as Box<dyn Site>)
}

#[test]
fn a_store_that_moves_at_every_restart_keeps_every_rule() {
    let Some(make) = maker() else { return };
    conformance::run_some(&make, &["restart::"]);
    conformance::run_random(&make, 1..2);
}

/// More seeds: `cargo test -p posta-store-postgres --test postgres many_random -- --ignored`.
#[test]
#[ignore = "takes minutes, since each operation asks a database"]
fn many_random_stores_are_the_same_after_they_moved() {
    let Some(make) = maker() else { return };
    conformance::run_random(&make, 2..12);
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A message whose content has several chunks, and a head.
async fn large(store: &dyn Store, number: u64, to: &[AccountId]) -> Acceptance {
    let mut arriving = message(number, at(number as i64), &b"last\r\n".repeat(1_000), to);
    arriving.head = b"Received: from afar\r\n".to_vec();
    for index in 0..3_u8 {
        store.append(arriving.id, index.into(), &vec![b'a' + index; CHUNK]).await.unwrap();
    }
    arriving.chunks = 3;
    // None of these chunks ends a line.
    arriving
}

/// Fills a store with something of everything.
async fn furnish(store: &dyn Store) -> Vec<AccountId> {
    let mut accounts = Vec::new();
    for name in ["ana@x.test", "bob@x.test", "gone@y.test"] {
        let apop = Some(Secret::new(b"for APOP"));
        let credentials =
            Credentials { password_hash: format!("hash of {name}"), scram: None, apop };
        accounts.push(store.add_account(&name.parse().unwrap(), credentials).await.unwrap());
    }
    let [ana, bob, gone] = accounts[..] else { unreachable!() };
    let [both, all] = [vec![ana, bob], accounts.clone()];
    for number in 0..40 {
        let to = if number % 3 == 0 { &all } else { &both };
        let mut arriving = match number % 10 {
            9 => large(store, number, to).await,
            _ => message(number, at(number as i64), format!("{number}\r\n").as_bytes(), to),
        };
        if number % 4 == 0 {
            arriving.deliveries[0].unique_id = Some(format!("imported-{number}"));
            arriving.deliveries[0].prefix = b"X: \xff\xfe\r\n".to_vec();
        }
        if number % 5 == 0 {
            arriving.items = vec![item(number, 0, at(number as i64), 100)];
        }
        store.accept(arriving).await.unwrap();
    }
    // Removed, moved, marked, retrieved; brought back in part.
    let uids = |range: std::ops::Range<u32>| range.map(Uid).collect::<Vec<_>>();
    store.remove(ana, FolderId::INBOX, uids(1..9), at(50), at(10_000)).await.unwrap();
    store.undelete(ana, at(50)).await.unwrap();
    store.remove(ana, FolderId::INBOX, uids(9..20), at(60), at(10_001)).await.unwrap();
    store
        .move_entries(bob, FolderId::INBOX, FolderId::JUNK, uids(3..9), at(61), at(10_002))
        .await
        .unwrap();
    let words = vec!["$label1".parse().unwrap()];
    let change = FlagChange { add: Flags::SEEN, add_keywords: words, ..FlagChange::default() };
    store.set_flags(bob, FolderId::INBOX, uids(10..15), change, None, at(62)).await.unwrap();
    store.retrieved(bob, uids(12..18), at(63)).await.unwrap();
    store.add_folder(ana, "Work".parse().unwrap(), None, at(64)).await.unwrap();
    store.remove_account(&"gone@y.test".parse().unwrap(), at(65), at(20_000)).await.unwrap();
    // What is kept beside mail.
    let source_id = store.add_source(source(ana), Secret::new(b"elsewhere")).await.unwrap();
    let mut collected = message(90, at(90), b"collected\r\n", &[ana]);
    collected.collected = Some(Collected { source: source_id, unique_id: "there-1".to_owned() });
    store.accept(collected).await.unwrap();
    let alias = Alias {
        name: "info@x.test".parse().unwrap(),
        targets: vec!["ana@x.test".parse().unwrap()],
    };
    store.set_alias(alias).await.unwrap();
    let event = |number: u64, time| {
        let what = What::Refused { origin: Default::default(), from: None, refused: Vec::new() };
        Event { id: MailId::new(at(0), number / 2), time: at(time), what }
    };
    store.note((0..6).map(|number| event(number, 9 - number as i64)).collect()).await.unwrap();
    store.keep("kind", "name", Some(b"\0record\xff".to_vec())).await.unwrap();
    let key = (SecretOf::Key(KeyId(u64::MAX - 3)), Some(Secret::new(b"private key")));
    store.keep_with_secrets("kind", "key", None, Some(b"x".to_vec()), vec![key]).await.unwrap();
    vec![ana, bob, gone]
}

#[test]
fn everything_is_there_and_back_again() {
    let Some(cluster) = cluster::shared() else { return };
    let runtime = Arc::new(Runtime::new().unwrap());
    let site = Traveller::new(cluster, &runtime);
    let homes = [true, false, false, true, true].map(|is_embedded| site.new_home(is_embedded));
    let store = site.open_home(&homes[0]);
    let [ana, bob, gone] = block_on(furnish(&*store))[..] else { unreachable!() };
    let kept = |store: &dyn Store| {
        block_on(async {
            let mut kept = Vec::new();
            for account in [ana, bob] {
                let maildrop = store.maildrop(account).await.unwrap();
                kept.push(format!("{maildrop:?} {:?}", store.folders(account).await.unwrap()));
                for listed in maildrop.iter() {
                    kept.push(format!("{:?}", read(store, account, listed.uid).await));
                }
                let all = store.changes_since(account, posta_store::ModSeq(0), 1_000).await;
                kept.push(format!("{all:?}"));
            }
            for of in [SecretOf::Apop(ana), SecretOf::Key(KeyId(u64::MAX - 3))] {
                kept.push(format!("{:?}", store.secret(of).await.unwrap().unwrap().expose()));
            }
            kept.push(format!("{:?}", store.events(None, 100).await.unwrap()));
            kept.push(format!("{:?}", store.sources().await.unwrap()));
            kept.push(format!("{:?}", store.items(None, 100).await.unwrap()));
            kept.push(format!("{:?}", store.removed_accounts().await.unwrap()));
            kept
        })
    };
    let before = kept(&*store);
    drop(store);
    let digests: Vec<_> = homes.windows(2).map(|pair| site.copy(&pair[0], &pair[1])).collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
    assert!(digests[0].0.iter().all(|(_, of_part)| of_part.rows > 0), "{digests:?}");
    for home in &homes[1..] {
        let store = site.open_home(home);
        assert_eq!(kept(&*store), before, "{home:?}");
        // What was removed comes back, and no name is given twice.
        let brought_back = block_on(store.undelete(ana, at(60))).unwrap();
        assert_eq!(brought_back, 11, "{home:?}");
        assert!(block_on(store.restore_account(gone)).unwrap() > 10, "{home:?}");
        let added =
            block_on(store.add_account(&"new@x.test".parse().unwrap(), Credentials::default()));
        assert!(added.unwrap() > gone);
    }
}

/// The database of a store that grew stays small, too: pieces above 64 KiB go to the object store, as those of new mail do.
#[test]
fn large_pieces_are_copied_into_the_object_store_and_out_of_it() {
    let (Some(cluster), Some(objects)) = (cluster::shared(), seaweed::shared()) else { return };
    let mut site = Traveller::new(cluster, &Arc::new(Runtime::new().unwrap()));
    let (url, bucket) = (format!("http://{}", objects.address()), objects.new_bucket());
    let bucket = ObjectSettings::new(&url, &bucket, "us-east-1").with_key(KEY.0, KEY.1);
    site.objects = Some(bucket);
    let homes = [true, false, false, true].map(|is_embedded| site.new_home(is_embedded));
    let store = site.open_home(&homes[0]);
    block_on(async {
        let ana = store.add_account(&"ana@x.test".parse().unwrap(), Credentials::default()).await;
        let to = [ana.unwrap()];
        for (number, octets) in [(1, 10), (2, 64 * 1024), (3, 64 * 1024 + 1), (4, 100_000)] {
            store.accept(message(number, at(1), &vec![b'x'; octets], &to)).await.unwrap();
        }
        let three_chunks = large(&*store, 5, &to).await;
        store.accept(three_chunks).await.unwrap();
    });
    drop(store);
    for pair in homes.windows(2) {
        site.copy(&pair[0], &pair[1]);
    }
    for home in &homes[1..3] {
        let Home::Database(schema) = home else { unreachable!() };
        let large = |table: &str| {
            format!("SELECT count(*) FROM {schema}.{table} WHERE octet_length(octets) > 65536")
        };
        assert_eq!(cluster.psql(&large("content")) + &cluster.psql(&large("piece")), "00");
        let named = format!("SELECT count(DISTINCT key) FROM {schema}.piece");
        assert_eq!(cluster.psql(&named), "5", "two of one piece, and three chunks");
    }
}

/// Fills a store, and stops at the `steps`-th page or piece, as if the program was killed there. Returns whether it came
/// to its end.
fn fill_some(site: &Traveller, from: &dyn Copies, to: &dyn Copies, steps: usize) -> bool {
    let told = AtomicUsize::new(0);
    let mut count = |_, _| {
        told.fetch_add(1, Ordering::Relaxed);
    };
    let mut filling = Box::pin(fill(from, to, "test", &mut count));
    site.runtime.block_on(poll_fn(|context| match filling.as_mut().poll(context) {
        Poll::Ready(filled) => {
            assert_eq!(filled.unwrap().went_on, steps > 1);
            Poll::Ready(true)
        }
        Poll::Pending if told.load(Ordering::Relaxed) >= steps => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    }))
}

#[test]
fn a_copy_that_was_broken_off_goes_on() {
    let Some(cluster) = cluster::shared() else { return };
    let site = Traveller::new(cluster, &Arc::new(Runtime::new().unwrap()));
    let first = site.new_home(true);
    let store = site.open_home(&first);
    block_on(furnish(&*store));
    drop(store);
    let mut from = first;
    for is_embedded in [false, true] {
        let (home, source) = (site.new_home(is_embedded), site.alone(&from));
        let mut tries = 1;
        while !fill_some(&site, &*source, &*site.alone(&home), tries) {
            tries += 1;
            assert!(tries < 1_000);
        }
        assert!(tries > 3, "{tries} tries");
        let target = site.alone(&home);
        let there = site.runtime.block_on(digest(&*source, &mut |_, _| ())).unwrap();
        let here = site.runtime.block_on(digest(&*target, &mut |_, _| ())).unwrap();
        assert_eq!(there, here);
        site.runtime.block_on(target.complete_copy()).unwrap();
        from = home;
    }
}

#[test]
fn nobody_uses_a_store_while_it_is_copied() {
    let Some(cluster) = cluster::shared() else { return };
    let site = Traveller::new(cluster, &Arc::new(Runtime::new().unwrap()));
    let schema = cluster.new_schema();
    let open = || site.runtime.block_on(PostgresStore::open(site.settings(&schema)));
    let alone = || site.runtime.block_on(PostgresStore::open_alone(site.settings(&schema)));
    let node = open().unwrap();
    assert!(matches!(alone(), Err(StoreError::InUse(_))));
    drop(node);
    let copy = alone().unwrap();
    assert!(matches!(open(), Err(StoreError::InUse(_))));
    assert_eq!(block_on(copy.begin_copy("one")).unwrap(), None);
    drop(copy);
    assert!(matches!(open(), Err(StoreError::Incomplete(of)) if of == "one"));
    let copy = alone().unwrap();
    assert!(matches!(block_on(copy.begin_copy("another")), Err(StoreError::Occupied)));
    let place = CopyPlace { part: Part::Domains, after: Some(b"x".to_vec()) };
    let (mut rows, target) = (Rows::default(), place.clone());
    push_domain(&mut rows, "x.test", true, None);
    block_on(copy.put_page(Part::Domains, rows, target)).unwrap();
    assert_eq!(block_on(copy.begin_copy("one")).unwrap(), Some(place));
    site.runtime.block_on(copy.empty_copy()).unwrap();
    assert_eq!(block_on(copy.begin_copy("one")).unwrap(), None);
    assert!(block_on(copy.domains()).unwrap().is_empty());
    block_on(copy.complete_copy()).unwrap();
    drop(copy);
    let node = open().unwrap();
    block_on(node.add_domain(&"y.test".parse().unwrap())).unwrap();
    drop(node);
    assert!(matches!(block_on(alone().unwrap().begin_copy("one")), Err(StoreError::Occupied)));
    // So it is with files.
    let home = site.new_home(true);
    let store = site.open_home(&home);
    block_on(store.add_domain(&"y.test".parse().unwrap())).unwrap();
    drop(store);
    assert!(matches!(block_on(site.alone(&home).begin_copy("one")), Err(StoreError::Occupied)));
}

/// What is not whole is not copied as if it was.
#[test]
fn a_content_with_a_hole_is_told_of() {
    let Some(cluster) = cluster::shared() else { return };
    let site = Traveller::new(cluster, &Arc::new(Runtime::new().unwrap()));
    let schema = cluster.new_schema();
    let home = Home::Database(schema.clone());
    let store = site.open_home(&home);
    block_on(furnish(&*store));
    drop(store);
    cluster.psql(&format!("DELETE FROM {schema}.piece WHERE index = 1"));
    let (source, target) = (site.alone(&home), site.alone(&site.new_home(true)));
    let filled = site.runtime.block_on(fill(&*source, &*target, "test", &mut |_, _| ()));
    assert!(matches!(filled, Err(StoreError::Damaged(_))), "{filled:?}");
}

/// The time that a copy takes there and back: `cargo test --release -p posta-store-postgres --test postgres
/// copies::rates -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn rates() {
    const MESSAGES: u64 = 20_000;
    let Some(cluster) = Cluster::start(&[]) else { return };
    let site = Traveller::new(Box::leak(Box::new(cluster)), &Arc::new(Runtime::new().unwrap()));
    let homes = [true, false, true].map(|is_embedded| site.new_home(is_embedded));
    let store = site.open_home(&homes[0]);
    let account =
        block_on(store.add_account(&"ana@x.test".parse().unwrap(), Credentials::default()));
    let account = account.unwrap();
    site.runtime.block_on(async {
        let mut sessions = tokio::task::JoinSet::new();
        for session in 0..64 {
            let store = store.clone();
            sessions.spawn(async move {
                for number in (session..MESSAGES).step_by(64) {
                    let content = format!("Subject: {number}\r\n\r\n{}", "x".repeat(4_000));
                    let sent = message(number, at(number as i64), content.as_bytes(), &[account]);
                    store.accept(sent).await.unwrap();
                }
            });
        }
        sessions.join_all().await;
    });
    drop(store);
    for pair in homes.windows(2) {
        let (from, to) = (site.alone(&pair[0]), site.alone(&pair[1]));
        let began = Instant::now();
        site.runtime.block_on(fill(&*from, &*to, "test", &mut |_, _| ())).unwrap();
        let filled = began.elapsed();
        let both =
            [&from, &to].map(|store| site.runtime.block_on(digest(&**store, &mut |_, _| ())));
        assert_eq!(both[0].as_ref().unwrap(), both[1].as_ref().unwrap());
        site.runtime.block_on(to.complete_copy()).unwrap();
        println!(
            "{MESSAGES} messages copied in {filled:.1?}, and compared in {:.1?}",
            began.elapsed() - filled
        );
    }
}
