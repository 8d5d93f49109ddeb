//! Accounts that are removed, and come back.

use super::{accounts, aliases, domains};
use crate::{
    columns::{nanos, time},
    connection::Connection,
    fault::{DatabaseFault, damaged},
    node::Node,
    store::mailboxes,
};
use posta_mail::{Address, Timestamp};
use posta_store::{AccountId, RemovedAccount, StoreError};
use std::sync::Arc;
use tokio_postgres::Row;

const REMOVED: &str = "SELECT a.id, a.address, a.password_hash, a.scram, a.quota, a.send_as, a.forwards, a.disabled, \
     a.marks_junk, a.send_only, a.removed, a.purge FROM account a WHERE a.removed IS NOT NULL ORDER BY a.id";
const REMOVED_ONE: &str = "SELECT a.id, a.address, a.password_hash, a.scram, a.quota, a.send_as, a.forwards, a.disabled, \
     a.marks_junk, a.send_only, a.removed, a.purge FROM account a WHERE a.id = $1 AND a.removed IS NOT NULL";
const REMOVE: &str = "UPDATE account SET removed = $2, purge = $3 WHERE id = $1";
const RESTORE: &str =
    "UPDATE account SET removed = NULL, purge = NULL, forwards = $2 WHERE id = $1";
const CLOSE: &str = "UPDATE ledger SET removed = $2 WHERE account = $1";

pub(super) async fn remove(
    connection: &Arc<Connection>,
    node: &Node,
    address: &Address,
    now: Timestamp,
    purge: Timestamp,
) -> Result<(), DatabaseFault> {
    let account = accounts::require(connection, address).await?;
    let id = account.id.0 as i64;
    mailboxes::remove_all(connection, node, account.id, now, purge).await?;
    connection.execute(CLOSE, &[&id, &true]).await?;
    connection.execute(REMOVE, &[&id, &nanos(now), &nanos(purge)]).await?;
    domains::leave(connection, address.domain()).await
}

pub(super) async fn removed(
    connection: &Arc<Connection>,
) -> Result<Vec<RemovedAccount>, DatabaseFault> {
    connection.query(REMOVED, &[]).await?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<RemovedAccount, DatabaseFault> {
    let account = accounts::account(row, 0)?;
    let purge: Option<i64> = row.get(11);
    let purge = purge.ok_or_else(|| damaged("a removed account"))?;
    Ok(RemovedAccount { account, time: time(row.get(10)), purge: time(purge) })
}

pub(super) async fn restore(
    connection: &Arc<Connection>,
    node: &Node,
    id: AccountId,
) -> Result<usize, DatabaseFault> {
    let number = id.0 as i64;
    let row = connection.row(REMOVED_ONE, &[&number]).await?;
    let RemovedAccount { account, time, .. } = read(&row.ok_or(StoreError::NoSuchAccount)?)?;
    let address = account.address;
    if accounts::find(connection, &address).await?.is_some() {
        return Err(StoreError::AccountExists(address).into());
    }
    domains::require_no_alias(connection, address.domain()).await?;
    domains::make_local(connection, address.domain()).await?;
    let forwards = aliases::find(connection, address.as_str()).await?.is_some();
    connection.execute(RESTORE, &[&number, &forwards]).await?;
    connection.execute(CLOSE, &[&number, &false]).await?;
    mailboxes::undelete(connection, node, id, time).await
}
