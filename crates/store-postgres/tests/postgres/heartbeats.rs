//! What a node has claimed is its own for as long as its heart beats, whatever clocks show.

use super::{add, at, cluster, open, settings};
use posta_mail::{Secret, Timestamp};
use posta_store::{
    Directory as _, Item, ItemState, Mailboxes as _, NodeStanding, NodeState, Nodes as _,
    Queue as _, Settled, Settlement, Sources as _, StoreError, Token, Vital, Vitals,
    conformance::{item, message, source},
};
use posta_store_postgres::PostgresStore;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};

/// A node that can die without a word: its tasks end, and it leaves nothing undone to anybody.
struct Mortal {
    store: Arc<PostgresStore>,
    runtime: Runtime,
}

impl Mortal {
    async fn open(url: &str, schema: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let (url, schema) = (url.to_owned(), schema.to_owned());
        let opened = runtime.spawn(async move { Arc::new(open(&url, &schema).await) });
        Self { store: opened.await.unwrap(), runtime }
    }

    fn die(self) {
        self.runtime.shutdown_background();
    }
}

/// Opens a node with a name, a clock that is some seconds ahead, and open sessions.
async fn named(url: &str, schema: &str, name: &str, ahead: i64) -> PostgresStore {
    let mut settings = settings(url, schema, Path::new("/nowhere/keys"));
    settings.name = name.to_owned();
    let node = PostgresStore::open(settings).await.unwrap();
    node.join(vitals(ahead)).await.unwrap();
    node
}

#[expect(clippy::disallowed_methods, reason = "a node tells what its clock shows")]
fn vitals(ahead: i64) -> Vitals {
    let ahead = Duration::from_secs(ahead.unsigned_abs());
    Vitals(Arc::new(move || Vital { time: Timestamp::now() + ahead, sessions: 3 }))
}

/// Returns the time by the clock of this machine, as [`at`] takes it.
#[expect(clippy::disallowed_methods, reason = "the database has the clock of this machine")]
fn seconds() -> i64 {
    Timestamp::now().as_second() - at(0).as_second()
}

async fn put(node: &PostgresStore, items: u32) {
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = (0..items).map(|index| item(1, index, at(0), 0)).collect();
    node.accept(queued).await.unwrap();
}

async fn claim(node: &PostgresStore, second: i64) -> Vec<(u32, Token)> {
    let claimed = node.claim(at(second), at(second + 300), 9, 9).await.unwrap();
    claimed.iter().map(|it| (it.item.id.index, it.lease.token)).collect()
}

async fn settle(node: &PostgresStore, index: u32, token: Token) -> Settled {
    node.settle(settlement(index, token)).await.unwrap()
}

fn settlement(index: u32, token: Token) -> Settlement {
    Settlement {
        item: item(1, index, at(0), 0).id,
        token: Some(token),
        time: at(20),
        left: None,
        deliveries: Vec::new(),
        reports: Vec::new(),
        events: Vec::new(),
    }
}

async fn states(node: &PostgresStore) -> Vec<(String, bool, u64)> {
    let nodes = node.nodes().await.unwrap();
    nodes.into_iter().map(|node| (node.name, node.is_live, node.items)).collect()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < end, "not so after a minute: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_node_had_claimed_is_free_after_fifteen_seconds_and_not_before() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    // A source has a password, which is sealed.
    let keys = tempfile::tempdir().unwrap();
    let other = PostgresStore::open(settings(&url, &schema, &keys.path().join("keys"))).await;
    let other = other.unwrap();
    let ana = add(&other, "ana@x.test").await;
    let visited = other.add_source(source(ana), Secret::new(b"x")).await.unwrap();
    put(&other, 2).await;
    let node = Mortal::open(&url, &schema).await;
    let [(0, first), (1, second)] = claim(&node.store, 10).await[..] else { panic!("two items") };
    node.store.claim_source(visited, at(10), at(310)).await.unwrap().unwrap();
    // A lease that has ended by the clock of another node, which is an hour ahead, is no invitation to it.
    assert_eq!(claim(&other, 3_610).await, []);
    assert!(other.claim_source(visited, at(3_610), at(3_910)).await.unwrap().is_none());
    assert_eq!(other.next_due().await.unwrap(), None, "it has nothing to wait for");
    node.die();
    let heard = format!("UPDATE {schema}.node SET beat = clock_timestamp() - interval");
    let of_it = "WHERE id IN (SELECT holder FROM";
    cluster.psql(&format!("{heard} '5 s' {of_it} {schema}.item)"));
    assert_eq!(claim(&other, 11).await, []);
    assert!(other.claim_source(visited, at(11), at(311)).await.unwrap().is_none());
    cluster.psql(&format!("{heard} '15 s' {of_it} {schema}.item)"));
    // Its settlement counts for as long as nobody has begun the item again.
    assert_eq!(settle(&other, 1, second).await, Settled::Done);
    until("its source is free", async || {
        other.claim_source(visited, at(11), at(311)).await.unwrap().is_some()
    })
    .await;
    let [(0, third)] = claim(&other, 11).await[..] else { panic!("one item") };
    assert!(third > first);
    assert_eq!(settle(&other, 0, first).await, Settled::Fenced);
    assert!(!other.renew(item(1, 0, at(0), 0).id, first, at(900)).await.unwrap());
    assert_eq!(settle(&other, 0, third).await, Settled::Done);
}

/// After the database was away, every node looks dead to the first that comes back. What the others work on stays theirs
/// until they have had the time to say that they live: else it would be relayed twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_just_come_takes_nobody_for_dead() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let node = named(&url, &schema, "one", 0).await;
    put(&node, 1).await;
    let [(0, token)] = claim(&node, 10).await[..] else { panic!("one item") };
    let coming = named(&url, &schema, "two", 0).await;
    let back = "SET beat = beat - interval '1 h' WHERE name = 'one'";
    cluster.psql(&format!("UPDATE {schema}.node {back}"));
    assert_eq!(claim(&coming, seconds()).await, [], "the first is about to be heard");
    assert_eq!(settle(&node, 0, token).await, Settled::Done);
}

/// Its heartbeats may have gone to a primary that was one no more, and was answered all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_dead_to_the_others_begins_anew() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let node = named(&url, &schema, "one", 0).await;
    put(&node, 1).await;
    let [(0, _)] = claim(&node, 10).await[..] else { panic!("one item") };
    let before = node.standing();
    let back = "SET beat = beat - interval '20 s'";
    cluster.psql(&format!("UPDATE {schema}.node {back}"));
    until("it begins anew", async || node.standing().term > before.term).await;
    assert!(node.standing().takes_work() && !node.standing().holds(before.term));
}

/// The others hear of it without asking: a node that waits for work is told that there is some.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_or_leaves_is_noticed() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let watching = named(&url, &schema, "two", 0).await;
    put(&watching, 1).await;
    let node = Mortal::open(&url, &schema).await;
    assert_eq!(claim(&node.store, 10).await.len(), 1);
    assert_eq!(states(&watching).await, [("posta".into(), true, 1), ("two".into(), true, 0)]);
    node.die();
    cluster.psql(&format!(
        "UPDATE {schema}.node SET beat = beat - interval '1 h' WHERE name = 'posta'"
    ));
    until("its item is free", async || states(&watching).await[0] == ("posta".into(), false, 0))
        .await;
    assert_eq!(claim(&watching, 11).await.len(), 1);
    let leaving = named(&url, &schema, "posta", 0).await;
    until("its earlier run is forgotten", async || states(&watching).await.len() == 2).await;
    watching.leave().await.unwrap();
    assert_eq!(claim(&leaving, 12).await.len(), 1, "at once");
    assert_eq!(states(&leaving).await.len(), 1);
    assert_eq!(claim(&watching, 900).await, [], "who has left claims nothing");
    watching.join(vitals(0)).await.unwrap();
    assert_eq!(states(&leaving).await.len(), 2);
    leaving.leave().await.unwrap();
    assert_eq!(claim(&watching, 900).await.len(), 1, "who joins again works again");
}

/// A node that cannot tell that it lives stops by itself before others take its work, and begins anew once it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_heartbeat_stops_and_begins_anew() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let node = named(&url, &schema, "one", 0).await;
    put(&node, 2).await;
    let [(0, first), (1, waiting)] = claim(&node, 10).await[..] else { panic!("two items") };
    let before = node.standing();
    assert!(before.takes_work() && before.holds(before.term));
    let began = Instant::now();
    let held = cluster.hold(&format!("LOCK TABLE {schema}.node"));
    until("it stops", async || !node.standing().is_live).await;
    let after = began.elapsed();
    // The last heartbeat was sent up to three seconds before.
    assert!(after > Duration::from_secs(8) && after < Duration::from_secs(15), "{after:?}");
    assert!(!node.standing().holds(before.term));
    assert_eq!(
        claim(&node, 900).await,
        [],
        "without a word to the database, which does not answer"
    );
    let now = seconds();
    drop(held);
    until("it lives again", async || node.standing().takes_work()).await;
    assert!(!node.standing().holds(before.term), "what it had begun is over");
    // For a while nobody takes it, so that the ends of attempts get through that could not be told.
    assert_eq!(claim(&node, now).await, []);
    assert_eq!(settle(&node, 1, waiting).await, Settled::Done);
    let [(0, second)] = claim(&node, seconds() + 11).await[..] else { panic!("one is free") };
    assert!(second > first);
    assert_eq!(settle(&node, 0, first).await, Settled::Fenced);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_told_with_their_clocks_and_drained() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, two] =
        [named(&url, &schema, "one", 3_600).await, named(&url, &schema, "two", 0).await];
    let nodes = two.nodes().await.unwrap();
    let told =
        |node: &NodeState| (node.name.clone(), node.sessions, node.is_live, node.is_draining);
    assert_eq!(told(&nodes[0]), ("one".to_owned(), 3, true, false));
    let off = nodes[0].clock_ahead.unwrap() - 3_600_000;
    assert!(off.abs() < 5_000 && nodes[1].clock_ahead.unwrap().abs() < 5_000, "{nodes:?}");
    assert!(one.standing().has_wrong_clock() && !two.standing().has_wrong_clock());
    until("they know of each other", async || one.standing().nodes == 2).await;

    put(&two, 2).await;
    let [(0, token), _] = claim(&one, 3_610).await[..] else { panic!("two items") };
    two.drain_node("one", true).await.unwrap();
    until("it is drained", async || one.standing().is_draining).await;
    let standing = one.standing();
    assert!(standing.holds(0) && !standing.takes_work(), "it finishes what it does: {standing:?}");
    assert_eq!(claim(&one, 900).await, []);
    assert_eq!(settle(&one, 0, token).await, Settled::Done);
    assert_eq!(two.nodes().await.unwrap()[0].items, 1);
    let id = nodes[0].id.as_str();
    two.drain_node(id, false).await.unwrap();
    until("it works again", async || one.standing().takes_work()).await;
    let refused = two.remove_node("one").await.unwrap_err();
    assert!(matches!(refused, StoreError::NodeIsLive(_)), "{refused}");
    two.drain_node(id, true).await.unwrap();
    until("it is drained", async || one.standing().is_draining).await;
    two.remove_node(id).await.unwrap();
    assert_eq!(claim(&two, 12).await.len(), 1, "what it had claimed is free");
    until("it takes no part", async || !one.standing().is_live).await;
    assert_eq!(states(&two).await.len(), 1);

    let missing = two.drain_node("three", true).await.unwrap_err();
    assert!(matches!(missing, StoreError::NoSuchNode(_)), "{missing}");
    let _namesake = named(&url, &schema, "two", 0).await;
    let ambiguous = two.drain_node("two", true).await.unwrap_err();
    assert!(matches!(ambiguous, StoreError::AmbiguousNode(_)), "{ambiguous}");
}

/// What a node with a wrong clock has queued need not wait for that node, nor for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_due_for_all_whatever_their_clocks_show() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, two] =
        [named(&url, &schema, "one", 3_600).await, named(&url, &schema, "two", 0).await];
    let now = seconds();
    let mut queued = message(1, at(0), b"x\r\n\n", &[]);
    queued.items = vec![item(1, 0, at(now + 3_600), 0), item(1, 1, at(now + 3_700), 0)];
    one.accept(queued).await.unwrap();
    assert_eq!(claim(&one, now).await, [], "by its clock, that is an hour ago");
    let [(0, token)] = claim(&two, now + 1).await[..] else { panic!("one is due") };
    let due = |time: Option<Timestamp>| time.unwrap().duration_since(at(now)).as_secs();
    let [mine, others] = [due(one.next_due().await.unwrap()), due(two.next_due().await.unwrap())];
    assert!((3_698..3_703).contains(&mine) && (98..103).contains(&others), "{mine}, {others}");
    // What waits again, and what the operator wants to be tried now.
    let left = Item { due: at(now + 60), attempts: 1, ..item(1, 0, at(0), 0) };
    two.settle(Settlement { left: Some(left), ..settlement(0, token) }).await.unwrap();
    assert_eq!(claim(&one, now + 3_655).await, []);
    let [(0, token)] = claim(&one, now + 3_665).await[..] else { panic!("one is due") };
    let left = Item { due: at(now + 3_720), attempts: 2, ..item(1, 0, at(0), 0) };
    one.settle(Settlement { left: Some(left), ..settlement(0, token) }).await.unwrap();
    let both = [0, 1].map(|index| (item(1, index, at(0), 0).id, at(now + 3_600)));
    assert_eq!(one.reschedule(both.into(), ItemState::Waiting).await.unwrap(), 2);
    // A pause is the affair of the node alone.
    one.pause(&item(1, 0, at(0), 0).destination, at(now + 9_000)).await.unwrap();
    assert_eq!(claim(&one, now + 3_610).await, []);
    assert_eq!(claim(&two, now + 5).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_is_one_nodes_at_a_time() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, two] = [named(&url, &schema, "one", 0).await, named(&url, &schema, "two", 0).await];
    let both = async |duty| {
        let asked = tokio::join!(one.take_duty(duty), two.take_duty(duty));
        (asked.0.unwrap(), asked.1.unwrap())
    };
    for duty in ["sweep", "reports"] {
        let taken = both(duty).await;
        assert!(taken.0 != taken.1, "{taken:?}");
        for _ in 0..3 {
            assert_eq!(both(duty).await, taken, "it keeps what it has");
        }
    }
    assert!(one.take_duty("keys").await.unwrap());
    one.drain_node("one", true).await.unwrap();
    assert!(!two.take_duty("keys").await.unwrap(), "it may be at work on it");
    until("it is drained", async || one.standing().is_draining).await;
    assert!(!one.take_duty("keys").await.unwrap());
    assert!(two.take_duty("keys").await.unwrap());
    two.leave().await.unwrap();
    assert!(!two.take_duty("keys").await.unwrap());
    one.drain_node("one", false).await.unwrap();
    until("it works again", async || one.standing().takes_work()).await;
    assert_eq!(both("keys").await, (true, false));

    let dying = Mortal::open(&url, &schema).await;
    assert!(dying.store.take_duty("last").await.unwrap());
    assert!(!one.take_duty("last").await.unwrap());
    dying.die();
    cluster.psql(&format!(
        "UPDATE {schema}.node SET beat = beat - interval '16 s' WHERE name = 'posta'"
    ));
    assert!(one.take_duty("last").await.unwrap());
    let nodes = one.nodes().await.unwrap();
    let duties = &nodes.iter().find(|it| it.name == "one").unwrap().duties;
    assert!(["keys", "last"].iter().all(|duty| duties.iter().any(|it| it == duty)), "{duties:?}");
}

/// Who opens the store to look at it is no node.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_claims_nothing_is_no_node() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let node = open(&url, &schema).await;
    add(&node, "ana@x.test").await;
    put(&node, 1).await;
    assert_eq!(node.nodes().await.unwrap(), []);
    assert_eq!(node.standing(), NodeStanding::ALONE);
    assert_eq!(claim(&node, 10).await.len(), 1);
    assert_eq!(states(&node).await, [("posta".into(), true, 1)]);
    drop(node);
    let other = open(&url, &schema).await;
    until("it leaves when it is dropped", async || states(&other).await.is_empty()).await;
    assert!(other.account(&"ana@x.test".parse().unwrap()).await.unwrap().is_some());
}
