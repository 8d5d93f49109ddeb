//! The upkeep.

mod objects;

use super::{PostgresStore, contents, sources};
use crate::{
    columns::nanos, connection::Connection, database::Durability, fault::DatabaseFault, node::Node,
    seals::Seals,
};
use posta_mail::Timestamp;
use posta_store::{AccountId, Pending, SecretOf, SourceId, StoreError, StoreFigures, Upkeep};
use std::{collections::BTreeMap, sync::Arc};

/// The most that is purged in one transaction.
const PIECE: i64 = 1_000;

const READY: &str = "SELECT current_setting('transaction_read_only')::boolean";
const ACCOUNTS: &str = "SELECT id FROM account WHERE removed IS NOT NULL AND purge <= $1 ORDER BY id LIMIT $2 \
     FOR UPDATE SKIP LOCKED";
const DELETE_ACCOUNT: &str = "WITH a AS (DELETE FROM account WHERE id = $1), \
     l AS (DELETE FROM ledger WHERE account = $1) DELETE FROM folder WHERE account = $1";
const SOURCES: &str = "SELECT id FROM source WHERE account = $1";
const ENTRIES: &str = "SELECT account, folder, uid FROM entry WHERE removed IS NOT NULL AND purge <= $1 \
     ORDER BY purge LIMIT $2";
/// Accounts that are gone themselves have no ledger.
const LEDGERS: &str =
    "SELECT FROM ledger WHERE account = ANY ($1) ORDER BY account FOR NO KEY UPDATE";
const DELETE_ENTRIES: &str = "DELETE FROM entry e \
     USING unnest($1::bigint[], $2::integer[], $3::bigint[]) AS d (account, folder, uid) \
     WHERE e.account = d.account AND e.folder = d.folder AND e.uid = d.uid AND e.removed IS NOT NULL AND e.purge <= $4 \
     RETURNING e.account, e.gone, e.content";
const DELETE_MOVED: &str = "DELETE FROM moved WHERE (account, folder, uid) IN \
     (SELECT account, folder, uid FROM moved WHERE purge <= $1 LIMIT $2) RETURNING account, modseq";
/// Forgets that names vanished: a request for the changes since before that is answered with none.
const FORGET: &str = "UPDATE ledger l SET horizon = greatest(l.horizon, n.modseq) \
     FROM unnest($1::bigint[], $2::bigint[]) AS n (account, modseq) WHERE l.account = n.account";
/// What was left on its way by nodes that died, and keys of transactions that nobody asks for any more.
const STALE: &str = "WITH a AS (DELETE FROM arriving WHERE since < now() - interval '1 day' RETURNING content), \
     o AS (DELETE FROM outcome WHERE time < now() - interval '1 day') \
     DELETE FROM piece p USING a WHERE p.content = a.content AND NOT EXISTS (SELECT FROM content c WHERE c.id = p.content)";

impl Upkeep for PostgresStore {
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        self.run(move |node| async move { sweep(&node, nanos(now)).await })
    }

    fn figures(&self) -> StoreFigures {
        StoreFigures {
            syncs: self.node.syncs.read(),
            groups: self.node.groups.read(),
            objects: self.node.objects.as_ref().map(|objects| objects.figures()),
        }
    }

    fn ready(&self) -> Pending<'_, ()> {
        self.read(|connection| async move {
            let row = connection.row(READY, &[]).await?;
            if row.is_some_and(|row| row.get(0)) {
                let standby = "the database takes no changes: it is a standby, or set to read only";
                return Err(StoreError::Failed(standby.to_owned()).into());
            }
            Ok(())
        })
    }
}

async fn sweep(node: &Arc<Node>, now: i64) -> Result<usize, StoreError> {
    let seals = &node.seals;
    let accounts = node.database.change(Durability::Synced, |connection| async move {
        purge_accounts(&connection, seals, now).await
    });
    let accounts = accounts.await?;
    let entries = node.database.change(Durability::Synced, |connection| async move {
        purge_entries(&connection, now).await
    });
    let entries = entries.await?;
    if accounts + entries == 0 {
        let names = |connection: Arc<Connection>| async move {
            let moved = connection.query(DELETE_MOVED, &[&now, &PIECE]).await?;
            let moved = moved.iter().map(|row| (row.get(0), row.get(1)));
            forget(&connection, moved.collect()).await
        };
        while node.database.change(Durability::Synced, names).await? > 0 {}
        let stale = |connection: Arc<Connection>| async move {
            connection.execute(STALE, &[]).await.map(drop)
        };
        node.database.change(Durability::Soon, stale).await?;
        objects::sweep(node, now).await;
    }
    Ok(accounts + entries)
}

async fn purge_accounts(
    connection: &Arc<Connection>,
    seals: &Seals,
    now: i64,
) -> Result<usize, DatabaseFault> {
    let due = connection.query(ACCOUNTS, &[&now, &PIECE]).await?;
    for row in &due {
        let id: i64 = row.get(0);
        let account = AccountId(id as u64);
        seals.keep(connection, SecretOf::Apop(account), None).await?;
        let of_it = connection.query(SOURCES, &[&id]).await?;
        let of_it = of_it.iter().map(|row| SourceId(row.get::<_, i64>(0) as u64));
        for source in of_it.chain([SourceId::imports_of(account)]) {
            sources::remove(connection, seals, source).await?;
        }
        connection.execute(DELETE_ACCOUNT, &[&id]).await?;
    }
    Ok(due.len())
}

async fn purge_entries(connection: &Arc<Connection>, now: i64) -> Result<usize, DatabaseFault> {
    let due = connection.query(ENTRIES, &[&now, &PIECE]).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let accounts: Vec<i64> = due.iter().map(|row| row.get(0)).collect();
    let folders: Vec<i32> = due.iter().map(|row| row.get(1)).collect();
    let uids: Vec<i64> = due.iter().map(|row| row.get(2)).collect();
    connection.query(LEDGERS, &[&accounts]).await?;
    let gone = connection.query(DELETE_ENTRIES, &[&accounts, &folders, &uids, &now]).await?;
    forget(connection, gone.iter().map(|row| (row.get(0), row.get(1))).collect()).await?;
    let mut refs = BTreeMap::<Vec<u8>, i32>::new();
    for row in &gone {
        *refs.entry(row.get(2)).or_default() -= 1;
    }
    let (contents, refs): (Vec<_>, Vec<_>) = refs.into_iter().unzip();
    contents::refer(connection, &contents, &refs).await?;
    Ok(gone.len())
}

/// Forgets names of accounts, each with the mod-sequence at which it vanished. Returns their number.
async fn forget(
    connection: &Arc<Connection>,
    names: Vec<(i64, i64)>,
) -> Result<usize, DatabaseFault> {
    let mut latest = BTreeMap::<i64, i64>::new();
    for &(account, mod_seq) in &names {
        let last = latest.entry(account).or_default();
        *last = mod_seq.max(*last);
    }
    let (accounts, mod_seqs): (Vec<_>, Vec<_>) = latest.into_iter().unzip();
    connection.execute(FORGET, &[&accounts, &mod_seqs]).await?;
    Ok(names.len())
}
