//! Large pieces of messages in an object store: a real one, and what stands in front of it.

use super::{
    add, at,
    cluster::{self, Cluster},
    maker, run_rules,
    s3_proxy::{Door, S3Proxy},
    seaweed::{self, KEY, READER, Seaweed},
    settings, tls,
};
use posta_mail::{MailId, Timestamp};
use posta_store::{
    Acceptance, AccountId, CHUNK, Contents as _, FolderId, Mailboxes as _, StoreError, Uid,
    Upkeep as _,
    conformance::{self, message},
};
use posta_store_postgres::{ObjectSettings, PostgresStore};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// More than stays in the database.
const LARGE: usize = 100_000;

/// A database and a bucket with a door in front of it.
struct Place {
    cluster: &'static Cluster,
    schema: String,
    objects: &'static Seaweed,
    bucket: String,
    door: S3Proxy,
}

impl Place {
    /// Makes one; none where PostgreSQL or SeaweedFS cannot be had.
    async fn new() -> Option<Self> {
        let (cluster, objects) = (cluster::shared()?, seaweed::shared()?);
        let door = S3Proxy::open(objects.address()).await;
        Some(Self {
            cluster,
            schema: cluster.new_schema(),
            objects,
            bucket: objects.new_bucket(),
            door,
        })
    }

    async fn open(&self) -> PostgresStore {
        self.open_with(self.settings()).await.unwrap()
    }

    /// Returns the usual settings.
    fn settings(&self) -> ObjectSettings {
        ObjectSettings::new(&self.door.url(), &self.bucket, "us-east-1").with_key(KEY.0, KEY.1)
    }

    async fn open_with(&self, objects: ObjectSettings) -> Result<PostgresStore, StoreError> {
        let mut settings = settings(&self.cluster.url(), &self.schema, Path::new("/nowhere/keys"));
        settings.objects = Some(objects);
        PostgresStore::open(settings).await
    }

    /// Runs a statement in the schema, and returns the lines that it prints.
    fn psql(&self, sql: &str) -> Vec<String> {
        let said = self.cluster.psql(&format!("SET search_path TO {}; {sql}", self.schema));
        said.lines().skip(1).map(str::to_owned).collect()
    }

    /// The names of all objects that rows name.
    fn keys(&self) -> Vec<String> {
        self.psql("SELECT key FROM piece WHERE key IS NOT NULL ORDER BY key")
    }

    fn number(&self, sql: &str) -> usize {
        self.psql(sql)[0].parse().unwrap()
    }

    fn has(&self, key: &str) -> bool {
        self.objects.has(&self.bucket, key)
    }

    /// Lets days go by for what is noted.
    fn days_later(&self, days: u32) {
        let span = format!("interval '{days} days'");
        self.psql(&format!(
            "UPDATE unused_object SET since = since - {span}; UPDATE object_store SET pass = pass - {span}"
        ));
    }
}

fn chunk(seed: u8) -> Vec<u8> {
    (0..CHUNK).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

/// Brings a message of several chunks, and returns it whole.
async fn bring(
    store: &PostgresStore,
    number: u64,
    chunks: u8,
    to: &[AccountId],
) -> Result<(MailId, Vec<u8>), StoreError> {
    let rest = vec![b'r'; LARGE];
    let (mut acceptance, mut whole) = (message(number, at(0), &rest, to), Vec::new());
    for index in 0..chunks {
        let octets = chunk(index);
        store.append(acceptance.id, u32::from(index), &octets).await?;
        whole.extend_from_slice(&octets);
    }
    whole.extend_from_slice(&rest);
    acceptance.chunks = u32::from(chunks);
    acceptance.added = (posta_mail::crlf::lines_of(&whole).len() - whole.len()) as u64;
    let id = acceptance.id;
    store.accept(acceptance).await.map(|()| (id, whole))
}

async fn read(store: &PostgresStore, id: MailId, chunks: u32) -> Result<Vec<u8>, StoreError> {
    let mut whole = Vec::new();
    for index in 0..=chunks {
        whole.extend_from_slice(&store.chunk(id, index).await?.unwrap());
    }
    Ok(whole)
}

fn small(number: u64, to: AccountId) -> Acceptance {
    message(number, at(0), b"Subject: small\r\n\r\nx\r\n", &[to])
}

async fn uids(store: &PostgresStore, account: AccountId) -> Vec<Uid> {
    store.maildrop(account).await.unwrap().iter().map(|message| message.uid).collect()
}

async fn sweep(store: &PostgresStore, now: Timestamp) {
    while store.sweep(now).await.unwrap() > 0 {}
}

/// Tries until it succeeds.
async fn in_the_end<T>(mut attempt: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn conforms() {
    let Some(objects) = seaweed::shared() else { return };
    let url = format!("http://{}", objects.address());
    let settings = ObjectSettings::new(&url, &objects.new_bucket(), "us-east-1");
    let Some(make) = maker(Some(settings.with_key(KEY.0, KEY.1))) else { return };
    run_rules(&make);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pieces_are_objects_and_small_ones_rows() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let before = place.door.requests();
    store.accept(small(1, ana)).await.unwrap();
    store.accept(message(2, at(0), &[b'x'; 64 * 1024], &[ana])).await.unwrap();
    assert_eq!(place.keys(), Vec::<String>::new());
    assert_eq!(place.door.requests(), before, "small mail does not ask the object store");

    let (id, whole) = bring(&store, 3, 2, &[ana]).await.unwrap();
    let keys = place.keys();
    assert_eq!(keys.len(), 3, "two chunks and the rest");
    assert!(keys.iter().all(|key| key.contains(&id.to_string()) && place.has(key)), "{keys:?}");
    let [puts, heads, gets] = place.door.requests();
    assert_eq!([puts - before[0], heads - before[1], gets - before[2]], [3, 3, 0]);
    assert!(read(&store, id, 2).await.unwrap() == whole);
    assert_eq!(place.door.requests()[2] - gets, 3, "one request for each piece");
    let count = "SELECT count(*) FROM piece WHERE octets IS NOT NULL";
    assert_eq!(place.number(count), 0, "and none of it is in the database");

    // A message of one chunk has its head above it.
    let mut alone = message(4, at(0), &vec![b'y'; LARGE], &[ana]);
    alone.head = b"Received: here\r\n".to_vec();
    let (id, expected) = (alone.id, [&alone.head[..], &alone.rest].concat());
    store.accept(alone).await.unwrap();
    assert!(store.chunk(id, 0).await.unwrap().unwrap() == expected);
    assert_eq!(place.keys().len(), 4);
    for (uid, octets) in uids(&store, ana).await.into_iter().zip([1, 2, 3, 4]) {
        assert_eq!(uid.0, octets);
        conformance::read(&store, ana, uid).await;
    }
    assert_eq!(place.number("SELECT count(*) FROM arriving"), 0);
}

/// An object outlives the last row that names it by a day, and goes then.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_goes_a_day_after_its_last_row() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let (ana, bob) = (add(&store, "ana@x.test").await, add(&store, "bob@x.test").await);
    let (id, _) = bring(&store, 1, 1, &[ana, bob]).await.unwrap();
    let keys = place.keys();
    assert_eq!(keys.len(), 2);
    let inbox = FolderId::INBOX;
    store.remove(ana, inbox, uids(&store, ana).await, at(1), at(2)).await.unwrap();
    sweep(&store, at(3)).await;
    assert_eq!(place.number("SELECT count(*) FROM unused_object"), 0, "bob has it still");
    read(&store, id, 1).await.unwrap();

    store.remove(bob, inbox, uids(&store, bob).await, at(4), at(5)).await.unwrap();
    sweep(&store, at(6)).await;
    assert_eq!(store.chunk(id, 0).await.unwrap(), None);
    assert_eq!(place.number("SELECT count(*) FROM unused_object"), 2);
    assert!(keys.iter().all(|key| place.has(key)), "a backup of yesterday needs them");
    place.days_later(2);
    // While the object store is away, what is due stays due.
    place.door.set(Door::Shut);
    sweep(&store, at(7)).await;
    assert_eq!(place.number("SELECT count(*) FROM unused_object"), 2);
    place.door.set(Door::Open);
    in_the_end(async || {
        store.sweep(at(8)).await?;
        match keys.iter().any(|key| place.has(key)) {
            true => Err(StoreError::Failed("they are there still".to_owned())),
            false => Ok(()),
        }
    })
    .await;
    assert_eq!(place.number("SELECT count(*) FROM unused_object"), 0);
}

/// A node dies between a PUT and the transaction that would have named the object: the weekly pass finds it.
#[test]
fn an_object_whose_transaction_never_came_is_removed() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let tests = runtime();
    let Some(place) = tests.block_on(Place::new()) else { return };
    let (dying, now) = (runtime(), now());
    let id = MailId::new(now, 1);
    let holder = dying.block_on(async {
        let store = place.open().await;
        let holder = place.cluster.hold(&format!("LOCK TABLE {}.arriving", place.schema));
        tokio::spawn(async move { store.append(id, 0, &chunk(0)).await });
        // The object is there, and its row waits.
        wait_for_a_lock(&place).await;
        holder
    });
    dying.shutdown_timeout(Duration::from_secs(20));
    drop(holder);

    tests.block_on(async {
        let store = place.open().await;
        let ana = add(&store, "ana@x.test").await;
        let (kept, whole) = bring(&store, 2, 1, &[ana]).await.unwrap();
        let orphan = async |store: &PostgresStore, day: i64| {
            place.psql("UPDATE object_store SET pass = NULL, position = NULL");
            let later = Timestamp::from_second(now.as_second() + day * 86_400 + 60).unwrap();
            sweep(store, later).await;
            place.number("SELECT count(*) FROM unused_object")
        };
        let of_orphan = "SELECT count(*) FROM piece WHERE index = 0 AND content NOT IN (SELECT id FROM content)";
        assert_eq!(place.number(of_orphan), 0, "there is no row");
        assert_eq!(orphan(&store, 0).await, 0, "it may be on its way");
        // What the check at each start left would be found too.
        assert_eq!(orphan(&store, 1).await, 1, "it was put a day ago, and no row names it");
        let key = place.psql("SELECT key FROM unused_object").remove(0);
        assert!(key.contains(&id.to_string()) && place.has(&key), "{key}");
        place.days_later(2);
        sweep(&store, now).await;
        assert!(!place.has(&key));
        assert!(read(&store, kept, 1).await.unwrap() == whole, "others stay");
    });
}

/// Waits until a statement of the store waits for the lock that the test holds.
async fn wait_for_a_lock(place: &Place) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%arriving%'";
    while place.number(waiting) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the object store has the clock of this machine")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Without the object store small mail goes on, large mail is refused for now, at once, and service is back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn small_mail_goes_on_without_the_object_store() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let (id, whole) = bring(&store, 1, 1, &[ana]).await.unwrap();
    let mut number = 10;
    for (door, words) in [
        (Door::Shut, "cannot be used now"),
        (Door::Overloaded, "it answered 503 SlowDown (Reduce your request rate.)"),
        (Door::Slow, "no answer within 700ms"),
    ] {
        let mut settings = place.settings();
        if door == Door::Slow {
            settings = settings.with_time_limit(Duration::from_millis(700));
        }
        let store = place.open_with(settings).await.unwrap();
        place.door.set(door);
        let refused = bring(&store, number, 1, &[ana]).await.unwrap_err();
        assert!(
            matches!(&refused, StoreError::ObjectStore(why) if why.contains(words)),
            "{refused}"
        );
        let refused = store.chunk(id, 0).await.unwrap_err();
        assert!(matches!(refused, StoreError::ObjectStore(_)), "{refused}");
        let objects = || store.figures().objects.unwrap();
        assert!(objects().away.is_some() && objects().failed > 0);
        // While it is away, others do not wait for it, but for one that tries.
        let before = place.door.requests();
        for _ in 0..20 {
            assert!(bring(&store, number, 1, &[ana]).await.is_err());
        }
        let tried = place.door.requests()[0] - before[0];
        assert!(tried < 20, "{tried}");
        store.ready().await.unwrap();
        store.accept(small(number + 1, ana)).await.unwrap();
        place.door.set(Door::Open);
        in_the_end(async || bring(&store, number, 1, &[ana]).await).await;
        assert!(in_the_end(async || read(&store, id, 1).await).await == whole);
        assert_eq!(objects().away, None);
        number += 10;
    }
    assert_eq!(uids(&store, ana).await.len(), 7);
    for uid in uids(&store, ana).await {
        conformance::read(&store, ana, uid).await;
    }
}

/// A node starts while the object store is away, since small mail needs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_the_object_store() {
    let Some(place) = Place::new().await else { return };
    place.door.set(Door::Shut);
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    store.accept(small(1, ana)).await.unwrap();
    place.door.set(Door::Open);
    in_the_end(async || bring(&store, 2, 1, &[ana]).await).await;
}

/// A node whose clock is wrong signs by the clock of the store, which would refuse it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_the_object_store_counts() {
    let Some(place) = Place::new().await else { return };
    place.door.set(Door::HourAhead);
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let (id, whole) = bring(&store, 1, 1, &[ana]).await.unwrap();
    assert_eq!(read(&store, id, 1).await.unwrap(), whole);
}

/// A PUT that is acknowledged and kept nowhere is noticed before any transaction names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_put_is_noticed_before_the_transaction() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    place.door.set(Door::LosePuts);
    let refused = bring(&store, 1, 1, &[ana]).await.unwrap_err().to_string();
    assert!(refused.contains("acknowledged") && refused.contains("does not have it"), "{refused}");
    assert_eq!(place.number("SELECT count(*) FROM piece"), 0);
    // The last piece of a message is no different.
    let refused = store.accept(message(2, at(0), &vec![b'x'; LARGE], &[ana])).await;
    assert!(matches!(refused, Err(StoreError::ObjectStore(_))), "{refused:?}");
    assert_eq!(uids(&store, ana).await, []);
    place.door.set(Door::Open);
    bring(&store, 1, 1, &[ana]).await.unwrap();
}

/// The answer to a PUT is lost: the next attempt finds the object there, and it is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_put_is_found_again() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    place.door.set(Door::LoseAnswerToPut);
    let [puts, ..] = place.door.requests();
    let (id, whole) = bring(&store, 1, 1, &[ana]).await.unwrap();
    assert_eq!(place.door.requests()[0] - puts, 3, "one of the two was put twice");
    assert_eq!(place.keys().len(), 2);
    assert!(read(&store, id, 1).await.unwrap() == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_object_is_noticed_when_it_is_read() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let (id, whole) = bring(&store, 1, 1, &[ana]).await.unwrap();
    place.door.set(Door::AlterOnce);
    assert!(read(&store, id, 1).await.unwrap() == whole, "on its way, once");
    place.door.set(Door::Alter);
    let damaged = store.chunk(id, 0).await.unwrap_err().to_string();
    assert!(damaged.contains("is altered") && damaged.contains(&id.to_string()), "{damaged}");
}

/// Somebody empties the bucket: readers are told, and the weekly pass says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_told() {
    let Some(place) = Place::new().await else { return };
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let (id, _) = bring(&store, 1, 1, &[ana]).await.unwrap();
    bring(&store, 2, 1, &[ana]).await.unwrap();
    let missing = || store.figures().objects.unwrap().missing;
    sweep(&store, at(1)).await;
    assert_eq!(missing(), 0);
    let keys = place.keys();
    place.objects.remove(&place.bucket, &keys[0]);
    let told = store.chunk(id, 0).await.unwrap_err();
    assert!(
        matches!(&told, StoreError::Damaged(why) if why.contains("missing from the bucket")),
        "{told}"
    );
    sweep(&store, at(1)).await;
    assert_eq!(missing(), 0, "the pass is a week away");
    place.days_later(8);
    sweep(&store, at(1)).await;
    assert_eq!(missing(), 1);
    assert_eq!(place.psql("SELECT position IS NULL FROM object_store"), ["t"]);
}

/// The object store crashes while messages arrive: what was acknowledged is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_object_store_loses_nothing_acknowledged() {
    let (Some(cluster), Some(mut objects)) = (cluster::shared(), Seaweed::start()) else { return };
    let bucket = objects.new_bucket();
    let url = format!("http://{}", objects.address());
    let mut settings = settings(&cluster.url(), &cluster.new_schema(), Path::new("/nowhere/keys"));
    settings.objects = Some(ObjectSettings::new(&url, &bucket, "us-east-1").with_key(KEY.0, KEY.1));
    let store = Arc::new(PostgresStore::open(settings).await.unwrap());
    let ana = add(&store, "ana@x.test").await;
    let (stop, is_over) = tokio::sync::watch::channel(false);
    let mut senders = Vec::new();
    for sender in 0..3_u64 {
        let (store, is_over) = (store.clone(), is_over.clone());
        senders.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            for number in (sender << 32).. {
                match bring(&store, number, 2, &[ana]).await {
                    Ok((id, _)) => accepted.push(id),
                    Err(StoreError::ObjectStore(_)) => sleep(Duration::from_millis(20)).await,
                    Err(error) => panic!("{error}"),
                }
                if *is_over.borrow() {
                    break;
                }
            }
            accepted
        }));
    }
    while uids(&store, ana).await.len() < 6 {
        sleep(Duration::from_millis(10)).await;
    }
    let objects = tokio::task::spawn_blocking(move || {
        objects.restart();
        objects
    });
    let objects = objects.await.unwrap();
    let before = uids(&store, ana).await.len();
    let began = tokio::time::Instant::now();
    while uids(&store, ana).await.len() < before + 6 {
        assert!(began.elapsed() < Duration::from_secs(60), "service is back by itself");
        sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).unwrap();
    let mut accepted = 0;
    for sender in senders {
        for id in sender.await.unwrap() {
            assert_eq!(read(&store, id, 2).await.unwrap().len(), 2 * CHUNK + LARGE);
            accepted += 1;
        }
    }
    assert_eq!(uids(&store, ana).await.len(), accepted, "and nothing is there twice");
    drop(objects);
}

/// Two nodes share the bucket, and only one looks after it at a time.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_a_bucket() {
    let Some(place) = Place::new().await else { return };
    let (one, other) = (place.open().await, place.open().await);
    let ana = add(&one, "ana@x.test").await;
    let (id, whole) = bring(&one, 1, 2, &[ana]).await.unwrap();
    assert!(read(&other, id, 2).await.unwrap() == whole);
    let holder = place.cluster.hold(&format!(
        "SET LOCAL search_path TO {}; SELECT pg_advisory_lock(x'706f7374'::integer, hashtext(current_schema()))",
        place.schema
    ));
    sweep(&other, at(1)).await;
    assert_eq!(place.psql("SELECT pass IS NULL FROM object_store"), ["t"], "it is another's turn");
    drop(holder);
    sweep(&other, at(1)).await;
    assert_eq!(place.psql("SELECT pass IS NULL FROM object_store"), ["f"]);
}

/// What is wrong with the configuration is told at the start, with its cure.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_or_bucket_is_told_with_its_cure() {
    let Some(place) = Place::new().await else { return };
    for (bucket, key, words) in [
        (&place.bucket[..], ("nobody", KEY.1), "key-id"),
        (&place.bucket, (KEY.0, "wrong"), "secret-file"),
        (&place.bucket, READER, "must have the right to put"),
        ("no-such-bucket", KEY, "make the bucket"),
    ] {
        let objects = ObjectSettings::new(&place.door.url(), bucket, "us-east-1");
        let refused = place.open_with(objects.with_key(key.0, key.1)).await.err().unwrap();
        let told = refused.to_string();
        assert!(matches!(refused, StoreError::ObjectStore(_)), "{told}");
        assert!(told.contains(words) && told.contains(bucket), "{words}: {told}");
    }
    // A node whose configuration names no object store reads what is not there with a word about it.
    let store = place.open().await;
    let ana = add(&store, "ana@x.test").await;
    let (id, _) = bring(&store, 1, 1, &[ana]).await.unwrap();
    let without = super::open(&place.cluster.url(), &place.schema).await;
    let told = without.chunk(id, 0).await.unwrap_err().to_string();
    assert!(told.contains("[store] objects names none"), "{told}");
    without.accept(message(2, at(0), &vec![b'x'; LARGE], &[ana])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_the_object_store_is_verified() {
    let Some(place) = Place::new().await else { return };
    let (acceptor, certificate) = tls::acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = place.objects.address();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.pem");
    std::fs::write(&authority, certificate).unwrap();
    let settings = |host: &str| {
        let url = format!("https://{host}:{port}");
        ObjectSettings::new(&url, &place.bucket, "us-east-1").with_key(KEY.0, KEY.1)
    };
    let trusting = |host: &str| settings(host).with_authorities(vec![authority.clone()]);
    let store = place.open_with(trusting("localhost")).await.unwrap();
    let ana = add(&store, "ana@x.test").await;
    let (id, whole) = bring(&store, 1, 1, &[ana]).await.unwrap();
    assert!(read(&store, id, 1).await.unwrap() == whole);
    for (settings, why) in
        [(settings("localhost"), "no authority"), (trusting("127.0.0.1"), "name")]
    {
        let store = place.open_with(settings).await.unwrap();
        let refused = bring(&store, 2, 1, &[ana]).await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{why}: {refused}");
    }
}

/// Chunks are stored before, in transactions that need not be durable. If the database lost one, the message is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_lost_a_chunk_is_not_accepted() {
    let Some(cluster) = cluster::shared() else { return };
    let schema = cluster.new_schema();
    let store = super::open(&cluster.url(), &schema).await;
    let ana = add(&store, "ana@x.test").await;
    for lost in [0, 1] {
        let mut acceptance = message(lost + 1, at(0), b"rest", &[ana]);
        acceptance.chunks = 2;
        for index in 0..2 {
            store.append(acceptance.id, index, &chunk(0)).await.unwrap();
        }
        cluster.psql(&format!("DELETE FROM {schema}.piece WHERE index = {lost}"));
        let refused = store.accept(acceptance).await;
        assert!(
            matches!(&refused, Err(StoreError::Failed(why)) if why.contains("lost a part")),
            "{refused:?}"
        );
    }
    assert_eq!(uids(&store, ana).await, []);
    store.accept(small(9, ana)).await.unwrap();
}
