//! The queue and the history.

use crate::{
    FjallStore,
    batch::Batch,
    commit::{Committer, Content},
    failed, key_and_value,
    lanes::{Effect, Lanes},
    schema::{self, LaneKey, Schema},
};
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, Item, ItemId, ItemState, Settlement, StoreError};
use std::ops::Bound;

/// Events forgotten at a time.
const FORGET: usize = 1_000;

/// Keys of one lane and priority that are read at a start before the rest is jumped over.
const JUMP: u32 = 16;

impl FjallStore {
    /// Leases what is due. Nothing is written: a lease that a crash forgets has lapsed.
    pub(crate) fn lease_due(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
        share: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut lanes = self.lanes.lock();
        lanes.lapse(now);
        let (mut claimed, mut passed) = (Vec::new(), Vec::new());
        while claimed.len() < limit
            && let Some((lane, from, priorities)) = lanes.next(now, &passed)
        {
            let room = share.min(limit - claimed.len());
            let found = self.schema()?.due_in(&lanes, (lane, from, priorities), now, room)?;
            lanes.claimed(lane, found.head, now);
            for mut item in found.items {
                lanes.lease(&mut item, lease);
                claimed.push(item);
            }
            passed.push(lane);
        }
        Ok(claimed)
    }

    /// Some items, as they are now.
    pub(crate) fn some_items(
        &self,
        after: Option<ItemId>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut items = self.schema()?.items(after, limit)?;
        let lanes = self.lanes.lock();
        items.iter_mut().for_each(|item| lanes.show(item));
        Ok(items)
    }
}

/// What a lane has that is due.
struct Due {
    items: Vec<Item>,
    /// When what is left is due at the earliest; none if nothing is left.
    head: Option<Timestamp>,
}

impl Committer {
    /// Ends an attempt.
    pub(crate) fn settle(
        &mut self,
        settlement: Settlement,
        batch: &mut Batch,
    ) -> Result<bool, StoreError> {
        let Settlement { item: id, time, left, deliveries, reports, events } = settlement;
        let Some(old) = self.schema.item(id)? else { return Ok(false) };
        let exists = |account| self.accounts.contains(account);
        if !deliveries.iter().all(|delivery| exists(&delivery.account))
            || !reports.iter().all(|report| self.can_accept(report))
        {
            return Err(StoreError::NoSuchAccount);
        }
        let before = if old.shared { self.schema.shown(id.content)? } else { 1 };
        let gone = u64::from(left.is_none());
        let after = before + deliveries.len() as u64 - gone;
        let shared = old.shared || after > 1;
        let places = if after == 0 { self.places(id.content, old.chunks())? } else { Vec::new() };
        // From here on nothing may fail: the batch belongs to others too.
        batch.remove(&self.schema.due, schema::due_key(&old));
        batch.effects.push(Effect::Released(id));
        match left {
            Some(left) => {
                let left = Item { shared, ..left };
                self.put_item(&left, batch)?;
            }
            None => batch.remove(&self.schema.queue, schema::item_key(id)),
        }
        if shared {
            batch.insert(&self.schema.shown, id.content.to_bytes(), after.to_be_bytes());
        }
        if after == 0 {
            batch.remove(&self.schema.shown, id.content.to_bytes());
            self.drop_places(places, batch);
        }
        for delivery in deliveries {
            let Item { octets, added, .. } = old;
            self.deliver(delivery, Content { id: id.content, octets, added, shared }, time, batch);
        }
        self.reserve_uids(batch);
        self.tell(events, batch)?;
        for report in reports {
            self.accept(report, batch)?;
        }
        Ok(true)
    }

    pub(crate) fn reschedule(
        &mut self,
        items: &[(ItemId, Timestamp)],
        state: ItemState,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut count = 0;
        for &(id, due) in items {
            // One that is claimed after this look is settled by what its record says then.
            if self.lanes.lock().is_leased(id) {
                continue;
            }
            let Some(mut item) = self.schema.item(id)? else { continue };
            batch.remove(&self.schema.due, schema::due_key(&item));
            (item.due, item.state) = (due, state);
            self.put_item(&item, &mut batch)?;
            count += 1;
        }
        self.commit(batch)?;
        Ok(count)
    }

    /// Writes an item, and when it is due.
    pub(crate) fn put_item(&self, item: &Item, batch: &mut Batch) -> Result<(), StoreError> {
        let key = schema::item_key(item.id);
        batch.insert(&self.schema.queue, key, schema::encode_json(item)?);
        if item.state != ItemState::Held {
            batch.insert(&self.schema.due, schema::due_key(item), []);
            let lane = schema::lane_key(&item.destination);
            batch.effects.push(Effect::Waits(lane, item.envelope.priority, item.due));
        }
        Ok(())
    }

    /// Writes events. Events of one message keep their order, at the same moment too.
    pub(crate) fn tell(&mut self, events: Vec<Event>, batch: &mut Batch) -> Result<(), StoreError> {
        for event in events {
            self.told += 1;
            let key = schema::event_key(&event, self.told);
            batch.insert(&self.schema.history, key, schema::encode_json(&event.what)?);
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut count = 0;
        for guard in self.schema.history.range(..MailId::new(before, 0).to_bytes()).take(FORGET) {
            batch.remove(&self.schema.history, guard.key().map_err(failed)?);
            count += 1;
        }
        self.begin()?;
        self.write(batch, false)?;
        Ok(count)
    }
}

impl Schema {
    pub(crate) fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        let value = self.queue.get(schema::item_key(id)).map_err(failed)?;
        value.map(|value| schema::decode_json(&value, "an item of the queue")).transpose()
    }

    /// How many records show a content that several do.
    pub(crate) fn shown(&self, content: MailId) -> Result<u64, StoreError> {
        match self.shown.get(content.to_bytes()).map_err(failed)? {
            Some(value) => schema::Reader(&value).u64(),
            None => Ok(1),
        }
    }

    /// What a lane has that is due, and not before `from`; those of higher priority first.
    fn due_in(
        &self,
        lanes: &Lanes,
        (lane, from, priorities): (LaneKey, Timestamp, impl Iterator<Item = i8>),
        now: Timestamp,
        limit: usize,
    ) -> Result<Due, StoreError> {
        let mut found = Due { items: Vec::new(), head: None };
        for priority in priorities {
            let [first, last] =
                [schema::first_due(lane, priority, from), schema::last_due(lane, priority)];
            for guard in self.due.range(first..=last) {
                let (.., due, id) = schema::decode_due(&guard.key().map_err(failed)?)?;
                if due > now || found.items.len() >= limit {
                    found.head = Some(found.head.map_or(due, |head| head.min(due)));
                    break;
                }
                if !lanes.is_leased(id) {
                    // One that was settled since, or is due at another time now, is passed over.
                    let micros = due.as_microsecond();
                    let item = self.item(id)?;
                    found.items.extend(item.filter(|item| item.due.as_microsecond() == micros));
                }
            }
        }
        Ok(found)
    }

    /// Finds out when each lane has something due: at a start.
    pub(crate) fn lanes(&self) -> Result<Lanes, StoreError> {
        let mut lanes = Lanes::default();
        let (mut seen, mut run) = (None, 0);
        let mut keys = self.due.iter();
        while let Some(guard) = keys.next() {
            let (lane, priority, due, _) = schema::decode_due(&guard.key().map_err(failed)?)?;
            if seen != Some((lane, priority)) {
                lanes.waits(lane, priority, due);
                (seen, run) = (Some((lane, priority)), 0);
            }
            run += 1;
            // The first of each is the earliest. Where there are many, the rest is jumped over.
            if run == JUMP {
                keys = self.due.range(schema::last_due(lane, priority)..);
            }
        }
        Ok(lanes)
    }

    pub(crate) fn items(
        &self,
        after: Option<ItemId>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let from = match after {
            Some(id) => Bound::Excluded(schema::item_key(id)),
            None => Bound::Unbounded,
        };
        let mut items = Vec::new();
        for guard in self.queue.range((from, Bound::Unbounded)).take(limit) {
            let (_, value) = key_and_value(guard)?;
            items.push(schema::decode_json(&value, "an item of the queue")?);
        }
        Ok(items)
    }

    pub(crate) fn history(&self, message: MailId) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        for guard in self.history.prefix(message.to_bytes()) {
            let (key, value) = key_and_value(guard)?;
            events.push(schema::decode_event(&key, &value)?);
        }
        Ok(events)
    }

    pub(crate) fn events(
        &self,
        before: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let to = match before {
            Some(id) => Bound::Excluded(id.to_bytes()),
            None => Bound::Unbounded,
        };
        let mut events: Vec<Event> = Vec::new();
        for guard in self.history.range((Bound::Unbounded, to)).rev() {
            let (key, value) = key_and_value(guard)?;
            let event = schema::decode_event(&key, &value)?;
            // Whole messages: those after the limit are the last one's.
            if events.len() >= limit && events.last().is_some_and(|last| last.id != event.id) {
                break;
            }
            events.push(event);
        }
        events.chunk_by_mut(|one, other| one.id == other.id).for_each(<[_]>::reverse);
        Ok(events)
    }
}
