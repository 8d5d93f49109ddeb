//! Events are written with what they tell, and forgotten after a while.

use super::Committer;
use crate::{
    error::failed,
    tables::{batch::Batch, schema},
};
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, StoreError};

/// Events forgotten at a time.
const FORGET: usize = 1_000;

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
