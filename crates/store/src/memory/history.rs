//! The history of the reference store.

use super::MemoryStore;
use crate::{
    error::Pending,
    history::{Event, History},
};
use posta_mail::{MailId, Timestamp};
use std::cmp::Reverse;

impl History for MemoryStore {
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.events.extend(events);
            Ok(())
        })
    }

    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>> {
        self.with(|inner| {
            let of_it = inner.events.iter().filter(|event| event.id == message);
            Ok(of_it.cloned().collect())
        })
    }

    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>> {
        self.with(|inner| {
            let is_meant = |event: &&Event| before.is_none_or(|before| event.id < before);
            let mut events: Vec<_> = inner.events.iter().filter(is_meant).cloned().collect();
            events.sort_by_key(|event| Reverse(event.id));
            let last = events.get(limit.saturating_sub(1)).map(|event| event.id);
            events.retain(|event| last.is_none_or(|last| event.id >= last));
            Ok(events)
        })
    }

    fn forget(&self, before: Timestamp) -> Pending<'_, usize> {
        self.with(|inner| {
            let count = inner.events.len();
            let oldest = MailId::new(before, 0);
            inner.events.retain(|event| event.id >= oldest);
            Ok(count - inner.events.len())
        })
    }
}
