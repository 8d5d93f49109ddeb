//! The history.

use super::FjallStore;
use crate::commit::Request;
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, History, Pending};

impl History for FjallStore {
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()> {
        self.request(|done| Request::Note { events, done })
    }

    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>> {
        self.read(move |schema| schema.history(message))
    }

    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>> {
        self.read(move |schema| schema.events(before, limit))
    }

    fn forget(&self, before: Timestamp) -> Pending<'_, usize> {
        self.alone(move |committer| committer.forget(before))
    }
}
