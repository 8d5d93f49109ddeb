//! Reading the queue: items, and which of them are due.

use super::{
    key_and_value,
    lanes::Lanes,
    schema::{self, LaneKey, Schema},
};
use crate::error::failed;
use posta_mail::Timestamp;
use posta_store::{Item, ItemId, StoreError};
use std::ops::Bound;

/// Keys of one lane and priority that a start reads before it skips the rest.
const JUMP: u32 = 16;

/// The items of a lane that are due.
pub(crate) struct Due {
    pub(crate) items: Vec<Item>,
    /// The earliest time at which another item is due; none if there is no other.
    pub(crate) head: Option<Timestamp>,
}

impl Schema {
    pub(crate) fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        let value = self.queue.get(schema::item_key(id)).map_err(failed)?;
        value.map(|value| schema::decode_json(&value, "an item of the queue")).transpose()
    }

    /// Returns the items of a lane that are due, from `from` on, those of higher priority first.
    pub(crate) fn due_in(
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
                    // An item that was settled or rescheduled meanwhile is passed over.
                    let micros = due.as_microsecond();
                    let item = self.item(id)?;
                    found.items.extend(item.filter(|item| item.due.as_microsecond() == micros));
                }
            }
        }
        Ok(found)
    }

    /// Reads when each lane's next item is due, at a start.
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
            // The first key of each priority is the earliest. If there are many, the rest is skipped.
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
}
