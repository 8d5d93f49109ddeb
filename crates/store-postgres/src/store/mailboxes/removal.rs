//! Messages that are removed: their entries stay, with the time at which they are purged.

use super::{lock, standing, unlock};
use crate::{columns::nanos, connection::Connection, fault::DatabaseFault, node::Node};
use posta_mail::Timestamp;
use posta_store::{AccountId, FolderId};
use std::{collections::BTreeMap, sync::Arc};

/// The most messages that expire in one transaction.
const EXPIRED: i64 = 1_000;

/// Removes entries that are given with the mod-sequences of their removal.
const REMOVE: &str = "WITH e AS ( \
         UPDATE entry e SET removed = $5, purge = $6, gone = d.modseq \
         FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS d (folder, uid, modseq) \
         WHERE e.account = $1 AND e.folder = d.folder AND e.uid = d.uid AND e.removed IS NULL \
         RETURNING e.folder, e.octets, e.flags, e.gone \
     ) UPDATE folder f SET \
         messages = f.messages - n.messages, octets = f.octets - n.octets, unseen = f.unseen - n.unseen, \
         modseq = n.modseq, altered = n.modseq \
     FROM ( \
         SELECT folder, count(*) AS messages, sum(octets) AS octets, \
             count(*) FILTER (WHERE flags & 2 = 0) AS unseen, max(gone) AS modseq \
         FROM e GROUP BY folder \
     ) AS n WHERE f.account = $1 AND f.id = n.folder";
const COUNT: &str = "SELECT count(*) FROM entry WHERE account = $1 AND removed IS NULL";
/// Removes all entries of an account, in the order of their names.
const REMOVE_ALL: &str = "WITH d AS ( \
         SELECT folder, uid, $4::bigint + row_number() OVER (ORDER BY folder, uid) - 1 AS modseq \
         FROM entry WHERE account = $1 AND removed IS NULL \
     ), e AS ( \
         UPDATE entry e SET removed = $2, purge = $3, gone = d.modseq \
         FROM d WHERE e.account = $1 AND e.folder = d.folder AND e.uid = d.uid \
         RETURNING e.folder, e.gone \
     ) UPDATE folder f SET messages = 0, octets = 0, unseen = 0, modseq = n.modseq, altered = n.modseq \
     FROM (SELECT folder, max(gone) AS modseq FROM e GROUP BY folder) AS n \
     WHERE f.account = $1 AND f.id = n.folder";
const DUE: &str = "SELECT account, folder, uid FROM entry WHERE retrieved < $1 AND removed IS NULL \
     ORDER BY retrieved, account, folder, uid LIMIT $2";
const LOCK_ALL: &str = "SELECT account, modseq FROM ledger WHERE account = ANY ($1) ORDER BY account FOR NO KEY UPDATE";
const STILL_DUE: &str = "SELECT e.account, e.folder, e.uid FROM entry e \
     JOIN unnest($1::bigint[], $2::integer[], $3::bigint[]) WITH ORDINALITY AS d (account, folder, uid, place) \
     ON e.account = d.account AND e.folder = d.folder AND e.uid = d.uid \
     WHERE e.retrieved < $4 AND e.removed IS NULL ORDER BY d.place";

/// Removes messages from folders. Returns their number.
pub(super) async fn remove(
    connection: &Arc<Connection>,
    node: &Node,
    account: AccountId,
    names: &[(FolderId, Vec<i64>)],
    now: Timestamp,
    purge: Timestamp,
) -> Result<usize, DatabaseFault> {
    let Some(last) = lock(connection, account).await? else { return Ok(0) };
    let (mut folders, mut uids) = (Vec::new(), Vec::new());
    for (folder, named) in names {
        let standing = standing(connection, account, *folder, named).await?;
        folders.extend(std::iter::repeat_n(folder.0 as i32, standing.len()));
        uids.extend(standing);
    }
    if uids.is_empty() {
        return Ok(0);
    }
    let count = uids.len();
    let first = node.mod_seqs.take(last, now, count);
    let mod_seqs: Vec<_> = (first..).take(count).collect();
    put_away(connection, account, (&folders, &uids, &mod_seqs), (now, purge)).await?;
    unlock(connection, account, first + count as i64 - 1).await?;
    Ok(count)
}

async fn put_away(
    connection: &Arc<Connection>,
    account: AccountId,
    (folders, uids, mod_seqs): (&[i32], &[i64], &[i64]),
    (now, purge): (Timestamp, Timestamp),
) -> Result<(), DatabaseFault> {
    let (account, now, purge) = (account.0 as i64, nanos(now), nanos(purge));
    connection
        .execute(REMOVE, &[&account, &folders, &uids, &mod_seqs, &now, &purge])
        .await
        .map(drop)
}

/// Removes all messages of an account.
pub(crate) async fn remove_all(
    connection: &Arc<Connection>,
    node: &Node,
    account: AccountId,
    now: Timestamp,
    purge: Timestamp,
) -> Result<(), DatabaseFault> {
    let Some(last) = lock(connection, account).await? else { return Ok(()) };
    let number = account.0 as i64;
    let count = connection.row(COUNT, &[&number]).await?;
    let count = count.map_or(0, |row| row.get::<_, i64>(0) as usize);
    if count == 0 {
        return Ok(());
    }
    let first = node.mod_seqs.take(last, now, count);
    connection.execute(REMOVE_ALL, &[&number, &nanos(now), &nanos(purge), &first]).await?;
    unlock(connection, account, first + count as i64 - 1).await
}

/// Removes messages that were retrieved before a time. Returns the number for each account.
pub(super) async fn expire(
    connection: &Arc<Connection>,
    node: &Node,
    before: Timestamp,
    now: Timestamp,
    purge: Timestamp,
) -> Result<BTreeMap<AccountId, usize>, DatabaseFault> {
    let before = nanos(before);
    let due = connection.query(DUE, &[&before, &EXPIRED]).await?;
    let accounts: Vec<i64> = due.iter().map(|row| row.get(0)).collect();
    let folders: Vec<i32> = due.iter().map(|row| row.get(1)).collect();
    let uids: Vec<i64> = due.iter().map(|row| row.get(2)).collect();
    let ledgers = connection.query(LOCK_ALL, &[&accounts]).await?;
    let last = ledgers.iter().map(|row| row.get::<_, i64>(1)).max().unwrap_or(0);
    // Another node may have removed some before the ledgers were locked.
    let due = connection.query(STILL_DUE, &[&accounts, &folders, &uids, &before]).await?;
    let first = node.mod_seqs.take(last, now, due.len());
    let mut by_account = BTreeMap::<_, (Vec<i32>, Vec<i64>, Vec<i64>)>::new();
    for (row, mod_seq) in due.iter().zip(first..) {
        let of_it = by_account.entry(AccountId(row.get::<_, i64>(0) as u64)).or_default();
        of_it.0.push(row.get(1));
        of_it.1.push(row.get(2));
        of_it.2.push(mod_seq);
    }
    let mut removed = BTreeMap::new();
    for (account, (folders, uids, mod_seqs)) in by_account {
        put_away(connection, account, (&folders, &uids, &mod_seqs), (now, purge)).await?;
        unlock(connection, account, mod_seqs.last().copied().unwrap_or(0)).await?;
        removed.insert(account, uids.len());
    }
    Ok(removed)
}
