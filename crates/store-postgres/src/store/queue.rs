//! The queue.
//!
//! An item that is claimed belongs to a node for as long as that node lives by the database's clock (`heart`). The time at
//! which its lease ends is one by the clock of that node, which alone may claim the item again then: so no node takes
//! anything from another because of what its clock shows. A node whose clock is wrong translates the times when items are due
//! (`Heart::ahead`), so that they mean the same to all. A token, which is greater with each claim, fences: whoever settles
//! with an older one changes nothing.

mod settle;

use super::PostgresStore;
use crate::{
    accept::{events, of_settlement, state},
    background::heartbeat,
    columns::{id, json, lane, nanos, time},
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
    heart::live,
};
use posta_mail::Timestamp;
use posta_store::{
    Claimed, Destination, Item, ItemId, ItemState, Lease, Pending, Queue, Settled, Settlement,
    StoreError, Subject, Token,
};
use std::sync::Arc;
use tokio_postgres::Row;

/// Ends the leases of this node that are over, but not their tokens, which are good until somebody else claims the items.
/// What a dead node had claimed is freed with a heartbeat.
const END_LEASES: &str = "UPDATE item i SET lease = NULL, holder = NULL, wake = i.due \
     FROM (SELECT content, index FROM item WHERE holder = $2 AND lease <= $1 FOR UPDATE SKIP LOCKED) AS l \
     WHERE i.content = l.content AND i.index = l.index";

/// The `wake` of an item that is claimed: the last time there is.
macro_rules! claimed_wake {
    () => {
        "9223372036854775807"
    };
}

/// The lanes that have items, one look into the index for each, however many items they have.
macro_rules! lanes {
    () => {
        "WITH RECURSIVE lane (destination) AS ( \
             (SELECT destination FROM item WHERE state = 0 ORDER BY destination LIMIT 1) \
             UNION ALL \
             SELECT (SELECT i.destination FROM item i WHERE i.state = 0 AND i.destination > lane.destination \
                     ORDER BY i.destination LIMIT 1) \
             FROM lane WHERE lane.destination IS NOT NULL \
         )"
    };
}

/// Leases items that are due: the first of each lane, and of these the first in all. What another node takes at the same
/// moment is passed over. Only a live node claims.
const CLAIM: &str = concat!(
    lanes!(),
    ", chosen AS ( \
         SELECT i.content, i.index, i.priority, i.due FROM lane CROSS JOIN LATERAL ( \
             SELECT content, index, priority, due FROM item \
             WHERE state = 0 AND destination = lane.destination AND wake <= $1 \
             ORDER BY priority DESC, due, content, index LIMIT $4 \
         ) AS i \
         WHERE lane.destination <> ALL ($6) \
         ORDER BY i.priority DESC, i.due, i.content, i.index LIMIT $3 \
     ), mine AS ( \
         SELECT i.content, i.index FROM item i \
         JOIN chosen c ON c.content = i.content AND c.index = i.index \
         WHERE i.state = 0 AND i.wake <= $1 AND EXISTS (SELECT FROM node n WHERE n.id = $5 AND ",
    live!(),
    ") FOR UPDATE OF i SKIP LOCKED \
     ) UPDATE item i SET lease = $2, holder = $5, wake = ",
    claimed_wake!(),
    ", token = nextval('token') \
     FROM mine WHERE i.content = mine.content AND i.index = mine.index \
     RETURNING i.record, i.due, i.state, i.lease, i.token"
);
const NEXT_DUE: &str = concat!(
    lanes!(),
    ", waiting AS ( \
         SELECT min(greatest(i.wake, p.until)) AS next FROM lane CROSS JOIN LATERAL ( \
             SELECT wake FROM item WHERE state = 0 AND destination = lane.destination ORDER BY wake LIMIT 1 \
         ) AS i LEFT JOIN unnest($2::text[], $3::bigint[]) AS p (destination, until) \
             ON p.destination = lane.destination \
         WHERE i.wake < ",
    claimed_wake!(),
    " ) SELECT least(next, (SELECT min(lease) FROM item WHERE holder = $1)) FROM waiting"
);
const RENEW: &str = concat!(
    "UPDATE item SET lease = $4, holder = $5, wake = ",
    claimed_wake!(),
    " WHERE content = $1 AND index = $2 AND token = $3"
);
const RESCHEDULE: &str = "UPDATE item i SET due = n.due, wake = n.due, state = $4 \
     FROM unnest($1::bytea[], $2::integer[], $3::bigint[]) AS n (content, index, due) \
     WHERE i.content = n.content AND i.index = n.index AND i.lease IS NULL";
const ITEMS: &str = "SELECT record, due, state, lease FROM item WHERE (content, index) > ($1, $2) \
     ORDER BY content, index LIMIT $3";

impl Queue for PostgresStore {
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Claimed>> {
        let own = [nanos(now), nanos(lease)];
        let [limit, share] = [limit, share].map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        self.run(move |node| async move {
            if !heartbeat::may_claim(&node).await? {
                return Ok(Vec::new());
            }
            let holder = Arc::<str>::from(&*node.news.node);
            let paused = Arc::<[_]>::from(node.pauses.at(own[0]));
            let [now, until] = own.map(|it| it.saturating_sub(node.heart.ahead()));
            let claim = move |connection: Arc<Connection>| {
                let (holder, paused) = (holder.clone(), paused.clone());
                async move {
                    connection.execute(END_LEASES, &[&now, &&*holder]).await?;
                    let params = &[
                        &now as _,
                        &until as _,
                        &limit as _,
                        &share as _,
                        &&*holder as _,
                        &&*paused as _,
                    ];
                    let rows = connection.query(CLAIM, params).await?;
                    in_order(&rows)
                }
            };
            node.database.change(Durability::Synced, claim).await
        })
    }

    fn renew(&self, item: ItemId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        let (content, index) = (id(item.content), item.index as i32);
        let until = nanos(until).saturating_sub(self.node.heart.ahead());
        let token = token.0 as i64;
        let holder = self.node.news.node.clone();
        self.read(move |connection| {
            let (content, holder) = (content.clone(), holder.clone());
            async move {
                let params = &[&content as _, &index as _, &token as _, &until as _, &holder as _];
                Ok(connection.execute(RENEW, params).await? == 1)
            }
        })
    }

    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()> {
        self.node.pauses.pause(lane(destination), nanos(until));
        Box::pin(async { Ok(()) })
    }

    fn settle(&self, settlement: Settlement) -> Pending<'_, Settled> {
        let settlement = Arc::new(settlement);
        self.run(move |node| async move {
            let settle = |connection: Arc<Connection>| {
                let (settlement, node) = (settlement.clone(), node.clone());
                async move { settle::settle(&connection, &node, &settlement).await }
            };
            let settled = node.database.change(Durability::Synced, settle).await?;
            if settled == Settled::Done {
                node.tell(&of_settlement(&settlement));
                if node.watchers.is_followed() {
                    let of_reports = settlement.reports.iter().flat_map(events);
                    let all = settlement.events.iter().cloned().chain(of_reports).collect();
                    node.watchers.tell_events(all);
                }
            }
            Ok(settled)
        })
    }

    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, new: ItemState) -> Pending<'_, usize> {
        let contents: Arc<[_]> = items.iter().map(|(it, _)| id(it.content)).collect();
        let indices: Arc<[_]> = items.iter().map(|(it, _)| it.index as i32).collect();
        let ahead = self.node.heart.ahead();
        let dues: Arc<[_]> =
            items.iter().map(|(_, due)| nanos(*due).saturating_sub(ahead)).collect();
        let new = state(new);
        self.change(vec![Subject::Queue, Subject::Rescheduled], move |connection| {
            let (contents, indices, dues) = (contents.clone(), indices.clone(), dues.clone());
            async move {
                let params = &[&&*contents as _, &&*indices as _, &&*dues as _, &new as _];
                Ok(connection.execute(RESCHEDULE, params).await? as usize)
            }
        })
    }

    fn next_due(&self) -> Pending<'_, Option<Timestamp>> {
        let holder = self.node.news.node.clone();
        if !self.node.heart.standing().takes_work() {
            // Until that changes, which is told.
            return Box::pin(async { Ok(None) });
        }
        let ahead = self.node.heart.ahead();
        let (lanes, mut untils) = self.node.pauses.all();
        untils.iter_mut().for_each(|until| *until = until.saturating_sub(ahead));
        self.read(move |connection| {
            let (holder, lanes, untils) = (holder.clone(), lanes.clone(), untils.clone());
            async move {
                let row = connection.row(NEXT_DUE, &[&holder, &lanes, &untils]).await?;
                let next = row.and_then(|row| row.get::<_, Option<i64>>(0));
                Ok(next.map(|next| time(next.saturating_add(ahead))))
            }
        })
    }

    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>> {
        let content = after.map(|after| id(after.content)).unwrap_or_default();
        let index = after.map_or(0, |after| after.index as i32);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let content = content.clone();
            async move {
                let rows = connection.query(ITEMS, &[&content, &index, &limit]).await?;
                rows.iter().map(|row| item(row).map_err(DatabaseFault::from)).collect()
            }
        })
    }
}

/// Reads an item from the columns record, due, state and lease.
pub(super) fn item(row: &Row) -> Result<Item, StoreError> {
    let mut item: Item = json(row.get(0), "an item of the queue")?;
    item.due = time(row.get(1));
    item.state = match row.get::<_, i32>(2) {
        0 => ItemState::Waiting,
        1 => ItemState::Held,
        _ => ItemState::Quarantined,
    };
    if let Some(until) = row.get::<_, Option<i64>>(3) {
        (item.due, item.state) = (time(until), ItemState::Leased);
    }
    Ok(item)
}

/// Returns the items that were claimed, in the order in which they are to be sent.
fn in_order(rows: &[Row]) -> Result<Vec<Claimed>, DatabaseFault> {
    let claimed = rows.iter().map(|row| Ok((row.get::<_, i64>(1), claimed(row)?)));
    let mut claimed: Vec<_> = claimed.collect::<Result<_, DatabaseFault>>()?;
    claimed.sort_by_key(|(due, it)| (-it.item.envelope.priority, *due, it.item.id));
    Ok(claimed.into_iter().map(|(_, claimed)| claimed).collect())
}

fn claimed(row: &Row) -> Result<Claimed, StoreError> {
    let item = item(row)?;
    let lease = Lease { token: Token(row.get::<_, i64>(4) as u64), until: item.due };
    Ok(Claimed { item, lease })
}
