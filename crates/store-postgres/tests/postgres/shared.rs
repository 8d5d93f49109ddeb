//! Counts that nodes share.

use super::cluster::{self, Cluster};
use posta_mail::Timestamp;
use posta_store::{Nodes as _, Shared as _, Tally, Vital, Vitals};
use posta_store_postgres::PostgresStore;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

#[expect(clippy::disallowed_methods, reason = "the counts end by the clock of this machine")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Opens a node, and lets its heart beat.
async fn open(url: &str, schema: &str) -> PostgresStore {
    let node = super::open(url, schema).await;
    let vitals = || Vital { time: now(), sessions: 0 };
    node.join(Vitals(Arc::new(vitals))).await.unwrap();
    node
}

/// A time that is not over while a test runs.
fn later() -> Option<Timestamp> {
    Some(now() + Duration::from_secs(600))
}

fn counted(tally: &Tally, key: &str) -> u64 {
    tally.count(key, now()).count
}

/// Waits until all of these count so many. Returns the time that it took.
async fn until_all_count(tallies: &[&Tally], key: &str, expected: u64) -> Duration {
    let began = Instant::now();
    while tallies.iter().any(|tally| counted(tally, key) != expected) {
        let found: Vec<_> = tallies.iter().map(|tally| counted(tally, key)).collect();
        assert!(began.elapsed() < Duration::from_secs(30), "{key}: {found:?}, and not {expected}");
        sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_nodes_add_up_and_are_cleared_everywhere() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await];
    let [one, other] = nodes.each_ref().map(|node| node.tally("failures"));
    let key = "ana@x.test \u{0}ț";
    one.add(key, 3, later(), now());
    other.add(key, 4, later(), now());
    let took = until_all_count(&[&one, &other], key, 7).await;
    println!("both nodes knew the sum after {took:?}");
    // A node that comes later knows what was counted.
    let late = open(&url, &schema).await;
    let third = late.tally("failures");
    until_all_count(&[&third], key, 7).await;
    assert_eq!(third.all(7, now()).len(), 1);
    assert!(third.clear(key, now()));
    until_all_count(&[&one, &other, &third], key, 0).await;
    let rows = format!("SELECT coalesce(sum(count), 0) FROM {schema}.tally");
    while cluster.psql(&rows) != "0" {
        sleep(Duration::from_millis(10)).await;
    }
    one.add(key, 1, later(), now());
    until_all_count(&[&one, &other, &third], key, 1).await;
    // What was counted has happened, whoever counted it.
    let before = counted(&other, key);
    drop(nodes);
    let newest = open(&url, &schema).await;
    until_all_count(&[&newest.tally("failures")], key, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_leaves_nothing() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await];
    let [one, other] = nodes.each_ref().map(|node| node.tally("sessions"));
    for _ in 0..1_000 {
        one.add("ana", 1, None, now());
        one.add("bob", 1, None, now());
        one.take_back("bob");
    }
    until_all_count(&[&one, &other], "ana", 1_000).await;
    let rows: u64 = cluster.psql(&format!("SELECT count(*) FROM {schema}.tally")).parse().unwrap();
    assert!(rows <= 2, "{rows} rows");
    (0..1_000).for_each(|_| one.take_back("ana"));
    until_all_count(&[&one, &other], "ana", 0).await;
    assert!(other.is_empty());
}

/// The sessions of a node end with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_counts_for_its_life_goes_with_it() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let [one, other] = [open(&url, &schema).await, open(&url, &schema).await];
    let (sessions, failures) = (other.tally("sessions"), other.tally("failures"));
    one.tally("sessions").add("ana", 2, None, now());
    one.tally("failures").add("ana", 3, later(), now());
    until_all_count(&[&sessions], "ana", 2).await;
    until_all_count(&[&failures], "ana", 3).await;
    // It leaves in good order, so that nobody has to wait until it is dead.
    drop(one);
    until_all_count(&[&sessions], "ana", 0).await;
    assert_eq!(counted(&failures, "ana"), 3, "what happened has happened");
}

/// Strangers can make up keys as fast as they fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_keys_is_no_flood_of_writes() {
    let Some(cluster) = cluster::shared() else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await];
    let [one, other] = nodes.each_ref().map(|node| node.tally("failures"));
    let began = Instant::now();
    for key in 0..50_000 {
        one.add(&key.to_string(), 1, later(), now());
    }
    one.add("attacker", 20, later(), now());
    let took = until_all_count(&[&other], "attacker", 20).await;
    println!("the other node knew of the attacker after {took:?}");
    while began.elapsed() < Duration::from_secs(3) {
        sleep(Duration::from_millis(10)).await;
    }
    let rows: f64 = cluster.psql(&format!("SELECT count(*) FROM {schema}.tally")).parse().unwrap();
    let most = 500.0 * began.elapsed().as_secs_f64() + 200.0;
    println!("{rows} rows were written for 50,001 keys");
    assert!(rows <= most, "{rows} rows, more than {most}");
}

/// The counts in the database go with a crash; those in the nodes do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_loses_no_counts_of_those_that_live() {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else { return };
    let (url, schema) = (cluster.url(), cluster.new_schema());
    let nodes = [open(&url, &schema).await, open(&url, &schema).await];
    let [one, other] = nodes.each_ref().map(|node| node.tally("failures"));
    one.add("ana", 3, later(), now());
    other.add("ana", 4, later(), now());
    until_all_count(&[&one, &other], "ana", 7).await;
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.crash_for(Duration::from_millis(500));
        cluster
    });
    // Counting goes on meanwhile.
    one.add("ana", 1, later(), now());
    let cluster = cluster.await.unwrap();
    until_all_count(&[&one, &other], "ana", 8).await;
    let rows = format!("SELECT coalesce(sum(count), 0) FROM {schema}.tally");
    for _ in 0..3_000 {
        if cluster.psql(&rows) == "8" {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{} and not 8", cluster.psql(&rows));
}
