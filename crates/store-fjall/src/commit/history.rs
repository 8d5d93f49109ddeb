//! Events are written in the transaction that they describe, and forgotten after a while; the oldest of them sooner if
//! the disk is nearly full.

use super::{Committer, damage::accepted};
use crate::{
    disk::Room,
    error::failed,
    tables::{batch::Batch, schema},
};
use fjall::{Guard, UserKey};
use jiff::SignedDuration;
use lsm_tree::AbstractTree as _;
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, StoreError};

/// The part of the history before its newest event that is kept however full the disk is.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The least number of seconds from one cut to the next: the room that a cut makes is seen at the next look.
const CUT_EVERY: u64 = 60;

impl Committer {
    /// Writes events. Events of one message keep their order, at the same moment too.
    pub(crate) fn tell(&mut self, events: Vec<Event>, batch: &mut Batch) -> Result<(), StoreError> {
        if self.watchers.is_followed() {
            batch.told.extend(events.iter().cloned());
        }
        for event in events {
            self.told += 1;
            let key = schema::event_key(&event, self.told);
            batch.insert(&self.schema.history, key, schema::encode_json(&event.what)?);
        }
        Ok(())
    }

    /// Drops the oldest events, those of the first quarter of the time that the history covers, while the disk has no
    /// room for new ones. Whole files of the table are dropped, which makes room at once; to remove the events one by
    /// one would write more first. Events in files that also have newer ones, or in memory, stay.
    pub(super) fn cut_history(&mut self) {
        if self.room >= Room::Everything || self.second < self.history_cut + CUT_EVERY {
            return;
        }
        self.history_cut = self.second;
        if let Err(error) = self.drop_oldest_events() {
            tracing::error!(%error, "the oldest history cannot be dropped");
        }
    }

    fn drop_oldest_events(&self) -> Result<(), StoreError> {
        let history = &self.schema.history;
        let time = |guard: Guard| -> Result<Option<Timestamp>, StoreError> {
            Ok(accepted(schema::content_of(&guard.key().map_err(failed)?)?))
        };
        let oldest = history.first_key_value().map(time).transpose()?.flatten();
        let newest = history.last_key_value().map(time).transpose()?.flatten();
        let Some((oldest, newest)) = oldest.zip(newest) else { return Ok(()) };
        let end = oldest + newest.duration_since(oldest) / 4;
        if newest.duration_since(end) < KEPT {
            return Ok(());
        }
        tracing::warn!("the disk is nearly full: history from before {end:.0} is dropped");
        let end = MailId::new(end, 0).to_bytes();
        let dropped = history.tree.drop_range::<&[u8], _>(..&end[..]);
        dropped.map_err(|error| failed(fjall::Error::Storage(error)))
    }

    /// Forgets events, by their keys. Returns the number of events. Not synced: a piece that a crash undoes is done
    /// again.
    pub(crate) fn forget(&mut self, keys: Vec<UserKey>) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let count = keys.len();
        for key in keys {
            batch.remove(&self.schema.history, key);
        }
        self.begin()?;
        self.write(batch, false)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FjallStore;
    use posta_store::{History, What, conformance::block_on};

    /// While the disk is nearly full, the oldest history goes, a part at a time.
    #[test]
    fn the_oldest_history_makes_room() {
        let directory = tempfile::tempdir().unwrap();
        let store = FjallStore::open(directory.path()).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let days = |days: i64| SignedDuration::from_hours(days * 24);
        for age in [60, 30, 0] {
            let event = |number| {
                let id = MailId::new(now - days(age), number);
                let what =
                    What::Refused { origin: Default::default(), from: None, refused: Vec::new() };
                Event { id, time: now - days(age), what }
            };
            block_on(store.note((0..100).map(event).collect())).unwrap();
            let written = store.alone(|committer| {
                committer.schema.history.rotate_memtable_and_wait().map_err(failed)
            });
            block_on(written).unwrap();
        }
        let left = |room: Room, seconds: u64| {
            let left = store.alone(move |committer| {
                committer.room = room;
                committer.let_time_pass(seconds);
                Ok(committer.schema.history.iter().count())
            });
            block_on(left).unwrap()
        };
        assert_eq!(left(Room::Everything, CUT_EVERY), 300);
        assert_eq!(left(Room::Mail, CUT_EVERY), 200);
        assert_eq!(left(Room::Mail, 1), 200, "it waits for the effect");
        for _ in 0..9 {
            left(Room::Mail, CUT_EVERY);
        }
        assert_eq!(left(Room::Mail, CUT_EVERY), 100, "the last day stays");
    }
}
