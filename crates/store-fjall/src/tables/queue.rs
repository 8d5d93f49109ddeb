//! The queue as it is read: items, and which of them are due.

use super::{
    key_and_value,
    lanes::Lanes,
    schema::{self, LaneKey, Schema},
};
use crate::error::failed;
use posta_mail::Timestamp;
use posta_store::{Item, ItemId, StoreError};
use std::ops::Bound;

/// Keys of one lane and priority that are read at a start before the rest is jumped over.
const JUMP: u32 = 16;

/// What a lane has that is due.
pub(crate) struct Due {
    pub(crate) items: Vec<Item>,
    /// When what is left is due at the earliest; none if nothing is left.
    pub(crate) head: Option<Timestamp>,
}

impl Schema {
    pub(crate) fn item(&self, id: ItemId) -> Result<Option<Item>, StoreError> {
        let value = self.queue.get(schema::item_key(id)).map_err(failed)?;
        value.map(|value| schema::decode_json(&value, "an item of the queue")).transpose()
    }

    /// What a lane has that is due, and not before `from`; those of higher priority first.
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
}
