//! The end of an attempt.

use super::item;
use crate::{
    accept::{Common, Deliveries, Group, LockWait, state},
    columns::{id, lane, nanos, to_json},
    connection::Connection,
    fault::DatabaseFault,
    node::Node,
    store::{contents, history},
};
use posta_store::{Item, Settled, Settlement, StoreError};
use std::{collections::BTreeSet, sync::Arc};

const LOCK: &str = "SELECT i.record, i.due, i.state, i.lease, i.token, c.refs FROM item i \
     LEFT JOIN content c ON c.id = i.content WHERE i.content = $1 AND i.index = $2 FOR UPDATE OF i";
const ACCOUNTS: &str = "SELECT account FROM ledger WHERE account = ANY ($1) AND NOT removed ORDER BY account \
     FOR NO KEY UPDATE";
const KEEP: &str = "UPDATE item SET record = $3, destination = $4, priority = $5, due = $6, state = $7, wake = $6, \
     lease = NULL, holder = NULL, token = NULL WHERE content = $1 AND index = $2";
const REMOVE: &str = "DELETE FROM item WHERE content = $1 AND index = $2";

pub(super) async fn settle(
    connection: &Arc<Connection>,
    node: &Node,
    settlement: &Settlement,
) -> Result<Settled, DatabaseFault> {
    let (content, index) = (id(settlement.item.content), settlement.item.index as i32);
    let Some(row) = connection.row(LOCK, &[&content, &index]).await? else {
        return Ok(Settled::Gone);
    };
    let holds: Option<i64> = row.get(4);
    if settlement.token.is_some_and(|token| holds != Some(token.0 as i64)) {
        return Ok(Settled::Fenced);
    }
    let old = item(&row)?;
    lock_accounts(connection, settlement).await?;
    let delivered = settlement.deliveries.len() as i32;
    let is_over = settlement.left.is_none();
    let shared = row.get::<_, Option<i32>>(5).unwrap_or(1) + delivered > 1;
    if delivered > 0 {
        deliver(connection, node, settlement, &old, shared).await?;
    }
    match &settlement.left {
        Some(left) => keep(connection, node, &Item { shared, ..left.clone() }).await?,
        None => connection.execute(REMOVE, &[&content, &index]).await.map(drop)?,
    }
    let refs = delivered - i32::from(is_over);
    if refs != 0 {
        contents::refer(connection, &[content], &[refs]).await?;
    }
    if !settlement.events.is_empty() {
        let (ids, records) = history::columns(&settlement.events)?;
        connection.execute(history::NOTE, &[&ids, &records]).await?;
    }
    let reports: Vec<_> = settlement.reports.iter().map(|report| (report, None)).collect();
    if !reports.is_empty() {
        let group = Group::new(node, &reports)?;
        let (outcomes, highest) = group.accept(connection, LockWait::Long, None).await?;
        node.mod_seqs.learn(highest);
        for outcome in outcomes {
            outcome.result()?;
        }
    }
    Ok(Settled::Done)
}

/// Locks the mailboxes into which something goes, which must exist.
async fn lock_accounts(
    connection: &Arc<Connection>,
    settlement: &Settlement,
) -> Result<(), DatabaseFault> {
    let of_reports = settlement.reports.iter().flat_map(|report| &report.deliveries);
    let accounts: BTreeSet<i64> = settlement
        .deliveries
        .iter()
        .chain(of_reports)
        .map(|delivery| delivery.account.0 as i64)
        .collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let accounts: Vec<_> = accounts.into_iter().collect();
    let found = connection.query(ACCOUNTS, &[&accounts]).await?;
    if found.len() < accounts.len() {
        return Err(StoreError::NoSuchAccount.into());
    }
    Ok(())
}

async fn deliver(
    connection: &Arc<Connection>,
    node: &Node,
    settlement: &Settlement,
    item: &Item,
    shared: bool,
) -> Result<(), DatabaseFault> {
    let common = Common {
        layout: item.layout(),
        added: item.added,
        thread: item.thread().0,
        time: settlement.time,
        shared,
    };
    let mut deliveries = Deliveries::default();
    let first = node.mod_seqs.take(0, settlement.time, settlement.deliveries.len());
    for (delivery, mod_seq) in settlement.deliveries.iter().zip(first..) {
        deliveries.push(delivery, common, mod_seq);
    }
    let highest = deliveries.deliver(connection, id(item.id.content)).await?;
    node.mod_seqs.learn(highest);
    Ok(())
}

async fn keep(connection: &Arc<Connection>, node: &Node, left: &Item) -> Result<(), DatabaseFault> {
    let (content, index, record) = (id(left.id.content), left.id.index as i32, to_json(left)?);
    let (destination, priority) = (lane(&left.destination), i32::from(left.envelope.priority));
    let (due, state) = (nanos(left.due).saturating_sub(node.heart.ahead()), state(left.state));
    connection
        .execute(KEEP, &[&content, &index, &record, &destination, &priority, &due, &state])
        .await
        .map(drop)
}
