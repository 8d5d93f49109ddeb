//! Failovers, and commits that wait for a standby.

use super::{add, at, cluster::Cluster, open};
use posta_store::{
    Folders as _, Mailboxes as _, Queue as _,
    conformance::{item, message},
};
use std::{os::unix::net::UnixListener, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// The time for which nothing may be acknowledged.
const WHILE: Duration = Duration::from_secs(2);

/// Makes every commit of others wait for a standby that does not exist, or no longer. A superuser's own would wait, too.
fn wait_for_nobody(cluster: &Cluster, waits: bool) {
    let names = if waits { "nobody" } else { "" };
    cluster.psql_alone(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
    cluster.psql_alone("SELECT pg_reload_conf()");
}

/// Waits until a commit waits for the standby.
async fn until_waiting(cluster: &Cluster) {
    for _ in 0..600 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        if cluster.psql_alone(count) != "0" {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("no commit waits for the standby");
}

/// A commit whose wait for the standby somebody ends (`pg_cancel_backend`) is answered by PostgreSQL with success, and a
/// warning. It is acknowledged only when the standby, or the operator's word, has made it safe.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_standby_that_was_cut_short_is_no_success() {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else { return };
    let store = Arc::new(open(&cluster.url(), "posta").await);
    let ana = add(&store, "ana@x.test").await;
    wait_for_nobody(&cluster, true);
    let mut queued = message(2, at(0), b"x\r\n\n", &[]);
    queued.items = vec![item(2, 0, at(0), 0)];
    let works = [message(1, at(0), b"x\r\n", &[ana]), queued].map(|acceptance| {
        let store = store.clone();
        tokio::spawn(async move { store.accept(acceptance).await })
    });
    let adding = tokio::spawn({
        let store = store.clone();
        async move { add(&store, "bob@x.test").await }
    });
    let end =
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    for _ in 0..3 {
        until_waiting(&cluster).await;
        cluster.psql_alone(end);
    }
    sleep(WHILE).await;
    assert!(works.iter().all(|work| !work.is_finished()), "nothing is safe yet");
    assert!(!adding.is_finished(), "nor is the account");
    wait_for_nobody(&cluster, false);
    for work in works {
        work.await.unwrap().unwrap();
    }
    adding.await.unwrap();
    assert_eq!(store.folders(ana).await.unwrap()[0].messages, 1, "and it is there once");
    assert_eq!(store.items(None, 9).await.unwrap().len(), 1);
}

/// A database that stands still ends no connection and answers nothing; whoever waits hears of it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_is_not_waited_for_without_end() {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else { return };
    let store = open(&cluster.url(), "posta").await;
    let ana = add(&store, "ana@x.test").await;
    store.maildrop(ana).await.unwrap();
    cluster.signal("STOP");
    let waited = timeout(Duration::from_secs(60), store.folders(ana)).await;
    cluster.signal("CONT");
    let error = waited.expect("it does not wait without end").unwrap_err().to_string();
    assert!(error.contains("did not answer"), "{error}");
    assert!(!store.folders(ana).await.unwrap().is_empty(), "and the next is served");
}

/// A host that takes connections and says nothing, as one whose machine died, keeps nobody from the one that works.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_hides_no_other() {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else { return };
    let mute = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(mute.path().join(".s.PGSQL.5432")).unwrap();
    let host = |path: &std::path::Path| path.to_str().unwrap().replace('/', "%2F");
    let (first, second) = (host(mute.path()), host(cluster.directory()));
    let url = format!("postgresql://posta@{first},{second}/postgres");
    let opened = timeout(Duration::from_secs(20), open(&url, "posta")).await;
    let store = opened.expect("the second host is found");
    let ana = add(&store, "ana@x.test").await;
    store.accept(message(1, at(0), b"x\r\n", &[ana])).await.unwrap();
}

/// An old primary whose commits wait for a standby that left it is not waited for once there is a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_does_not_wait_for_an_old_primary() {
    let Some(old) = Cluster::start(&["fsync=off"]) else { return };
    let ana = add(&open(&old.url(), "posta").await, "ana@x.test").await;
    let new = old.promoted_copy();
    new.signal("STOP");
    let [first, second] =
        [&old, &new].map(|cluster| cluster.directory().to_str().unwrap().replace('/', "%2F"));
    let node = open(&format!("postgresql://posta@{first},{second}/postgres"), "posta").await;
    wait_for_nobody(&old, true);
    let accepting = tokio::spawn(async move {
        node.accept(message(1, at(0), b"x\r\n", &[ana])).await.map(|()| node)
    });
    until_waiting(&old).await;
    sleep(WHILE).await;
    assert!(!accepting.is_finished(), "the old one has not made it safe");
    new.signal("CONT");
    let accepted = timeout(Duration::from_secs(20), accepting).await;
    let node = accepted.expect("it goes to the new one").unwrap().unwrap();
    assert_eq!(new.psql("SELECT count(*) FROM posta.entry"), "1");
    node.accept(message(2, at(0), b"x\r\n", &[ana])).await.unwrap();
}

/// An old primary that does not know of the failover still takes changes, as the new one does: the new one is used.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_take_changes_the_later_timeline_is_used() {
    let Some(old) = Cluster::start(&["fsync=off"]) else { return };
    let store = open(&old.url(), "posta").await;
    let ana = add(&store, "ana@x.test").await;
    let new = old.promoted_copy();
    let host = |cluster: &Cluster| cluster.directory().to_str().unwrap().replace('/', "%2F");
    for hosts in [[host(&old), host(&new)], [host(&new), host(&old)]] {
        let url = format!("postgresql://posta@{},{}/postgres", hosts[0], hosts[1]);
        let node = open(&url, "posta").await;
        let before = new.psql("SELECT count(*) FROM posta.entry").parse::<u64>().unwrap();
        node.accept(message(before, at(0), b"x\r\n", &[ana])).await.unwrap();
        let after = new.psql("SELECT count(*) FROM posta.entry").parse::<u64>().unwrap();
        assert_eq!(after, before + 1);
        assert_eq!(old.psql("SELECT count(*) FROM posta.entry"), "0");
    }
}
