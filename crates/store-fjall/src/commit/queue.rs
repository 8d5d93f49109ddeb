//! The queue: attempts that end, and items that the operator puts off.

use super::{Committer, Content};
use crate::tables::{batch::Batch, lanes::Effect, schema};
use posta_mail::Timestamp;
use posta_store::{Item, ItemId, ItemState, Settled, Settlement, StoreError};

impl Committer {
    /// Ends an attempt.
    pub(crate) fn settle(
        &mut self,
        settlement: Settlement,
        batch: &mut Batch,
    ) -> Result<Settled, StoreError> {
        let Settlement { item: id, token, time, left, deliveries, reports, events } = settlement;
        let Some(old) = self.schema.item(id)? else { return Ok(Settled::Gone) };
        if token.is_some_and(|token| !self.lanes.lock().hold(id, token, time)) {
            return Ok(Settled::Fenced);
        }
        self.prepare_deliveries(&deliveries)?;
        reports.iter().try_for_each(|report| self.prepare(report))?;
        let before = if old.shared { self.schema.shown(id.content)? } else { 1 };
        let gone = u64::from(left.is_none());
        let after = before + deliveries.len() as u64 - gone;
        let shared = old.shared || after > 1;
        let places = if after == 0 { self.places(id.content, old.layout())? } else { Vec::new() };
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
            let (layout, added, thread) = (old.layout(), old.added, old.thread());
            let content = Content { id: id.content, layout, added, thread, shared };
            self.deliver(delivery, content, time, batch)?;
        }
        self.tell(events, batch)?;
        for report in reports {
            self.accept(report, batch)?;
        }
        Ok(Settled::Done)
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
        if !item.state.is_kept_back() {
            batch.insert(&self.schema.due, schema::due_key(item), []);
            let lane = schema::lane_key(&item.destination);
            batch.effects.push(Effect::Waits(lane, item.envelope.priority, item.due));
        }
        Ok(())
    }
}
