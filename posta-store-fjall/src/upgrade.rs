//! Stores of earlier formats become stores of this one.

use crate::{batch::Batch, commit::Committer, failed, key_and_value, schema};
use posta_store::{Item, ItemState, StoreError};

/// Octets moved in one transaction, about.
const MOVE: usize = 1024 * 1024;

impl Committer {
    /// Takes over what an earlier format kept elsewhere. If it is cut off, the next start goes on.
    pub(crate) fn upgrade(&mut self) -> Result<(), StoreError> {
        if self.schema.database.keyspace_exists(schema::OLD_CONTENT) {
            self.move_old_contents()?;
        }
        if self.schema.format()? < Some(schema::LANES) {
            self.index_queue()?;
        }
        self.schema.is_current()
    }

    /// Formats 2 and 3 had one order for all destinations, and wrote down who worked on what.
    fn index_queue(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.due.iter() {
            batch.remove(&self.schema.due, guard.key().map_err(failed)?);
        }
        for guard in self.schema.leased.iter() {
            batch.remove(&self.schema.leased, guard.key().map_err(failed)?);
        }
        for guard in self.schema.queue.iter() {
            let (_, value) = key_and_value(guard)?;
            let mut item: Item = schema::decode_json(&value, "an item of the queue")?;
            if item.state == ItemState::Leased {
                (item.due, item.state) = (item.accepted, ItemState::Waiting);
            }
            self.put_item(&item, &mut batch)?;
        }
        self.commit(batch)
    }

    /// Formats 1 and 2 kept contents in a keyspace.
    fn move_old_contents(&mut self) -> Result<(), StoreError> {
        let options = fjall::KeyspaceCreateOptions::default;
        let old = self.schema.database.keyspace(schema::OLD_CONTENT, options).map_err(failed)?;
        let mut batch = Batch::new(&self.schema);
        self.begin()?;
        for guard in old.iter() {
            let (key, value) = key_and_value(guard)?;
            let key = key.as_ref().try_into().map_err(|_| crate::damaged("a content's key"))?;
            if self.schema.place(key)?.is_none() {
                self.put_content(key, &value, &mut batch);
            }
            if self.log.gathered() > MOVE {
                let full = std::mem::replace(&mut batch, Batch::new(&self.schema));
                self.write(full, true)?;
                self.begin()?;
            }
        }
        self.write(batch, true)?;
        self.schema.database.delete_keyspace(old).map_err(failed)
    }
}
