//! Events are written with what they tell, and forgotten after a while.

use super::Committer;
use crate::tables::{batch::Batch, schema};
use fjall::UserKey;
use posta_store::{Event, StoreError};

impl Committer {
    /// Writes events. Events of one message keep their order, at the same moment too.
    pub(crate) fn tell(&mut self, events: Vec<Event>, batch: &mut Batch) -> Result<(), StoreError> {
        for event in events {
            self.told += 1;
            let key = schema::event_key(&event, self.told);
            batch.insert(&self.schema.history, key, schema::encode_json(&event.what)?);
        }
        Ok(())
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
