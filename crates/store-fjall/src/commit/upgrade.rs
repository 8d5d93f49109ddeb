//! Upgrading stores of earlier formats.

mod folders;
mod progress;
mod unsealed;

use super::Committer;
use crate::{
    error::{damaged, failed},
    tables::{
        batch::Batch,
        key_and_value,
        schema::{
            self,
            earlier::{self, EarlierEntry},
        },
    },
};
use posta_mail::{MailId, crlf::CrlfLines};
use posta_store::{Item, ItemState, Layout, StoreError};
use progress::ConversionProgress;

/// About the octets that one transaction moves.
const MOVE: usize = 1024 * 1024;

impl Committer {
    /// Converts the records of an earlier format. If this is cut off, the next start goes on.
    pub(crate) fn upgrade(&mut self) -> Result<(), StoreError> {
        self.mark_unsealed()?;
        if self.schema.database.keyspace_exists(schema::OLD_CONTENT) {
            self.move_old_contents()?;
        }
        if self.schema.format()? < Some(schema::LANES) {
            self.index_queue()?;
        }
        if self.schema.format()? < Some(schema::LINES) {
            self.count_lines()?;
        }
        self.make_folders()?;
        if self.schema.number(schema::INDEXED)?.is_none() {
            self.index_accounts()?;
        }
        self.schema.is_current()
    }

    /// Converts the queue of formats 2 and 3, which had one order for all destinations and kept leases in a table.
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

    /// Counts the octets of messages as lines. Formats 1 to 4 told POP3 clients the octets that are kept instead.
    fn count_lines(&mut self) -> Result<(), StoreError> {
        // A new store has no format yet, and nothing to be counted.
        if self.schema.format()?.is_some() {
            tracing::warn!(
                "the lines of all messages are counted, once: this reads the whole store. An older program does not open \
                 it any more: a backup made before is the way back"
            );
        }
        let mut batch = Batch::new(&self.schema);
        let messages = self.schema.mailbox.approximate_len();
        let mut progress = ConversionProgress::begin("messages whose lines are counted", messages);
        for guard in self.schema.mailbox.iter() {
            progress.step();
            let (key, value) = key_and_value(guard)?;
            let Some(mut entry) = earlier::decode_entry(&value)? else { continue };
            if self.count_entry(&mut entry)? {
                batch.insert(&self.schema.mailbox, key, earlier::with_added(&value, &entry));
            }
            batch = self.commit_if_full(batch)?;
        }
        for guard in self.schema.removed.iter() {
            let (key, value) = key_and_value(guard)?;
            let mut entry = earlier::decode_removed(&value)?.entry;
            if self.count_entry(&mut entry)? {
                let (times, record) = value.split_at(earlier::REMOVED.min(value.len()));
                let record = earlier::with_added(record, &entry);
                batch.insert(&self.schema.removed, key, [times, &record].concat());
            }
            batch = self.commit_if_full(batch)?;
        }
        for guard in self.schema.queue.iter() {
            let (key, value) = key_and_value(guard)?;
            let mut item: Item = schema::decode_json(&value, "an item of the queue")?;
            item.added = self.added(item.id.content, item.layout())?;
            if item.added > 0 {
                batch.insert(&self.schema.queue, key, schema::encode_json(&item)?);
            }
            batch = self.commit_if_full(batch)?;
        }
        self.commit(batch)
    }

    /// Indexes accounts by id and domain. Earlier programs found them by their addresses only.
    fn index_accounts(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for account in self.schema.all_accounts() {
            self.index(&account?, &mut batch);
            batch = self.commit_if_full(batch)?;
        }
        batch.insert(&self.schema.meta, schema::INDEXED, 1_u64.to_be_bytes());
        self.commit(batch)
    }

    pub(super) fn commit_if_full(&mut self, batch: Batch) -> Result<Batch, StoreError> {
        if batch.records().len() < MOVE {
            return Ok(batch);
        }
        self.commit(batch)?;
        self.wait_for_memory();
        Ok(Batch::new(&self.schema))
    }

    /// Counts the octets of a message's lines. Returns whether there are more than are kept; of most messages there
    /// are not.
    fn count_entry(&self, entry: &mut EarlierEntry) -> Result<bool, StoreError> {
        if entry.added > 0 {
            return Ok(false);
        }
        entry.added = self.added(entry.content, Layout::new(0, entry.content_octets()))?;
        entry.octets += entry.added;
        Ok(entry.added > 0)
    }

    /// Returns how many octets a content gains as lines: none if it cannot be read.
    fn added(&self, content: MailId, layout: Layout) -> Result<u64, StoreError> {
        let (mut lines, mut octets) = (CrlfLines::default(), 0);
        for index in layout.pieces() {
            let key = schema::content_key(content, index);
            let Some(place) = self.schema.place(key)? else { return Ok(0) };
            let Some(chunk) = self.contents.read(place, key)? else { return Ok(0) };
            lines.count(&chunk);
            octets += chunk.len() as u64;
        }
        lines.finish();
        Ok(lines.octets() - octets)
    }

    /// Moves contents into the log. Formats 1 and 2 kept them in a keyspace.
    fn move_old_contents(&mut self) -> Result<(), StoreError> {
        let options = fjall::KeyspaceCreateOptions::default;
        let old = self.schema.database.keyspace(schema::OLD_CONTENT, options).map_err(failed)?;
        let mut batch = Batch::new(&self.schema);
        let mut progress =
            ConversionProgress::begin("pieces of mail that are moved", old.approximate_len());
        self.begin()?;
        for guard in old.iter() {
            progress.step();
            let (key, value) = key_and_value(guard)?;
            let key = key.as_ref().try_into().map_err(|_| damaged("a content's key"))?;
            if self.schema.place(key)?.is_none() {
                self.put_content(key, &[&value], &mut batch);
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
