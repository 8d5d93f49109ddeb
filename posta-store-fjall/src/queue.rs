//! The queue and the history.

use crate::{
    batch::Batch,
    commit::Committer,
    failed, key_and_value,
    schema::{self, Schema},
};
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, Item, ItemId, ItemState, Settlement, StoreError};
use std::ops::Bound;

/// Events forgotten at a time.
const FORGET: usize = 1_000;

/// Priorities, from the highest (RFC 6710 §3).
const PRIORITIES: std::ops::RangeInclusive<i8> = -9..=9;

impl Committer {
    /// Leases what is due. Not synced: a lease that a crash forgets has lapsed.
    pub(crate) fn claim(
        &mut self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut claimed = Vec::new();
        let mut batch = Batch::new(&self.schema);
        for priority in PRIORITIES.rev() {
            let [first, last] = schema::due_range(priority, now);
            for guard in self.schema.due.range(first..=last).take(limit - claimed.len()) {
                let key = guard.key().map_err(failed)?;
                let id = schema::item_of(&key)?;
                let Some(mut item) = self.schema.item(id)? else {
                    batch.remove(&self.schema.due, key);
                    continue;
                };
                (item.due, item.state) = (lease, ItemState::Leased);
                batch.remove(&self.schema.due, key);
                self.put_item(&item, &mut batch)?;
                claimed.push(item);
            }
        }
        self.begin()?;
        self.write(batch, false)?;
        Ok(claimed)
    }

    /// Ends the leases of the last run: whoever held them is gone, for only one process has the store
    /// open.
    pub(crate) fn end_leases(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.leased.iter() {
            let key = guard.key().map_err(failed)?;
            if let Some(mut item) = self.schema.item(schema::item_id(&key)?)? {
                batch.remove(&self.schema.due, schema::due_key(&item));
                (item.due, item.state) = (item.accepted, ItemState::Waiting);
                self.put_item(&item, &mut batch)?;
            }
            batch.remove(&self.schema.leased, key);
        }
        self.commit(batch)
    }

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
        match left {
            Some(left) => {
                let left = Item { shared, ..left };
                self.put_item(&left, batch)?;
            }
            None => {
                batch.remove(&self.schema.queue, schema::item_key(id));
                batch.remove(&self.schema.leased, schema::item_key(id));
            }
        }
        if shared {
            batch.insert(&self.schema.shown, id.content.to_bytes(), after.to_be_bytes());
        }
        if after == 0 {
            batch.remove(&self.schema.shown, id.content.to_bytes());
            self.drop_places(places, batch);
        }
        for delivery in deliveries {
            self.deliver(delivery, id.content, old.octets, time, shared, batch);
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
        id: ItemId,
        due: Timestamp,
        state: ItemState,
    ) -> Result<bool, StoreError> {
        let Some(mut item) = self.schema.item(id)? else { return Ok(false) };
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.due, schema::due_key(&item));
        (item.due, item.state) = (due, state);
        self.put_item(&item, &mut batch)?;
        self.commit(batch)?;
        Ok(true)
    }

    /// Writes an item, and when it is due.
    pub(crate) fn put_item(&self, item: &Item, batch: &mut Batch) -> Result<(), StoreError> {
        let key = schema::item_key(item.id);
        batch.insert(&self.schema.queue, key, schema::encode_json(item)?);
        match item.state {
            ItemState::Leased => batch.insert(&self.schema.leased, key, []),
            ItemState::Waiting | ItemState::Held => batch.remove(&self.schema.leased, key),
        }
        if item.state != ItemState::Held {
            batch.insert(&self.schema.due, schema::due_key(item), []);
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

    pub(crate) fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut next: Option<Timestamp> = None;
        for priority in PRIORITIES {
            let [first, last] = schema::due_range(priority, Timestamp::MAX);
            if let Some(guard) = self.due.range(first..=last).next() {
                let due = schema::due_of(&guard.key().map_err(failed)?)?;
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        Ok(next)
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
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let from = match after {
            Some(id) => Bound::Excluded(schema::after_events_of(id)),
            None => Bound::Unbounded,
        };
        let mut events: Vec<Event> = Vec::new();
        for guard in self.history.range((from, Bound::Unbounded)) {
            let (key, value) = key_and_value(guard)?;
            let event = schema::decode_event(&key, &value)?;
            // Whole messages: those after the limit are the last one's.
            if events.len() >= limit && events.last().is_some_and(|last| last.id != event.id) {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }
}
