//! Messages that arrive: their content, and the transaction that puts them into mailboxes and into the queue.

use super::Committer;
use crate::{
    error::failed,
    tables::{batch::Batch, schema},
};
use posta_mail::{MailId, ThreadId, Timestamp};
use posta_store::{
    Acceptance, Collected, Delivery, Entry, HEAD, Item, Layout, MessageRecord, StoreError, UniqueId,
};

/// A content to be put into a mailbox.
pub(crate) struct Content {
    pub(crate) id: MailId,
    pub(crate) layout: Layout,
    pub(crate) added: u64,
    pub(crate) thread: ThreadId,
    pub(crate) shared: bool,
}

impl Committer {
    /// Puts a chunk of a content into the log.
    pub(crate) fn append(&mut self, content: MailId, index: u32, chunk: &[u8], batch: &mut Batch) {
        if index == 0 {
            batch.insert(&self.schema.arriving, content.to_bytes(), []);
        }
        self.put_content(schema::content_key(content, index), &[chunk], batch);
    }

    /// Checks that all accounts and folders that a message goes to exist, and that its names can be kept, so that
    /// delivering it cannot fail.
    pub(crate) fn prepare(&mut self, acceptance: &Acceptance) -> Result<(), StoreError> {
        acceptance.check_names()?;
        self.prepare_deliveries(&acceptance.deliveries)?;
        acceptance.reports.iter().try_for_each(|report| self.prepare(report))
    }

    pub(crate) fn prepare_deliveries(&mut self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        for delivery in deliveries {
            if !self.accounts.contains(&delivery.account) {
                return Err(StoreError::NoSuchAccount);
            }
            self.load_folder_or_inbox(delivery.account, delivery.folder)?;
        }
        Ok(())
    }

    pub(crate) fn accept(
        &mut self,
        acceptance: Acceptance,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        self.prepare(&acceptance)?;
        let (layout, shown) = (acceptance.layout(), acceptance.shown());
        let Acceptance {
            id,
            time,
            head,
            chunks,
            rest,
            added,
            thread,
            deliveries,
            items,
            events,
            reports,
            collected,
            records,
        } = acceptance;
        if let Some(Collected { source, unique_id }) = collected {
            let key = schema::collected_key(source, &unique_id);
            if self.schema.collected.contains_key(&key).map_err(failed)? {
                return self.drop_content(id, batch);
            }
            batch.insert(&self.schema.collected, key, schema::encode_time(time));
        }
        let last = schema::content_key(id, chunks);
        if layout.has_own_head() {
            self.put_content(schema::content_key(id, HEAD), &[&head], batch);
            self.put_content(last, &[&rest], batch);
        } else {
            self.put_content(last, &[&head, &rest], batch);
        }
        if chunks > 0 {
            batch.remove(&self.schema.arriving, id.to_bytes());
        }
        let shared = shown > 1;
        if shared {
            batch.insert(&self.schema.shown, id.to_bytes(), (shown as u64).to_be_bytes());
        }
        for delivery in deliveries {
            let content = Content { id, layout, added, thread, shared };
            self.deliver(delivery, content, time, batch)?;
        }
        for item in items {
            self.put_item(&Item { shared, ..item }, batch)?;
        }
        self.tell(events, batch)?;
        for MessageRecord { kind, name, record } in records {
            batch.insert(&self.schema.kept, format!("{kind}\0{name}"), record);
        }
        for report in reports {
            self.accept(report, batch)?;
        }
        Ok(())
    }

    /// Puts a message into a folder. [`Committer::prepare`] must have loaded the folder.
    pub(crate) fn deliver(
        &mut self,
        delivery: Delivery,
        content: Content,
        time: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Content { id, layout, added, thread, shared } = content;
        let Delivery { account, folder, prefix, unique_id, date, flags, keywords } = delivery;
        let folder = self.load_folder_or_inbox(account, folder)?;
        let uid = self.next_uid(account, folder)?;
        let mod_seq = self.next_mod_seq(time);
        let entry = Entry {
            folder,
            uid,
            content: id,
            thread,
            octets: layout.octets() + added + prefix.len() as u64,
            added,
            head: layout.head() as u32,
            time: date.unwrap_or(time),
            flags,
            keywords,
            created: mod_seq,
            mod_seq,
            unique_id: UniqueId { number: mod_seq.0, imported: unique_id.map(Into::into) },
            shared,
            prefix,
        };
        let key = schema::entry_key(account, folder, uid);
        batch.insert(&self.schema.entry, key, schema::encode_entry(&entry));
        self.count_in(account, &entry, batch);
        Ok(())
    }
}
