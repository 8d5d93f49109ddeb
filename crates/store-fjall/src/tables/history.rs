//! The history as it is read.

use super::{
    key_and_value,
    schema::{self, Schema},
};
use posta_mail::MailId;
use posta_store::{Event, StoreError};
use std::ops::Bound;

impl Schema {
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
