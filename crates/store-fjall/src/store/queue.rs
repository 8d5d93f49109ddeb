//! The queue.

use super::{FjallStore, now};
use crate::{
    commit::{Committer, Request},
    tables::schema,
};
use posta_mail::Timestamp;
use posta_store::{
    Claimed, Destination, Item, ItemId, ItemState, Pending, Queue, Settled, Settlement, StoreError,
    Subject, Token,
};

impl Queue for FjallStore {
    fn claim(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Pending<'_, Vec<Claimed>> {
        Box::pin(async move {
            match self.lease_due(now, lease, limit, share) {
                Err(StoreError::Damaged(what)) => {
                    tracing::error!("{what}: the index of the queue is rebuilt from its items");
                    self.alone(Committer::rebuild_due).await?;
                    self.lease_due(now, lease, limit, share)
                }
                claimed => claimed,
            }
        })
    }

    fn renew(&self, item: ItemId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        now(|| Ok(self.lanes.lock().renew(item, token, until)))
    }

    fn pause(&self, destination: &Destination, until: Timestamp) -> Pending<'_, ()> {
        self.lanes.lock().pause(schema::lane_key(destination), until);
        now(|| Ok(()))
    }

    fn settle(&self, settlement: Settlement) -> Pending<'_, Settled> {
        self.request(|done| Request::Settle { settlement, done })
    }

    fn reschedule(&self, items: Vec<(ItemId, Timestamp)>, state: ItemState) -> Pending<'_, usize> {
        let watchers = self.watchers.clone();
        self.alone(move |committer| {
            let changed = committer.reschedule(&items, state);
            watchers.tell(Subject::Rescheduled);
            changed
        })
    }

    fn next_due(&self) -> Pending<'_, Option<Timestamp>> {
        now(|| Ok(self.lanes.lock().next_due()))
    }

    fn items(&self, after: Option<ItemId>, limit: usize) -> Pending<'_, Vec<Item>> {
        let lanes = self.lanes.clone();
        self.read(move |schema| {
            let mut items = schema.items(after, limit)?;
            let lanes = lanes.lock();
            items.iter_mut().for_each(|item| lanes.show(item));
            Ok(items)
        })
    }
}

impl FjallStore {
    /// Leases what is due. Nothing is written: a lease that a crash forgets has lapsed.
    fn lease_due(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Result<Vec<Claimed>, StoreError> {
        let mut lanes = self.lanes.lock();
        lanes.lapse(now);
        let (mut claimed, mut passed) = (Vec::new(), Vec::new());
        while claimed.len() < limit
            && let Some((lane, from, priorities)) = lanes.next(now, &passed)
        {
            let room = share.min(limit - claimed.len());
            let schema = self.schema()?;
            let found = match schema.due_in(&lanes, (lane, from, priorities), now, room) {
                // What is leased already must reach the caller. The next claim meets the error again.
                Err(_) if !claimed.is_empty() => break,
                found => found?,
            };
            lanes.claimed(lane, found.head, now);
            claimed.extend(found.items.into_iter().map(|item| lanes.lease(item, lease)));
            passed.push(lane);
        }
        Ok(claimed)
    }
}
