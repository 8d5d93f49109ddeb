//! The upkeep of the object store: removing objects that no row names any more, and comparing the bucket with the tables.
//!
//! One node at a time does either, under a lock that it holds as long as its connection lives. Once a week a *pass* goes
//! over all objects in the order of their names, [`LISTED`] at a time. It finds the objects whose transaction never came,
//! which are then removed like others, and those that are gone though a message needs them. Where the pass is stands in
//! the database, so another node can go on after a crash.

use crate::{
    connection::Connection,
    fault::DatabaseFault,
    node::Node,
    objects::{LISTED, ListedObject, Objects},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use posta_store::StoreError;
use std::sync::Arc;

/// The requests to remove objects, or to look for them, at once.
const AT_ONCE: usize = 8;

/// The lists that are gone through in one sweep.
const LISTS: usize = 100;

/// The missing objects that are told one by one, of those in the part of the bucket that a list shows.
const TOLD: usize = 20;

/// The name of the lock, beside that of the schema.
const LOCK: &str = "SELECT pg_try_advisory_lock(x'706f7374'::integer, hashtext(current_schema()))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(x'706f7374'::integer, hashtext(current_schema()))";

/// A piece that names an object keeps it, whatever was noted.
const UNUSED: &str = "SELECT key FROM unused_object u WHERE since < now() - interval '1 day' \
     AND NOT EXISTS (SELECT FROM piece p WHERE p.key = u.key) ORDER BY since LIMIT 1000";
const REMOVED: &str = "DELETE FROM unused_object WHERE key = ANY ($1)";

/// Begins a pass if there was none for a week, and returns where the one in progress is.
const PASS: &str = "UPDATE object_store SET \
     missing = CASE WHEN position IS NULL THEN 0 ELSE missing END, \
     position = coalesce(position, ''), pass = CASE WHEN position IS NULL THEN now() ELSE pass END \
     WHERE position IS NOT NULL OR pass IS NULL OR pass < now() - interval '7 days' \
     RETURNING position";
const ADVANCE: &str =
    "UPDATE object_store SET position = $1, missing = missing + $2 RETURNING missing";
const NOTE_UNUSED: &str = "INSERT INTO unused_object (key) SELECT key FROM unnest($1::text[]) AS k (key) \
     WHERE NOT EXISTS (SELECT FROM piece p WHERE p.key = k.key) ON CONFLICT DO NOTHING RETURNING key";
/// Pieces between two names whose objects are not in the list.
const MISSING: &str = "SELECT p.key FROM piece p \
     WHERE p.key > $1 AND ($2::text IS NULL OR p.key <= $2) AND p.key <> ALL ($3) \
     AND EXISTS (SELECT FROM content c WHERE c.id = p.content) ORDER BY p.key LIMIT 1000";
const WHOSE: &str = "SELECT coalesce(a.address, e.account::text) FROM piece p JOIN entry e ON e.content = p.content \
     LEFT JOIN account a ON a.id = e.account WHERE p.key = $1 \
     UNION SELECT 'the queue, for ' || i.destination FROM piece p JOIN item i ON i.content = p.content \
     WHERE p.key = $1 LIMIT 20";

/// Does what is due. What fails is done another time.
pub(super) async fn sweep(node: &Arc<Node>, now: i64) {
    let Some(objects) = &node.objects else { return };
    match try_sweep(node, objects, now).await {
        Ok(()) => {}
        // Its state is told once, and shown in the status.
        Err(DatabaseFault::Store(StoreError::ObjectStore(why))) => tracing::debug!("{why}"),
        Err(fault) => tracing::warn!("the object store: {}", StoreError::from(fault)),
    }
}

async fn try_sweep(node: &Arc<Node>, objects: &Objects, now: i64) -> Result<(), DatabaseFault> {
    let lent = node.database.pool().lend().await?;
    let connection = lent.connection();
    let row = connection.row(LOCK, &[]).await?;
    if row.is_some_and(|row| row.get(0)) {
        remove_unused(&connection, objects).await?;
        pass(&connection, objects, now).await?;
        connection.query(UNLOCK, &[]).await?;
    }
    // After an error the connection is closed, and the lock with it.
    lent.give_back();
    Ok(())
}

async fn remove_unused(
    connection: &Arc<Connection>,
    objects: &Objects,
) -> Result<(), DatabaseFault> {
    loop {
        let rows = connection.query(UNUSED, &[]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let removing = keys.into_iter().map(|key| remove(objects, key));
        // None is cancelled: one may be the attempt by which an object store that was away is found to be back.
        let done: Vec<_> = stream::iter(removing).buffer_unordered(AT_ONCE).collect().await;
        let removed: Vec<&String> = done.iter().filter_map(|done| done.as_ref().ok()).collect();
        connection.execute(REMOVED, &[&removed]).await?;
        done.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
}

/// Removes an object, and returns its name.
async fn remove(objects: &Objects, key: String) -> Result<String, StoreError> {
    objects.remove(&key).await.map(|()| key)
}

/// Looks for an object, and returns its name if it is missing.
async fn look(objects: &Objects, key: String) -> Result<Option<String>, StoreError> {
    objects.is_there(&key).await.map(|there| (!there).then_some(key))
}

async fn pass(
    connection: &Arc<Connection>,
    objects: &Objects,
    now: i64,
) -> Result<(), DatabaseFault> {
    let Some(row) = connection.row(PASS, &[]).await? else { return Ok(()) };
    let mut position: String = row.get(0);
    for _ in 0..LISTS {
        let list = objects.list(&position).await?;
        let last = list.last().map(|object| object.key.clone());
        let is_end = list.len() < LISTED;
        let missing = find_missing(connection, objects, &position, &list, is_end).await?;
        note_unused(connection, &list, now).await?;
        let next = last.filter(|_| !is_end);
        let row = connection.row(ADVANCE, &[&next, &missing]).await?;
        let Some(next) = next else {
            let missing = row.map_or(0, |row| row.get::<_, i64>(0));
            objects.note_missing(missing.max(0) as u64);
            return Ok(());
        };
        position = next;
    }
    Ok(())
}

/// Notes the objects of a list that no piece names, so that they are removed. One that is younger than a day may belong to
/// a message that is on its way.
async fn note_unused(
    connection: &Arc<Connection>,
    list: &[ListedObject],
    now: i64,
) -> Result<(), DatabaseFault> {
    let is_old = |object: &&ListedObject| object.is_older_than_a_day(now);
    let keys: Vec<&str> = list.iter().filter(is_old).map(|object| &object.key[..]).collect();
    let noted = connection.query(NOTE_UNUSED, &[&keys]).await?;
    if !noted.is_empty() {
        tracing::info!("{} objects belong to no message, and will be removed", noted.len());
    }
    Ok(())
}

/// Tells of messages whose objects are missing from a part of the bucket, and returns the number of these objects.
async fn find_missing(
    connection: &Arc<Connection>,
    objects: &Objects,
    after: &str,
    list: &[ListedObject],
    is_end: bool,
) -> Result<i64, DatabaseFault> {
    let there: Vec<&str> = list.iter().map(|object| &object.key[..]).collect();
    let up_to = there.last().copied().filter(|_| !is_end);
    let rows = connection.query(MISSING, &[&after, &up_to, &there]).await?;
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    // One that was put after the list was made is there.
    let looking = keys.into_iter().map(|key| look(objects, key));
    let looked = stream::iter(looking).buffered(AT_ONCE).try_collect::<Vec<_>>();
    let missing: Vec<String> = looked.await?.into_iter().flatten().collect();
    for key in missing.iter().take(TOLD) {
        let whose = connection.query(WHOSE, &[key]).await?;
        let whose = whose.iter().map(|row| row.get(0)).collect::<Vec<String>>().join(", ");
        tracing::error!(
            object = key,
            "an object is missing from the bucket, so a message cannot be read any more; it belongs to: {whose}"
        );
    }
    Ok(missing.len() as i64)
}
