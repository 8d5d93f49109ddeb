//! Counts that the nodes share: tells the others what this node counted, and reads what they told.
//!
//! A node has a row for each key that it counts, and gives each row that it changes a greater stamp than all before. A
//! note on the channel says that a node has told something; whoever hears it reads the rows of that node with stamps
//! beyond those it has seen. So a change is a row of a group, written once in half a second however often it changed,
//! and nobody asks the database for a count. The table is not logged: after a crash or a failover of the database it is
//! empty, and each node tells everything again.

use crate::{
    columns::{nanos, time},
    connection::Params,
    heart::live,
    news::{CLEARED, COUNTS},
    node::Node,
    remembered::cleared,
};
use posta_mail::Timestamp;
use posta_store::{Change, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The time from one telling to the next.
const EVERY: Duration = Duration::from_millis(400);

/// The pause after reading, so that what many nodes tell is read at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The most keys that are told at once: 500 in a second. Strangers can make up keys as fast as they fail to log in.
const MOST: usize = 200;

/// The most rows that are read at once.
const PAGE: i64 = 10_000;

/// The time from one look for nodes that died to the next.
const LOOK: Duration = Duration::from_secs(3);

/// The time from one cleaning to the next.
const CLEAN: Duration = Duration::from_secs(60);

const TELL: &str = "WITH told AS ( \
         INSERT INTO tally (node, kind, key, count, until, stamp) \
         SELECT $1, kind, key, count, until, $2 \
         FROM unnest($3::text[], $4::bytea[], $5::bigint[], $6::bigint[]) AS t (kind, key, count, until) \
         ON CONFLICT (kind, key, node) DO UPDATE \
         SET count = excluded.count, until = excluded.until, stamp = excluded.stamp \
     ) SELECT pg_notify('posta_' || current_schema(), $7)";
const CLEAR: &str = "WITH cleared AS (DELETE FROM tally WHERE kind = $1 AND key = $2) \
     SELECT pg_notify('posta_' || current_schema(), $3)";
const READ: &str = "SELECT kind, key, count, until, stamp FROM tally WHERE node = $1 AND stamp > $2 \
     ORDER BY stamp, kind, key LIMIT $3";
const TELLING: &str = "SELECT DISTINCT node FROM tally WHERE node <> $1";
const LIVING: &str = concat!("SELECT n.id FROM node n WHERE ", live!());
/// What is over, what went to 0 long ago, and what died with its node.
const CLEAN_UP: &str = concat!(
    "DELETE FROM tally t WHERE until <= $1 OR until IS NULL AND NOT EXISTS ( \
     SELECT FROM node n WHERE n.id = t.node AND ",
    live!(),
    ")"
);

/// The time for which a count of 0 is kept, so that all hear of it.
const ENDED: Duration = Duration::from_secs(60);

/// Tells the other nodes what changes.
pub(crate) async fn tell(node: Arc<Node>) {
    let (mut stamp, mut looked, mut cleaned) = (0, Instant::now(), Instant::now());
    let mut term = node.heart.standing().term;
    loop {
        sleep(EVERY).await;
        let now = node.heart.standing().term;
        if now != term {
            // The others took this node for dead.
            term = now;
            node.tallies.begin_again();
        }
        clear(&node).await;
        let changes = node.tallies.counts.take_changes(MOST, wall_time());
        if !changes.is_empty() {
            stamp += 1;
            let told = tell_changes(&node, &changes, stamp).await;
            if let Err(error) = &told {
                tracing::debug!("other nodes could not be told of counts: {error}");
            }
            node.tallies.counts.end_telling(changes, told.is_ok());
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            forget_dead(&node).await;
        }
        if cleaned.elapsed() >= CLEAN {
            cleaned = Instant::now();
            clean(&node).await;
        }
    }
}

async fn tell_changes(node: &Arc<Node>, changes: &[Change], stamp: i64) -> Result<(), StoreError> {
    let kinds: Vec<_> = changes.iter().map(|change| change.kind.to_string()).collect();
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_bytes().to_vec()).collect();
    let counts: Vec<_> = changes.iter().map(|change| change.count).collect();
    let ended = nanos(wall_time() + ENDED);
    let until = |change: &Change| match change.count {
        0 => Some(ended),
        _ => change.until.map(nanos),
    };
    let until: Vec<_> = changes.iter().map(until).collect();
    let message = format!("{} {COUNTS}", node.news.node);
    let told = node.database.read(|connection| {
        let (name, message) = (node.news.node.clone(), message.clone());
        let (kinds, keys, counts, until) =
            (kinds.clone(), keys.clone(), counts.clone(), until.clone());
        async move {
            let params: Params<'_> = &[&name, &stamp, &kinds, &keys, &counts, &until, &message];
            connection.query(TELL, params).await.map(drop)
        }
    });
    told.await
}

/// Has the other nodes clear what was cleared here.
async fn clear(node: &Arc<Node>) {
    for (kind, key) in node.tallies.counts.take_cleared() {
        let message = format!("{} {CLEARED}{}", node.news.node, cleared(&kind, &key));
        let cleared = node.database.read(|connection| {
            let (kind, key, message) = (kind.to_string(), key.as_bytes().to_vec(), message.clone());
            async move { connection.query(CLEAR, &[&kind, &key, &message]).await.map(drop) }
        });
        if let Err(error) = cleared.await {
            tracing::debug!("other nodes could not be told that a count was cleared: {error}");
            node.tallies.counts.clear_again(&kind, key);
        }
    }
}

/// Reads what other nodes tell.
pub(crate) async fn hear(node: Arc<Node>) {
    let mut seen = BTreeMap::new();
    loop {
        let is_lost = node.tallies.take_lost();
        if let Err(error) = read_told(&node, is_lost, &mut seen).await {
            tracing::debug!("the counts of other nodes could not be read: {error}");
            sleep(Duration::from_secs(1)).await;
            continue;
        }
        sleep(PAUSE).await;
        node.tallies.more().await;
    }
}

async fn read_told(
    node: &Arc<Node>,
    is_lost: bool,
    seen: &mut BTreeMap<String, i64>,
) -> Result<(), StoreError> {
    let mut told = node.tallies.take_told();
    if is_lost {
        node.tallies.counts.tell_again();
        seen.clear();
        match telling(node).await {
            Ok(nodes) => told.extend(nodes),
            Err(error) => {
                node.tallies.begin_again();
                return Err(error);
            }
        }
    }
    while let Some(of) = told.pop_first() {
        if let Err(error) = read_of(node, &of, seen.entry(of.clone()).or_default()).await {
            told.insert(of);
            told.iter().for_each(|node_id| node.tallies.hear_told(node_id));
            return Err(error);
        }
    }
    Ok(())
}

/// Returns the nodes that have told something.
async fn telling(node: &Arc<Node>) -> Result<Vec<String>, StoreError> {
    let read = node.database.read(|connection| {
        let name = node.news.node.clone();
        async move { connection.query(TELLING, &[&name]).await }
    });
    Ok(read.await?.iter().map(|row| row.get(0)).collect())
}

/// Reads what a node has told since its row with the stamp `seen`.
async fn read_of(node: &Arc<Node>, of: &str, seen: &mut i64) -> Result<(), StoreError> {
    let mut most = PAGE;
    loop {
        let after = *seen;
        let page = node.database.read(|connection| {
            let of = of.to_owned();
            async move { connection.query(READ, &[&of, &after, &most]).await }
        });
        let page = page.await?;
        let is_last = (page.len() as i64) < most;
        let now = wall_time();
        let last: i64 = page.last().map_or(after, |row| row.get(4));
        for row in &page {
            let key: &[u8] = row.get(1);
            let change = Change {
                kind: row.get::<_, &str>(0).into(),
                key: String::from_utf8_lossy(key).into(),
                count: row.get(2),
                until: row.get::<_, Option<i64>>(3).map(time),
            };
            node.tallies.counts.hear(of, change, now);
        }
        // The rows of the last stamp may not all be on this page, and are read again with the next.
        *seen = if is_last { last } else { last - 1 };
        if is_last {
            return Ok(());
        }
        if *seen <= after {
            most *= 2;
        }
    }
}

/// Forgets what nodes that have died counted for as long as they lived.
async fn forget_dead(node: &Arc<Node>) {
    // Whoever has told something joined before, and so is found if it lives.
    let told = node.tallies.counts.processes();
    if told.is_empty() {
        return;
    }
    let read = node.database.read(|connection| async move { connection.query(LIVING, &[]).await });
    match read.await {
        Ok(rows) => {
            let living: BTreeSet<&str> = rows.iter().map(|row| row.get(0)).collect();
            let dead = told.iter().filter(|process| !living.contains(&***process));
            dead.for_each(|process| node.tallies.counts.forget_process(process));
        }
        Err(error) => tracing::debug!("nodes that died could not be looked for: {error}"),
    }
}

/// Removes what is over from the table and from memory.
async fn clean(node: &Arc<Node>) {
    let now = wall_time();
    node.tallies.counts.forget_old(now);
    let cleaned = node.database.read(|connection| async move {
        connection.execute(CLEAN_UP, &[&nanos(now)]).await.map(drop)
    });
    if let Err(error) = cleaned.await {
        tracing::debug!("counts that are over could not be removed: {error}");
    }
}

/// Returns the time by this machine's clock, by which lock-outs and what is sent in a day end on each node.
#[expect(
    clippy::disallowed_methods,
    reason = "the methods of these counts are called without a time"
)]
fn wall_time() -> Timestamp {
    Timestamp::now()
}
