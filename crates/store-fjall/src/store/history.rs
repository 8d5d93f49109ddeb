//! The history.

use super::{FjallStore, cursor::InPieces};
use crate::commit::{Committer, Request, removals::Until};
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, History, Pending};
use std::ops::Bound;

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
        let end = Bound::Excluded(MailId::new(before, 0).to_bytes().to_vec());
        Box::pin(self.do_piece(InPieces {
            cursor: |store| &store.forgetting,
            table: |schema| &schema.history,
            end,
            until: Until::Written,
            change: |committer: &mut Committer, keys| committer.forget(keys),
        }))
    }
}
