//! Messages that get another name: those that move to another folder, and those that come back.

use super::{lock, standing, unlock};
use crate::{
    columns::{nanos, uid},
    connection::Connection,
    fault::DatabaseFault,
    node::Node,
};
use posta_mail::Timestamp;
use posta_store::{AccountId, FolderId, StoreError, Uid};
use std::sync::Arc;

const NEXT: &str = "SELECT uid_next FROM folder WHERE account = $1 AND id = $2";
/// Moves messages. Each takes two mod-sequences: for the name that vanishes, and for the new one.
const MOVE: &str = "WITH d AS ( \
         SELECT d.uid, $5::bigint + d.place - 1 AS to_uid, $6::bigint + 2 * (d.place - 1) AS modseq \
         FROM unnest($4::bigint[]) WITH ORDINALITY AS d (uid, place) \
     ), m AS ( \
         INSERT INTO moved (account, folder, uid, modseq, purge, to_folder, to_uid) \
         SELECT $1::bigint, $2::integer, d.uid, d.modseq, $7::bigint, $3::integer, d.to_uid FROM d \
     ), e AS ( \
         UPDATE entry e SET folder = $3, uid = d.to_uid, created = d.modseq + 1, modseq = d.modseq + 1, \
             flags = e.flags & ~1, retrieved = NULL \
         FROM d WHERE e.account = $1 AND e.folder = $2 AND e.uid = d.uid \
         RETURNING e.octets, e.flags, d.modseq \
     ), n AS ( \
         SELECT count(*) AS messages, coalesce(sum(octets), 0) AS octets, \
             count(*) FILTER (WHERE flags & 2 = 0) AS unseen, max(modseq) AS modseq FROM e \
     ) UPDATE folder f SET \
         messages = f.messages + s.sign * n.messages, octets = f.octets + s.sign * n.octets, \
         unseen = f.unseen + s.sign * n.unseen, \
         modseq = CASE WHEN s.sign < 0 THEN n.modseq ELSE n.modseq + 1 END, \
         altered = CASE WHEN s.sign < 0 THEN n.modseq ELSE f.altered END, \
         uid_next = CASE WHEN s.sign < 0 THEN f.uid_next ELSE f.uid_next + n.messages END \
     FROM n, (VALUES ($2::integer, -1), ($3::integer, 1)) AS s (folder, sign) \
     WHERE f.account = $1 AND f.id = s.folder";
const REMOVED: &str = "SELECT count(*) FROM entry WHERE account = $1 AND removed >= $2";
/// Brings removed messages back into their folders, or into the inbox where these are gone, in the order of their names.
const UNDELETE: &str = "WITH d AS ( \
         SELECT e.folder, e.uid, e.gone, e.purge, t.id AS to_folder, \
             t.uid_next + row_number() OVER (PARTITION BY t.id ORDER BY e.folder, e.uid) - 1 AS to_uid, \
             $3::bigint + row_number() OVER (ORDER BY e.folder, e.uid) - 1 AS modseq \
         FROM entry e \
         LEFT JOIN folder f ON f.account = e.account AND f.id = e.folder \
         JOIN folder t ON t.account = e.account AND t.id = coalesce(f.id, 0) \
         WHERE e.account = $1 AND e.removed >= $2 \
     ), m AS ( \
         INSERT INTO moved (account, folder, uid, modseq, purge, to_folder, to_uid) \
         SELECT $1::bigint, d.folder, d.uid, d.gone, d.purge, d.to_folder, d.to_uid FROM d \
     ), e AS ( \
         UPDATE entry e SET folder = d.to_folder, uid = d.to_uid, created = d.modseq, modseq = d.modseq, \
             flags = e.flags & ~17, retrieved = NULL, removed = NULL, purge = NULL, gone = NULL \
         FROM d WHERE e.account = $1 AND e.folder = d.folder AND e.uid = d.uid \
         RETURNING e.folder, e.octets, e.flags, e.modseq \
     ) UPDATE folder f SET \
         messages = f.messages + n.messages, octets = f.octets + n.octets, unseen = f.unseen + n.unseen, \
         modseq = n.modseq, uid_next = f.uid_next + n.messages \
     FROM ( \
         SELECT folder, count(*) AS messages, sum(octets) AS octets, \
             count(*) FILTER (WHERE flags & 2 = 0) AS unseen, max(modseq) AS modseq \
         FROM e GROUP BY folder \
     ) AS n WHERE f.account = $1 AND f.id = n.folder";

/// Moves messages from one folder to another. Returns the old and the new name of each.
pub(super) async fn move_to(
    connection: &Arc<Connection>,
    node: &Node,
    account: AccountId,
    (from, to): (FolderId, FolderId),
    named: &[i64],
    (now, purge): (Timestamp, Timestamp),
) -> Result<Vec<(Uid, Uid)>, DatabaseFault> {
    let number = account.0 as i64;
    let (from_folder, to_folder) = (from.0 as i32, to.0 as i32);
    let last = lock(connection, account).await?;
    let next = connection.row(NEXT, &[&number, &to_folder]).await?;
    let (last, next): (i64, i64) = match (last, next) {
        (Some(last), Some(next)) => (last, next.get(0)),
        // An account that is gone has these folders, too, and nothing in them.
        _ if to <= FolderId::JUNK => return Ok(Vec::new()),
        _ => return Err(StoreError::NoSuchFolder.into()),
    };
    if from == to {
        return Ok(Vec::new());
    }
    let standing = standing(connection, account, from, named).await?;
    if standing.is_empty() {
        return Ok(Vec::new());
    }
    let first = node.mod_seqs.take(last, now, 2 * standing.len());
    connection
        .execute(
            MOVE,
            &[&number, &from_folder, &to_folder, &standing, &next, &first, &nanos(purge)],
        )
        .await?;
    unlock(connection, account, first + 2 * standing.len() as i64 - 1).await?;
    Ok(standing.into_iter().map(uid).zip((next..).map(uid)).collect())
}

/// Brings back what was removed at a time or later. Returns the number of messages.
pub(crate) async fn undelete(
    connection: &Arc<Connection>,
    node: &Node,
    account: AccountId,
    since: Timestamp,
) -> Result<usize, DatabaseFault> {
    let Some(last) = lock(connection, account).await? else { return Ok(0) };
    let (number, removed) = (account.0 as i64, nanos(since));
    let count = connection.row(REMOVED, &[&number, &removed]).await?;
    let count = count.map_or(0, |row| row.get::<_, i64>(0) as usize);
    if count == 0 {
        return Ok(0);
    }
    let first = node.mod_seqs.take(last, since, count);
    connection.execute(UNDELETE, &[&number, &removed, &first]).await?;
    unlock(connection, account, first + count as i64 - 1).await?;
    Ok(count)
}
