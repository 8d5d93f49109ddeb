//! The queue: attempts that end, items that the operator puts off, and the index of what is due.

use super::{Committer, Content};
use crate::{
    error::failed,
    tables::{
        batch::Batch,
        key_and_value,
        lanes::{Effect, Lanes},
        schema,
    },
};
use posta_mail::Timestamp;
use posta_store::{Item, ItemId, ItemState, Settled, Settlement, StoreError};

impl Committer {
    /// Ends an attempt.
    pub(crate) fn settle(
        &mut self,
        settlement: Settlement,
        batch: &mut Batch,
    ) -> Result<Settled, StoreError> {
        let Settlement { item: id, token, time, left, deliveries, reports, events } = settlement;
        let Some(old) = self.schema.item(id)? else { return Ok(Settled::Gone) };
        if token.is_some_and(|token| !self.lanes.lock().hold(id, token, time)) {
            return Ok(Settled::Fenced);
        }
        self.prepare_deliveries(&deliveries)?;
        reports.iter().try_for_each(|report| self.prepare(report))?;
        let before = if old.shared { self.schema.shown(id.content)? } else { 1 };
        let gone = u64::from(left.is_none());
        let after = before + deliveries.len() as u64 - gone;
        let shared = old.shared || after > 1;
        let places = if after == 0 { self.places(id.content, old.layout())? } else { Vec::new() };
        // From here on nothing may fail: the batch belongs to others too.
        batch.remove(&self.schema.due, schema::due_key(&old));
        batch.effects.push(Effect::Released(id));
        match left {
            Some(left) => {
                let left = Item { shared, ..left };
                self.put_item(&left, batch)?;
            }
            None => batch.remove(&self.schema.queue, schema::item_key(id)),
        }
        if shared {
            batch.insert(&self.schema.shown, id.content.to_bytes(), after.to_be_bytes());
        }
        if after == 0 {
            batch.remove(&self.schema.shown, id.content.to_bytes());
            self.drop_places(places, batch);
        }
        for delivery in deliveries {
            let (layout, added, thread) = (old.layout(), old.added, old.thread());
            let content = Content { id: id.content, layout, added, thread, shared };
            self.deliver(delivery, content, time, batch)?;
        }
        self.tell(events, batch)?;
        for report in reports {
            self.accept(report, batch)?;
        }
        Ok(Settled::Done)
    }

    pub(crate) fn reschedule(
        &mut self,
        items: &[(ItemId, Timestamp)],
        state: ItemState,
    ) -> Result<usize, StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut count = 0;
        for &(id, due) in items {
            // One that is claimed after this look is settled by what its record says then.
            if self.lanes.lock().is_leased(id) {
                continue;
            }
            let Some(mut item) = self.schema.item(id)? else { continue };
            batch.remove(&self.schema.due, schema::due_key(&item));
            (item.due, item.state) = (due, state);
            self.put_item(&item, &mut batch)?;
            count += 1;
        }
        self.commit(batch)?;
        Ok(count)
    }

    /// Reads the lanes, at a start. If the index of what is due is damaged, or was being rebuilt when the last run
    /// ended, it is rebuilt first.
    pub(crate) fn lanes(&mut self) -> Result<Lanes, StoreError> {
        if self.schema.number(schema::REBUILDING_DUE)?.is_some() {
            self.rebuild_due()?;
        }
        match self.schema.lanes() {
            Err(StoreError::Damaged(what)) => {
                tracing::error!("{what}: the index of the queue is rebuilt from its items");
                self.rebuild_due()?;
                self.schema.lanes()
            }
            read => read,
        }
    }

    /// Writes the index of what is due anew. It is derived from the items, so damage to it costs nothing.
    pub(crate) fn rebuild_due(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        batch.insert(&self.schema.meta, schema::REBUILDING_DUE, 1_u64.to_be_bytes());
        self.commit(batch)?;
        // A crash from here on leaves the mark.
        self.schema.due.clear().map_err(failed)?;
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.queue.iter() {
            let (_, value) = key_and_value(guard)?;
            let item: Item = schema::decode_json(&value, "an item of the queue")?;
            self.put_due(&item, &mut batch);
            batch = self.commit_if_full(batch)?;
        }
        batch.remove(&self.schema.meta, schema::REBUILDING_DUE);
        self.commit(batch)
    }

    /// Writes an item, and when it is due.
    pub(crate) fn put_item(&self, item: &Item, batch: &mut Batch) -> Result<(), StoreError> {
        let key = schema::item_key(item.id);
        batch.insert(&self.schema.queue, key, schema::encode_json(item)?);
        self.put_due(item, batch);
        Ok(())
    }

    fn put_due(&self, item: &Item, batch: &mut Batch) {
        if !item.state.is_kept_back() {
            batch.insert(&self.schema.due, schema::due_key(item), []);
            let lane = schema::lane_key(&item.destination);
            batch.effects.push(Effect::Waits(lane, item.envelope.priority, item.due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FjallStore;
    use posta_store::{
        Mailboxes, Queue,
        conformance::{block_on, item, message},
    };
    use std::{fs, os::unix::fs::FileExt, path::Path};

    const ITEMS: u64 = 3_000;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// Returns a store whose queue has items.
    fn store(directory: &Path) -> FjallStore {
        let store = FjallStore::open(directory).unwrap();
        let accept = |number| {
            let mut message = message(number, second(0), b"one\r\n", &[]);
            message.items = vec![item(number, 0, second(0), 0)];
            store.accept(message)
        };
        let accepted: Vec<_> = (1..=ITEMS).map(accept).collect();
        accepted.into_iter().for_each(|accepted| block_on(accepted).unwrap());
        store
    }

    /// Writes the index to its file, and octets of something else into that.
    fn damage(store: &FjallStore) {
        let path = block_on(store.alone(|committer| {
            committer.schema.due.rotate_memtable_and_wait().map_err(failed)?;
            Ok(committer.schema.due.path().to_owned())
        }));
        let files = fs::read_dir(path.unwrap().join("tables")).unwrap();
        for file in files.map(|file| file.unwrap().path()) {
            // The blocks come first.
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.write_all_at(&[0x5a; 200], 100).unwrap();
        }
    }

    fn claim_all(store: &FjallStore) -> usize {
        let claim = || block_on(store.claim(second(1), second(300), 1_000, 1_000)).unwrap().len();
        (0..9).map(|_| claim()).sum()
    }

    #[test]
    fn a_damaged_index_of_the_queue_is_rebuilt_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        damage(&store);
        drop(store);
        let store = FjallStore::open(directory.path()).unwrap();
        assert_eq!(claim_all(&store), ITEMS as usize);
        let schema = store.schema().unwrap();
        assert_eq!(schema.due.iter().count(), ITEMS as usize);
        assert!(schema.number(schema::REBUILDING_DUE).unwrap().is_none());
    }

    #[test]
    fn a_damaged_index_of_the_queue_is_rebuilt_by_a_claim() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        damage(&store);
        assert_eq!(claim_all(&store), ITEMS as usize);
    }

    #[test]
    fn a_rebuild_that_was_cut_off_is_done_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let cut_off = store.alone(|committer| {
            let mut batch = Batch::new(&committer.schema);
            batch.insert(&committer.schema.meta, schema::REBUILDING_DUE, 1_u64.to_be_bytes());
            committer.commit(batch)?;
            committer.schema.due.clear().map_err(failed)
        });
        block_on(cut_off).unwrap();
        drop(store);
        let store = FjallStore::open(directory.path()).unwrap();
        assert_eq!(claim_all(&store), ITEMS as usize);
    }
}
