//! The nodes.

use super::PostgresStore;
use crate::{
    background::heartbeat, columns::time, connection::Connection, database::Durability,
    fault::DatabaseFault, heart::live,
};
use posta_store::{NodeStanding, NodeState, Nodes, Pending, StoreError, Vitals};
use std::{sync::Arc, time::Duration};
use tokio_postgres::Row;

const ALL: &str = concat!(
    "SELECT n.id, n.name, n.version, (extract(epoch FROM n.since) * 1000000000)::bigint, \
         (extract(epoch FROM clock_timestamp() - n.since) * 1000)::bigint, \
         (extract(epoch FROM clock_timestamp() - n.beat) * 1000)::bigint, ",
    live!(),
    ", n.draining, n.sessions, (SELECT count(*) FROM item WHERE holder = n.id), \
         (SELECT count(*) FROM source WHERE holder = n.id), \
         ARRAY(SELECT d.name FROM duty d WHERE d.node = n.id ORDER BY d.name), n.ahead \
     FROM node n ORDER BY n.name, n.since, n.id"
);
const DRAIN: &str = "UPDATE node SET draining = $2 WHERE id = $1";
/// Takes a duty that nobody has, or a dead node had.
const TAKE: &str = concat!(
    "INSERT INTO duty (name, node) SELECT $1, n.id FROM node n WHERE n.id = $2 AND ",
    live!(),
    " ON CONFLICT (name) DO UPDATE SET node = excluded.node \
     WHERE duty.node = excluded.node OR NOT EXISTS (SELECT FROM node n WHERE n.id = duty.node AND ",
    live!(),
    ")"
);
const GIVE_UP: &str = "DELETE FROM duty WHERE name = $1 AND node = $2";

impl Nodes for PostgresStore {
    fn join(&self, vitals: Vitals) -> Pending<'_, ()> {
        self.run(|node| async move {
            node.heart.set_vitals(vitals);
            heartbeat::join(&node).await
        })
    }

    fn leave(&self) -> Pending<'_, ()> {
        self.run(|node| async move { heartbeat::leave(&node).await })
    }

    fn standing(&self) -> NodeStanding {
        self.node.heart.standing()
    }

    fn nodes(&self) -> Pending<'_, Vec<NodeState>> {
        self.read(|connection| async move { all(&connection).await })
    }

    fn drain_node(&self, node: &str, draining: bool) -> Pending<'_, ()> {
        let named = node.to_owned();
        self.change(Vec::new(), move |connection| {
            let named = named.clone();
            async move {
                let found = find(&connection, &named).await?;
                connection.execute(DRAIN, &[&found.id, &draining]).await.map(drop)
            }
        })
    }

    fn remove_node(&self, node: &str) -> Pending<'_, ()> {
        let named = node.to_owned();
        self.run(|node| async move {
            let wanted = named.clone();
            let found = node.database.read(move |connection| {
                let named = wanted.clone();
                async move { find(&connection, &named).await }
            });
            let found = found.await?;
            if found.is_live && !found.is_draining {
                return Err(StoreError::NodeIsLive(named));
            }
            heartbeat::forget(&node, &found.id).await
        })
    }

    fn take_duty(&self, duty: &str) -> Pending<'_, bool> {
        let duty = duty.to_owned();
        self.run(|node| async move {
            let is_allowed = heartbeat::may_claim(&node).await?;
            let id = node.news.node.clone();
            let taken = node.database.change(Durability::Soon, move |connection| {
                let (duty, id) = (duty.clone(), id.clone());
                async move {
                    let sql = if is_allowed { TAKE } else { GIVE_UP };
                    connection.execute(sql, &[&duty, &id]).await
                }
            });
            Ok(taken.await? == 1 && node.heart.standing().takes_work() && is_allowed)
        })
    }
}

async fn all(connection: &Arc<Connection>) -> Result<Vec<NodeState>, DatabaseFault> {
    Ok(connection.query(ALL, &[]).await?.iter().map(state).collect())
}

/// Finds a node by its id, or by its name: the live one, if several have it.
async fn find(connection: &Arc<Connection>, named: &str) -> Result<NodeState, DatabaseFault> {
    let mut all = all(connection).await?;
    if let Some(at) = all.iter().position(|node| node.id == named) {
        return Ok(all.swap_remove(at));
    }
    all.retain(|node| node.name == named);
    if all.iter().any(|node| node.is_live) {
        all.retain(|node| node.is_live);
    }
    let found = all.pop().ok_or_else(|| StoreError::NoSuchNode(named.to_owned()))?;
    match all.is_empty() {
        true => Ok(found),
        false => Err(StoreError::AmbiguousNode(named.to_owned()).into()),
    }
}

fn state(row: &Row) -> NodeState {
    let count = |column: usize| row.get::<_, i64>(column).unsigned_abs();
    NodeState {
        id: row.get(0),
        name: row.get(1),
        version: row.get(2),
        since: time(row.get(3)),
        up: Duration::from_millis(count(4)),
        silent: Duration::from_millis(count(5)),
        is_live: row.get(6),
        is_draining: row.get(7),
        sessions: count(8),
        items: count(9),
        sources: count(10),
        duties: row.get(11),
        clock_ahead: row.get(12),
    }
}
